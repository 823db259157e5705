"""The assumed frequency of each call, and its likely arguments, by which the search weighs paths.

The kernel's bitmap decides. Since Linux 5.11 a call that is allowed whatever its arguments is
answered from a bitmap and runs no instruction, so short paths matter for calls whose arguments are
looked at, and for refused ones. The others still get a share: they run the filter on older kernels,
and if another filter is stacked on this one that the kernel cannot cache.

Without a profile all calls of one kind are assumed to be equally frequent. With one, they are
weighed by the measured counts. A call that was not measured keeps a little weight, so that its
path does not become arbitrarily long.
"""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import U32, ActionKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.lower import Answer, NumberRange
    from seccompgen.compile.word_search import Sample
    from seccompgen.core.objective import Objective
    from seccompgen.core.sets import Box, Sets

TOTAL = 1 << 20
"""The weight of all calls together, about."""

_ALLOWED = 1.3
"""The weight of all calls in the bitmap together; one whose answer depends on arguments has 1."""
_REFUSED = 0.05
"""The weight of all refused calls together; all whose answer depends on arguments have 1."""
_REFUSED_WITHOUT = 0.02
"""The same without a bitmap; all other calls together have 1."""
_UNNAMED = 0.02
"""The weight of all numbers without a call together, on the same scale."""
_BEYOND = 130
"""The assumed number of calls beyond the table: calls of newer kernels."""
_SEEN_IN_BITMAP = 0.02
"""The weight of a measured call that the bitmap answers."""
_MOST_CHECKED = 64
_MOST_CUTS = 2_000
_MOST_NODES = 100_000
"""The most cuts of rules of a call off others, and the most nodes of the parts left."""
_REFUSED_SAMPLE = 32
"""The weight of an allowing rule's arguments, where a refusing rule's have 1."""
_SAMPLE = 6
"""The weight of a refusing rule, chosen so that its parts are whole numbers."""
_PATTERNS = (0, U32, 0x55555555, 0xAAAAAAAA)
"""The bits that are 1 in sample arguments where the rule leaves them free."""

_ALLOW = ActionKind.ALLOW.value


def span_weights(spans: Sequence[NumberRange], objective: Objective) -> list[int]:
    """Return the weight of each span, each at least 1, TOTAL in all but for rounding."""
    profile = objective.profile
    if profile is not None and any(
        profile.counts.get(call) for span in spans for call in span.calls
    ):
        shares = _measured(spans, objective)
    else:
        shares = _assumed(spans, objective)
    # Not sum(), which adds floats in another way since Python 3.12.
    total = fsum(shares)
    return [round(share / total * TOTAL) + 1 for share in shares]


def _assumed(spans: Sequence[NumberRange], objective: Objective) -> list[float]:
    counts = [_count(span) for span in spans]
    number = dict.fromkeys(("conditional", "allowed", "refused"), 0)
    for span, count in zip(spans, counts, strict=True):
        number[_kind(span)] += count
    conditional, allowed = number["conditional"], number["allowed"]
    if objective.bitmap:
        share = {
            "conditional": 1.0,
            "allowed": _ALLOWED / max(conditional, 1),
            "refused": _REFUSED,
        }
    else:
        both = conditional + allowed or 1
        share = {
            "conditional": conditional / both,
            "allowed": allowed / both,
            "refused": _REFUSED_WITHOUT,
        }
    return [
        share[_kind(span)] * count / number[_kind(span)] if count else _UNNAMED / len(spans)
        for span, count in zip(spans, counts, strict=True)
    ]


def _measured(spans: Sequence[NumberRange], objective: Objective) -> list[float]:
    assert objective.profile is not None
    seen = objective.profile.counts
    total = sum(seen.get(call, 0) for span in spans for call in span.calls)
    assumed = _assumed(spans, objective)
    scale = total * _UNNAMED / fsum(assumed)
    factor = _SEEN_IN_BITMAP if objective.bitmap else 1.0
    return [
        sum(seen.get(call, 0) for call in span.calls)
        * (factor if _kind(span) == "allowed" else 1.0)
        + rest * scale
        for span, rest in zip(spans, assumed, strict=True)
    ]


def is_in_bitmap(span: NumberRange) -> bool:
    """Return True if a kernel with a bitmap answers the calls without running the filter."""
    return not span.answer.function.rules and span.answer.function.default == _ALLOW


def _kind(span: NumberRange) -> str:
    if span.answer.function.rules:
        return "conditional"
    return "allowed" if is_in_bitmap(span) else "refused"


def _count(span: NumberRange) -> int:
    """Return how many calls the span counts for."""
    beyond = span.last - span.first >= 1 << 20 and span.first < 1 << 16
    return len(span.calls) + (_BEYOND if beyond else 0)


class Samples(NamedTuple):
    """Weighted sample arguments for each rule of a call: the ``least`` values, or ``several``."""

    least: list[Sample]
    several: list[Sample]


def samples(answer: Answer, sets: Sets) -> Samples:
    """Return for each rule sample arguments that no earlier rule matches.

    The rules of a call are assumed to be equally frequent, but refusing ones to be rare. In
    ``several`` half of the weight is on the least values, the rest on others, so that one value
    does not represent all: "only these bits" is not always 0. Beyond ``_MOST_CHECKED`` rules, or
    if it is much work, earlier rules are not checked.
    """
    found = Samples([], [])
    if not answer.function.rules:
        return found
    boxes = [box for box, _ in answer.asked]
    cutting = _Cutting(sets)
    for place, (box, allowed) in enumerate(answer.asked):
        own = cutting.left(box, boxes[:place]) if len(boxes) <= _MOST_CHECKED else box
        if own:
            least, *others = _members(own, sets)
            weight = _SAMPLE * (_REFUSED_SAMPLE if allowed else 1)
            share = weight // (2 * len(others)) if others else 0
            found.least.append((least, weight))
            found.several.append((least, weight - share * len(others)))
            found.several.extend((args, share) for args in others)
    return found


class _Cutting:
    """Cuts earlier rules of one call off later ones, as long as that is little work."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self._cuts = self._nodes = 0

    def left(self, box: Box, earlier: Sequence[Box]) -> Box | None:
        """Return the first part of ``box`` outside all ``earlier`` boxes; None if they cover it.

        If that is too much work, return ``box`` itself.
        """
        waiting = [(box, 0)]
        while waiting:
            part, place = waiting.pop()
            if place == len(earlier):
                return part
            if self._cuts > _MOST_CUTS or self._nodes > _MOST_NODES:
                return box
            left = self._sets.without(part, earlier[place])
            if left != [part]:
                self._cuts += 1
                self._nodes += sum(self._sets.size(own) for one in left for own in one)
            waiting += [(one, place + 1) for one in reversed(left)]
        return None


def _members(box: Box, sets: Sets) -> list[tuple[int, ...]]:
    """Return arguments of ``box``, one for each pattern of free bits, each once."""
    each = [tuple(sets.member(part, ones) for part in box) for ones in _PATTERNS]
    return list(dict.fromkeys(each))
