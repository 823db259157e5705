"""Calls that newer releases of libraries make, and that a filter made for older ones refuses.

Nobody says which functions a program calls. A filter counts as one for a function if it permits
what an older release of it did: a call that the newer one makes only after another has failed, or
no longer makes; or most of its calls, the rare ones before all. The table of companions says what
releases do; nothing here is about a certain function or call.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_name
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.releases import Release, Since
from seccompgen.core.text import some
from seccompgen.lint.fallback import enosys_fix
from seccompgen.lint.finding import Finding, Severity
from seccompgen.lint.kin import are_kin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.sets import Box
    from seccompgen.lint.companions import Change, Companion, Fallback
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.lint.view import FilterView

_MOST_OF_IT = 0.75
"""So much of what a function did is permitted where a program may call it, by weight."""
_RARE = 0.05
"""A call that no more functions make tells of them."""
_EVERYWHERE = 0.2
"""A call that so many functions begin to make is made where any of them ends the program."""
_ENDS = frozenset({"abort", "__assert", "__assert_fail", "__assert_perror_fail"})
"""Functions that end the program, whatever their calls are answered."""
_USUAL = "glibc"
"""The library that counts where nobody asked for another: a filter does not tell its program's.

How rare a call is, its functions tell as well: they are many, and of all kinds.
"""
_RAREST = 0.001
"""The share of a call that none of them makes."""
_MANY = 10
"""Fewer functions than these do not begin to make a call because of something that all share."""
_ALWAYS_THERE = Release(3, 2)
"""The oldest kernel on which glibc runs, by its NEWS since 2.26."""
START = "(start)"
"""The table's name for what the dynamic loader does."""


@dataclass(frozen=True, slots=True)
class _Need:
    """A call that functions of ``library`` make in ``releases``, and that the filter refuses.

    ``instead`` is the call that they made before in its place, and the filter permits; ``still``,
    they make that as well. ``sure``, it is known that they do so only after other answers.
    ``vague``, very many functions begin to make the call, as where all of them fail; or a function
    becomes quite another one, as where libraries are merged.
    ``score`` tells how much of the functions is permitted.
    """

    library: str
    function: str
    row: Companion
    instead: str
    still: bool
    sure: bool
    vague: bool
    score: float
    box: Box
    ret: int


def newer_calls(view: FilterView, upgrade: Upgrade) -> Iterator[Finding]:
    """Yield the calls, and arguments of calls, that releases of an upgrade are refused."""
    needs: dict[tuple[str, str, str, tuple[str, ...]], dict[str, _Need]] = {}
    for library in upgrade.companions.libraries if upgrade.asked else (_USUAL,):
        for need in _needs(view, upgrade, library):
            certain = need.sure and not _is_trap(need.ret)
            if upgrade.asked or certain:
                key = (library, need.row.call, need.row.constant, need.row.releases[:1])
                needs.setdefault(key, {}).setdefault(need.function, need)
    for found in needs.values():
        yield _finding(view, upgrade, sorted(found.values(), key=_order))
    yield from _loader_calls(view, upgrade)


def _needs(view: FilterView, upgrade: Upgrade, library: str) -> Iterator[_Need]:
    """Yield the needs of a library; those alone that can be sure if nobody asked."""
    companions, abi = upgrade.companions, view.abi.name
    share = companions.shares.get((_USUAL, abi), {})
    for old, new in upgrade.pairs(library):
        changes = companions.changes(library, old, new, abi)
        often: set[tuple[str, str]] | None = None
        for change in changes:
            if not upgrade.asked and not any(map(_retries, change.gained)):
                continue
            for need in _of_change(view, library, change, share, only_sure=not upgrade.asked):
                often = _begun_often(changes) if often is None else often
                if (need.row.call, need.row.constant) not in often and not need.vague:
                    yield need
                elif not _is_errno(need.ret):
                    yield replace(need, vague=True)
        for change in companions.appeared(library, old, new, abi) if upgrade.asked else ():
            yield from _of_new_function(view, library, change)


def _begun_often(changes: Sequence[Change]) -> set[tuple[str, str]]:
    """Return the calls, with their constants, that very many functions begin to make."""
    count = sum(len(change.functions) for change in changes)
    begun: Counter[tuple[str, str]] = Counter()
    for change in changes:
        for row in change.gained:
            begun[row.call, row.constant] += len(change.functions)
    return {one for one in begun if begun[one] > max(_EVERYWHERE * count, _MANY)}


