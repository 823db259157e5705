"""The kernel's seccomp records in logs: one `SeccompRecord` per line.

The audit daemon's file, ausearch (also with -i), the kernel's log and the journal have the same
fields, ``arch=... syscall=... ip=... code=...``. A signal's siginfo, as gdb and strace print it,
has fewer. None of them has the arguments of the call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS, find_abi
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import RET_DATA_MAX, U32, ActionKind
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.tables import Tables

_RECORD = re.compile(r"\btype=(?:SECCOMP|1326)\b|\baudit(?:\[\d+\])?: SECCOMP (?=\S+=)")
_FIELD = r"(?<![\w-]){}=(\S+)"
_ARCH, _CALL, _CODE, _ADDRESS, _PID = (
    re.compile(_FIELD.format(key)) for key in ("arch", "syscall", "code", "ip", "pid")
)
_COMMAND = re.compile(
    r'(?<![\w-])comm=("(?P<quoted>[^"]*)"|(?P<plain>.*?))(?= exe=| sig=| arch=|$)'
)
_PROGRAM = re.compile(r'(?<![\w-])exe=("(?P<quoted>[^"]*)"|(?P<plain>\S*))')
_EVENT = re.compile(r"audit\((?P<event>[^)\s]+(?: [^)\s]+)?:\d+)\)")
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})")
_ADDRESS_TEXT = re.compile(r"0x([0-9a-fA-F]{1,16})")
_HEX_BYTES = re.compile(r"(?:[0-9A-F]{2})+")
_NUMBER = re.compile(r"(-?[0-9]{1,10})")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_NAMELESS = re.compile(r"unknown-syscall\((-?[0-9]{1,10})\)")
_KILL_WORDS = {"kill", "kill-thread", "kill-process"}

_SIGINFO_CALL = re.compile(r"\b(?:si)?_syscall\s*=\s*(?:__NR_)?(\w+)")
_SIGINFO_ARCH = re.compile(r"\b(?:si)?_arch\s*=\s*(\w+)")
_SIGINFO_ADDRESS = re.compile(r"\b(?:si)?_call_addr\s*=\s*(?:\([^)]*\)\s*)?(0x[0-9a-fA-F]{1,16})")


@dataclass(frozen=True, slots=True)
class SeccompRecord:
    """A call that a filter refused or logged, as it was recorded.

    ``abi`` is the ABI of the call; ``name`` is empty if the number has no name there. ``actions``
    are the possible answers: exactly one if the record states it. ``address`` is that of the
    instruction after the call. ``command`` is the thread's name, ``program`` the path of its
    executable. ``event`` identifies a record that may occur in two logs, and is empty for others.
    """

    position: Position
    abi: Abi
    nr: int
    name: str
    actions: frozenset[ActionKind]
    address: int | None = None
    pid: int | None = None
    command: str = ""
    program: str = ""
    event: str = ""

    @property
    def answer(self) -> str:
        """The action as a policy spells it; empty if the record does not state it."""
        if self.actions == _KILLS:
            return "kill"
        return next(iter(self.actions)).name.lower() if len(self.actions) == 1 else ""


_KILLS = frozenset({ActionKind.KILL_THREAD, ActionKind.KILL_PROCESS})
REFUSING = frozenset(kind for kind in ActionKind if not kind.lets_through)
"""The actions that keep a call from being executed."""
BY_SIGNAL = _KILLS | {ActionKind.TRAP}
"""The actions that send SIGSYS."""


def record_in(line: str) -> str | None:
    """Return the fields of the seccomp record in a log line; None if it has no record."""
    found = _RECORD.search(line)
    return line[found.end() :] if found else None


def parse_record(fields: str, where: Position, tables: Tables) -> SeccompRecord:
    """Return the record with these fields. Raises InputError if they do not identify a call."""
    arch, call = _ARCH.search(fields), _CALL.search(fields)
    if not arch or not call:
        text = "the record has no arch= or no syscall=: it is cut off"
        raise InputError(Diagnostic(text, where, Problem.MALFORMED_FILE))
    abi, nr, name = _call(arch[1], call[1], where, tables)
    pid, event = _PID.search(fields), _EVENT.search(fields)
    return SeccompRecord(
        where,
        abi,
        nr,
        name,
        _actions(fields),
        _address(fields),
        int(pid[1]) if pid and _NUMBER.fullmatch(pid[1]) else None,
        _text(_COMMAND.search(fields)),
        _text(_PROGRAM.search(fields)),
        event["event"] if event else "",
    )


def siginfo_in(text: str) -> bool:
    """Return True if a text has a field of a SIGSYS's siginfo that describes the call."""
    return any(one.search(text) for one in (_SIGINFO_CALL, _SIGINFO_ARCH, _SIGINFO_ADDRESS))


