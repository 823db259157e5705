"""The sources of each ABI's numbers: a header, its predefined macros, and the tables it uses.

Facts are upstream's: ``arch/*/include/uapi/asm/unistd.h``, the Makefile next to each
``syscall.tbl`` (the ABI columns and the offset of each generated header), and the compilers'
predefined macros.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

AUDIT = "include/uapi/linux/audit.h"
ELF_MACHINES = "include/uapi/linux/elf-em.h"
GENERIC_HEADER = "include/uapi/asm-generic/unistd.h"
GENERIC_TABLE = "scripts/syscall.tbl"
GENERIC_MAKEFILE = "scripts/Makefile.asm-headers"
MIPS_SGIDEFS = "arch/mips/include/uapi/asm/sgidefs.h"

DECLARING = (
    "include/asm-generic/syscalls.h",
    "include/linux/compat.h",
    "include/linux/syscalls.h",
)
"""Headers that declare the entry points of calls."""
ARM_COMPAT_TABLE = "arch/arm64/tools/syscall_32.tbl"
ARM_COMPAT_HEADER = "arch/arm64/include/asm/unistd32.h"
"""The entry points of arm's calls on a 64-bit kernel: a table since v6.11, before that a header."""

LINKS: Mapping[str, str] = {"arch/arm64/tools/syscall_64.tbl": GENERIC_TABLE}
"""Tables that are symbolic links upstream, which a web server may not serve."""

PLAIN_HEADERS: Mapping[str, str] = {
    "asm-generic/unistd.h": GENERIC_HEADER,
    "asm/sgidefs.h": MIPS_SGIDEFS,
    "linux/elf-em.h": ELF_MACHINES,
}
"""Headers that exist as files upstream, by the name under which others include them."""

EMPTY_HEADERS = frozenset({"asm/bitsperlong.h", "asm/break.h", "linux/types.h"})
"""Headers without a relevant name; the macros of bitsperlong.h are predefined instead."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A header that the kernel's build makes from a table.

    ``abis`` are the ABI columns to use, None for every row; ``offset`` is the macro that is added
    to each number, if any. Rows of ``ignored`` ABIs are left out of the header; any other ABI in
    the table is unknown, which is an error.
    """

    table: str
    abis: frozenset[str] | None
    offset: str = ""
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class View:
    """The view that user space of one ABI has of its architecture's ``unistd.h``.

    ``generic`` is the width for architectures without a table of their own, else 0.
    ``before_tables`` is False if the ABI did not exist while those architectures shared a header,
    until v6.10. ``needs`` is an ABI column without whose rows the tag lacks the ABI. ``faccessat2``
    is the number of a call that every ABI has at every tag since v5.8: a table without it is
    incomplete, or no table.
    """

    srcarch: str
    predefined: Mapping[str, str]
    faccessat2: int
    generated: Mapping[str, Generated] = field(default_factory=dict)
    generic: Literal[0, 32, 64] = 0
    before_tables: bool = True
    needs: str = ""

    @property
    def header(self) -> str:
        """The header, as a path in the kernel tree."""
        return f"arch/{self.srcarch}/include/uapi/asm/unistd.h"

    @property
    def kbuild(self) -> str:
        """The file that lists the headers that the build makes, for a generic architecture."""
        return f"arch/{self.srcarch}/include/uapi/asm/Kbuild"

    @property
    def makefile(self) -> str:
        """The file that lists the ABI columns of a generic architecture."""
        return f"arch/{self.srcarch}/kernel/Makefile.syscalls"

    @property
    def declaring(self) -> tuple[str, str]:
        """The header with the architecture's declarations of entry points, and its Kconfig."""
        return f"arch/{self.srcarch}/include/asm/syscalls.h", f"arch/{self.srcarch}/Kconfig"

    @property
    def own_files(self) -> tuple[str, ...]:
        """Files that exist only at tags that have the architecture."""
        if self.generic:
            return (self.header, self.kbuild, self.makefile)
        return (self.header, *dict.fromkeys(item.table for item in self.generated.values()))


def _rows(table: str, *abis: str, offset: str = "", ignored: str = "") -> Generated:
    return Generated(table, frozenset(abis) or None, offset, frozenset(ignored.split()))


def _table(srcarch: str) -> str:
    return f"arch/{srcarch}/kernel/syscalls/syscall.tbl"


_X86_64_TABLE = "arch/x86/entry/syscalls/syscall_64.tbl"
_X86 = {
    "asm/unistd_32.h": _rows("arch/x86/entry/syscalls/syscall_32.tbl", "i386"),
    "asm/unistd_64.h": _rows(_X86_64_TABLE, "common", "64", ignored="x32"),
    "asm/unistd_x32.h": _rows(
        _X86_64_TABLE, "common", "x32", offset="__X32_SYSCALL_BIT", ignored="64"
    ),
}
_ARM_TABLE = "arch/arm/tools/syscall.tbl"
_ARM = {
    # Until v5.10 three headers divided the rows among them; their union has not changed.
    "asm/unistd-common.h": _rows(
        _ARM_TABLE, "common", offset="__NR_SYSCALL_BASE", ignored="eabi oabi"
    ),
    "asm/unistd-eabi.h": _rows(
        _ARM_TABLE, "common", "eabi", offset="__NR_SYSCALL_BASE", ignored="oabi"
    ),
    "asm/unistd-oabi.h": _rows(
        _ARM_TABLE, "common", "oabi", offset="__NR_SYSCALL_BASE", ignored="eabi"
    ),
}
_MIPS = {
    f"asm/unistd_{abi}.h": _rows(
        f"arch/mips/kernel/syscalls/syscall_{abi}.tbl", offset="__NR_Linux"
    )
    for abi in ("o32", "n32", "n64")
}


