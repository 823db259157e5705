"""Find calls that newer releases of libraries make, but a filter made for older ones refuses.

The functions that a program calls are unknown. A filter counts as made for a function if it permits
the calls of an older release of the function: a call that the newer release makes only after
another has failed, or no longer makes; or most of its calls, above all the rare ones. The table of
companions has the calls of each release; this module knows no particular function or call.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errnos import errno_name
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.releases import Release, Since
from seccompgen.core.text import some
from seccompgen.lint.answers import errno_of
from seccompgen.lint.fallback import enosys_fix
from seccompgen.lint.finding import Finding, Severity
from seccompgen.lint.later_forms import is_later_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.sets import Box
    from seccompgen.lint.companions import Companion, Fallback, LibraryChange
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.lint.view import FilterView

_MOST_OF_IT = 0.75
"""A program may call a function if the filter permits this weighted share of its older calls."""
_RARE = 0.05
"""A call identifies the functions that make it if their share is no larger."""
_EVERYWHERE = 0.2
"""If this share of functions begins to make a call, they make it to end the program."""
_ENDS = frozenset({"abort", "__assert", "__assert_fail", "__assert_perror_fail"})
"""Functions that end the program, whatever the answers to their calls."""
_USUAL = "glibc"
"""The library to examine by default; the shares of its many functions show how rare a call is."""
_RAREST = 0.001
"""The share to assume for a call that none of its functions makes."""
_MANY = 10
"""Fewer functions than this never count as all beginning to make a call for a common reason."""
_ALWAYS_THERE = Release(3, 2)
"""The oldest kernel that glibc supports, by its NEWS since 2.26."""
START = "(start)"
"""The table's name for the dynamic loader."""


class _Need(NamedTuple):
    """A call of a function that the filter refuses.

    ``instead`` is the permitted call that older releases made in its place; with ``still``, newer
    ones make that too. ``sure``: newer ones certainly make that only after other answers.
    ``vague``: very many functions begin to make the call, as if all of them failed, or the function
    becomes a different one, as when libraries are merged. ``score`` is the share of the function
    that is permitted.
    """

    function: str
    row: Companion
    refusal: tuple[Box, int]
    instead: str
    still: bool = False
    sure: bool = False
    vague: bool = False
    score: float = 1.0

    @property
    def ret(self) -> int:
        """The answer to the call."""
        return self.refusal[1]


def newer_needs(
    rule: LintRule, view: FilterView, upgrade: Upgrade, *, of_constants: bool
) -> Iterator[Finding]:
    """Yield findings for refused calls of the releases of an upgrade, or for their constants."""
    if of_constants and not upgrade.asked:
        return
    needs: dict[tuple[str, str, str, tuple[str, ...]], dict[str, _Need]] = {}
    for library in upgrade.companions.libraries if upgrade.asked else (_USUAL,):
        for need in _needs(view, upgrade, library):
            certain = need.sure and ActionKind(need.ret & ~RET_DATA_MAX) is not ActionKind.TRAP
            if bool(need.row.constant) == of_constants and (upgrade.asked or certain):
                key = (library, need.row.call, need.row.constant, need.row.releases[:1])
                needs.setdefault(key, {}).setdefault(need.function, need)
    for found in needs.values():
        yield _finding(rule, view, upgrade, sorted(found.values(), key=_order))


def _needs(view: FilterView, upgrade: Upgrade, library: str) -> Iterator[_Need]:
    """Yield the needs of a library; by default, only those that can be sure."""
    companions, abi = upgrade.companions, view.abi.name
    share = companions.shares.get((_USUAL, abi), {})
    for old, new in upgrade.pairs(library):
        changes = companions.changes(library, old, new, abi)
        often: set[tuple[str, str]] | None = None
        for change in changes:
            if not upgrade.asked and not any(map(_retries, change.gained)):
                continue
            for need in _of_change(_ChangedFunctions(view, change, share), upgrade):
                often = _begun_often(changes) if often is None else often
                if (need.row.call, need.row.constant) not in often and not need.vague:
                    yield need
                elif errno_of(need.ret) is None:
                    yield need._replace(vague=True)
        for change in companions.appeared(library, old, new, abi) if upgrade.asked else ():
            yield from _of_new_function(view, change)


