"""Write a policy as settings of systemd's units for one ABI, or report why that is impossible.

Settings name calls and test no arguments. A list either permits or refuses the calls that it names,
and gives its other answer to known calls that it does not name. Calls that systemd does not know
get that other answer from a list that refuses, and ENOSYS from a list that permits. Calls that
systemd's own lists add are removed again if the policy refuses them, except execve and write,
without which systemd cannot start the program.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errnos import errno_number
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.formats.systemd.groups import DEFAULT_RELEASE, systemd_groups
from seccompgen.formats.systemd.unit_settings import ARCHITECTURES
from seccompgen.formats.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

_NAMES = {ours: theirs for theirs, ours in ARCHITECTURES.items()}
_KINDS = {ActionKind.ALLOW, ActionKind.LOG, ActionKind.ERRNO, ActionKind.KILL_PROCESS}
_ALLOW, _LOG = ActionKind.ALLOW.value, ActionKind.LOG.value
_PERMITTED = {_ALLOW, _LOG}
_WIDTH = 96
_NEEDED = ("execve", "write")
"""The calls that systemd makes after installing the filter."""


def in_units(abi: Abi) -> bool:
    """Return True if systemd has a name for ``abi``."""
    return abi.name in _NAMES


def render(policy: ResolvedPolicy, abi: Abi, tables: Tables, release: int | None) -> bytes:
    """Return a drop-in for ``abi`` whose lists suit a release of systemd.

    It resets the unit's own settings, so that no others apply; a drop-in that only logs leaves the
    unit's refusals in place. Raises InputError with all that settings cannot express.
    """
    groups, release = systemd_groups(release), release or DEFAULT_RELEASE
    if problems := list(_problems(policy, abi)):
        raise InputError(*problems)
    served = (abi, *policy.compat_of(abi))
    answers = _answers(policy, served, tables, problems)
    if policy.enforced:
        lines = [f"# Lists for systemd {release}. REPORT ONLY: refuses nothing.", "[Service]"]
        unlogged = sorted(call for call, (ret, _) in answers.items() if ret == _ALLOW)
        lines += ["SystemCallLog=", *_assignments("SystemCallLog=~", unlogged)]
    else:
        problems += _needed(answers)
        found = _lists(policy, abi, tables, answers, groups)
        problems += _strange(found, release)
        lines = [f"# Lists for systemd {release}.", "[Service]", *_settings(policy, served, found)]
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return "\n".join([*lines, ""]).encode()


class _Lists(NamedTuple):
    """The calls that a drop-in lists, by kind. Answers are SECCOMP_RET values.

    ``refused`` maps an answer to the calls that an allow list omits or that have this answer of
    their own; ``negative`` is the answer to other refused calls. ``strange`` are calls, by the
    position of their rule, that systemd does not know and would answer differently from the policy.
    """

    allows: bool
    negative: int
    listed: list[str]
    refused: dict[int, list[str]]
    logged: list[str]
    strange: dict[Position, list[str]]


def _lists(
    policy: ResolvedPolicy,
    abi: Abi,
    tables: Tables,
    answers: Mapping[str, tuple[int, Position]],
    groups: Mapping[str, frozenset[str]],
) -> _Lists:
    allows = policy.unknown_action.kind is not ActionKind.ALLOW
    rest = policy.default_action.ret(abi) if allows else ActionKind.KILL_PROCESS.value
    if rest in _PERMITTED:
        rest = ActionKind.KILL_PROCESS.value
    own = tables.tables[abi.name].numbers
    known = groups["known"] & own.keys() if allows else groups["known"]
    unknown = ActionKind.ERRNO.value | errno_number("ENOSYS", abi) if allows else _ALLOW
    found = _Lists(allows, rest, [], {}, [], {})
    for call, (ret, where) in sorted(answers.items()):
        if ret == _LOG:
            found.logged.append(call)
        if call not in known and ret != unknown:
            found.strange.setdefault(where, []).append(call)
        elif call not in known:
            if allows and call in groups["default"]:
                # Removed from the list, it is unknown like the others, which fail with ENOSYS.
                found.refused.setdefault(rest, []).append(call)
        elif ret in _PERMITTED:
            found.listed.append(call)
        elif not allows or ret != rest or call in groups["default"]:
            found.refused.setdefault(ret, []).append(call)
    return found


def _settings(policy: ResolvedPolicy, served: Sequence[Abi], found: _Lists) -> Iterator[str]:
    yield from ("SystemCallArchitectures=", "SystemCallFilter=", "SystemCallLog=")
    yield f"SystemCallErrorNumber={_answer(found.negative)}"
    if policy.bad_arch_action.kind is not ActionKind.ALLOW:
        names = ("native", *(_NAMES[one.name] for one in served[1:]))
        yield f"SystemCallArchitectures={' '.join(names)}"
    if found.allows:
        yield from _assignments("SystemCallFilter=", found.listed or ["execve"])
    for ret, calls in found.refused.items():
        own = "" if ret == found.negative else f":{_answer(ret)}"
        yield from _assignments("SystemCallFilter=~", [f"{call}{own}" for call in calls])
    yield from _assignments("SystemCallLog=", found.logged)


def _assignments(key: str, words: Sequence[str]) -> list[str]:
    text = textwrap.wrap(" ".join(words), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"{key}{line}" for line in text]


def _answer(ret: int) -> str:
    """Return a refusing SECCOMP_RET value as systemd spells it: a number, or kill."""
    return "kill" if ret == ActionKind.KILL_PROCESS.value else str(ret & RET_DATA_MAX)


def _needed(answers: Mapping[str, tuple[int, Position]]) -> Iterator[Diagnostic]:
    """Yield an error for each refused call that systemd itself makes."""
    for call in _NEEDED:
        if call in answers and answers[call][0] not in _PERMITTED:
            text = f"systemd makes {call} behind the filter to start the program: allow it"
            yield Diagnostic(text, answers[call][1], Problem.NOT_IN_UNIT)


def _strange(found: _Lists, release: int) -> Iterator[Diagnostic]:
    """Yield an error for each rule about calls that systemd does not know."""
    for where, calls in found.strange.items():
        text = f"systemd {release} does not know these, and answers them with "
        text += "ENOSYS" if found.allows else "allow"
        text += ": say so, or a later release with --systemd"
        text += f"{', or --nearest' if found.allows else ''}: {', '.join(calls)}"
        yield Diagnostic(text, where, Problem.NOT_IN_UNIT)


def _answers(
    policy: ResolvedPolicy, served: Sequence[Abi], tables: Tables, problems: list[Diagnostic]
) -> dict[str, tuple[int, Position]]:
    """Return each call's answer and position; add a problem for each that ABIs answer apart."""
    answers: dict[str, tuple[int, Position]] = {}
    for one in served:
        first: dict[str, tuple[int, Position]] = {}
        for rule in policy.rules:
            if rule.name in MULTIPLEXED and rule.condition is not None:
                continue  # resolving derived it from a rule for a call behind it
            if rule.applies_to(one) and rule.name in tables.tables[one.name].numbers:
                first.setdefault(rule.name, (rule.action.ret(one), rule.position))
        otherwise = policy.default_action.ret(one), policy.default_origin.position
        for call in tables.tables[one.name].numbers:
            answer = first.get(call, otherwise)
            before = answers.setdefault(call, answer)
            if before[0] != answer[0]:
                text = f"settings of a unit cannot answer {call} otherwise on {one.name} than on "
                text += f"{served[0].name}; give it the same action, or take one out of "
                text += "compat_arches"
                problems.append(Diagnostic(text, answer[1], Problem.NOT_IN_UNIT))
    return answers


