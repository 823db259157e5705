"""Record a command, end to end: from a command and known policies to the text of a policy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import apart_by_kernel
from seccompgen.core.errors import AnswerNo, InputError
from seccompgen.core.model import U32, Action, ActionKind
from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.core.program import RET_K, Instruction
from seccompgen.core.releases import Release
from seccompgen.core.ring import RING_CALLS
from seccompgen.core.settings import FilterFlag
from seccompgen.lint.companions import shipped_companions
from seccompgen.lint.introduced import introduced_by
from seccompgen.policy.allowlist_text import AS_RUNTIMES, Allowed, write_policy
from seccompgen.run.launch import Command
from seccompgen.run.record.closure import close, uses
from seccompgen.run.record.constrainable import constrainable_argument
from seccompgen.run.record.exact_calls import MOST_COMPARED, allowed_by, allowed_calls, merge
from seccompgen.run.record.known import known_policy, uses_of
from seccompgen.run.record.logged import Missing
from seccompgen.run.record.near_misses import near_misses, still_offered
from seccompgen.run.record.observations import ArgumentBits, abi_of, name_of
from seccompgen.run.record.origins import Origins
from seccompgen.run.record.power_cases import PowerCases
from seccompgen.run.record.recorded_rings import SETUP, covers, ring_part
from seccompgen.run.record.recorder import trace
from seccompgen.run.record.sections import draft, kinds, permitted, sections
from seccompgen.run.record.seen import ALWAYS_SEEN, Watch

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Table, Tables
    from seccompgen.lint.companions import Companions
    from seccompgen.policy.allowlist_text import Section
    from seccompgen.run.record.logged import LoggedCall
    from seccompgen.run.record.observations import Arguments, CallNumber, Recording
    from seccompgen.run.record.recorded_rings import RingPart
    from seccompgen.run.record.sections import KindOfUse

HEADING = "Recorded by seccompgen record: what it saw, and what that implies."
"""The first line of policies recorded with ``--exact``."""
CLOSED_HEADING = "Recorded by seccompgen record: what the run used, by what it gives."
"""The first line of all other recorded policies."""
HEADINGS = (HEADING, CLOSED_HEADING)

_TRACE = Action(ActionKind.TRACE)
_KILL = Action(ActionKind.KILL_PROCESS)


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """A request for a recording.

    ``exact`` allows the calls that were seen and no others; with ``constrained``, only with the
    arguments that were seen, if these select something. With ``after_marker``, only calls after a
    process's marker count. Calls that ``known`` policies allow run at full speed, unrecorded, and
    are part of the result; so are ``logged`` calls. Calls are compared with the policy ``against``,
    for `coverage.coverage`; then all calls are recorded.
    """

    exact: bool = False
    constrained: bool = False
    after_marker: bool = False
    known: tuple[ResolvedPolicy, ...] = ()
    against: ResolvedPolicy | None = None
    logged: tuple[LoggedCall, ...] = ()


def observe(
    command: Command | Sequence[int], request: RecordRequest, table: Table, tables: Tables
) -> Recording:
    """Run ``command`` and return its recording; ``table`` is that of this process's ABI.

    ``command`` may be the PIDs of running processes. Raises the errors of `recorder.trace` or
    `attach.attach`, and AnswerNo if a marker was awaited and never came.
    """
    cases = PowerCases(tables)
    known = () if request.against else request.known
    against = None
    if request.against:
        from seccompgen.run.record.coverage import held_against  # noqa: PLC0415 - only where it is asked for

        against = held_against(request.against, table.abi, tables)
    origins = None if request.exact else Origins(partial(_kind, cases=cases, tables=tables))
    watch = Watch(
        partial(_arguments, request=request, cases=cases, tables=tables),
        partial(name_of, tables=tables),
        MOST_COMPARED,
        request.after_marker,
        against,
        origins,
    )
    if not isinstance(command, Command):
        from seccompgen.run.record.attach import attach  # noqa: PLC0415 - only where it is asked for

        return attach(command, watch)
    recording = trace(command, watch, table, _program(known, table.abi, tables))
    if request.after_marker and not recording.marked:
        raise AnswerNo(
            "nothing is written: no process called seccomp(SECCOMP_SET_MODE_FILTER, ...), which "
            "marks the end of the startup; call install() of any filter where yours will be, or "
            "seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL), which does nothing"
        )
    return recording


def _kind(
    number: CallNumber, arguments: Arguments, cases: PowerCases, tables: Tables
) -> Hashable | None:
    """Return the kind of a call, for `Origins`; None if the call gives nothing."""
    abi, name = abi_of(number), name_of(number, tables)
    line = cases.line(name, abi, dict(arguments)) if name and abi else None
    return (abi.name, name, line) if abi and line and line.power.gives else None


def _arguments(
    number: CallNumber, request: RecordRequest, cases: PowerCases, tables: Tables
) -> list[ArgumentBits]:
    abi, name = abi_of(number), name_of(number, tables)
    if name is None or abi is None:
        return []
    if not request.exact:
        return cases.recorded_arguments(name, abi)
    masks: dict[int, int] = {0: U32} if is_multiplexed(name) else {}
    argument = constrainable_argument(name, abi, tables.facts) if request.constrained else None
    if argument:
        masks[argument.index] = argument.mask
    return [ArgumentBits(index, mask) for index, mask in sorted(masks.items())]


def _program(known: Sequence[ResolvedPolicy], abi: Abi, tables: Tables) -> tuple[Instruction, ...]:
    """Return a filter that allows what ``known`` policies allow, and traces all other calls."""
    rules = tuple(
        rule
        for policy in known
        if abi in policy.arches
        for rule in policy.own_rules
        if rule.name not in {*ALWAYS_SEEN, "exit"}  # the last thread's is a process's end
    )
    if not rules:
        return (Instruction(RET_K, 0, 0, ActionKind.TRACE.value),)
    from seccompgen.pipeline.build import proved_program  # noqa: PLC0415 - numpy takes 100 ms to import

    policy = dataclasses.replace(
        known[0],
        arches=(abi,),
        compat_arches=(),
        default_action=_TRACE,
        unknown_action=_TRACE,
        bad_arch_action=_TRACE,
        rules=rules,
        kernel=None,
    )
    return proved_program(policy, abi, tables).instructions


class RecordedPolicy(NamedTuple):
    """The text of a policy, and the kinds of the table of powers that it permits."""

    text: str
    kinds: tuple[KindOfUse, ...]


def policy_of(
    recording: Recording | None,
    request: RecordRequest,
    tables: Tables,
    command: str,
    default_action: Action,
) -> RecordedPolicy:
    """Return a policy that allows the recorded calls and those that the known policies allow.

    ``command`` is the name of the recorded command, if there was one. Calls that are newer than
    ``tables`` fail with ENOSYS under the policy, as on a kernel without them.

    Raises InputError if there is nothing to allow.
    """
    make = _exact if request.exact else _closed
    rings = ring_part(
        recording.rings if recording else None,
        request.known,
        tables,
        tried=_tried(recording, tables),
        exact=request.exact,
        constrained=request.constrained,
    )
    content = make(recording, request, tables, rings)
    known = next((policy.description for policy in request.known if policy.description), "")
    # A policy with flags: [] has no other threads to confine; without flags, confine them all.
    decided = any(not one.foreign and one.without_flags is None for one in request.known)
    text = write_policy(
        known or f"What {command or 'several workloads'} calls.",
        content.calls,
        default_action,
        tables,
        HEADING if request.exact else CLOSED_HEADING,
        arches=content.arches,
        compat_arches=content.compat_arches,
        kernel=Release.parse(tables.tag),
        bad_arch_action=None if request.exact else _for_other_abis(request.known),
        flags=FilterFlag.TSYNC if content.tsync or not decided else FilterFlag(0),
        sections=content.sections,
    )
    text += content.offers + rings.text
    return RecordedPolicy(text, content.kinds)


def _for_other_abis(known: Iterable[ResolvedPolicy]) -> Action:
    """Return ``bad_arch_action``: the first killing one of a known policy, or kill_thread."""
    said = (one.bad_arch_action for one in known if "bad_arch_action" not in one.unsaid)
    return next((one for one in said if one in {AS_RUNTIMES, _KILL}), AS_RUNTIMES)


class _Content(NamedTuple):
    """The content of a policy: its ABIs, allowed calls, and the sections after these.

    ``offers`` is text for comments at the end.
    """

    arches: tuple[Abi, ...]
    compat_arches: tuple[Abi, ...]
    calls: Mapping[Abi, Iterable[Allowed]]
    tsync: bool
    sections: tuple[Section, ...] = ()
    kinds: tuple[KindOfUse, ...] = ()
    offers: str = ""


def _tried(recording: Recording | None, tables: Tables) -> bool:
    """Return True if a run wanted to make a ring."""
    calls = recording.calls if recording else ()
    return any(name_of(number, tables) == SETUP for number in calls)


def _without_rings(recording: Recording | None, tables: Tables) -> Recording | None:
    """Return the recording without the calls of rings, which a section decides."""
    if recording is None:
        return None
    calls = {
        number: arguments
        for number, arguments in recording.calls.items()
        if name_of(number, tables) not in RING_CALLS
    }
    return dataclasses.replace(recording, calls=calls)


def _exact(
    recording: Recording | None, request: RecordRequest, tables: Tables, rings: RingPart
) -> _Content:
    """Return the content for ``--exact``: calls that were seen or that known policies allow."""
    if rings.decides:
        recording = _without_rings(recording, tables)
    known = [known_policy(policy, exact=True) for policy in request.known]
    seen = [allowed_calls(recording, tables, constrained=request.constrained)] if recording else []
    seen += [{call.abi: (Allowed(call.name, (), call.origin),)} for call in request.logged]
    merged = merge([*(allowed_by(one, tables) for one in known), *seen])
    if not any(merged.values()):
        raise _nothing()
    companions = shipped_companions()
    released = {
        abi: [_with_release(one, companions, abi) for one in calls] for abi, calls in merged.items()
    }
    arches, compat = _abis(request, (abi for calls in seen for abi in calls))
    return _Content(arches, compat, released, _needs_tsync(recording, request))


def _abis(request: RecordRequest, seen: Iterable[Abi]) -> tuple[tuple[Abi, ...], tuple[Abi, ...]]:
    """Return the ABIs of a policy: those with filters of their own, and their compat ABIs."""
    several = [(policy.arches, policy.compat_arches) for policy in request.known]
    several.append(apart_by_kernel(dict.fromkeys(seen)))
    arches, compat = (
        tuple(dict.fromkeys(abi for abis in column for abi in abis))
        for column in zip(*several, strict=True)
    )
    return arches, compat


def _needs_tsync(recording: Recording | None, request: RecordRequest) -> bool:
    """Return True if other threads run when the filter is installed, and must get it, too."""
    several = recording is not None and recording.before_marker > 1
    return several or any(policy.flags & FilterFlag.TSYNC for policy in request.known)


def _closed(
    recording: Recording | None, request: RecordRequest, tables: Tables, rings: RingPart
) -> _Content:
    """Return the content without ``--exact``: the closure of all that was used or known."""
    if rings.decides:
        recording = _without_rings(recording, tables)
    cases = PowerCases(tables)
    known = [known_policy(policy) for policy in request.known]
    used = [use for one in known for use in uses_of(one, cases, tables)]
    seen = list(uses(recording, cases, tables)) if recording else []
    seen += Missing(request.known, tables).uses(request.logged) if request.logged else ()
    arches, compat = _abis(request, (one.abi for one in seen))
    abis = tuple(dict.fromkeys((*arches, *compat)))
    if not abis:
        raise _nothing()
    closure = close([*used, *seen], abis, cases, tables)
    made = draft(closure, seen, known, cases)
    if rings.decides:
        # Without a ring in the run, programs do as on a kernel that has none.
        absent = {*made.absent, SETUP} if rings.refuses else {*made.absent} - {*RING_CALLS}
        made = made._replace(absent=tuple(sorted(absent)))
    programs = recording.programs if recording else ()
    whole = {power.name for power in closure.whole}
    granted = permitted(made, cases)
    offered = near_misses(programs, whole, granted, cases)
    return _Content(
        *(arches, compat, dict.fromkeys(abis, ()), _needs_tsync(recording, request)),
        (*sections(made, cases), *offered),
        tuple(kinds(closure)),
        "" if recording else still_offered(request.known, granted, tables),
    )


def adds_nothing(recording: Recording, request: RecordRequest, tables: Tables) -> bool:
    """Return True if there is one known policy and it permits all that a run needs."""
    if request.exact or len(request.known) != 1 or not covers(request.known[0], recording.rings):
        return False
    if request.known[0].io_uring or not recording.rings.made:
        recording = _without_rings(recording, tables) or recording
    cases, known = PowerCases(tables), known_policy(request.known[0])
    tsync = recording.before_marker <= 1 or known.policy.flags & FilterFlag.TSYNC
    return bool(tsync) and all(
        one.abi in known.permitted and known.permitted[one.abi].covers(one.call, condition)
        for one in uses(recording, cases, tables)
        if not one.falls_back
        for condition in one.asks(cases)
    )


def _nothing() -> InputError:
    return InputError("nothing was called, so there is no policy to write")


def _with_release(one: Allowed, companions: Companions, abi: Abi) -> Allowed:
    """Return the call, with a comment if only some releases of a library make it."""
    comment = one.comment or introduced_by(companions, one.name, abi)
    return dataclasses.replace(one, comment=comment)
