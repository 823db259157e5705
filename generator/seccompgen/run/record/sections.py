"""A closure as the sections of a policy, in the order of the table of powers.

Each kind has a section; the heading states what it gives. The first section refuses calls so that
libraries fall back to others; it precedes the rest since the first matching rule decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.text import some
from seccompgen.kernel.powers import powers
from seccompgen.lint.fallback import FALLBACKS
from seccompgen.policy.allowlist_text import Allowed, Section
from seccompgen.run.record.closure import MANY
from seccompgen.run.record.grants import Grants, grants, group_of, members
from seccompgen.run.record.known import ENOSYS, SILENCED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.kernel.powers import Power, PowerLine
    from seccompgen.run.record.closure import Closure, PowerUse
    from seccompgen.run.record.known import KnownPolicy
    from seccompgen.run.record.power_cases import PowerCases

_MOST_ORIGINS = 3
_ANY, _FIRST = "any", "memory"
_NOTHING = (
    "Nothing beyond what a process has. Refusing some of it crashes programs, has them spin or fail"
    " unheard, so that all of it is here, used or not."
)
_TO_ITSELF = (
    "Signals to itself: abort(), raise(), Ctrl-C passed on. No filter sees whose number it is: the "
    "price is that the program can end others of its user so. Take it out where it must not."
)
_WAYS = {
    "unshare": "namespace-twin",
    "io_uring_setup": "io-uring-way",
    "ioctl if cmd == FIOASYNC": "async-signals",
}
"""Calls, as in the table, that bypass refusals of others, and the lint rule that reports each."""
_ABSENT = "As on a kernel without them: libraries go on by what is permitted below."
_KEPT = "Calls that were permitted before, or seen, with more arguments than any rule above has"


class PolicyDraft(NamedTuple):
    """The content of a policy: a closure, and the calls that it does not cover.

    ``kept`` are such calls that were seen, or that known policies permit; ``absent`` are calls that
    get ENOSYS.
    """

    closure: Closure
    kept: Mapping[Abi, tuple[Allowed, ...]]
    absent: tuple[str, ...]


def draft(
    closure: Closure, used: Iterable[PowerUse], known: Sequence[KnownPolicy], cases: PowerCases
) -> PolicyDraft:
    """Return the content of a policy that permits all that was used and that ``known`` permits."""
    several = list(used)
    kept: dict[Abi, tuple[Allowed, ...]] = {}
    permitted = {abi: grants(closure, abi, cases) for abi in closure.abis}
    for abi, granted in permitted.items():
        more = Grants(abi)
        for call, condition in _wanted(closure, several, known, abi, cases):
            is_call = cases.has(call, abi) or call.lstrip("-").isdecimal()
            if is_call and not granted.covers(call, condition):
                more.add(call, (condition,))
        many = {one.call for one in several if one.abi == abi and one.overflows}
        kept[abi] = tuple(
            Allowed(call, tuple(one for one in conditions if one), MANY if call in many else "")
            for call, conditions in more
        )
        for call, conditions in more:
            granted.add(call, conditions)
    absent = {name for one in known for name in one.absent}
    absent |= {*first_tries(permitted)}
    has = [name for name in sorted(absent) if any(cases.has(name, abi) for abi in closure.abis)]
    return PolicyDraft(closure, kept, tuple(has))


def first_tries(granted: Mapping[Abi, Grants]) -> Iterator[str]:
    """Yield calls that libraries try first and that are not granted, while their fallbacks are.

    These get ENOSYS: libraries pass any other error to the program, which fails.
    """
    for one in FALLBACKS:
        abis = [abi for abi in granted if abi.bits == 32 or not one.narrow]
        if (
            one.on_errno
            and not any(grants.has(one.call) for grants in granted.values())
            and any(granted[abi].has(older) for abi in abis for older in one.older)
        ):
            yield one.call


class KindOfUse(NamedTuple):
    """A kind that is permitted: ``whole``, or these calls of it."""

    power: Power
    whole: bool
    calls: tuple[str, ...]


def kinds(closure: Closure) -> Iterator[KindOfUse]:
    """Yield the kinds that are permitted, whole or in part, in the order of the table."""
    for power in powers().kinds.values():
        calls = dict.fromkeys(
            one.name
            for line, by_abi in closure.lines.items()
            if line.power == power
            for several in by_abi.values()
            for one in several
        )
        if calls or power in closure.whole:
            yield KindOfUse(power, power in closure.whole, tuple(calls))


def permitted(made: PolicyDraft, cases: PowerCases) -> dict[Abi, Grants]:
    """Return the calls that a policy permits, by ABI."""
    found = {abi: grants(made.closure, abi, cases) for abi in made.closure.abis}
    for abi, calls in made.kept.items():
        for one in calls:
            found[abi].add(one.name, one.conditions)
    return found


def _wanted(
    closure: Closure,
    used: Sequence[PowerUse],
    known: Sequence[KnownPolicy],
    abi: Abi,
    cases: PowerCases,
) -> Iterator[tuple[str, Predicate | None]]:
    """Yield each call that must be permitted on an ABI, and the condition on it."""
    for one in used:
        if one.abi == abi and not one.falls_back:
            for condition in one.asks(cases):
                yield one.call, condition
    for policy in known:
        for call, conditions in policy.permitted.get(abi, ()):
            for condition in conditions:
                yield call, condition
    for line in powers().lines:
        for call in line.calls if line.power in closure.whole else ():
            if not _hides(call, abi, cases):
                for condition in cases.exactly(line, call, abi):
                    yield call, condition


def _hides(call: str, abi: Abi, cases: PowerCases) -> bool:
    """Return True if a call hides from filters, on an ABI, what it gives, and has a replacement.

    If mmap's arguments are in memory, programs use mmap2 instead; s390x does not have it.
    """
    hidden = any(line.when and not cases.exactly(line, call, abi) for line in powers().of(call))
    return hidden and (call != "mmap" or cases.has("mmap2", abi))


def sections(made: PolicyDraft, cases: PowerCases) -> Iterator[Section]:
    """Yield the sections of a policy, in an order in which none hides rules of a later one."""
    closure = made.closure
    if made.absent:
        refused = {
            abi: tuple(Allowed(name) for name in made.absent if cases.has(name, abi))
            for abi in closure.abis
        }
        yield Section(_ABSENT, refused, action=ENOSYS)
    kinds = powers().kinds.values()
    # _ANY, with socketcall and ipc, comes first: rules for calls behind them decide them, too.
    for power in sorted(kinds, key=lambda one: (one.name != _ANY, bool(one.gives))):
        if power.name == _FIRST:
            yield _whole(_NOTHING, [one for one in closure.whole if not one.gives], made, cases)
        if power.gives and power in closure.whole:
            yield _whole(_heading(power), [power], made, cases)
        lines = {line: calls for line, calls in closure.lines.items() if line.power == power}
        if lines:
            yield _of_lines(power, lines)
        if power.name == "others":
            yield Section(_TO_ITSELF, closure.to_itself)
    if any(made.kept.values()):
        yield Section(_KEPT, made.kept, strict=True)


def _heading(power: Power) -> str:
    return f"{power.gives[:1].upper()}{power.gives[1:]}" or "Nothing"


def _whole(heading: str, several: Sequence[Power], made: PolicyDraft, cases: PowerCases) -> Section:
    comment = _named([one for power in several for one in made.closure.whole[power]])
    if not comment and [power.name for power in several] == ["exec"]:
        comment = "by which the command itself is started"
    return replace(whole_kinds(several, made.closure.abis, cases, comment), heading=heading)


def whole_kinds(
    several: Sequence[Power], abis: Iterable[Abi], cases: PowerCases, comment: str
) -> Section:
    """Return a section that permits kinds whole: by their groups, or else by their calls."""
    groups = tuple(group.name for power in several if (group := group_of(power)))
    calls = {
        abi: tuple(
            Allowed(call, tuple(one for one in conditions if one), comment)
            for power in several
            if group_of(power) is None
            for call, conditions in members(power, abi, cases)
        )
        for abi in abis
    }
    return Section("", calls, groups, comment)


def _of_lines(power: Power, lines: Mapping[PowerLine, Mapping[Abi, Sequence[Allowed]]]) -> Section:
    """Return the section of a kind that is permitted only in part."""
    calls: dict[Abi, list[Allowed]] = {}
    for line, by_abi in lines.items():
        keys = (f"{call} if {line.when}".removesuffix(" if ") for call in line.calls)
        code = next((_WAYS[key] for key in keys if key in _WAYS), None)
        why = f"{SILENCED}[{code}]: the run does so" if code else ""
        for abi, several in by_abi.items():
            calls.setdefault(abi, []).extend(
                replace(one, comment=f"{line.reason}; {one.comment}".removesuffix("; ") + why)
                for one in several
            )
    return Section(_heading(power), calls)


def _named(origins: Iterable[str]) -> str:
    """Return the first few origins of calls, and the number of others, as text."""
    found = list(dict.fromkeys(one for text in origins for one in text.split(", ")))
    found = [one for one in found if not any(other.startswith(f"{one}: ") for other in found)]
    return some(found, _MOST_ORIGINS)
