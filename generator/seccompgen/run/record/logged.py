"""Calls that a policy lacks according to audit records, to be merged into it.

Records do not contain arguments. If a call is on several lines of the table of powers, by its
arguments, those of ordinary kinds are added, or the last line if none is ordinary. The others are
left to the user, so that reading the same record twice adds nothing more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import ActionKind
from seccompgen.core.text import many, printable, some
from seccompgen.formats.audit.log_lines import LogReader, LostRecords
from seccompgen.formats.audit.records import SeccompRecord
from seccompgen.run.record.closure import ON_DEMAND, ORDINARY, PowerUse
from seccompgen.run.record.known import known_policy
from seccompgen.run.record.power_cases import PowerCases

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.kernel.powers import PowerLine

_MOST_UNREAD = 5
_MOST_PROGRAMS = 20


class LoggedCall(NamedTuple):
    """A call through ``abi`` by ``program``, and the number of its records."""

    abi: Abi
    name: str
    program: str
    times: int

    @property
    def origin(self) -> str:
        """The origin of the call, as written in comments of a policy."""
        return f"in the audit record of {self.program}, {many(self.times, 'time')}"


class AuditLog(NamedTuple):
    """The records of a log, its unreadable lines, and the number of records it reports as lost."""

    records: tuple[SeccompRecord, ...]
    unread: tuple[Diagnostic, ...]
    lost: int


def _read_log(lines: Iterable[bytes], file: str, tables: Tables) -> AuditLog:
    """Return the records of a log about calls that filters refused or logged."""
    reader = LogReader(tables)
    records: list[SeccompRecord] = []
    unread: list[Diagnostic] = []
    lost = 0
    for number, line in enumerate(lines, 1):
        try:
            found = reader.read(line.decode(errors="backslashreplace"), Position(file, number))
        except InputError as error:
            unread += error.diagnostics
            continue
        if isinstance(found, SeccompRecord):
            records.append(found)
        elif isinstance(found, LostRecords):
            lost += found.count
    return AuditLog(tuple(records), tuple(unread[:_MOST_UNREAD]), lost)


def _program_of(record: SeccompRecord) -> str:
    """Return the name of a record's program, or else of its thread."""
    return printable(PurePath(record.program).name or record.command or "an unnamed program")


def calls_to_add(
    lines: Iterable[bytes],
    file: str,
    programs: Collection[str],
    known: Sequence[ResolvedPolicy],
    tables: Tables,
    *,
    exact: bool,
) -> tuple[tuple[LoggedCall, ...], list[str]]:
    """Return the calls that the policies lack according to a log, and the notes to print.

    Raises InputError if such records are of several programs and none is named.
    """
    log = _read_log(lines, file, tables)
    notes = [f"not understood: {one}" for one in log.unread]
    if log.lost:
        notes += [f"{many(log.lost, 'record')} more were lost, as {file} says itself"]
    missing = Missing(known, tables)
    asking = [one for one in log.records if missing.asks(one)]
    chosen = _of_programs(asking, programs, file)
    served = {abi for one in known for abi in (*one.arches, *one.compat_arches)}
    others = [one for one in chosen if one.abi not in served or not one.name]
    for abi, nr, name in dict.fromkeys((one.abi.name, one.nr, one.name) for one in others):
        notes.append(f"{name or f'number {nr}'} on {abi} is not added: the policy is not for it")
    found: list[LoggedCall] = []
    for call in _logged_calls(record for record in chosen if record not in others):
        if not exact and (left := missing.left(call)):
            cases = "; ".join(f"{line.power.name}, {line.reason}" for line in left)
            notes.append(
                f"{call.name}, {call.origin}: what it gives as a rule is permitted, and the record "
                f"does not say which of these it was: {cases}; permit yours by a rule"
            )
        else:
            found.append(call)
    if found:
        names = ", ".join(dict.fromkeys(one.name for one in found))
        by = some(sorted({one.program for one in found}))
        notes.append(
            f"added by the records of {by}: {names}; read what that permits, as records have no "
            "arguments"
        )
    elif not chosen:
        records = many(len(log.records), "record")
        notes.append(f"{records} in {file}, and none of a call that the policy lacks")
    return tuple(found), notes