def _begun_often(changes: Sequence[LibraryChange]) -> set[tuple[str, str]]:
    """Return the calls, with their constants, that very many functions begin to make."""
    count = sum(len(change.functions) for change in changes)
    begun: Counter[tuple[str, str]] = Counter()
    for change in changes:
        for row in change.gained:
            begun[row.call, row.constant] += len(change.functions)
    return {one for one in begun if begun[one] > max(_EVERYWHERE * count, _MANY)}


def _retries(row: Companion) -> bool:
    """Return True if functions are known to make another call if this one fails."""
    return bool(row.fallback and row.fallback.retries)


# --- changed functions ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _ChangedFunctions:
    """Functions whose calls change, under a filter.

    ``share`` maps calls to the share of the usual library's functions that make them.
    """

    view: FilterView
    change: LibraryChange
    share: Mapping[str, float]

    @cached_property
    def before(self) -> tuple[Companion, ...]:
        """The rows of the older release."""
        return self.change.lost + self.change.kept

    @cached_property
    def old(self) -> list[str]:
        """The calls of the older release."""
        return _calls(self.before)

    @cached_property
    def new(self) -> list[str]:
        """The calls of the newer release."""
        return _calls(self.change.gained + self.change.kept)

    @cached_property
    def functions(self) -> list[str]:
        """The functions that a program may call under the filter."""
        ignored = _ENDS if _starts_programs(self.view) else {*_ENDS, START}
        return [one for one in self.change.functions if one not in ignored]

    @cached_property
    def score(self) -> float:
        """The share of the functions' older calls that is permitted."""
        return 1.0 if START in self.functions else _score(self.view, self.old, self.share)

    def added(self, *, only_sure: bool) -> Iterator[Companion]:
        """Yield the rows that are new, whatever their fallbacks are."""
        known = {(row.call, row.constant) for row in self.before}
        tried_again = {row.call for row in self.change.gained if _retries(row)}
        for row in self.change.gained:
            sure = row.call in tried_again and not row.constant
            if (row.call, row.constant) not in known and (sure or not only_sure):
                yield row


@dataclass(frozen=True)
class _RefusedRow:
    """A new row of changed functions that the filter refuses."""

    of: _ChangedFunctions
    row: Companion
    refusal: tuple[Box, int]

    @cached_property
    def score(self) -> float:
        """The share of the functions' older calls that is permitted.

        If the filter has the older constants, these identify the function.
        """
        of = self.of
        exact = _score(of.view, of.old, of.share, rare=False) if self.row.constant else 0.0
        return max(of.score, exact)

    @cached_property
    def fallback(self) -> Fallback | None:
        """The fallback of the call; None for a constant, whose call may have several."""
        gained = self.of.change.gained if not self.row.constant else ()
        return next(
            (one.fallback for one in gained if one.call == self.row.call and one.fallback), None
        )

    @cached_property
    def older(self) -> str:
        """The permitted call of the older release that comes next if this one fails."""
        retries = self.fallback.retries if self.fallback else ()
        for one in retries:
            # Many filters permit openat, for example, without being made for the function.
            enough = self.score >= _MOST_OF_IT or self.extends(one.call)
            if one.call in self.of.old and self.of.view.permits(one.call) and enough:
                return one.call
        return ""

    @cached_property
    def instead(self) -> str:
        """The permitted call that the older release made in its place."""
        if self.row.constant or self.older:
            return self.older
        found = (
            one
            for one in sorted(self.of.old, key=len, reverse=True)
            if is_later_form(self.row.call, one, extends=one in self.of.new)
            and self.of.view.permits(one)
        )
        return next(found, "")

    def extends(self, older: str) -> bool:
        """Return True if the call does all that ``older`` does."""
        return is_later_form(self.row.call, older, extends=True)

    # --- reasons why the refusal does not matter ---

    def passes_other_constants(self) -> bool:
        """Return True if older releases passed no constant in its place, or one that is refused.

        If they did not make the call at all, only a kill matters. Otherwise it is unknown what they
        passed.
        """
        if not self.row.constant:
            return False
        before = [one for one in self.of.before if one.call == self.row.call]
        if not before:
            return errno_of(self.refusal[1]) is not None
        name = self.row.constant.partition("=")[0]
        others = [one for one in before if one.constant.startswith(f"{name}=")]
        return not others or any(_refused(self.of.view, one) for one in others)

    def copes_with_errno(self) -> bool:
        """Return True if the functions make another call after this errno."""
        number = errno_of(self.refusal[1])
        if number is None or not self.fallback or not self.fallback.known:
            return False
        name = errno_name(number, self.of.view.abi) or ""
        return any(one.follows(name) for one in self.fallback.retries)

    def copes_with_older_kernels(self) -> bool:
        """Return True for the answer of an older kernel, which all releases handle."""
        known = self.fallback and self.fallback.known
        return not known and _is_answer_of_older_kernel(
            self.of.view, self.row.call, self.refusal[1]
        )

    def is_unlikely(self) -> bool:
        """Return True if the filter is probably not made for these functions."""
        return not self.instead and self.score < _MOST_OF_IT


