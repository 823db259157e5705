"""Every table, against the same headers evaluated by GCC's preprocessor.

Predefined macros are written here once more, as GCC's ``-dM`` lists them on each target: an
oracle that took ours would share our mistakes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from seccompgen.pipeline.build import shipped_tables
from upstream import OLD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.tables import Tables

GCC = shutil.which("gcc")
INCLUDE = Path("/usr/include")

# ABI: Debian's triplet, macros of the target's compiler.
INSTALLED = {
    "x86_64": ("x86_64-linux-gnu", "__x86_64__ __LP64__"),
    "x32": ("x86_64-linux-gnux32", "__x86_64__ __ILP32__"),
    "i386": ("i386-linux-gnu", "__i386__ __ILP32__"),
    "arm": ("arm-linux-gnueabihf", "__arm__ __ARM_EABI__"),
    "arm_oabi": ("arm-linux-gnueabi", "__arm__"),
    "aarch64": ("aarch64-linux-gnu", "__aarch64__ __LP64__"),
    "riscv64": ("riscv64-linux-gnu", "__riscv __LP64__ __SIZEOF_POINTER__=8"),
    "riscv32": ("riscv64-linux-gnu", "__riscv __SIZEOF_POINTER__=4"),
    "loongarch64": ("loongarch64-linux-gnu", "__loongarch__ __LP64__ __SIZEOF_POINTER__=8"),
    "s390x": ("s390x-linux-gnu", "__s390__ __s390x__ __LP64__"),
    "ppc64le": ("powerpc64le-linux-gnu", "__powerpc__ __powerpc64__ __LP64__"),
    "ppc64": ("powerpc64-linux-gnu", "__powerpc__ __powerpc64__ __LP64__"),
    "ppc": ("powerpc-linux-gnu", "__powerpc__"),
    "mips": ("mips-linux-gnu", "__mips__ _MIPS_SIM=1"),
    "mips64": ("mips64-linux-gnuabi64", "__mips__ __LP64__ _MIPS_SIM=3"),
    "mips64n32": ("mips64-linux-gnuabi64", "__mips__ _MIPS_SIM=2"),
    "mipsel": ("mipsel-linux-gnu", "__mips__ _MIPS_SIM=1"),
    "mips64el": ("mips64el-linux-gnuabi64", "__mips__ __LP64__ _MIPS_SIM=3"),
    "mips64n32el": ("mips64el-linux-gnuabi64", "__mips__ _MIPS_SIM=2"),
    "parisc": ("hppa-linux-gnu", "__hppa__"),
    "parisc64": ("hppa-linux-gnu", "__hppa__ __LP64__"),
    "sparc": ("sparc64-linux-gnu", "__sparc__"),
    "sparc64": ("sparc64-linux-gnu", "__sparc__ __arch64__ __LP64__"),
    "alpha": ("alpha-linux-gnu", "__alpha__ __LP64__"),
    "m68k": ("m68k-linux-gnu", "__m68k__"),
    "sh": ("sh4-linux-gnu", "__sh__"),
    "sheb": ("sh4-linux-gnu", "__sh__ __BIG_ENDIAN__"),
}

# Calls that came after 6.12, which is what Debian's headers are, where the number does not say so.
NEWER = {
    ("x86_64", "uprobe"),  # 336, from a gap
    ("x32", "uprobe"),
    ("loongarch64", "memfd_secret"),  # 447, which others had long before
    ("sparc", "clone3"),  # 435, reserved before
    ("sparc64", "clone3"),
}

# ABI: architecture, macros; those without a table at v6.1.
LEGACY = {
    "aarch64": ("arm64", "__aarch64__ __LP64__ __BITS_PER_LONG=64"),
    "riscv64": ("riscv", "__riscv __LP64__ __BITS_PER_LONG=64"),
    "riscv32": ("riscv", "__riscv __BITS_PER_LONG=32"),
    "loongarch64": ("loongarch", "__loongarch__ __LP64__ __BITS_PER_LONG=64"),
    "csky": ("csky", "__csky__ __BITS_PER_LONG=32"),
    "arc": ("arc", "__arc__ __BITS_PER_LONG=32"),
    "hexagon": ("hexagon", "__hexagon__ __BITS_PER_LONG=32"),
    "nios2": ("nios2", "__nios2__ __BITS_PER_LONG=32"),
    "openrisc": ("openrisc", "__or1k__ __BITS_PER_LONG=32"),
}


def gcc(source: str, macros: str, include: Sequence[Path], *options: str) -> str:
    if not GCC:
        pytest.skip("gcc is not installed")
    command = [GCC, "-undef", "-nostdinc", "-E", "-P", "-x", "c", *options, "-"]
    command += [f"-D{macro}" for macro in ("__linux__", *macros.split())]
    command += [part for path in include for part in ("-isystem", str(path))]
    return subprocess.run(command, input=source, text=True, capture_output=True, check=True).stdout


def evaluated(macros: str, include: Sequence[Path]) -> dict[str, int]:
    """Let GCC list the macros that name calls, then expand each; the sums are Python's."""
    header = "#include <asm/unistd.h>\n"
    defined = gcc(header, macros, include, "-dM")
    names = {
        match[1]
        for match in re.finditer(r"^#define (__(?:ARM_)?NR_[a-z_][a-z0-9_]*) ", defined, re.M)
    } - {"__NR_syscalls", "__NR_arch_specific_syscall"}
    # Adjacent strings keep the name itself from being expanded.
    listing = header + "".join(f'"{name}" = {name};\n' for name in sorted(names))
    numbers = {}
    pairs = re.findall(r'"__(?:ARM_)?NR_(\w+)" = ([^;]+);', gcc(listing, macros, include))
    for name, expression in pairs:
        terms = re.findall(r"0x[0-9a-fA-F]+|[0-9]+", expression)
        assert re.fullmatch(r"[0-9a-fxA-F+() ]+", expression), (name, expression)
        numbers[name] = sum(int(term, 0) for term in terms)
    assert len(pairs) == len(names) == len(numbers)
    return numbers