class Missing:
    """The lines of the table of powers, by call, that known policies do not permit in full."""

    def __init__(self, policies: Sequence[ResolvedPolicy], tables: Tables) -> None:
        self._known = [known_policy(one) for one in policies]
        self._cases = PowerCases(tables)
        self._of = lru_cache(maxsize=None)(self._missing)

    def asks(self, record: SeccompRecord) -> bool:
        """Return True if a record may be about a call that the policies refuse.

        Calls that they answer with ENOSYS on purpose do not count.
        """
        known = self._known
        if any(record.name in one.absent for one in known):
            return False
        if ActionKind.LOG not in record.actions and not any(
            one.policy.default_action.kind in record.actions for one in known
        ):
            return False
        return not self._cases.has(record.name, record.abi) or bool(
            self._of(record.abi, record.name)
        )

    def uses(self, calls: Iterable[LoggedCall]) -> Iterator[PowerUse]:
        """Yield the uses to add for calls in records."""
        for one in calls:
            for line in self._added(one.abi, one.name):
                yield PowerUse(one.abi, one.name, line, origin=one.origin)

    def left(self, one: LoggedCall) -> tuple[PowerLine, ...]:
        """Return the missing lines of a call if none of them is added; otherwise nothing."""
        return () if self._added(one.abi, one.name) else self._of(one.abi, one.name)

    def _added(self, abi: Abi, call: str) -> list[PowerLine]:
        lines = [case.line for case in self._cases.of(call, abi)]
        usual = [line for line in lines if line.power.name in {*ORDINARY, *ON_DEMAND}]
        return [line for line in usual or lines[-1:] if line in self._of(abi, call)]

    def _missing(self, abi: Abi, call: str) -> tuple[PowerLine, ...]:
        grants = [one.permitted[abi] for one in self._known if abi in one.permitted]
        return tuple(
            case.line
            for case in self._cases.of(call, abi)
            if any(
                not any(one.covers(call, condition) for one in grants)
                for condition in self._cases.exactly(case.line, call, abi)
            )
        )


def _of_programs(
    records: Sequence[SeccompRecord], programs: Collection[str], file: str
) -> list[SeccompRecord]:
    """Return the records of ``programs``, each a path or a name.

    If none is named, returns those of the only program. Raises InputError if there are several, or
    if no record is of a named program.
    """
    counts = Counter(map(_program_of, records))
    shown = some(
        [f"{name} ({many(n, 'record')})" for name, n in counts.most_common(_MOST_PROGRAMS)]
    )
    if not programs:
        if len(counts) > 1:
            text = f"records of several programs: {shown}; say with --program which count"
            raise InputError(Diagnostic(text, Position(file)))
        return list(records)
    found = [one for one in records if {one.program, one.command, _program_of(one)} & {*programs}]
    if records and not found:
        text = f"no record of {some(list(programs))}; there are those of {shown}"
        raise InputError(Diagnostic(text, Position(file)))
    return found


def _logged_calls(records: Iterable[SeccompRecord]) -> tuple[LoggedCall, ...]:
    """Return each call in the records once; calls without a name are left out."""
    times: Counter[tuple[Abi, str]] = Counter()
    programs: dict[tuple[Abi, str], dict[str, None]] = defaultdict(dict)
    for one in records:
        if one.name:
            times[one.abi, one.name] += 1
            programs[one.abi, one.name][_program_of(one)] = None
    return tuple(
        LoggedCall(abi, name, ", ".join(programs[abi, name]), count)
        for (abi, name), count in times.items()
    )
