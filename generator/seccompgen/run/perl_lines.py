"""The line of Perl that a process executes, if its program is perl(1) built with threads.

It is the line that Perl itself prints in ``at FILE line N``. `PL_curinterp` points to the
interpreter, whose `PL_curcop` is the statement that runs, and `PL_op` the operation. The offset of
`PL_curcop` changes with releases, so it is searched for: no other pointer near the interpreter's
beginning leads to a statement. An operation is recognized by its type, whose name is in
`PL_op_name`, and by the function that `PL_ppaddr` has for the type. The optimizer removes the
statement of a block that has only one; its rest is found in the tree of operations, as Perl does.

Linux distributions build Perl with threads. Without them a statement refers to its file by a glob.
If a process contains several interpreters, as a web server may, nothing shows which one runs.

Sources: perl's intrpvar.h, cop.h, op.h, perlinterp(1).
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.text import printable
from seccompgen.run.process import UnreadableError
from seccompgen.run.symbols import symbols_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.run.process import Process

_PROGRAM = re.compile(r"perl[0-9.]*(-[\w-]+)?")
_FILE = re.compile(r"(perl|libperl\.so)[0-9.]*(-[\w-]+)?")
_NEEDED = ("PL_curinterp", "PL_ppaddr", "PL_op_name", "PL_bincompat_options")
_INTERPRETER = 320
"""Bytes of the interpreter that are searched for the statement; in 5.40 it is the 27th word."""
_OPERATION = struct.Struct("<8xQQQHB5xQ")
"""``struct unop``: op_sibparent, op_ppaddr, op_targ, op_type, op_flags, op_first."""
_LOCATION = struct.Struct("<36xI8xQ")
"""``struct cop`` with threads: cop_line, cop_file."""
_TYPE, _HAS_KIDS = 0x1FF, 4
_STATEMENTS = frozenset({b"nextstate", b"dbstate"})
_OPERATIONS_MAX = 2000
_DEEPEST = 200


class _Perl(NamedTuple):
    """The addresses of the variables that are needed of a perl."""

    interpreter: int
    functions: int
    names: int
    options: int


def perl_lines(process: Process) -> tuple[str, ...]:
    """Return ``file:line`` of the statement that runs, alone; empty if it is unknown."""
    try:
        return _lines(process)
    except (UnreadableError, struct.error):
        return ()


def _lines(process: Process) -> tuple[str, ...]:
    name = (process.executable or "").rpartition("/")[2]
    # Each Perl thread has an interpreter of its own.
    if not _PROGRAM.fullmatch(name) or process.threads != 1 or process.bits != 64:
        return ()
    perl = _perl(process)
    if perl is None or b"USE_ITHREADS" not in (process.string(perl.options) or b""):
        return ()
    words = struct.unpack("<40Q", process.exactly(process.pointer(perl.interpreter), _INTERPRETER))
    tree = _OperationTree(process, perl)
    for address in words[2:]:
        if tree.is_statement(address):
            line, file = _LOCATION.unpack(
                process.exactly(tree.nearest(address, words[1]), _LOCATION.size)
            )
            text = process.string(file)
            return (f"{printable(os.fsdecode(text))}:{line}",) if text else ()
    return ()


class _PerlOperation(NamedTuple):
    """An operation; ``sibling`` of the last one is its parent."""

    sibling: int
    function: int
    target: int
    type: int
    flags: int
    first: int


class _OperationTree:
    """Perl's tree of operations, in the memory of a process."""

    def __init__(self, process: Process, perl: _Perl) -> None:
        self._process = process
        self._perl = perl
        self._read = 0

    def is_statement(self, address: int) -> bool:
        """Return True if a statement is at the address."""
        data = self._process.memory(address, _OPERATION.size)
        if data is None or len(data) != _OPERATION.size:
            return False
        one = _PerlOperation(*_OPERATION.unpack(data))
        kind = one.type & _TYPE
        of_kind = self._process.pointer(self._perl.functions + 8 * kind)
        return one.function != 0 and one.function == of_kind and self._name(kind) in _STATEMENTS

    def _name(self, kind: int) -> bytes:
        return self._process.string(self._process.pointer(self._perl.names + 8 * kind)) or b""

    def nearest(self, statement: int, current: int) -> int:
        """Return the last statement before the operation ``current``, from ``statement`` on."""
        body = self._operation(statement).sibling
        if not body or statement in self._kids(body):
            return statement
        return self._nearest(statement, body, current, 0) or statement

    def _nearest(self, statement: int, operation: int, current: int, depth: int) -> int:
        if operation == current:
            return statement
        if depth > _DEEPEST:
            raise UnreadableError
        for kid in self._kids(operation):
            one = self._operation(kid)
            # An operation that was optimized away keeps its former type in ``target``.
            if one.type & _TYPE == 0 and one.target and self._name(one.target) in _STATEMENTS:
                statement = kid
            if found := self._nearest(statement, kid, current, depth + 1):
                return found
        return 0

    def _kids(self, address: int) -> Iterator[int]:
        one = self._operation(address)
        kid = one.first if one.flags & _HAS_KIDS else 0
        while kid and kid != address:
            yield kid
            kid = self._operation(kid).sibling

    def _operation(self, address: int) -> _PerlOperation:
        self._read += 1
        if self._read > _OPERATIONS_MAX:
            raise UnreadableError
        return _PerlOperation(*_OPERATION.unpack(self._process.exactly(address, _OPERATION.size)))


def _perl(process: Process) -> _Perl | None:
    for mapping in process.mappings:
        if mapping.offset or not _FILE.fullmatch(mapping.file.rpartition("/")[2]):
            continue
        symbols = symbols_of(process, mapping)
        if symbols and {*_NEEDED} <= symbols.objects.keys():
            loaded = mapping.start - symbols.base
            return _Perl(*(symbols.objects[name] + loaded for name in _NEEDED))
    return None