@cache
def installed_release() -> tuple[int, int]:
    text = (INCLUDE / "linux" / "version.h").read_text()
    major, minor = (
        int(match[1])
        for name in ("MAJOR", "PATCHLEVEL")
        if (match := re.search(rf"LINUX_VERSION_{name} (\d+)", text))
    )
    return major, minor


@pytest.mark.few(20, "reads many headers")
@pytest.mark.parametrize("abi", INSTALLED)
def test_headers_of_the_distribution(abi: str) -> None:
    triplet, macros = INSTALLED[abi]
    if not (INCLUDE / triplet / "asm" / "unistd.h").is_file():
        pytest.skip(f"no headers for {triplet} in /usr/include: package linux-libc-dev")
    if installed_release() != (6, 12):
        pytest.skip(f"the headers are of {installed_release()}; the list here is against 6.12")
    theirs = evaluated(macros, [INCLUDE / triplet, INCLUDE])
    ours = dict(shipped_tables().tables[abi].numbers)
    assert {name: ours.get(name) for name in theirs} == theirs
    # 24 calls lie between faccessat2 (439 from the base) and the first that 6.12 lacks.
    first_new = ours["faccessat2"] + 24
    later = {name for name in ours.keys() - theirs.keys() if ours[name] < first_new}
    assert {(abi, name) for name in later} == {pair for pair in NEWER if pair[0] == abi}


@pytest.mark.parametrize("abi", LEGACY)
def test_generic_architectures_without_tables(
    abi: str, tables_of: Callable[[str], Tables], kernel_tree: Path, tmp_path: Path
) -> None:
    srcarch, macros = LEGACY[abi]
    table = tables_of(OLD).tables[abi]
    (tmp_path / "asm").mkdir()
    # Generated by the kernel's build, or made of what the macros above say already.
    (tmp_path / "asm" / "bitsperlong.h").write_text("")
    include = [
        tmp_path,
        kernel_tree / OLD / f"arch/{srcarch}/include/uapi",
        kernel_tree / OLD / "include/uapi",
    ]
    assert evaluated(macros, include) == dict(table.numbers)
