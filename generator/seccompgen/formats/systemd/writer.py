"""A policy as settings of systemd's units for one ABI, or why it cannot be one.

Settings name calls and look at no argument. A list either permits what it names or refuses it;
known calls that it does not name get its other answer, and so do all others from a list that
refuses; a list that permits answers calls that systemd does not know with ENOSYS.
Calls that systemd's own lists add are taken away again where the policy refuses them, but for
execve and write, without which systemd cannot start the program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.formats.systemd.groups import DEFAULT_RELEASE, systemd_groups
from seccompgen.formats.systemd.reader import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

_NAMES = {ours: theirs for theirs, ours in ARCHITECTURES.items()}
_KINDS = {ActionKind.ALLOW, ActionKind.LOG, ActionKind.ERRNO, ActionKind.KILL_PROCESS}
_ALLOW, _LOG = ActionKind.ALLOW.value, ActionKind.LOG.value
_NEEDED = ("execve", "write")
"""The calls that systemd makes behind the filter."""


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """The settings of a drop-in. Answers are SECCOMP_RET values.

    ``negative`` is what refused calls get, None where there are none. ``allows`` says which kind of
    list ``listed`` is; ``refused`` are calls that an allow list leaves out, or that have an answer
    of their own, with it. ``architectures`` are None where every ABI is served.

    With ``unlogged`` all calls but these are logged, and nothing is refused; None elsewhere.
    """

    release: int
    architectures: tuple[str, ...] | None
    allows: bool
    negative: int
    listed: tuple[str, ...]
    refused: tuple[tuple[str, int], ...]
    logged: tuple[str, ...]
    unlogged: tuple[str, ...] | None = None


def in_units(abi: Abi) -> bool:
    """Return True if systemd has a name for ``abi``."""
    return abi.name in _NAMES


def unit_settings(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, release: int | None
) -> UnitSettings:
    """Return the settings for ``abi``. Raises InputError with all that settings cannot say."""
    groups = systemd_groups(release)
    release = release or DEFAULT_RELEASE
    served = (abi, *policy.compat_of(abi))
    problems: list[Diagnostic] = list(_problems(policy, abi))
    if problems:
        raise InputError(*problems)
    allows = policy.unknown_action.kind is not ActionKind.ALLOW
    rest = policy.default_action.ret(abi) if allows else _ALLOW
    if rest in {_ALLOW, _LOG} and allows:
        rest = ActionKind.KILL_PROCESS.value
    unknown = ActionKind.ERRNO.value | errno_number("ENOSYS", abi)
    answers = _answers(policy, served, tables, problems)
    if policy.enforced:
        if problems:
            raise InputError(*dict.fromkeys(problems))
        open_calls = sorted(call for call, (ret, _) in answers.items() if ret == _ALLOW)
        return UnitSettings(release, None, False, _LOG, (), (), (), tuple(open_calls))
    for call in _NEEDED:
        ret, where = answers.get(call, (_ALLOW, policy.default_origin.position))
        if ret not in {_ALLOW, _LOG}:
            text = f"systemd makes {call} behind the filter to start the program: allow it"
            problems.append(Diagnostic(text, where, Problem.NOT_IN_UNIT))
    listed, refused, logged = [], [], []
    strange: dict[Position, list[str]] = {}
    for call, (ret, where) in sorted(answers.items()):
        if ret == _LOG:
            logged.append(call)
        permitted = ret in {_ALLOW, _LOG}
        known = call in groups["known"] and (not allows or call in tables.tables[abi.name].numbers)
        otherwise_said = (rest if known else unknown) if allows else _ALLOW
        if not known and ret != otherwise_said:
            strange.setdefault(where, []).append(call)
        elif not known:
            if allows and call in groups["default"]:
                # Taken out of the list, it is unknown like the others, which fail with ENOSYS.
                refused.append((call, rest))
        elif permitted and allows:
            listed.append(call)
        elif not permitted and (not allows or ret != rest or call in groups["default"]):
            refused.append((call, ret))
    for where, calls in strange.items():
        text = f"systemd {release} does not know these, and answers them with "
        text += f"{'ENOSYS' if allows else 'allow'}: say so, or a later release with --systemd"
        text += f"{', or --nearest' if allows else ''}: "
        problems.append(Diagnostic(text + ", ".join(calls), where, Problem.NOT_IN_UNIT))
    if problems:
        raise InputError(*dict.fromkeys(problems))
    architectures = None
    if policy.bad_arch_action.kind is not ActionKind.ALLOW:
        architectures = ("native", *(_NAMES[one.name] for one in served[1:]))
    return UnitSettings(
        release,
        architectures,
        allows,
        rest if allows else ActionKind.KILL_PROCESS.value,
        tuple(listed),
        tuple(refused),
        tuple(logged),
    )


def _answers(
    policy: ResolvedPolicy, served: Sequence[Abi], tables: Tables, problems: list[Diagnostic]
) -> dict[str, tuple[int, Position]]:
    """Return the answer to each call, with its place; add what ABIs answer apart to problems."""
    answers: dict[str, tuple[int, Position]] = {}
    for one in served:
        first: dict[str, tuple[int, Position]] = {}
        for rule in policy.rules:
            if rule.name in MULTIPLEXED and rule.condition is not None:
                continue  # what resolving made of a rule for a call behind it
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
    """Yield what no setting says, each at its place."""
    said = [
        (policy.default_action, policy.default_origin.position),
        (policy.unknown_action, policy.unknown_origin.position),
        *((rule.action, rule.position) for rule in policy.rules),
    ]
    for action, where in dict.fromkeys(said):
        if action.kind not in _KINDS:
            text = f"settings of a unit cannot say {action}: only allow, log, errno, kill_process"
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
        text = f"settings of a unit cannot say {policy.said('bad_arch_action')}: systemd "
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


def answer_text(ret: int) -> str:
    """Return a SECCOMP_RET value that refuses as systemd spells it: a number, or kill."""
    return "kill" if ret == ActionKind.KILL_PROCESS.value else str(ret & RET_DATA_MAX)
