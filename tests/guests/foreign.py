"""Programs of another ABI of the same kernel, and what the filters of one ABI must do to them.

Each is a whole executable of a few instructions: it makes one call, and exits with the negated
result, so that an errno is its status. A filter decides about it from its first call on, since exec
keeps filters.
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
    from collections.abc import Iterator, Sequence

_SIGSYS = {"mips64el": 12}
"""Its number where it is not 31."""


def _code(abi: str, nr: int, args: Sequence[int] = ()) -> bytes:
    if abi == "mipsel":
        return _mips(nr, args)
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


def _mips(nr: int, args: Sequence[int]) -> bytes:
    """Return code that puts all 64 bits of each argument into its register.

    Tasks of 32 bits may do so: a 64-bit kernel lets all of user space run 64-bit instructions.
    """
    words = []
    for place, value in enumerate(args, 4):
        words += _mips_half(place, value >> 32)
        words += _mips_half(8, value & 0xFFFFFFFF)
        # dsll32 PLACE, PLACE, 0; dsll32 $8, $8, 0; dsrl32 $8, $8, 0; or PLACE, PLACE, $8
        words += [place << 16 | place << 11 | 0x3C, 0x0008403C, 0x0008403E]
        words += [place << 21 | 8 << 16 | place << 11 | 0x25]
    # li $2, NR; syscall; bnez $7, +2; move $4, $2; negu $4, $2; li $2, 4001; syscall
    words += [0x24020000 | nr, 0x0C, 0x14E00002, 0x00402025, 0x00022023, 0x24020FA1, 0x0C]
    return struct.pack(f"<{len(words)}I", *words)


def _mips_half(register: int, value: int) -> list[int]:
    # lui REGISTER, HIGH; ori REGISTER, REGISTER, LOW
    return [
        0x3C000000 | register << 16 | value >> 16,
        0x34000000 | register << 21 | register << 16 | value & 0xFFFF,
    ]


def executable(abi: str, nr: int, args: Sequence[int] = ()) -> bytes:
    """Return an ELF file that makes call ``nr``; only mipsel's can have arguments."""
    return elf(abi, _code(abi, nr, args))


@dataclass(frozen=True, slots=True)
class Trial:
    """A policy, a program of another ABI, and how it must end."""

    policy: dict[str, Any]
    executable: bytes
    end: list[object]


OTHER = {
    "x86_64": "i386",
    "i386": "x86_64",
    "aarch64": "arm",
    "arm": "aarch64",
    "mips64el": "mipsel",
}
"""Of which ABI programs are started, from which."""


def trials(abi: str) -> Iterator[Trial]:
    """Yield what is to be tried under filters for ``abi``."""
    other = OTHER[abi]
    name = "getuid" if abi in {"i386", "arm", "mips64el"} else "getuid32"
    nr = plain_tables()[other][name]
    program = executable(other, nr)
    arch = ABIS[other].audit_arch
    deny = {"action": "errno(7)", "names": ["getuid"]}
    base = {"arches": [abi], "default_action": "allow", "syscalls": [deny]}
    sigsys = _SIGSYS.get(abi, 31)
    yield Trial(base, program, ["signal", sigsys])
    yield Trial(base | {"bad_arch_action": "kill_thread"}, program, ["signal", sigsys])
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
    if other == "mipsel":
        yield from _high_words_of_o32(served)


EFAULT = 14
HIGH = 1 << 32


def _high_words_of_o32(policy: dict[str, Any]) -> Iterator[Trial]:
    """Yield ``getrandom(NULL, COUNT, GRND_INSECURE)``: 0 if the kernel takes COUNT for 0.

    Before Linux 6.14, filters see the registers of o32 as they are. If there is a filter, the
    call gets them like that, too, so that a filter of low words would let 4 GiB pass for nothing.
    """
    nr = plain_tables()["mipsel"]["getrandom"]

    def trial(compared: int, width: int, count: int, status: int) -> Trial:
        test = {"argument": 1, "operation": "Equal", "value": compared, "width": width}
        listed = [{"name": "getrandom", "arguments": [test]}]
        rules = [{"action": "errno(7)", "names_with_args": listed}]
        code = executable("mipsel", nr, (0, count, 4))
        return Trial(policy | {"syscalls": rules}, code, ["exit", status])

    yield trial(1, 64, 0, 0)
    yield trial(0, 64, 0, 7)
    yield trial(0, 64, HIGH, EFAULT)
    yield trial(0, 32, HIGH, 7)
    # Code of o32 sign-extends what it loads; filters see that.
    negative = 0xFFFFFFFF80000000
    yield trial(negative, 64, negative, 7)
    yield trial(1 << 31, 64, negative, EFAULT)