def _problems(policy: ResolvedPolicy, abi: Abi) -> Iterator[Diagnostic]:
    """Yield an error for each part of the policy that no setting can express."""
    said = [
        (policy.default_action, policy.default_origin.position),
        (policy.unknown_action, policy.unknown_origin.position),
        *((rule.action, rule.position) for rule in policy.rules),
    ]
    for action, where in dict.fromkeys(said):
        if action.kind not in _KINDS:
            text = (
                f"settings of a unit cannot express {action}: only allow, log, errno, kill_process"
            )
            yield Diagnostic(text, where, Problem.NOT_IN_UNIT)
    if not policy.enforced and str(policy.unknown_action) not in {"allow", "errno(ENOSYS)"}:
        text = "settings of a unit answer calls that nobody knows with ENOSYS or, where they list "
        text += "what is refused, allow; say `unknown_action: errno(ENOSYS)` or allow"
        yield Diagnostic(text, policy.unknown_origin.position, Problem.NOT_IN_UNIT)
    compared: dict[Position, list[str]] = {}
    for rule in policy.rules:
        if rule.condition is not None and rule.name not in MULTIPLEXED:
            compared.setdefault(rule.position, []).append(rule.name)
        if not rule.name.isidentifier():
            text = f"settings of a unit name calls; {rule.name} is a number"
            yield Diagnostic(text, rule.position, Problem.NOT_IN_UNIT)
    for where, calls in compared.items():
        text = f"settings of a unit see no arguments, which rules for {some(calls)} compare: "
        text += "--nearest permits such calls whole, and says so"
        yield Diagnostic(text, where, Problem.NOT_IN_UNIT)
    if policy.enforced:
        return
    where = policy.bad_arch_origin.position
    missing = [one for one in abi.siblings if one in _NAMES]
    missing = [one for one in missing if one not in {c.name for c in policy.compat_of(abi)}]
    kind = policy.bad_arch_action.kind
    if kind not in {ActionKind.ALLOW, ActionKind.KILL_THREAD}:
        text = f"settings of a unit cannot express {policy.said('bad_arch_action')}: systemd "
        yield Diagnostic(
            text
            + "answers other ABIs with kill_thread, or allow; say `bad_arch_action: kill_thread`",
            where,
            Problem.NOT_IN_UNIT,
        )
    elif missing and kind is ActionKind.ALLOW:
        text = "systemd puts its filters before each ABI of a kernel; add to compat_arches: "
        yield Diagnostic(
            text + ", ".join(missing), policy.arches_origin.position, Problem.NOT_IN_UNIT
        )


def _refusal(policy: ResolvedPolicy, abi: Abi, text: str) -> Diagnostic:
    """Return the error for a policy that settings cannot express.

    `render` misses one case: if the kernel's own ABI has no socketcall or ipc, systemd answers that
    of another ABI like the calls behind it, and other uses of it with ENOSYS.
    """
    del abi
    text = f"settings of a unit cannot express this policy: {text}"
    return Diagnostic(text, policy.default_origin.position, Problem.NOT_IN_UNIT)


def _as_written(read: ResolvedPolicy, policy: ResolvedPolicy) -> ResolvedPolicy:
    """Return the policy that was read; if refusals are only logged, as if it were for one ABI."""
    if not policy.enforced:
        return read
    # Calls through other ABIs go by the same names.
    return replace(read, compat_arches=(), bad_arch_action=policy.bad_arch_action)


WRITER = Writer(
    suffix="conf",
    fits=in_units,
    render=render,
    reading=lambda abi, release: Reading("systemd", abis=(abi.name,), systemd=release),
    report_only=lambda policy, _: (
        replace(policy, compat_arches=()),
        "calls through other ABIs are logged by their names alone, as systemd has it",
    ),
    refusal=_refusal,
    as_written=_as_written,
    shared=True,
    comment="#",
)
