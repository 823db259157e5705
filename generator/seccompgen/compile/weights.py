"""The assumed frequency of each call, and its likely arguments, by which the search weighs paths.

The kernel's own economy decides. Since Linux 5.11 a call that is allowed whatever its arguments
is answered from a bitmap and runs no instruction, so what deserves short paths are calls whose
arguments are looked at, and refused ones. The others still get a share: they run the filter on
older kernels, and where another filter is stacked on this one that the kernel cannot cache.

Without a profile all calls of one kind are taken to be equally frequent. With one, they are
weighed by what was measured. What is not known to be called at all keeps a little weight, so
that its path does not become arbitrarily long.
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
"""All calls in the bitmap together, where one whose answer depends on arguments is 1."""
_REFUSED = 0.05
"""All refused calls together, where all whose answer depends on arguments are 1."""
_REFUSED_WITHOUT = 0.02
"""The same without a bitmap, where all allowed calls are 1."""
_UNNAMED = 0.02
"""All numbers without a call together, on the same scale."""
_BEYOND = 130
"""As many calls are taken to be made beyond the table: newer than it, on a newer kernel."""
_SEEN_IN_BITMAP = 0.02
"""The weight of a measured call that the bitmap answers."""
_MOST_CHECKED = 64
_MOST_CUTS = 2_000
_MOST_NODES = 100_000
"""So often rules of a call are cut off others, and the parts left may have so many nodes."""
_REFUSED_SAMPLE = 32
"""One in so many of a call's arguments is taken to be refused."""
_SAMPLE = 6
"""The weight of a refused rule, so that parts of it are whole numbers."""
_PATTERNS = (0, U32, 0x55555555, 0xAAAAAAAA)
"""The bits that are 1 in arguments for a rule where that is free."""

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


def _kind(span: NumberRange) -> str:
    if span.answer.function.rules:
        return "conditional"
    return "allowed" if span.answer.function.default == _ALLOW else "refused"


def _count(span: NumberRange) -> int:
    """Return how many calls the span counts for."""
    beyond = span.last - span.first >= 1 << 20 and span.first < 1 << 16
    return len(span.calls) + (_BEYOND if beyond else 0)


class Samples(NamedTuple):
    """Arguments for each rule of a call with their weights: the ``least``, or ``several``."""

    least: list[Sample]
    several: list[Sample]


def samples(answer: Answer, sets: Sets) -> Samples:
    """Return arguments for each rule that is the first to match them.

    The alternatives of a call are taken to be equally frequent, refused ones to be rare. Of
    ``several`` half of the weight is on the least values, the rest on others, lest one value speak
    for all: "only these bits" is not always 0. Beyond ``_MOST_CHECKED`` rules nobody looks
    whether an earlier one takes the arguments, nor where that is much work.
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
        """Return the first part of ``box`` that none of ``earlier`` has; None if they have it all.

        Where that is too much work, it is ``box`` itself.
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