def _retries(row: Companion) -> bool:
    """Return True if functions make another call where this one fails, as far as is known."""
    return bool(row.fallback and row.fallback.retries)


def _loader_calls(view: FilterView, upgrade: Upgrade) -> Iterator[Finding]:
    """Yield the calls by which the dynamic loader does what another one sufficed for elsewhere.

    The libraries that it loads decide: where their headers lie further behind, it makes `pread64`
    besides `read`. So each release makes both, and a recording of an older one has the one alone.
    """
    release = upgrade.after.get(_USUAL)
    if not (upgrade.asked and release and _starts_programs(view)):
        return
    rows = upgrade.companions.of(_USUAL, release, view.abi.name)
    loader = [row for row in rows if START in row.functions and not row.constant]
    permitted = [call for call in _calls(loader) if view.permits(call)]
    for row in loader:
        refused = _refused(view, row)
        older = next((one for one in permitted if _extends(view, row.call, one)), "")
        if refused and older:
            yield Finding(
                Problem.NEWER_CALL,
                Severity.WARNING,
                f"the dynamic loader of {_USUAL} {release} makes {row.call} besides {older} where "
                "a library's headers lie further behind: this filter answers "
                f"{_told(view, refused[1])}",
                f"permit {row.call}, without which programs may not start",
                (view.abi.name,),
                witness=view.witness(view.call(row.call, refused[0])),
                programs=(view.program.name,),
            )


def _extends(view: FilterView, newer: str, older: str) -> bool:
    """Return True if a call is a later form of another, and takes its arguments and more."""
    mine, theirs = view.prototype(newer), view.prototype(older)
    if mine is None or theirs is None or not are_kin(older, newer):
        return False
    names = [[one.name for one in each.parameters] for each in (theirs, mine)]
    return len(names[0]) < len(names[1]) and names[1][: len(names[0])] == names[0]


def _of_change(
    view: FilterView,
    library: str,
    change: Change,
    share: Mapping[str, float],
    *,
    only_sure: bool,
) -> Iterator[_Need]:
    """Yield what functions need in the newer release and the filter does not permit.

    Nothing is ``sure`` of constants, and of calls after which no other is known to be made.
    """
    before = change.lost + change.kept
    known = {(row.call, row.constant) for row in before}
    added = [row for row in change.gained if (row.call, row.constant) not in known]
    if only_sure:
        tried_again = {row.call for row in change.gained if _retries(row)}
        added = [row for row in added if row.call in tried_again and not row.constant]
    refusals = [(row, refused) for row in added if (refused := _refused(view, row))]
    if not refusals:
        return
    old, new = _calls(before), _calls(change.gained + change.kept)
    functions = [
        one
        for one in change.functions
        if one not in _ENDS and (one != START or _starts_programs(view))
    ]
    whole = 1.0 if START in functions else _score(view, old, share)
    is_another = sum(call not in old for call in new) >= len(old)
    for row, (box, ret) in refusals:
        if row.constant and not _matters(view, row, before, ret):
            continue
        # A filter that knows the constants that were passed before tells of the function by them.
        score = max(whole, _score(view, old, share, rare=False)) if row.constant else whole
        fallback = _fallback(row, change.gained)
        retried = [one for one in _retried(fallback, old) if view.permits(one)]
        if score < _MOST_OF_IT:  # openat, say, is permitted by many that never call the function
            retried = [one for one in retried if are_kin(one, row.call, still=True)]
        older = next(iter(retried), "")
        if fallback and fallback.known and _is_errno(ret) and _copes(view, fallback, ret):
            continue
        if _is_answer_of_older_kernel(view, row.call, ret) and not (fallback and fallback.known):
            continue  # each release gets along with that
        instead = "" if row.constant else older or _kin(view, row.call, old, new)
        if not instead and score < _MOST_OF_IT:
            continue
        still = instead in new
        falls_back = older or (still and fallback and fallback.retries)
        sure = bool(falls_back) and bool(instead) and are_kin(instead, row.call, still=True)
        for function in functions:
            vague = is_another and not instead
            yield _Need(library, function, row, instead, still, sure, vague, score, box, ret)


