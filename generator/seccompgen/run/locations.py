"""The location of a call in native code: the function, and on x86_64 its callers.

Callers are found by the return addresses on the stack, without unwind tables. A word of the stack
may be left over from an earlier call. So it counts only if the instruction before its address calls
the last function found: directly, by the PLT, or by a word of the GOT. The chain ends at a call
through a register. glibc makes cancellable calls in nameless functions of its own; the location
then has the name of their caller.

Sources: the AMD64 ABI, "Procedure Linkage Table"; proc(5).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.run.demangle import readable
from seccompgen.run.process import CodeLocation
from seccompgen.run.symbols import symbols_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.run.process import Mapping, Process
    from seccompgen.run.symbols import Symbols

_STACK = 4096
"""Bytes of the stack that are read."""
_WORD = 8
_CALL, _CALL_SLOT, _JUMP_SLOT = b"\xe8", b"\xff\x15", b"\xff\x25"
"""CALL rel32, CALL [RIP+disp32], JMP [RIP+disp32]."""
_STUB = 16
"""Bytes of an entry of the PLT."""


def locations_of(process: Process, address: int, most: int = 1) -> tuple[CodeLocation, ...]:
    """Return the location of a call that ends at ``address``, and its callers: ``most`` in all.

    The call's own location comes first. Empty if nothing is mapped there.
    """
    code = _MappedCode.at(process, address)
    if code is None:
        return ()
    first = code.location(address)
    callers: list[CodeLocation] = []
    led_here = _callers(process, code, address)
    while not first.function or len(callers) + 1 < most:
        caller = next(led_here, None)
        if caller is None:
            break
        if first.function:
            callers.append(caller)
        elif caller.function and caller.file == first.file:
            first = CodeLocation(first.file, first.offset, caller.function, caller.within)
    return (first, *callers)


@dataclass(frozen=True)
class _MappedCode:
    """A mapping of code, and the symbols of its file, None if it has none."""

    mapping: Mapping
    symbols: Symbols | None

    @classmethod
    def at(cls, process: Process, address: int) -> _MappedCode | None:
        mapping = process.mapping(address)
        if mapping is None:
            return None
        is_file = mapping.file.startswith(os.sep)
        return cls(mapping, symbols_of(process, mapping) if is_file else None)

    def location(self, address: int) -> CodeLocation:
        """Return the location of an instruction that ends at ``address``."""
        offset = self._offset(address)
        file = self.mapping.file or "[anonymous]"
        function = self.symbols.around(offset) if self.symbols else None
        if function is None:
            return CodeLocation(file, offset)
        name, within = function
        return CodeLocation(file, offset, readable(name), within)

    def is_function(self, start: int, address: int) -> bool:
        """Return True if a function at ``start`` can contain the instruction before ``address``."""
        return bool(
            self.symbols
            and self.symbols.functions
            and self.mapping.start <= start < address
            and not self.symbols.names_between(self._offset(start), self._offset(address))
        )

    def _offset(self, address: int) -> int:
        return address - self.mapping.start + self.mapping.offset


def _callers(process: Process, code: _MappedCode, address: int) -> Iterator[CodeLocation]:
    """Yield the return location in each caller, innermost first, named or not."""
    if code.symbols is None or code.symbols.machine != "EM_X86_64":
        return
    spans = [(one.start, one.end) for one in process.mappings if one.executable]
    stack = process.memory(process.stack_pointer, _STACK) or b""
    for (word,) in struct.iter_unpack("<Q", stack[: len(stack) // _WORD * _WORD]):
        if not any(start < word < end for start, end in spans):
            continue
        if any(code.is_function(called, address) for called in _called(process, word)):
            caller = _MappedCode.at(process, word)
            if caller is None:
                return
            code, address = caller, word
            yield code.location(address)


def _called(process: Process, after: int) -> Iterator[int]:
    """Yield the targets, also through the PLT, of the call before ``after``, if there is one."""
    size = len(_CALL_SLOT) + 4
    before = process.memory(after - size, size) or b""
    if len(before) < size:
        return
    if before.startswith(_CALL_SLOT):
        yield from _slot(process, before, after)
    if before[1:2] == _CALL:
        target = after + int.from_bytes(before[2:], "little", signed=True)
        yield target
        stub = process.memory(target, _STUB) or b""
        at = stub.find(_JUMP_SLOT)
        if 0 <= at <= _STUB - size:
            yield from _slot(process, stub[at : at + size], target + at + size)


def _slot(process: Process, instruction: bytes, end: int) -> Iterator[int]:
    """Yield the word that an instruction's last four bytes address, relative to its ``end``."""
    word = process.memory(end + int.from_bytes(instruction[-4:], "little", signed=True), _WORD)
    if word and len(word) == _WORD:
        yield int.from_bytes(word, "little")