_HARMLESS = (
    _RefusedRow.passes_other_constants,
    _RefusedRow.copes_with_errno,
    _RefusedRow.copes_with_older_kernels,
    _RefusedRow.is_unlikely,
)
"""Reasons why a refusal does not matter, the cheapest first."""


def _of_change(of: _ChangedFunctions, upgrade: Upgrade) -> Iterator[_Need]:
    """Yield the needs of functions in the newer release."""
    for row in of.added(only_sure=not upgrade.asked):
        refusal = _refused(of.view, row)
        refused = _RefusedRow(of, row, refusal) if refusal else None
        if refused is None or any(holds(refused) for holds in _HARMLESS):
            continue
        instead = refused.instead
        still = instead in of.new
        falls_back = refused.older or (still and refused.fallback and refused.fallback.retries)
        sure = bool(falls_back and instead and refused.extends(instead))
        vague = not instead and sum(call not in of.old for call in of.new) >= len(of.old)
        for function in of.functions:
            yield _Need(function, row, refused.refusal, instead, still, sure, vague, refused.score)


def _of_new_function(view: FilterView, change: LibraryChange) -> Iterator[_Need]:
    """Yield the needs of functions that older releases had by another name, such as ``fstat``.

    The function is named after the call that programs made through the older one.
    """
    calls = _calls(change.gained)
    names = [one for one in change.functions if one not in calls and view.permits(one)]
    for row in change.gained:
        refusal = _refused(view, row)
        if row.constant or refusal is None:
            continue
        own = next((one for one in names if is_later_form(row.call, one)), None)
        if own and not _is_answer_of_older_kernel(view, row.call, refusal[1]):
            yield _Need(own, row, refusal, own)


# --- the dynamic loader --------------------------------------------------------------------------


def loader_needs(rule: LintRule, view: FilterView, upgrade: Upgrade) -> Iterator[Finding]:
    """Yield findings for calls of the dynamic loader that are later forms of permitted ones.

    Which of them the loader makes depends on the libraries that it loads: if their headers are
    further behind, it makes `pread64` besides `read`. So each release makes both, but a recording
    may have only one.
    """
    release = upgrade.after.get(_USUAL)
    if not (upgrade.asked and release and _starts_programs(view)):
        return
    rows = upgrade.companions.of(_USUAL, release, view.abi.name)
    loader = [row for row in rows if START in row.functions and not row.constant]
    permitted = [call for call in _calls(loader) if view.permits(call)]
    for row in loader:
        refusal = _refused(view, row)
        older = next((one for one in permitted if _takes_more(view, row.call, one)), "")
        if refusal and older:
            yield rule.finding(
                f"the dynamic loader of {_USUAL} {release} makes {row.call} besides {older} if a "
                f"library's headers are further behind: this filter answers "
                f"{_answer_text(view, refusal[1])}",
                f"permit {row.call}, without which programs may not start",
                view=view,
                witness=view.shown(row.call, refusal[0]),
            )


def _takes_more(view: FilterView, newer: str, older: str) -> bool:
    """Return True if a call is a later form of another, and has its arguments and more."""
    mine, theirs = view.prototype(newer), view.prototype(older)
    if mine is None or theirs is None or not is_later_form(newer, older):
        return False
    names = [[one.name for one in each.parameters] for each in (theirs, mine)]
    return len(names[0]) < len(names[1]) and names[1][: len(names[0])] == names[0]