def _of_new_function(view: FilterView, library: str, change: Change) -> Iterator[_Need]:
    """Yield the same of functions that older releases had by another name, such as ``fstat``.

    Such a function has the name of a call, which is what programs then made by it.
    """
    calls = _calls(change.gained)
    names = [one for one in change.functions if one not in calls and view.permits(one)]
    for row in change.gained:
        refused = _refused(view, row)
        if row.constant or refused is None:
            continue
        own = next((one for one in names if are_kin(one, row.call)), None)
        if own and not _is_answer_of_older_kernel(view, row.call, refused[1]):
            yield _Need(library, own, row, own, False, False, False, 1.0, *refused)


def _is_answer_of_older_kernel(view: FilterView, call: str, ret: int) -> bool:
    """Return True for ENOSYS to a call that not every kernel has on which glibc runs.

    Nobody expects it from the others.
    """
    return view.is_enosys(ret) and _is_young(view, call)


def _is_young(view: FilterView, call: str) -> bool:
    since = Since(view.facts.since).of(view.abi.name, call)
    return since is not None and since.surely_after(_ALWAYS_THERE)


def _starts_programs(view: FilterView) -> bool:
    """Return True if programs start under the filter: else the loader has done its work before."""
    return any(view.permits(call) for call in ("execve", "execveat"))


def _kin(view: FilterView, call: str, old: Sequence[str], new: Sequence[str]) -> str:
    """Return the permitted call that a function made where the newer one makes ``call``.

    What it makes still has to be an older form of that.
    """
    found = (
        one
        for one in sorted(old, key=len, reverse=True)
        if are_kin(one, call, still=one in new) and view.permits(one)
    )
    return next(found, "")


def _retried(fallback: Fallback | None, old: Sequence[str]) -> list[str]:
    """Return the calls that a function made before, and makes if the newer one fails."""
    retries = fallback.retries if fallback else ()
    return [one.call for one in retries if one.call in old]


def _copes(view: FilterView, fallback: Fallback, ret: int) -> bool:
    """Return True if a function makes another call after an errno."""
    name = errno_name(ret & RET_DATA_MAX, view.abi) or ""
    return any(one.follows(name) for one in fallback.retries)


# --- what the filter permits ---------------------------------------------------------------------


def _calls(rows: Iterable[Companion]) -> list[str]:
    return list(dict.fromkeys(row.call for row in rows if not row.constant))


def _score(
    view: FilterView, calls: Sequence[str], share: Mapping[str, float], *, rare: bool = True
) -> float:
    """Return how much of ``calls`` is permitted, from 0 to 1.

    It is 0 if none of them tells anything, being ``rare``. ``share`` is how many functions of the
    usual library make a call. One counts more that is rarer, and those of a family, such as
    ``sched_getparam`` and ``sched_setscheduler``, count as one.
    """
    families: dict[str, list[str]] = {}
    for call in calls:
        if view.has(call):
            families.setdefault(call.partition("_")[0], []).append(call)
    have = [call for call in calls if view.permits(call)]
    if not have or (rare and not any(share.get(call, _RAREST) <= _RARE for call in have)):
        return 0.0
    whole = permitted = 0.0
    for those in families.values():
        weight = 1 - math.log(min(share.get(call, _RAREST) for call in those))
        whole += weight
        permitted += weight * sum(call in have for call in those) / len(those)
    return permitted / whole


def _refused(view: FilterView, row: Companion) -> tuple[Box, int] | None:
    """Return arguments with which the call of a row is refused, and the answer to them.

    With a constant it has to be refused always, and without it permitted sometimes.
    """
    # Many functions make a call, in several releases.
    key = row.call, row.constant
    if key not in view.refusals:
        view.refusals[key] = _refusal(view, row)
    return view.refusals[key]


def _refusal(view: FilterView, row: Companion) -> tuple[Box, int] | None:
    if not row.constant:
        return view.refusal(row.call)
    value = _constant(view, row)
    if value is None or not view.permits(row.call):
        return None
    return view.refusal(row.call, **{row.constant.partition("=")[0]: value})


def _constant(view: FilterView, row: Companion) -> int | None:
    """Return the value of a row's constant; None if unknown."""
    value = 0
    for part in row.constant.partition("=")[2].split("|"):
        one = view.facts.value(part, view.abi) if not part[:1].isdigit() else int(part, 0)
        if one is None:
            return None
        value |= one
    return value


