"""Refused calls in a log, compared with a filter: the rule of each, and what would permit it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import Action, ActionKind, kind_of_ret
from seccompgen.core.problems import Problem
from seccompgen.filters.tell.proposals import PermitRequest, Proposer
from seccompgen.filters.tell.written_call import CallOnAbi
from seccompgen.formats.audit.core_dump import signal_of
from seccompgen.formats.audit.log_lines import LogReader, LostRecords, UntoldDeath
from seccompgen.formats.audit.records import BY_SIGNAL, REFUSING, SeccompRecord, call_of
from seccompgen.render.audit_report import AuditReport, RefusedCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.filters.tell.explainer import CallWay, Explainer
    from seccompgen.render.explanation import AnswerCase, ExplainedCall

_MOST_KEPT = 1000
_MOST_PLACES = 100
_MOST_EXPLAINED = 1 << 12
_MOST_CHANGES = 20


@dataclass
class _Tally:
    """All records of one call: what they have in common, and their number."""

    first: SeccompRecord
    times: int = 0
    places: list[Position] = field(default_factory=list)
    commands: dict[str, None] = field(default_factory=dict)
    addresses: dict[int, None] = field(default_factory=dict)

    def add(self, record: SeccompRecord) -> None:
        self.times += 1
        if len(self.places) < _MOST_PLACES:
            self.places.append(record.position)
        if record.command and len(self.commands) < _MOST_PLACES:
            self.commands[record.command] = None
        if record.address is not None and len(self.addresses) < _MOST_PLACES:
            self.addresses[record.address] = None


class Auditor:
    """Takes a log line by line, and names the rule behind each refused call.

    With ``follow``, each record is judged by itself as well, as it comes.
    """

    def __init__(self, explainer: Explainer, file: str, *, follow: bool = False) -> None:
        self._explainer = explainer
        self._follow = follow
        self._tables: Tables = explainer.tables
        self._file = file
        self._reader = LogReader(explainer.tables)
        self._tallies: dict[tuple[object, ...], _Tally] = {}
        self._deaths: list[tuple[Position, str]] = []
        self._unread: list[str] = []
        self._lost = 0
        self._lines = 0
        self._explained = lru_cache(maxsize=_MOST_EXPLAINED)(self._explain)

    def line(self, content: bytes) -> RefusedCall | UntoldDeath | Diagnostic | None:
        """Process a line; return a death or an error, with ``follow`` a refused call, else None."""
        self._lines += 1
        where = Position(self._file, self._lines)
        try:
            found = self._reader.read(content.decode(errors="backslashreplace"), where)
        except InputError as error:
            if len(self._unread) < _MOST_KEPT:
                self._unread.append(str(error.diagnostics[0]))
            return error.diagnostics[0]
        if isinstance(found, SeccompRecord):
            return self._recorded(found)
        if isinstance(found, UntoldDeath):
            if len(self._deaths) < _MOST_KEPT:
                self._deaths.append((found.position, found.text))
            return found
        if isinstance(found, LostRecords):
            self._lost += found.count
        return None

    def core(self, content: bytes) -> None:
        """Process the start of a core dump. Raises InputError if it names no call."""
        where = Position(self._file)
        try:
            signal = signal_of(content)
        except ValueError as error:
            raise InputError(Diagnostic(str(error), where, Problem.MALFORMED_FILE)) from None
        abi, nr, name = call_of(signal.audit_arch, signal.nr, where, self._tables)
        self._recorded(SeccompRecord(where, abi, nr, name, BY_SIGNAL, signal.address))

    def report(self) -> AuditReport:
        """Return all refused calls, the most frequent first."""
        tallies = sorted(self._tallies.values(), key=lambda one: -one.times)
        calls = tuple(self._judged(one, change=n < _MOST_CHANGES) for n, one in enumerate(tallies))
        return AuditReport(
            self._file,
            sum(one.times for one in tallies),
            calls,
            tuple(self._deaths),
            tuple(self._unread),
            self._lost,
            self._lines,
        )

    def _recorded(self, record: SeccompRecord) -> RefusedCall | None:
        key = record.abi.name, record.nr, record.actions
        tally = self._tallies.setdefault(key, _Tally(record))
        tally.add(record)
        if not self._follow:
            return None
        alone = _Tally(record)
        alone.add(record)
        return self._judged(alone, change=tally.times == 1)

    # --- judgement -------------------------------------------------------------------------------

    def _judged(self, tally: _Tally, *, change: bool) -> RefusedCall:
        record = tally.first
        refused_call = RefusedCall(
            record.abi.name,
            record.name,
            record.nr,
            record.answer,
            tally.times,
            tuple(tally.places),
            tuple(tally.commands),
            tuple(tally.addresses),
        )
        way = next(iter(self._explainer.ways_through(record.abi)), None)
        if way is None:
            return replace(refused_call, other=f"this one has no program for {record.abi.name}")
        explained = self._explained(way, record.name, record.nr)
        actions = record.actions
        if ActionKind.LOG in actions:
            # No filter in force refused it: this one was not there, or was report-only.
            actions |= REFUSING
        cases = tuple(case for case in explained.cases if _kind(case) in actions)
        refused_call = replace(
            refused_call, cases=cases, open=explained.open if len(explained.cases) > 1 else ()
        )
        if explained.unlisted:
            return replace(refused_call, unchanged=explained.unlisted)
        if not cases:
            answers = " or ".join(dict.fromkeys(case.action for case in explained.cases))
            return replace(refused_call, other=f"this one answers {answers}")
        if all(_kind(case).lets_through for case in cases):
            settings = self._explainer.loaded.settings
            text = "the call is made, and logged"
            if settings and settings.report_only:
                text += "; this filter is report-only: name its policy"
            return replace(refused_call, unchanged=text)
        refused_call = replace(refused_call, only_logged=record.actions == {ActionKind.LOG})
        if self._stands_in(record.abi, cases):
            text = "the policy answers as a kernel does that lacks the call, so that libraries "
            return replace(refused_call, unchanged=f"{text}go on by another")
        let_through = [case for case in explained.cases if _kind(case).lets_through]
        refused_call = replace(
            refused_call, permitted=tuple(case.condition for case in let_through)
        )
        if not change:
            return refused_call
        return self._with_change(refused_call, way, explained)

    def _stands_in(self, abi: Abi, cases: Sequence[AnswerCase]) -> bool:
        """Return True if a policy answers ENOSYS on purpose, and not by its default."""
        policy = self._explainer.loaded.policy
        absent = Action.errno("ENOSYS").ret(abi)
        return (
            policy is not None
            and policy.default_action.ret(abi) != absent
            and all(case.ret == absent for case in cases)
        )

    def _explain(self, way: CallWay, name: str, nr: int) -> ExplainedCall:
        return self._explainer.call(way, CallOnAbi(name, nr, {}, {}))

    def _with_change(
        self, refused_call: RefusedCall, way: CallWay, explained: ExplainedCall
    ) -> RefusedCall:
        if self._proposer is None:
            text = "there are only instructions; name the policy that they were made from"
            return replace(refused_call, unchanged=text)
        refusing = [case for case in explained.cases if not _kind(case).lets_through]
        refused = [case for case in refused_call.cases if not _kind(case).lets_through]
        conditions = [case.condition for case in refused]
        narrow = len(refusing) > len(refused) and all(conditions)
        request = PermitRequest(
            way.program,
            way.through,
            refused_call.name,
            refused_call.nr,
            " or ".join(conditions) if narrow else "",
            tuple(case.call for case in refused),
        )
        found = self._proposer.propose(request)
        if isinstance(found, str):
            return replace(refused_call, unchanged=found)
        return replace(refused_call, change=found)

    @cached_property
    def _proposer(self) -> Proposer | None:
        policy = self._explainer.loaded.policy
        return Proposer(policy, self._tables) if policy else None


def _kind(case: AnswerCase) -> ActionKind:
    return kind_of_ret(case.ret)
