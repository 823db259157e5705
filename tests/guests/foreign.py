"""Programs of another ABI of the same kernel, and what the filters of one ABI must do to them.

Each is a whole executable of a few instructions: it makes one call, without arguments, and exits
with the negated result, so that an errno is its status. A filter decides about it from its first
call on, since exec keeps filters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from escape.foreign import elf
from guests.inside.confined import USERS
from oracle import ABIS
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGSYS = 31


def _code(abi: str, nr: int) -> bytes:
    if abi == "x86_64":
        # mov eax, NR; syscall; neg eax; mov edi, eax; mov eax, 60; syscall; ud2
        return (
            b"\xb8"
            + nr.to_bytes(4, "little")
            + bytes.fromhex("0f05 f7d8 89c7 b83c000000 0f05 0f0b")
        )
    if abi == "i386":
        # mov eax, NR; int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80; ud2
        return (
            b"\xb8"
            + nr.to_bytes(4, "little")
            + bytes.fromhex("cd80 f7d8 89c3 b801000000 cd80 0f0b")
        )
    if abi == "aarch64":
        # ldr w8, nr; svc 0; neg x0, x0; mov x8, 93; svc 0; udf 0; nr: .word NR
        words = (0x180000C8, 0xD4000001, 0xCB0003E0, 0xD2800BA8, 0xD4000001, 0, nr)
    else:
        # ldr r7, nr; svc 0; rsb r0, r0, 0; mov r7, 1; svc 0; udf 0; nr: .word NR
        words = (0xE59F7010, 0xEF000000, 0xE2600000, 0xE3A07001, 0xEF000000, 0xE7F000F0, nr)
    return struct.pack("<7I", *words)


def executable(abi: str, nr: int) -> bytes:
    """Return an ELF file that makes call ``nr``."""
    return elf(abi, _code(abi, nr))


@dataclass(frozen=True, slots=True)
class Trial:
    """A policy, a program of another ABI, and how it must end."""

    policy: dict[str, Any]
    executable: bytes
    end: list[object]


OTHER = {"x86_64": "i386", "i386": "x86_64", "aarch64": "arm", "arm": "aarch64"}
"""Of which ABI programs are started, from which."""


def trials(abi: str) -> Iterator[Trial]:
    """Yield what is to be tried under filters for ``abi``."""
    other = OTHER[abi]
    name = "getuid" if abi in {"i386", "arm"} else "getuid32"
    nr = plain_tables()[other][name]
    program = executable(other, nr)
    arch = ABIS[other].audit_arch
    deny = {"action": "errno(7)", "names": ["getuid"]}
    base = {"arches": [abi], "default_action": "allow", "syscalls": [deny]}
    yield Trial(base, program, ["signal", SIGSYS])
    yield Trial(base | {"bad_arch_action": "kill_thread"}, program, ["signal", SIGSYS])
    yield Trial(base | {"bad_arch_action": "trap(77)"}, program, ["trap", 77, arch])
    served = base | {"compat_arches": [other]}
    uid = -USERS[0] & 0xFF
    deny_other = {"action": "errno(7)", "optional": True, "names": [name]}
    yield Trial(served | {"syscalls": [deny_other]}, program, ["exit", 7])
    trap = {"action": "trap(9)", "optional": True, "names": [name]}
    yield Trial(served | {"syscalls": [trap]}, program, ["trap", 9, arch])
    neither = {"action": "errno(7)", "names": ["getppid"]}
    yield Trial(served | {"syscalls": [neither]}, program, ["exit", uid])
    # By the rules of the ABI that the program is not of, the number would be another call.
    own = plain_tables()[abi]
    namesake = next((n for n, number in own.items() if number == nr), None)
    if namesake and namesake not in plain_tables()[other]:
        rule = {"action": "errno(7)", "names": [namesake]}
        yield Trial(served | {"syscalls": [rule]}, program, ["exit", uid])
