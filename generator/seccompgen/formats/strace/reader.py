"""Traces of strace as observations: every call in them is allowed.

A line may begin with a process (``1234``, ``[pid 1234]``), a time (-t -tt -ttt -r), an address (-i)
and a number (-n). An interrupted call counts at its ``unfinished`` line, or at its ``resumed`` line
if the first is missing. Signals, exits, stacks (-k) and strace's own messages are skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.core.text import printable
from seccompgen.formats.draft import Draft
from seccompgen.formats.observed import Observed
from seccompgen.formats.strace import BEFORE, PROCESS
from seccompgen.policy.implied import SIGCHLD, SIGPIPE

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_CALL = re.compile(rf"(?P<pid>{PROCESS}){BEFORE}(?P<name>[a-z_][a-z0-9_]*)\((?P<rest>.*)")
_RESUMED = re.compile(rf"(?P<pid>{PROCESS}){BEFORE}<\.\.\. (?P<name>[a-z_][a-z0-9_]*) resumed>?.*")
_UNKNOWN = re.compile(rf"{PROCESS}{BEFORE}(?:<\.\.\. )?\?+(?:\(| resumed).*")
_PERSONALITY = re.compile(
    r"(?:strace: )?(?P<pid>)\[ Process PID=(?P<process>\d+) runs in (?P<mode>.+) mode\. \]"
)
_NO_CALL = re.compile(
    rf"{PROCESS}{BEFORE}(?:--- .* ---|\+\+\+ .* \+\+\+)"
    r"|strace: .*| > .*|\[ .* \]|Process \d+ (?:attached|detached)(?: .*)?|\) += .*"
)
_TABLE = re.compile(r" *% time .*")
_NUMBERED = re.compile(r"syscall_0x([0-9a-f]{1,8})")
_GROUP = "calls of the trace"
_HANDLED = re.compile(r"(SIGCHLD|SIGPIPE), \{sa_handler=(?!SIG_(?:DFL|IGN)\b)")
_SIGNALS = {"SIGCHLD": SIGCHLD, "SIGPIPE": SIGPIPE}
_MOST_ERRORS = 50
_WHOLE_PROCESS = frozenset({"fork", "vfork"})


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return a policy that allows the calls of a trace. Raises InputError with every error."""
    draft = Draft(file)
    abis = draft.abis(reading, "a trace does not say its architecture")
    if len(abis) > 1:
        what = "a trace is of one architecture: name one with --for"
        raise InputError(Diagnostic(what, Position(file), Problem.WRONG_VALUE))
    reader = _TraceReader(file, abis[0], tables, draft)
    for number, line in enumerate(text.split("\n"), 1):
        reader.read(line.rstrip("\r"), number)
    if not reader.errors and not reader.observed.calls:
        what = "there is no system call here"
        if reader.in_table:
            what += ": a table of strace -c is a profile, for --profile"
        reader.fail(what, 1, Problem.EMPTY_POLICY)
    if reader.errors:
        raise InputError(*reader.errors)
    reader.observed.write(draft, tables)
    return draft


class _TraceReader:
    """A trace, read line by line: the calls ``observed``, and its ``errors``."""

    def __init__(self, file: str, abi: Abi, tables: Tables, draft: Draft) -> None:
        self.observed = Observed()
        self.errors: list[Diagnostic] = []
        self.in_table = False
        self._file = file
        self._abi = abi
        self._tables = tables
        self._draft = draft
        self._abis: dict[str, Abi] = {}
        """The current ABI of each process that changed its personality."""

    def fail(self, text: str, line: int, kind: Problem, column: int = 1) -> None:
        """Add an error."""
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(Diagnostic(text, Position(self._file, line, column), kind))

    def read(self, line: str, number: int) -> None:
        """Read one line."""
        if self.in_table or not line.strip():
            return
        if _TABLE.fullmatch(line):
            self.in_table = True  # -C writes its table after the trace
        elif found := _PERSONALITY.fullmatch(line):
            self._change(found["process"], found["mode"], number)
        elif found := _CALL.fullmatch(line):
            self._call(found, number)
        elif found := _RESUMED.fullmatch(line):
            # If its unfinished line was seen, the call is known already.
            self._add(found, number)
        elif _UNKNOWN.fullmatch(line):
            text = "strace did not see which call this is: it is not allowed by this"
            where = Position(self._file, number, 1)
            self._draft.note(text, where, Problem.CALL_SKIPPED)
        elif not _NO_CALL.fullmatch(line):
            text = f"no line of strace: {printable(line[:60])!r}; write the trace with strace -o"
            self.fail(text, number, Problem.MALFORMED_FILE)

    def _change(self, process: str, mode: str, number: int) -> None:
        """Set the ABI of a process that changed its personality."""
        siblings = [ABIS[name] for name in self._abi.siblings]
        candidates = [self._abi, *siblings] if mode != "x32" else siblings
        found = next((one for one in candidates if _mode(one) == mode), None)
        if found is None:
            text = f"{self._abi.name} has no {mode} mode: name the ABI with --for"
            self.fail(text, number, Problem.UNKNOWN_ABI)
        else:
            self._abis[process] = found

    def _abi_at(self, found: re.Match[str]) -> Abi:
        process = re.search(r"\d+", found["pid"] or "")
        if process is None and len(self._abis) == 1:
            return next(iter(self._abis.values()))
        return self._abis.get(process[0], self._abi) if process else self._abi

    def _call(self, found: re.Match[str], number: int) -> None:
        name, rest = found["name"], found["rest"]
        if name in _WHOLE_PROCESS or (name.startswith("clone") and "CLONE_THREAD" not in rest):
            self.observed.processes = True
        elif name.startswith("clone"):
            self.observed.threads = True
        elif name in {"rt_sigaction", "sigaction"} and (handled := _HANDLED.match(rest)):
            self.observed.catches.add(_SIGNALS[handled[1]])
        self._add(found, number)

    def _add(self, found: re.Match[str], number: int) -> None:
        name, abi = found["name"], self._abi_at(found)
        where = Position(self._file, number, found.start("name") + 1)
        table = self._tables.tables.get(abi.name)
        call: str | int = name
        if numbered := _NUMBERED.fullmatch(name):
            call = int(numbered[1], 16)
            call = table.names.get(call, call) if table else call
        elif table and name not in table.numbers:
            known = did_you_mean(name, table.numbers) if not self.errors else ""
            text = f"no call of {abi.name} is {name!r}{known}: name the ABI of the trace with --for"
            self.fail(text, number, Problem.UNKNOWN_CALL, where.column)
            return
        self.observed.add(abi, call, _GROUP, where)


def _mode(abi: Abi) -> str:
    """Return strace's name for the mode of processes of ``abi``."""
    return "x32" if abi.name == "x32" else f"{abi.bits} bit"