def parse_siginfo(text: str, where: Position, tables: Tables) -> SeccompRecord | None:
    """Return the call in a siginfo as gdb or strace print it; None if arch or number is missing."""
    arch, call = _SIGINFO_ARCH.search(text), _SIGINFO_CALL.search(text)
    if not arch or not call:
        return None
    value = arch[1]
    if value.isdecimal():
        value = f"{int(value):#x}"
    abi, nr, name = _call(value, call[1], where, tables)
    address = _SIGINFO_ADDRESS.search(text)
    called_at = int(address[1], 16) if address else None
    return SeccompRecord(where, abi, nr, name, BY_SIGNAL, called_at)


def call_of(audit_arch: int, number: int, where: Position, tables: Tables) -> tuple[Abi, int, str]:
    """Return ABI, number and name of a call. Raises InputError if no ABI has ``audit_arch``."""
    table = tables.table_of(audit_arch, number & U32)
    if table is None:
        text = f"unknown arch={audit_arch:08x}"
        raise InputError(Diagnostic(text, where, Problem.UNKNOWN_ABI))
    return ABIS[table.abi.name], number & U32, table.names.get(number & U32, "")


def _call(arch: str, call: str, where: Position, tables: Tables) -> tuple[Abi, int, str]:
    audit, named = _HEX.fullmatch(arch), _by_name(arch)
    if named:
        audit_arch = named.audit_arch
    elif audit:
        audit_arch = int(audit[1], 16)
    else:
        raise InputError(Diagnostic(f"unknown arch={arch[:40]}", where, Problem.UNKNOWN_ABI))
    if number := _NUMBER.fullmatch(call) or _NAMELESS.fullmatch(call):
        return call_of(audit_arch, int(number[1]), where, tables)
    table = tables.tables.get(named.name) if named else tables.table_of(audit_arch, 0)
    if table is None or not _NAME.fullmatch(call):
        raise InputError(Diagnostic(f"unknown syscall={call[:40]}", where, Problem.UNKNOWN_CALL))
    if call not in table.numbers:
        text = f"no call of {table.abi.name} is {call!r}"
        raise InputError(Diagnostic(text, where, Problem.UNKNOWN_CALL))
    return ABIS[table.abi.name], table.numbers[call], call


def _address(fields: str) -> int | None:
    """Return the address of the instruction after the call."""
    found = _ADDRESS.search(fields)
    digits = _ADDRESS_TEXT.fullmatch(found[1]) if found else None
    return int(digits[1], 16) if digits else None


def _by_name(text: str) -> Abi | None:
    """Return the ABI with a name, such as ``ausearch -i`` prints; None for hexadecimal digits."""
    if text.startswith("AUDIT_ARCH_"):
        return next((abi for abi in ABIS.values() if abi.audit_arch_name == text), None)
    return find_abi(text) if not _HEX.fullmatch(text) or not text[:1].isdigit() else None


def _actions(fields: str) -> frozenset[ActionKind]:
    """Return the possible actions of a record: all that refuse if it states none (old kernels)."""
    code = _CODE.search(fields)
    if not code:
        return REFUSING
    if number := _HEX.fullmatch(code[1]):
        value = int(number[1], 16) & ~RET_DATA_MAX
        return frozenset(kind for kind in ActionKind if kind.value == value) or REFUSING
    word = code[1].lower()
    # ausearch -i does not distinguish the two kill actions.
    if word in _KILL_WORDS:
        return _KILLS
    return frozenset(kind for kind in ActionKind if kind.name.lower() == word) or REFUSING


def _text(found: re.Match[str] | None) -> str:
    """Return a name or a path, which records write in quotes, plain or as hexadecimal digits."""
    if not found:
        return ""
    if found["quoted"] is not None:
        return found["quoted"]
    plain = found["plain"].strip()
    if _HEX_BYTES.fullmatch(plain):
        return bytes.fromhex(plain).decode(errors="backslashreplace")
    return plain