# --- what the filter permits ---------------------------------------------------------------------


def _is_answer_of_older_kernel(view: FilterView, call: str, ret: int) -> bool:
    """Return True for ENOSYS to a call that some kernels supported by glibc lack."""
    return view.is_enosys(ret) and _is_young(view, call)


def _is_young(view: FilterView, call: str) -> bool:
    since = Since(view.facts.since).of(view.abi.name, call)
    return since is not None and since.surely_after(_ALWAYS_THERE)


def _starts_programs(view: FilterView) -> bool:
    """Return True if programs start under the filter; otherwise the loader has run before it."""
    return any(view.permits(call) for call in ("execve", "execveat"))


def _calls(rows: Iterable[Companion]) -> list[str]:
    return list(dict.fromkeys(row.call for row in rows if not row.constant))


def _score(
    view: FilterView, calls: Sequence[str], share: Mapping[str, float], *, rare: bool = True
) -> float:
    """Return the permitted share of ``calls``, from 0 to 1; with ``rare``, 0 without a rare one.

    A rarer call weighs more. Calls of a family, such as ``sched_getparam`` and
    ``sched_setscheduler``, count as one.
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

    A call with a constant must always be refused with it, and be permitted without it.
    """
    # Many functions make a call, in several releases.
    key = row.call, row.constant
    if key not in view.refusals:
        view.refusals[key] = _refusal(view, row)
    return view.refusals[key]


def _refusal(view: FilterView, row: Companion) -> tuple[Box, int] | None:
    if not row.constant:
        return view.refusal(row.call)
    name, _, constants = row.constant.partition("=")
    values = [
        int(one, 0) if one[:1].isdigit() else view.constant(one) for one in constants.split("|")
    ]
    if None in values or not view.permits(row.call):
        return None
    number = 0
    for value in values:
        number |= value or 0
    return view.refusal(row.call, **{name: number})


# --- in words ------------------------------------------------------------------------------------


def _order(need: _Need) -> tuple[object, ...]:
    return (need.vague, not need.sure, not need.instead, -need.score, need.function)


def _finding(rule: LintRule, view: FilterView, upgrade: Upgrade, needs: Sequence[_Need]) -> Finding:
    first = needs[0]
    row = first.row
    what = f"{row.call} with {row.constant}" if row.constant else row.call
    functions = some(list(dict.fromkeys(need.function for need in needs)))
    verb = "calls" if len(needs) == 1 else "call"
    when = _when(upgrade, row, {need.row.releases for need in needs})
    if first.sure:
        how = f" first, and {first.instead} only after {_errnos(row)}"
    elif first.still:
        how = f" first, before {first.instead}, which is permitted"
    elif first.instead:
        how = f" instead of {first.instead}, which is permitted"
    else:
        how = " besides what is permitted"
    kills = errno_of(first.ret) is None
    note = first.vague or not (first.instead or kills)
    older_works = (first.sure or first.still) and _is_young(view, row.call)
    answer = _answer_text(view, first.ret)
    return rule.finding(
        f"{when} {functions} {verb} {what}{how}: this filter answers {answer}",
        enosys_fix(row.call, view) if older_works else f"permit {what}",
        Severity.NOTE if note else Severity.WARNING,
        view=view,
        witness=view.shown(row.call, first.refusal[0]),
    )


def _when(upgrade: Upgrade, row: Companion, kept: set[tuple[str, ...]]) -> str:
    """Return the releases: ``from glibc 2.36 on``, ``in python 3.9, and from 3.13 on``."""
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
    """Yield the first and the last of each run of consecutive ``numbers``, which ascend."""
    first = last = numbers[0]
    for one in numbers[1:]:
        if one != last + 1:
            yield first, last
            first = one
        last = one
    yield first, last


def _answer_text(view: FilterView, ret: int) -> str:
    number = errno_of(ret)
    if number is None:
        return "a kill"
    return errno_name(number, view.abi) or f"errno {number}"


def _errnos(row: Companion) -> str:
    names = {name for one in (row.fallback.retries if row.fallback else ()) for name in one.errnos}
    return "another failure" if "any" in names else " or ".join(sorted(names))
