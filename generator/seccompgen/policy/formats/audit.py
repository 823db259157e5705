"""The kernel's records of seccomp as observations: calls that were refused or logged.

As the audit daemon's file has them, ausearch (also with -i), dmesg and the journal; and lines of
the Security Profiles Operator's log enricher. All else in such logs is no record, and skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS, find_abi
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import U32, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.policy.formats.draft import Draft
from seccompgen.policy.formats.observed import Observed
from seccompgen.policy.formats.targets import target_abis

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_RECORD = re.compile(r"\btype=(?:SECCOMP|1326)\b")
_ENRICHED = re.compile(r'"?syscallName"?[=:]\s*"(?P<name>[a-z_][a-z0-9_]*)"')
_FIELD = r"(?<![\w-]){}=(\S+)"
_ARCH, _CALL, _CODE = (re.compile(_FIELD.format(key)) for key in ("arch", "syscall", "code"))
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})")
_NUMBER = re.compile(r"-?[0-9]{1,10}")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_WORDS = {"kill": "kill_thread", "kill-thread": "kill_thread", "kill-process": "kill_process"}
_MOST_ERRORS = 50


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return a policy that allows the calls of records. Raises InputError with every error."""
    draft, observed = Draft(file), Observed()
    errors: list[Diagnostic] = []
    enriched: Abi | None = None
    for number, line in enumerate(text.split("\n"), 1):
        where = Position(file, number, 1)
        try:
            if found := _RECORD.search(line):
                _add(line[found.end() :], observed, where, tables)
            elif name := _ENRICHED.search(line):
                if enriched is None:
                    why = "the operator's lines do not say their architecture"
                    enriched = target_abis(reading, draft, why)[0]
                _add_name(name["name"], enriched, observed, where, tables, "recorded")
        except InputError as error:
            errors += error.diagnostics
    if not errors and not observed.calls:
        what = "no record of seccomp stands here, such as type=SECCOMP ... arch= syscall="
        errors.append(Diagnostic(what, Position(file, 1, 1), Problem.EMPTY_POLICY))
    if errors:
        raise InputError(*errors[:_MOST_ERRORS])
    observed.write(draft, tables)
    return draft


def _add(record: str, observed: Observed, where: Position, tables: Tables) -> None:
    """Add the call of a record; raise InputError if it does not say which."""
    arch, call = _ARCH.search(record), _CALL.search(record)
    if not arch or not call:
        text = "the record has no arch= or no syscall=: it is cut off"
        raise InputError(Diagnostic(text, where, Problem.MALFORMED_FILE))
    group = f"answered {_answer(record)} when the log was written"
    audit = _HEX.fullmatch(arch[1])
    named = _by_name(arch[1])
    if not audit or named:
        if named is None:
            raise InputError(Diagnostic(f"unknown arch={arch[1][:40]}", where, Problem.UNKNOWN_ABI))
        audit_arch = named.audit_arch
    else:
        audit_arch = int(audit[1], 16)
    if not _NUMBER.fullmatch(call[1]):
        abi = named or _abi(audit_arch, 0, tables)
        if not _NAME.fullmatch(call[1]) or abi is None:
            raise InputError(
                Diagnostic(f"unknown syscall={call[1][:40]}", where, Problem.UNKNOWN_CALL)
            )
        _add_name(call[1], abi, observed, where, tables, group)
        return
    number = int(call[1]) & U32
    abi = _abi(audit_arch, number, tables)
    if abi is None:
        raise InputError(Diagnostic(f"unknown arch={arch[1][:40]}", where, Problem.UNKNOWN_ABI))
    observed.add(abi, tables.tables[abi.name].names.get(number, number), group, where)


def _by_name(text: str) -> Abi | None:
    """Return the ABI that ``ausearch -i`` calls so; hexadecimal digits are no name."""
    return find_abi(text) if not _HEX.fullmatch(text) or not text[:1].isdigit() else None


def _abi(audit_arch: int, number: int, tables: Tables) -> Abi | None:
    table = tables.table_of(audit_arch, number)
    return ABIS[table.abi.name] if table else None


def _add_name(
    name: str, abi: Abi, observed: Observed, where: Position, tables: Tables, group: str
) -> None:
    table = tables.tables.get(abi.name)
    if table and name not in table.numbers:
        text = f"no call of {abi.name} is {name!r}"
        raise InputError(Diagnostic(text, where, Problem.UNKNOWN_CALL))
    observed.add(abi, name, group, where)


def _answer(record: str) -> str:
    """Return the action that a record tells of; records of old kernels tell none."""
    code = _CODE.search(record)
    if not code:
        return "otherwise"
    if number := _HEX.fullmatch(code[1]):
        kinds = {kind.value: kind for kind in ActionKind}
        kind = kinds.get(int(number[1], 16) & ~0xFFFF)
        return kind.name.lower() if kind else "otherwise"
    word = code[1].lower()
    known = {kind.name.lower() for kind in ActionKind}
    return _WORDS.get(word, word if word in known else "otherwise")
