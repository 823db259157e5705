"""The recording of a workload, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.abis import ABIS, X32_SYSCALL_BIT
from seccompgen.core.model import U32
from seccompgen.policy.implied import RunFacts

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.ring import RingField
    from seccompgen.core.tables import Tables
    from seccompgen.run.refusal import Refusal


class CallNumber(NamedTuple):
    """A call as filters see it: ``seccomp_data.arch`` and ``seccomp_data.nr``, 32 bits each."""

    audit_arch: int
    nr: int


@dataclass(frozen=True, slots=True)
class ArgumentBits:
    """The bits that are recorded of a call's argument ``index``, 0 to 5: those in ``mask``.

    With ``among``, only these values are distinguished: all others are recorded as `other`.
    """

    index: int
    mask: int
    among: frozenset[int] | None = None

    @property
    def other(self) -> int:
        """A value that is not in ``among``."""
        return next(value for value in range(U32) if value not in (self.among or ()))


Arguments: TypeAlias = tuple[tuple[int, int], ...]
"""The recorded arguments of one call: pairs of index, 0 to 5, and masked value."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of the command: its exit status, or the number of the signal that killed it."""

    status: int = 0
    signal: int = 0

    @property
    def exit_code(self) -> int:
        """The exit code as a shell reports it: 128 plus the signal, if one ended the command."""
        return 128 + self.signal if self.signal else self.status


@dataclass(frozen=True, slots=True)
class Sighting:
    """A refused call as it was made: the label of its process, empty if it had none.

    ``refusal`` is the decoded call, None if it was not decoded.
    """

    label: str
    refusal: Refusal | None = None


class ExecutedProgram(NamedTuple):
    """The path of an executed program, and the ``libraries`` that it mapped."""

    path: str
    libraries: tuple[str, ...] = ()


RingFields: TypeAlias = "tuple[tuple[RingField, int], ...]"
"""The fields of an operation that a filter of the kernel sees, each with its value."""


class SeenOperation(NamedTuple):
    """An operation that a ring was given."""

    opcode: int
    fields: RingFields


@dataclass(frozen=True, slots=True)
class RingsSeen:
    """The uses that the workload made of rings; ``made`` is the number of rings.

    ``operations`` maps the ABI's name and the opcode to the fields that were seen, None if they
    were too many. ``registered`` are the opcodes of io_uring_register. ``unseen`` are reasons why
    it did more than that. ``early`` is True if a ring was made before a startup marker.
    """

    made: int = 0
    early: bool = False
    operations: Mapping[tuple[str, int], frozenset[RingFields] | None] = field(default_factory=dict)
    registered: tuple[int, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """The calls of a workload.

    ``calls`` maps each call to the combinations of its recorded arguments. ``unprivileged`` are
    setuid and setgid programs that ran without the privileges of their files. ``filters`` is True
    if some process installed a filter of its own, ``marked`` if one passed the startup marker.
    ``startup`` are calls before a marker, which do not count. ``threads`` and ``processes`` are
    True if the workload started one. ``before_marker`` is the largest number of threads that a
    process had at its marker. ``catches`` are the signals of `policy.implied.CAUGHT` that a process
    had a handler for. ``attached`` is True if the workload was running already. ``origins`` are
    locations of calls that give something, by call and line of the table of powers. ``programs``
    are those executed, and ``rings`` what rings did.

    If the workload was compared with a policy, ``reached`` are the parts of it that answered each
    call, and ``refusals`` counts the sightings of each refused call. ``more_refused`` are the
    refused calls that further calls of the same number were counted with, since there were too
    many.
    """

    calls: Mapping[CallNumber, frozenset[Arguments]]
    end: RunEnd
    unprivileged: tuple[str, ...] = ()
    filters: bool = False
    marked: bool = False
    startup: frozenset[CallNumber] = frozenset()
    threads: bool = False
    processes: bool = False
    before_marker: int = 0
    catches: frozenset[int] = frozenset()
    attached: bool = False
    origins: Mapping[Hashable, str] = field(default_factory=dict)
    programs: tuple[ExecutedProgram, ...] = ()
    rings: RingsSeen = RingsSeen()
    reached: frozenset[tuple[CallNumber, Origin]] = frozenset()
    refusals: Mapping[tuple[CallNumber, Arguments], Mapping[Sighting, int]] = field(
        default_factory=dict
    )
    more_refused: frozenset[tuple[CallNumber, Arguments]] = frozenset()


def abi_of(number: CallNumber) -> Abi | None:
    """Return the ABI that a call was made through; None if it is unknown.

    x32 shares the audit value of x86_64, and sets bit 30 in its numbers; -1 is not an x32 call.
    """
    found = [abi for abi in ABIS.values() if abi.audit_arch == number.audit_arch]
    x32 = bool(number.nr & X32_SYSCALL_BIT) and number.nr != U32
    with_filters = [abi for abi in found if abi.filters_since]
    return next((abi for abi in with_filters if (abi.name == "x32") == x32), None) or next(
        iter(with_filters), None
    )


def name_of(number: CallNumber, tables: Tables) -> str | None:
    """Return the name of a call in ``tables``; None if it has none there."""
    abi = abi_of(number)
    table = tables.tables.get(abi.name) if abi else None
    return table.names.get(number.nr) if table else None


def named_calls(
    recording: Recording, tables: Tables
) -> Iterator[tuple[Abi, str, frozenset[Arguments]]]:
    """Yield ABI, name and arguments of each call that has a name in ``tables``."""
    for number, values in recording.calls.items():
        abi, name = abi_of(number), name_of(number, tables)
        if abi is not None and name is not None:
            yield abi, name, values


def run_facts(recording: Recording, tables: Tables) -> dict[Abi, RunFacts]:
    """Return, by ABI, the facts of a run that imply further calls."""
    called: dict[Abi, set[str]] = {}
    for abi, name, _ in named_calls(recording, tables):
        called.setdefault(abi, set()).add(name)
    for number in recording.startup:
        startup_abi, startup_name = abi_of(number), name_of(number, tables)
        if startup_abi in called and startup_name:
            called[startup_abi].add(startup_name)
    return {
        abi: RunFacts(
            names,
            recording.threads,
            recording.processes,
            late=recording.marked or recording.attached,
            unseen=recording.attached,
            catches=recording.catches,
        )
        for abi, names in called.items()
    }