def _fallback(row: Companion, rows: Iterable[Companion]) -> Fallback | None:
    """Return the fallback of a row's call; none of an argument, whose calls may be several."""
    if row.constant:
        return None
    return next((one.fallback for one in rows if one.call == row.call and one.fallback), None)


def _matters(view: FilterView, row: Companion, before: Sequence[Companion], ret: int) -> bool:
    """Return True if it matters that a constant is refused.

    That is so if older releases passed others in its place, all of them permitted. If they did not
    make the call at all, only a kill matters. Of others it is not known what they passed.
    """
    if all(one.call != row.call for one in before):
        return not _is_errno(ret)
    name = row.constant.partition("=")[0]
    others = [one for one in before if one.call == row.call and one.constant.startswith(f"{name}=")]
    return bool(others) and all(_refused(view, one) is None for one in others)


def _is_trap(ret: int) -> bool:
    """Return True for an answer that a handler of the program's own may turn into another."""
    return ActionKind(ret & ~RET_DATA_MAX) is ActionKind.TRAP


def _is_errno(ret: int) -> bool:
    return ActionKind(ret & ~RET_DATA_MAX) is ActionKind.ERRNO


# --- in words ------------------------------------------------------------------------------------


def _order(need: _Need) -> tuple[object, ...]:
    return (need.vague, not need.sure, not need.instead, -need.score, need.function)


def _finding(view: FilterView, upgrade: Upgrade, needs: Sequence[_Need]) -> Finding:
    first = needs[0]
    row = first.row
    what = f"{row.call} with {row.constant}" if row.constant else row.call
    kills = not _is_errno(first.ret)
    fatal = _told(view, first.ret)
    kept = {need.row.releases for need in needs}
    when = _when(upgrade, row, kept)
    functions = some(list(dict.fromkeys(need.function for need in needs)))
    verb = "calls" if len(needs) == 1 else "call"
    text = f"{when} {functions} {verb} {what}"
    if first.sure:
        text += (
            f" first, and {first.instead} only after {_errnos(row)}: this filter answers {fatal}"
        )
    elif first.still:
        text += f" first, and permitted is {first.instead}: this filter answers {fatal}"
    elif first.instead:
        text += f" instead of {first.instead}, which is permitted: this filter answers {fatal}"
    else:
        text += f" besides what is permitted: this filter answers {fatal}"
    severity = Severity.WARNING
    if first.vague or not (first.instead or kills):
        severity = Severity.NOTE
    fix = f"permit {what}"
    if (first.sure or first.still) and _is_young(view, row.call):
        fix = enosys_fix(row.call, view)
    return Finding(
        Problem.NEWER_ARGUMENT if row.constant else Problem.NEWER_CALL,
        severity,
        text,
        fix,
        (view.abi.name,),
        witness=view.witness(view.call(row.call, first.box)),
        programs=(view.program.name,),
    )


def _when(upgrade: Upgrade, row: Companion, kept: set[tuple[str, ...]]) -> str:
    """Return in which releases: ``from glibc 2.36 on``, ``in python 3.9, and from 3.13 on``."""
    known = upgrade.companions.libraries[row.library]
    having = max(kept, key=lambda one: (known[-1] in one, len(one)))
    spans: list[str] = []
    for first, last in _runs([known.index(one) for one in having]):
        if last == len(known) - 1:
            spans.append(f"from {known[first]} on")
        else:
            several = f"{known[first]} to {known[last]}"
            spans.append(f"in {known[first] if first == last else several}")
    preposition, _, text = ", and ".join(spans).partition(" ")
    return f"{preposition} {row.library} {text}"


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of ``numbers``, which ascend."""
    first = last = numbers[0]
    for one in numbers[1:]:
        if one != last + 1:
            yield first, last
            first = one
        last = one
    yield first, last


def _told(view: FilterView, ret: int) -> str:
    if not _is_errno(ret):
        return "a kill"
    number = ret & RET_DATA_MAX
    return errno_name(number, view.abi) or f"errno {number}"


def _errnos(row: Companion) -> str:
    names = {name for one in (row.fallback.retries if row.fallback else ()) for name in one.errnos}
    return "another failure" if "any" in names else " or ".join(sorted(names))
