"""Find permitted calls that give the same powers as a refused one, by the table of powers.

Calls on one line of `kernel/powers.toml` do the same whatever their arguments are, if their kind
gives something. If a call is refused in part, its arguments are compared with those of the same
name. A pair for which a rule has its own bypass is left to that rule.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING

from seccompgen.core.sets import ALL
from seccompgen.kernel.powers import powers
from seccompgen.lint.bypass import Bypass, bypass_finding
from seccompgen.lint.call_patterns import CallPattern, common_calls
from seccompgen.lint.later_forms import is_later_form
from seccompgen.lint.registry import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.sets import Box
    from seccompgen.lint.finding import Finding
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.view import FilterView

_VAGUE = {"flag", "flags"}
"""Names of arguments whose meaning differs from call to call."""
ANY_OTHER = ""
"""The kind of the rule that compares the lines of kinds which no other rule names."""


def shared_powers(rule: LintRule, view: FilterView) -> Iterator[Finding]:
    """Yield a finding for each call that gives the power of a refused one on its line."""
    for calls, bypass in _lines().get(rule.code, ()):
        known = [call for call in calls if view.has(call)]
        seen: set[str] = set()
        for call, other in permutations(known, 2):
            if other in seen or (call, other) in _compared():
                continue
            refused = view.refused_on_purpose(call) or _refused_for_good(call, other, view)
            if refused:
                one, another, boxes = _translated(call, other, refused, view)
                found = common_calls(one, boxes, another, view)
                if found is not None:
                    seen.add(other)
                    yield bypass_finding(rule, bypass, one, another, found, view)


@lru_cache(maxsize=1)
def _lines() -> dict[str, list[tuple[tuple[str, ...], Bypass]]]:
    """Return, by rule code, the lines of equivalent calls whose kind gives something."""
    comparing = {name: one for one in rules("bypasses") for name in one.powers}
    found: dict[str, list[tuple[tuple[str, ...], Bypass]]] = {}
    for line in powers().lines:
        if line.power.gives and not line.when and len(line.calls) > 1:
            names = (line.calls[0], line.power.name, ANY_OTHER)
            rule = next(comparing[name] for name in names if name in comparing)
            bypass = Bypass(f"it {line.reason}", (), severity=rule.power_severity)
            found.setdefault(rule.code, []).append((line.calls, bypass))
    return found


@lru_cache(maxsize=1)
def _compared() -> frozenset[tuple[str, str]]:
    """Return the pairs of calls for which some rule has its own bypass."""
    pairs = (each.pairs for one in rules("bypasses") for each in one.bypasses)
    return frozenset().union(*pairs)


def _refused_for_good(call: str, other: str, view: FilterView) -> tuple[Box, ...]:
    """Return the arguments refused with ENOSYS, unless that leads libraries to ``other``.

    Libraries fall back from newer calls to older ones. A refusal by default was not intended.
    """
    answer = view.answer(call)
    if answer is None or answer.only is None or not view.is_enosys(answer.only):
        return ()
    if answer.only == view.default or is_later_form(call, other):
        return ()
    since = view.facts.since.get(view.abi.name, {})
    began, before = since.get(call), since.get(other)
    older = began is None or before is None or before.latest < began.latest
    return () if older else answer.refused


def _translated(
    call: str, other: str, refused: tuple[Box, ...], view: FilterView
) -> tuple[CallPattern, CallPattern, list[Box]]:
    """Return both calls as patterns of their common arguments, and the boxes refused by these."""
    answer = view.answer(call)
    if answer is None or not answer.permitted:
        return CallPattern(call), CallPattern(other), list(refused)
    ours, theirs = _arguments(call, view), _arguments(other, view)
    shared = ours.keys() & theirs.keys()
    used = {ours[name] for name in shared}
    one, another = (
        CallPattern(name, {argument: known[argument] for argument in shared})
        for name, known in ((call, ours), (other, theirs))
    )
    alone = (box for box in refused if all(n in used or part == ALL for n, part in enumerate(box)))
    return one, another, list(one.inside(alone, view))


def _arguments(call: str, view: FilterView) -> dict[str, int]:
    """Return the arguments of a call that are plain values, by name."""
    prototype = view.prototype(call)
    return {
        one.name: n
        for n, one in enumerate(prototype.parameters if prototype else ())
        if one.name and not one.pointer and one.name not in _VAGUE
    }
