"""Find bypasses: a call is refused, but another one that does the same is permitted.

Only answers are compared, so a program of any origin can be examined. The refused arguments of the
first call are translated into arguments of the second; a permitted call among these is the witness.
An allowlist that merely omits the first call gives no finding: the call is refused by default, not
on purpose (`FilterView.refused_on_purpose`). It gives one if no rule can examine the permitted
call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

from seccompgen.core.sets import NOTHING, Box
from seccompgen.lint.answers import asks, refuses
from seccompgen.lint.call_patterns import common_calls
from seccompgen.lint.fallback import enosys_fix
from seccompgen.lint.finding import Finding, Severity
from seccompgen.lint.registry import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.lint.call_patterns import CallPattern
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.view import FilterView

_WHY_ENOSYS = {
    "clone3": "its flags are in memory, and libraries fall back",
    "openat2": "its flags are in memory, and libraries fall back",
    "io_uring_setup": "programs fall back on ordinary calls",
}
"""Calls that should get ENOSYS, with the reason."""


@dataclass(frozen=True, slots=True)
class Bypass:
    """Calls ``others`` that do the same as ``calls``; by default, all other ``calls``.

    ``reason`` ends the message. ``severity``, if given, replaces the rule's. With ``cleared``, an
    argument and a bit, a refused call counts only if it is permitted once the bit is cleared. With
    ``unpermitted``, an argument, it counts only if no permitted call has its value of that
    argument. If there are ``needs``, one of them must be permitted as well, and all of ``refused``
    must be refused. With ``by_default``, the default of an allowlist and the decisions of a
    supervisor are refusals too, because no rule can examine ``others``. With ``two_forms``, the
    calls are forms of one call, and no other rule reports such a pair. With ``by_rings`` it counts
    only if no section of the filter decides what rings may do.
    """

    reason: str
    calls: tuple[CallPattern, ...]
    others: tuple[CallPattern, ...] = ()
    severity: Severity | None = None
    cleared: tuple[str, str] | None = None
    unpermitted: str = ""
    needs: tuple[CallPattern, ...] = ()
    refused: tuple[CallPattern, ...] = ()
    by_default: bool = False
    two_forms: bool = False
    by_rings: bool = False

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """The pairs of names of two different calls, each pair in both orders."""
        names = product(self.calls, self.others or self.calls)
        pairs = {(one.call, other.call) for one, other in names if one.call != other.call}
        return frozenset(pairs | {(other, one) for one, other in pairs})


def bypasses(rule: LintRule, view: FilterView) -> Iterator[Finding]:
    """Yield a finding for each permitted call that does what a refused one would do."""
    seen: set[int] = set()
    for bypass in rule.bypasses:
        if bypass.by_rings and view.ring is not None:
            continue
        for finding in _through(rule, bypass, view):
            assert finding.witness is not None
            # A refusal by default matters less than one on purpose.
            if not bypass.by_default or finding.witness.call.nr not in seen:
                yield finding
            seen.add(finding.witness.call.nr)


def _through(rule: LintRule, bypass: Bypass, view: FilterView) -> Iterator[Finding]:
    others = [one for one in bypass.others or bypass.calls if one.is_on(view)]
    seen: set[int] = set()
    for one in bypass.calls:
        refused = _refused(one, bypass, view) if one.is_on(view) and not one.opaque else []
        if not refused or not _matters(bypass, view):
            continue
        for other in others:
            form = not bypass.two_forms and (one.call, other.call) in _forms()
            if other is one or id(other) in seen or form:
                continue
            found = common_calls(one, refused, other, view)
            if found is not None:
                seen.add(id(other))
                yield bypass_finding(rule, bypass, one, other, found, view)


@lru_cache(maxsize=1)
def _forms() -> frozenset[tuple[str, str]]:
    pairs = (each.pairs for one in rules("bypasses") for each in one.bypasses if each.two_forms)
    return frozenset().union(*pairs)


def _matters(bypass: Bypass, view: FilterView) -> bool:
    """Return True if the needs of a bypass are permitted and its ``refused`` calls are refused."""
    needed = not bypass.needs or any(one.is_permitted(view) for one in bypass.needs)
    return needed and not any(one.is_permitted(view) for one in bypass.refused)


def bypass_finding(
    rule: LintRule,
    bypass: Bypass,
    one: CallPattern,
    other: CallPattern,
    found: tuple[Box, Box],
    view: FilterView,
) -> Finding:
    """Return the finding that ``other`` is permitted, but not ``one``, with arguments ``found``.

    It is less severe if the author of an allowlist has evidently considered both calls: the other
    one has conditions too, or it is permitted and the first is refused with any arguments.
    """
    part = f" with {other.conditions_text(view)}" if other.where else ""
    own_part = ""
    if one.call == other.call and not any(test.bits for test in one.where.values()):
        own_part = f" with {one.conditions_text(view)}"
    elif not one.where and not one.is_refused_whole(view):
        own_part = " with some arguments"
    beside = view.shown(one.call, found[1])
    fate = "left to a supervisor" if asks(beside.ret) else "refused"
    answer = view.answer(other.call)
    meant = answer is not None and (answer.refused or one.is_refused_whole(view))
    return rule.finding(
        f"{one.call}{own_part} is {fate}, but {other.call}{part} is permitted: {bypass.reason}",
        enosys_fix(other.call, view, _WHY_ENOSYS[other.call])
        if other.call in _WHY_ENOSYS
        else f"refuse {other.call}{' with the same flags' if other.call == 'clone' else part}, too",
        Severity.NOTE if meant and view.is_allowlist and not bypass.others else bypass.severity,
        view=view,
        witness=view.shown(other.call, found[0]),
        beside=beside,
    )


def _refused(one: CallPattern, bypass: Bypass, view: FilterView) -> list[Box]:
    """Return the arguments with which a call is refused on purpose."""
    answer = view.answer(one.call)
    if answer is None or ((one.in_part or bypass.unpermitted) and not answer.permitted):
        return []
    refused = view.refused_on_purpose(one.call)
    if bypass.by_default:
        refused = (*answer.refused, *answer.asked)
    if refused and one.in_part and view.is_allowlist:
        refused = tuple(box for box, ret in answer.parts if refuses(ret) and ret != view.default)
    boxes = list(one.inside(refused, view))
    if bypass.unpermitted:
        n, sets = one.index(bypass.unpermitted, view), view.sets
        for part in answer.permitted:
            cut = ((*box[:n], sets.minus(box[n], part[n]), *box[n + 1 :]) for box in boxes)
            boxes = [box for box in cut if NOTHING not in box]  # type: ignore[misc] # six each
    if not boxes or bypass.cleared is None:
        return boxes
    name, constant = bypass.cleared
    bit = view.constant(constant)
    return [] if bit is None else _permitted_without(bit, one.index(name, view), boxes, one, view)


def _permitted_without(
    bit: int, n: int, boxes: list[Box], one: CallPattern, view: FilterView
) -> list[Box]:
    """Return the parts of ``boxes`` that are permitted if a bit of argument ``n`` is cleared."""
    sets = view.sets
    answer = view.answer(one.call)
    found = []
    for box, part in product(boxes, answer.permitted if answer else ()):
        cleared = sets.both(sets.given(part[n], bit, 0), sets.masked(bit, bit))
        limits = (*part[:n], cleared, *part[n + 1 :])
        both = tuple(map(sets.both, box, limits))
        if NOTHING not in both:
            found.append(both)
    return found  # type: ignore[return-value] # six each
