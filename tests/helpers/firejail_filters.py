"""firejail's own filters, stacked as the kernel does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.program import Instruction, decode
from seccompgen.verify import Code, Operation, Stack

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.verify.stack import FilterSemantics

X86_64, I386 = (ABIS[name].audit_arch for name in ("x86_64", "i386"))
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_KILL, _ALLOW = 0x80000000, 0x7FFF0000


def _guard(foreign: int) -> Code:
    """Return a filter for what is not compared: it kills other ABIs, and numbers from 2**31 on.

    ``foreign`` is the answer to calls through i386.
    """
    lines = (
        Instruction(_LOAD, 0, 0, 4),
        Instruction(_EQUAL, 4, 0, I386),
        Instruction(_EQUAL, 0, 2, X86_64),
        Instruction(_LOAD, 0, 0, 0),
        Instruction(_AT_LEAST, 0, 2, 1 << 31),
        Instruction(_RETURN, 0, 0, _KILL),
        Instruction(_RETURN, 0, 0, foreign),
        Instruction(_RETURN, 0, 0, _ALLOW),
    )
    return Code(lines, "little")


def compared(*filters: FilterSemantics, without_i386: bool = False) -> Stack:
    """Return filters, the oldest first, on all calls that a profile of firejail is about."""
    return Stack(Operation.INTERSECT, (_guard(_KILL if without_i386 else _ALLOW), *filters))


def installed(folder: Path) -> list[Code]:
    """Return the filters that firejail's files in ``folder`` install, the oldest first.

    It loads those that seccomp.list names, and installs the last first.
    """
    listed = folder / "seccomp.list"
    names = dict.fromkeys(listed.read_text().split()) if listed.exists() else ()
    files = [folder / name.rpartition("/")[2] for name in names]
    return [Code(decode(file.read_bytes(), ABIS["x86_64"]), "little") for file in reversed(files)]