def _both_widths(srcarch: str, *also: str, ignored: str = "") -> dict[str, Generated]:
    return {
        f"asm/unistd_{mine}.h": _rows(
            _table(srcarch), "common", mine, *also, ignored=f"{other} {ignored}"
        )
        for mine, other in (("32", "64"), ("64", "32"))
    }


def _whole(srcarch: str) -> dict[str, Generated]:
    return {"asm/unistd_32.h": _rows(_table(srcarch))}


def _view(
    srcarch: str,
    bits: Literal[32, 64],
    macros: str,
    generated: Mapping[str, Generated] | None = None,
    *,
    base: int = 0,
    before_tables: bool = True,
    needs: str = "",
) -> View:
    predefined = dict.fromkeys(macros.split(), "1")
    predefined |= {"__linux__": "1", "__BITS_PER_LONG": str(bits)}
    if bits == 64:
        predefined |= {"__LP64__": "1", "_LP64": "1"}
    return View(
        srcarch,
        predefined,
        faccessat2=base + 439,
        generated=generated or {},
        generic=0 if generated else bits,
        before_tables=before_tables,
        needs=needs,
    )


def _mips(sim: int, bits: Literal[32, 64], base: int) -> View:
    view = _view("mips", bits, "__mips__", _MIPS, base=base)
    return View(view.srcarch, {**view.predefined, "_MIPS_SIM": str(sim)}, view.faccessat2, _MIPS)


_PPC = _both_widths("powerpc", "nospu", ignored="spu")
_S390 = _both_widths("s390")
_PARISC = _both_widths("parisc")
_SPARC = _both_widths("sparc")
_IA64 = {"asm/unistd_64.h": _rows(_table("ia64"), offset="__NR_Linux")}
_SH = _view("sh", 32, "__sh__", _whole("sh"))
_O32, _N32, _N64 = _mips(1, 32, 4000), _mips(2, 32, 6000), _mips(3, 64, 5000)
_PPC64 = _view("powerpc", 64, "__powerpc__ __powerpc64__", _PPC)

VIEWS: Mapping[str, View] = {
    "x86_64": _view("x86", 64, "__x86_64__", _X86),
    "x32": _view("x86", 32, "__x86_64__ __ILP32__ _ILP32", _X86, base=0x40000000),
    "i386": _view("x86", 32, "__i386__ __ILP32__ _ILP32", _X86),
    "arm": _view("arm", 32, "__arm__ __ARM_EABI__", _ARM),
    "arm_oabi": _view("arm", 32, "__arm__", _ARM, base=0x900000),
    "aarch64": _view("arm64", 64, "__aarch64__"),
    "riscv64": _view("riscv", 64, "__riscv"),
    "riscv32": _view("riscv", 32, "__riscv"),
    "loongarch64": _view("loongarch", 64, "__loongarch__ __loongarch64"),
    "loongarch32": _view("loongarch", 32, "__loongarch__", before_tables=False),
    "s390x": _view("s390", 64, "__s390__ __s390x__", _S390),
    "s390": _view("s390", 32, "__s390__", _S390, needs="32"),
    "ppc64le": _PPC64,
    "ppc64": _PPC64,
    "ppc": _view("powerpc", 32, "__powerpc__", _PPC),
    "mips": _O32,
    "mips64": _N64,
    "mips64n32": _N32,
    "mipsel": _O32,
    "mips64el": _N64,
    "mips64n32el": _N32,
    "parisc": _view("parisc", 32, "__hppa__", _PARISC),
    "parisc64": _view("parisc", 64, "__hppa__", _PARISC),
    "sparc": _view("sparc", 32, "__sparc__", _SPARC),
    "sparc64": _view("sparc", 64, "__sparc__ __arch64__", _SPARC),
    "alpha": _view("alpha", 64, "__alpha__", _whole("alpha"), base=110),
    "m68k": _view("m68k", 32, "__m68k__", _whole("m68k")),
    "sh": _SH,
    "sheb": _SH,
    "xtensa": _view("xtensa", 32, "__xtensa__ __XTENSA__", _whole("xtensa")),
    "microblaze": _view("microblaze", 32, "__microblaze__", _whole("microblaze")),
    "csky": _view("csky", 32, "__csky__"),
    "arc": _view("arc", 32, "__arc__"),
    "hexagon": _view("hexagon", 32, "__hexagon__"),
    "nios2": _view("nios2", 32, "__nios2__"),
    "openrisc": _view("openrisc", 32, "__or1k__"),
    "ia64": _view("ia64", 64, "__ia64__", _IA64, base=1024),
}
"""Every ABI of ``architectures``, by name."""

REQUIRED = (AUDIT, ELF_MACHINES, *VIEWS["x86_64"].own_files)
"""Files that every kernel tree has."""

NUMBER_CANDIDATES: tuple[str, ...] = tuple(
    sorted(
        {
            *REQUIRED,
            *LINKS,
            GENERIC_HEADER,
            GENERIC_TABLE,
            GENERIC_MAKEFILE,
            MIPS_SGIDEFS,
            *(path for view in VIEWS.values() for path in view.own_files),
        }
    )
)
"""Every upstream path that the numbers of some tag from v5.10 on may need."""

PROTOTYPE_CANDIDATES = frozenset(
    {*DECLARING, ARM_COMPAT_TABLE, ARM_COMPAT_HEADER}
    | {path for view in VIEWS.values() for path in view.declaring}
)
"""Every other upstream path that prototypes are read from, at tags that have it."""
