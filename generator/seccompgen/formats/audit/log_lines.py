"""Log lines about refused calls: seccomp records, and deaths by SIGSYS without a record.

A line is plain text or an object of ``journalctl -o json``. Service managers and shells report only
that SIGSYS ended a process, not which call it made.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seccompgen.formats.audit.records import (
    SeccompRecord,
    parse_record,
    parse_siginfo,
    record_in,
    siginfo_in,
)

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.core.tables import Tables

_SIGSYS_NUMBERS = {"31", "12"}
_DEATH = re.compile(
    r"\bstatus=\d+/SYS\b|\bSIGSYS\b|\bsignal: ?\d+ \(SYS\)|\bbad system call\b"
    r"|\bexit(?:ed|Code)?\b.{0,20}\b159\b",
    re.IGNORECASE,
)
_LOST = re.compile(
    r"\bkauditd_printk_skb: (\d+) callbacks suppressed|\baudit: (\d+) callbacks suppressed"
    r"|\baudit_lost=(\d+)"
)
_FIELDS = ("ARCH", "SYSCALL", "CODE", "IP")
_REMEMBERED = 4096
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class UntoldDeath:
    """A line that reports a process ended by SIGSYS, without the call."""

    position: Position
    text: str


@dataclass(frozen=True, slots=True)
class LostRecords:
    """A line that reports how many records the kernel dropped."""

    count: int


class LogReader:
    """Reads lines one after the other; an event that two logs report counts once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._recent: deque[tuple[object, ...]] = deque(maxlen=_REMEMBERED)
        self._siginfo = ""

    def read(self, line: str, where: Position) -> SeccompRecord | UntoldDeath | LostRecords | None:
        """Return what a line reports; None if it repeats an event or is about something else.

        Raises InputError for a record that cannot be understood.
        """
        if line.lstrip()[:1] == "{" and (entry := _object(line)):
            return self._entry(entry, where)
        return self._text(line, where)

    def _text(self, line: str, where: Position) -> SeccompRecord | UntoldDeath | LostRecords | None:
        if fields := record_in(line):
            return self._new(parse_record(fields, where, self._tables))
        if siginfo_in(line):
            return self._half(line, where)
        if lost := _LOST.search(line):
            count = int(next(one for one in lost.groups() if one))
            return LostRecords(count) if count else None
        if _DEATH.search(line):
            return UntoldDeath(where, line.strip()[:_MOST_SHOWN])
        return None

    def _half(self, line: str, where: Position) -> SeccompRecord | None:
        """Return the call of a siginfo that may be spread over lines; None until it is complete."""
        found = parse_siginfo(line, where, self._tables)
        if found is None:
            self._siginfo = f"{self._siginfo} {line}"[-1000:]
            found = parse_siginfo(self._siginfo, where, self._tables)
        if found is not None:
            self._siginfo = ""
        return found

    def _entry(
        self, entry: dict[str, Any], where: Position
    ) -> SeccompRecord | UntoldDeath | LostRecords | None:
        """Return what an entry of the journal reports."""
        message = _message(entry.get("MESSAGE"))
        if _text_of(entry.get("_AUDIT_TYPE")) == "1326":
            fields = message
            if any(f"{one.lower()}=" not in message for one in ("ARCH", "SYSCALL")):
                known = {one: _text_of(entry.get(f"AUDIT_FIELD_{one}")) for one in _FIELDS}
                fields = " ".join(f"{one.lower()}={text}" for one, text in known.items() if text)
            record = parse_record(f" {fields}", where, self._tables)
            if not record.command and (command := _text_of(entry.get("_COMM"))):
                record = replace(record, command=command)
            if not record.program and (program := _text_of(entry.get("_EXE"))):
                record = replace(record, program=program)
            return self._new(replace(record, event=_event(entry)))
        if _text_of(entry.get("COREDUMP_SIGNAL_NAME")) == "SIGSYS" or (
            _text_of(entry.get("COREDUMP_SIGNAL")) in _SIGSYS_NUMBERS
            and "SYS" in _text_of(entry.get("COREDUMP_SIGNAL_NAME") or "SYS")
        ):
            first = message.strip().partition("\n")[0]
            return UntoldDeath(where, first[:_MOST_SHOWN])
        for line in message.splitlines():
            if (found := self._text(line, where)) is not None:
                return found
        return None

    def _new(self, record: SeccompRecord) -> SeccompRecord | None:
        """Return ``record``; None if another log reported the same event."""
        key = record.event, record.pid, record.abi.name, record.nr
        if record.event and key in self._recent:
            return None
        self._recent.append(key)
        return record


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _message(value: object) -> str:
    """Return the text of a field; the journal's JSON writes text that is not UTF-8 as numbers."""
    if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
        return bytes(one & 0xFF for one in value).decode(errors="backslashreplace")
    return _text_of(value)


def _text_of(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value) if isinstance(value, str | int) else ""


def _event(entry: dict[str, Any]) -> str:
    """Return an event's name in the kernel's log: seconds, milliseconds, serial; else empty."""
    moment, serial = (
        _text_of(entry.get(key)) for key in ("_SOURCE_REALTIME_TIMESTAMP", "_AUDIT_ID")
    )
    if not (moment.isdecimal() and serial.isdecimal()):
        return ""
    return f"{int(moment) // 1_000_000}.{int(moment) // 1000 % 1000:03}:{serial}"
