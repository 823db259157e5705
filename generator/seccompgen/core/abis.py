"""The ABIs of Linux: names, audit values, widths, byte orders, and the ABIs that share a kernel.

An ABI is one way of entering the kernel. Facts are upstream's: ``include/uapi/linux/audit.h`` and
each architecture's ``syscall_get_arch()``; ``tables`` checks every audit value here against the
pinned tag's ``audit.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from seccompgen.core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

X32_SYSCALL_BIT = 0x40000000
"""The bit that is set in ``seccomp_data.nr`` of x32 calls (arch/x86/include/uapi/asm/unistd.h)."""


class HighWords(Enum):
    """The meaning of the high words of ``seccomp_data.args``, on every kernel from v5.10 on.

    ``syscall_get_arguments()`` of an architecture fills ``args`` from registers. A 64-bit register
    may hold anything in its upper half, even when a 32-bit ABI makes the call. A tracer can also
    write the upper half (PTRACE_SET_SYSCALL_INFO, since v6.16).
    """

    ZERO = "zero"
    """Always 0: the kernel's ``unsigned long`` has 32 bits, or ``syscall_get_arguments()`` clears
    the high words: powerpc, and s390 as long as it had a 31-bit ABI."""
    IGNORED = "ignored"
    """Whatever the caller left there; system calls get only the low words.

    This is i386 on an x86_64 kernel: ``regs->bx`` and so on are copied unmasked into ``args``, but
    each system call gets ``(unsigned int)regs->bx`` (SC_IA32_REGS_TO_ARGS in
    asm/syscall_wrapper.h). 64-bit code can fill the upper halves and make the call by ``int
    $0x80``."""
    COUNT = "count"
    """Part of the value, as on all 64-bit ABIs; also assumed where nothing else is known.

    x32 and MIPS n32 pass 64 bits. On 64-bit kernels a tracer can set all 64 bits of the arguments
    of arm and parisc; both the filter and the system call get them.

    o32 on a 64-bit MIPS kernel: a call without a filter gets sign-extended low words. If there is a
    filter, ``trace_a_syscall`` (arch/mips/kernel/scall64-o32.S) loads the registers again, and the
    call gets all 64 bits. Before v6.14 ``mips_get_syscall_arg()`` shows filters the same 64 bits,
    since then their low words alone. On older kernels a filter of low words would take a length of
    4 GiB for 0.
    """


@dataclass(frozen=True, slots=True, repr=False)
class Abi:
    """One ABI.

    ``audit_arch`` is what ``seccomp_data.arch`` holds (32 bits). ``bits`` is the width of a
    ``long`` there. ``byte_order`` is the target's: it decides which half of a 64-bit argument comes
    first, and the byte order of the instructions. ``filters_since`` is the first release, as
    (major, minor), whose kernel has SECCOMP_MODE_FILTER on this ABI; None if there is none.
    ``siblings`` are the other ABIs that the same kernel can serve. ``high_words`` is the meaning of
    the upper halves of arguments.
    """

    name: str
    audit_arch_name: str
    audit_arch: int
    bits: Literal[32, 64]
    byte_order: Literal["little", "big"]
    filters_since: tuple[int, int] | None
    aliases: tuple[str, ...]
    siblings: tuple[str, ...] = ()
    high_words: HighWords = HighWords.COUNT

    def __repr__(self) -> str:
        """Render as Python: ``ABIS['x86_64']``."""
        return f"ABIS[{self.name!r}]"

    @property
    def argument_bits(self) -> Literal[32, 64]:
        """The number of low bits of an argument that system calls get."""
        return 64 if self.high_words is HighWords.COUNT else 32


_ZERO, _IGNORED = HighWords.ZERO, HighWords.IGNORED
_EVER = (3, 5)  # before any tag that seccompgen reads

# fmt: off
_ABIS = (
    Abi("x86_64", "AUDIT_ARCH_X86_64", 0xC000003E, 64, "little", _EVER,
        ("amd64", "x86-64", "SCMP_ARCH_X86_64"), ("i386", "x32")),
    Abi("x32", "AUDIT_ARCH_X86_64", 0xC000003E, 32, "little", _EVER,
        ("amd64p32", "SCMP_ARCH_X32"), ("x86_64", "i386")),
    Abi("i386", "AUDIT_ARCH_I386", 0x40000003, 32, "little", _EVER,
        ("x86", "386", "i486", "i586", "i686", "SCMP_ARCH_X86"), high_words=_IGNORED),
    Abi("arm", "AUDIT_ARCH_ARM", 0x40000028, 32, "little", _EVER,
        ("armhf", "armel", "armv5tel", "armv6l", "armv7l", "armv8l", "armv8b", "SCMP_ARCH_ARM")),
    Abi("arm_oabi", "AUDIT_ARCH_ARM", 0x40000028, 32, "little", None, ()),
    Abi("aarch64", "AUDIT_ARCH_AARCH64", 0xC00000B7, 64, "little", _EVER,
        ("arm64", "aarch64_be", "SCMP_ARCH_AARCH64"), ("arm",)),
    Abi("riscv64", "AUDIT_ARCH_RISCV64", 0xC00000F3, 64, "little", (5, 5),
        ("SCMP_ARCH_RISCV64",), ("riscv32",)),
    Abi("riscv32", "AUDIT_ARCH_RISCV32", 0x400000F3, 32, "little", (5, 5), ("riscv",),
        high_words=_ZERO),
    Abi("loongarch64", "AUDIT_ARCH_LOONGARCH64", 0xC0000102, 64, "little", (5, 19),
        ("loong64", "SCMP_ARCH_LOONGARCH64")),
    Abi("loongarch32", "AUDIT_ARCH_LOONGARCH32", 0x40000102, 32, "little", (5, 19), (),
        high_words=_ZERO),
    Abi("s390x", "AUDIT_ARCH_S390X", 0x80000016, 64, "big", _EVER,
        ("SCMP_ARCH_S390X",), ("s390",)),
    Abi("s390", "AUDIT_ARCH_S390", 0x00000016, 32, "big", _EVER, ("SCMP_ARCH_S390",),
        high_words=_ZERO),
    Abi("ppc64le", "AUDIT_ARCH_PPC64LE", 0xC0000015, 64, "little", _EVER,
        ("ppc64el", "powerpc64le", "SCMP_ARCH_PPC64LE"), ("ppc",)),
    Abi("ppc64", "AUDIT_ARCH_PPC64", 0x80000015, 64, "big", _EVER,
        ("powerpc64", "SCMP_ARCH_PPC64"), ("ppc",)),
    Abi("ppc", "AUDIT_ARCH_PPC", 0x00000014, 32, "big", _EVER,
        ("powerpc", "ppcle", "SCMP_ARCH_PPC"), high_words=_ZERO),
    Abi("mips", "AUDIT_ARCH_MIPS", 0x00000008, 32, "big", _EVER, ("SCMP_ARCH_MIPS",)),
    Abi("mips64", "AUDIT_ARCH_MIPS64", 0x80000008, 64, "big", _EVER,
        ("SCMP_ARCH_MIPS64",), ("mips", "mips64n32")),
    Abi("mips64n32", "AUDIT_ARCH_MIPS64N32", 0xA0000008, 32, "big", _EVER,
        ("mipsn32", "mips64p32", "SCMP_ARCH_MIPS64N32"), ("mips", "mips64")),
    Abi("mipsel", "AUDIT_ARCH_MIPSEL", 0x40000008, 32, "little", _EVER,
        ("mipsle", "SCMP_ARCH_MIPSEL")),
    Abi("mips64el", "AUDIT_ARCH_MIPSEL64", 0xC0000008, 64, "little", _EVER,
        ("mips64le", "mipsel64", "SCMP_ARCH_MIPSEL64"), ("mipsel", "mips64n32el")),
    Abi("mips64n32el", "AUDIT_ARCH_MIPSEL64N32", 0xE0000008, 32, "little", _EVER,
        ("mipsn32el", "mips64p32le", "mipsel64n32", "SCMP_ARCH_MIPSEL64N32"),
        ("mipsel", "mips64el")),
    Abi("parisc", "AUDIT_ARCH_PARISC", 0x0000000F, 32, "big", _EVER,
        ("hppa", "SCMP_ARCH_PARISC")),
    Abi("parisc64", "AUDIT_ARCH_PARISC64", 0x8000000F, 64, "big", _EVER,
        ("hppa64", "SCMP_ARCH_PARISC64"), ("parisc",)),
    Abi("sparc", "AUDIT_ARCH_SPARC", 0x00000002, 32, "big", None, ()),
    Abi("sparc64", "AUDIT_ARCH_SPARC64", 0x8000002B, 64, "big", None, (), ("sparc",)),
    Abi("alpha", "AUDIT_ARCH_ALPHA", 0xC0009026, 64, "little", (7, 1), ()),
    Abi("m68k", "AUDIT_ARCH_M68K", 0x00000004, 32, "big", (6, 3), ("SCMP_ARCH_M68K",),
        high_words=_ZERO),
    Abi("sh", "AUDIT_ARCH_SHEL", 0x4000002A, 32, "little", (5, 9),
        ("sh2", "sh2a", "sh3", "sh4", "sh4a", "shel", "SCMP_ARCH_SH"),
        high_words=_ZERO),
    Abi("sheb", "AUDIT_ARCH_SH", 0x0000002A, 32, "big", (5, 9), ("sh4eb", "SCMP_ARCH_SHEB"),
        high_words=_ZERO),
    Abi("xtensa", "AUDIT_ARCH_XTENSA", 0x0000005E, 32, "little", (5, 9), (),
        high_words=_ZERO),
    Abi("microblaze", "AUDIT_ARCH_MICROBLAZE", 0x000000BD, 32, "little", None, ()),
    Abi("csky", "AUDIT_ARCH_CSKY", 0x400000FC, 32, "little", (5, 9), (), high_words=_ZERO),
    Abi("arc", "AUDIT_ARCH_ARCV2", 0x400000C3, 32, "little", None, ()),
    Abi("hexagon", "AUDIT_ARCH_HEXAGON", 0x000000A4, 32, "little", None, ()),
    Abi("nios2", "AUDIT_ARCH_NIOS2", 0x40000071, 32, "little", None, ()),
    Abi("openrisc", "AUDIT_ARCH_OPENRISC", 0x0000005C, 32, "big", None, ("or1k",)),
    Abi("ia64", "AUDIT_ARCH_IA64", 0xC0000032, 64, "little", None, ()),
)
# fmt: on

ABIS: dict[str, Abi] = {abi.name: abi for abi in _ABIS}
"""Every ABI that seccompgen knows, by canonical name, in the order in which they are listed."""

ALIASES: dict[str, str] = {
    spelling.lower(): abi.name for abi in _ABIS for spelling in (*abi.aliases, abi.name)
}
"""Lower-case spelling (uname -m, GOARCH, Debian, SCMP_ARCH_*, our own) to canonical name."""


def apart_by_kernel(abis: Iterable[Abi]) -> tuple[tuple[Abi, ...], tuple[Abi, ...]]:
    """Divide ``abis`` into ABIs that need programs of their own, and compat ABIs.

    A 32-bit ABI is a compat ABI if ``abis`` contains the 64-bit ABI of its kernel as well. Its
    filter is that of the 64-bit process that started the 32-bit one.
    """
    several = tuple(abis)
    compat = tuple(
        abi
        for abi in several
        if abi.bits == 32 and any(one.bits == 64 and abi.name in one.siblings for one in several)
    )
    return tuple(abi for abi in several if abi not in compat), compat


def serves_both(abi: Abi, other: Abi) -> bool:
    """Return True if a kernel that takes programs of ``abi`` can serve ``other`` as well.

    Programs are in the kernel's byte order. A ppc64le kernel serves ppc calls, under the audit
    value of ppc, but cannot load ppc programs: those are big-endian.
    """
    if other.name in abi.siblings:
        return True
    return abi.name in other.siblings and abi.byte_order == other.byte_order


def find_abi(spelling: str) -> Abi | None:
    """Return the ABI with the name or alias ``spelling``, in any case; None if there is none."""
    name = ALIASES.get(spelling.lower())
    return ABIS[name] if name else None


_ELSEWHERE = {
    **dict.fromkeys(("x64", "x86_64h", "intel64"), "x86_64"),
    **dict.fromkeys(("x86_32", "ia32"), "i386"),
    **dict.fromkeys(("armv8", "arm64v8", "arm64ec"), "aarch64"),
    **dict.fromkeys(("arm32", "armv6", "armv7", "arm32v5", "arm32v6", "arm32v7"), "arm"),
    **dict.fromkeys(("power", "power8", "power9"), "ppc64le"),
}
"""Names from outside of Linux (Windows, Node.js, image registries), which suggest one of ours."""


def unknown_abi(spelling: str) -> str:
    """Return the message that no ABI is called ``spelling``; it suggests the nearest name."""
    meant = _ELSEWHERE.get(spelling.lower(), spelling.lower())
    return f"unknown architecture {spelling!r}{did_you_mean(meant, ALIASES)}"


def require_abi(spelling: str | Abi) -> Abi:
    """Return the ABI with the name or alias ``spelling``, in any case; return an ABI unchanged.

    Raises InputError, which suggests the nearest name, if there is none.
    """
    abi = spelling if isinstance(spelling, Abi) else find_abi(spelling)
    if abi is None:
        raise InputError(unknown_abi(str(spelling)))
    return abi
