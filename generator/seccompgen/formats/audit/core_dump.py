"""The siginfo in an ELF core dump, which identifies the call that a filter answered with SIGSYS.

A core file begins with its notes. NT_SIGINFO holds the signal that ended the process, as
``siginfo_t`` (include/uapi/asm-generic/siginfo.h).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x7fELF"
LOOKED_AT = 8 << 20
"""Bytes of a core that are read: its notes lie at the start."""
_ET_CORE, _PT_NOTE, _NT_SIGINFO = 4, 4, 0x53494749
_EM_MIPS, _SYS_SECCOMP = 8, 1
_SIGSYS, _SIGSYS_ON_MIPS = 31, 12
_MOST_HEADERS = 1 << 16


class CoreSignal(NamedTuple):
    """The call for which a filter ended a process: its number, audit value and address."""

    nr: int
    audit_arch: int
    address: int


def signal_of(core: bytes) -> CoreSignal:
    """Return the SIGSYS at the start of a core dump. Raises ValueError if there is none."""
    if core[:4] != MAGIC or len(core) < 64 or core[4] not in {1, 2} or core[5] not in {1, 2}:
        raise ValueError("no ELF file")
    wide, order = core[4] == 2, "<" if core[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", core, 16)
    if kind != _ET_CORE:
        raise ValueError("an ELF file, but no core dump")
    for note_type, content in _notes(core, order, wide=wide):
        if note_type == _NT_SIGINFO:
            return _signal(content, order, wide=wide, mips=machine == _EM_MIPS)
    raise ValueError("a core dump without the signal that caused it")


def _signal(content: bytes, order: str, *, wide: bool, mips: bool) -> CoreSignal:
    layout = f"{order}iiiiQiI" if wide else f"{order}iiiIiI"
    if len(content) < struct.calcsize(layout):
        raise ValueError("a core dump whose signal is cut off")
    fields = struct.unpack_from(layout, content)
    number, code = fields[0], fields[1] if mips else fields[2]
    if number != (_SIGSYS_ON_MIPS if mips else _SIGSYS) or code != _SYS_SECCOMP:
        raise ValueError(f"a core dump of signal {number}, which no filter sent")
    address, nr, audit_arch = fields[-3:]
    return CoreSignal(nr & 0xFFFFFFFF, audit_arch, address)


def _notes(core: bytes, order: str, *, wide: bool) -> Iterator[tuple[int, bytes]]:
    if wide:
        (start,) = struct.unpack_from(f"{order}Q", core, 32)
        size, count = struct.unpack_from(f"{order}HH", core, 54)
        layout, offset_at, length_at = f"{order}IIQQQQQQ", 2, 5
    else:
        (start,) = struct.unpack_from(f"{order}I", core, 28)
        size, count = struct.unpack_from(f"{order}HH", core, 42)
        layout, offset_at, length_at = f"{order}IIIIIIII", 1, 4
    for n in range(min(count, _MOST_HEADERS)):
        at = start + n * size
        if size < struct.calcsize(layout) or at + size > len(core):
            return
        header = struct.unpack_from(layout, core, at)
        if header[0] == _PT_NOTE:
            end = header[offset_at] + header[length_at]
            yield from _in_segment(core[header[offset_at] : end], order)


def _in_segment(segment: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 12 <= len(segment):
        name, length, kind = struct.unpack_from(f"{order}III", segment, at)
        at += 12 + (name + 3 & ~3)
        yield kind, segment[at : at + length]
        at += length + 3 & ~3
