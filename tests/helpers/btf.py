"""Read functions and their parameters from BTF, the running kernel's own types.

The format is the kernel's (Documentation/bpf/btf.rst): a header, then types one after another, then
strings. A type is three words, and more by its kind.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")
_QUALIFIERS = {8, 9, 10, 11}
"""Kinds that give another type a name, or qualify it."""
_INT, _PTR, _ENUM, _TYPEDEF, _FUNC, _FUNC_PROTO = 1, 2, 6, 8, 12, 13
_MORE = {1: 4, 3: 12, 14: 4, 17: 4}
"""Bytes behind the three words, by kind; those of `_EACH` come once for each member."""
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}


@dataclass(frozen=True, slots=True)
class BtfParameter:
    """A parameter as BTF has it; ``bits`` are its size, ``type`` the name of its type."""

    name: str
    type: str
    bits: int
    signed: bool
    pointer: bool


class Btf:
    """The types of one BTF blob."""

    def __init__(self, content: bytes) -> None:
        magic, _, _, header, type_off, type_len, str_off, _ = struct.unpack_from(
            "<HBBIIIII", content
        )
        assert magic == 0xEB9F
        self._content = content
        self._strings = header + str_off
        self._at: list[int] = [0]
        at, end = header + type_off, header + type_off + type_len
        while at < end:
            self._at.append(at)
            kind, count = self._kind(at)
            at += 12 + _MORE.get(kind, 0) + _EACH.get(kind, 0) * count

    def functions(self) -> dict[str, tuple[BtfParameter, ...]]:
        """Return the parameters of every function, by its name."""
        found = {}
        for at in self._at[1:]:
            if self._kind(at)[0] == _FUNC:
                name, _, proto = struct.unpack_from("<III", self._content, at)
                found[self._string(name)] = self._parameters(self._at[proto])
        return found

    def named(self) -> dict[str, BtfParameter]:
        """Return an argument of every type that has a name and can be one, by that."""
        found = {}
        for ref, at in enumerate(self._at[1:], 1):
            if self._kind(at)[0] in {_INT, _ENUM, _TYPEDEF}:
                one = self._parameter("", ref)
                if one.bits:
                    name = struct.unpack_from("<I", self._content, at)[0]
                    found[self._string(name)] = one
        return found

    def _parameters(self, at: int) -> tuple[BtfParameter, ...]:
        assert self._kind(at)[0] == _FUNC_PROTO
        pairs = struct.iter_unpack("<II", self._content[at + 12 : at + 12 + 8 * self._kind(at)[1]])
        return tuple(self._parameter(self._string(name), ref) for name, ref in pairs)

    def _parameter(self, name: str, ref: int) -> BtfParameter:
        spelled = ""
        while ref:
            at = self._at[ref]
            kind = self._kind(at)[0]
            label, _, size_or_ref = struct.unpack_from("<III", self._content, at)
            spelled = spelled or self._string(label)
            if kind == _PTR:
                return BtfParameter(name, "*", 64, signed=False, pointer=True)
            if kind == _INT:
                encoding = struct.unpack_from("<I", self._content, at + 12)[0]
                signed = bool(encoding >> 24 & 1)
                return BtfParameter(name, spelled, size_or_ref * 8, signed, pointer=False)
            if kind == _ENUM:
                return BtfParameter(name, spelled, size_or_ref * 8, signed=False, pointer=False)
            if kind not in _QUALIFIERS:
                break
            ref = size_or_ref
        return BtfParameter(name, "void", 0, signed=False, pointer=False)

    def _kind(self, at: int) -> tuple[int, int]:
        info = struct.unpack_from("<I", self._content, at + 4)[0]
        return info >> 24 & 0x1F, info & 0xFFFF

    def _string(self, offset: int) -> str:
        start = self._strings + offset
        return self._content[start : self._content.index(b"\0", start)].decode()
