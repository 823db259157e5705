"""Errno numbers against the kernel's own headers, read by a C preprocessor."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.errnos import ERRNO_NAMES, errno_name, errno_number
from upstream import NEW, REAL

# Debian's package linux-libc-dev has the headers of many architectures; the kernel's own are there
# or not.
INCLUDE, TREE = Path("/usr/include"), REAL / NEW
LACKING = {"distribution": {"EFSBADCRC", "EFSCORRUPTED", "EFTYPE"}, "kernel": set[str]()}
SOURCES = ["distribution"] + (["kernel"] if TREE.is_dir() else [])
TRIPLETS = {"alpha": "alpha", "mips": "mips", "parisc": "hppa", "powerpc": "powerpc"}
TRIPLETS |= {"sparc": "sparc64"}
# ABI of ours: the architecture whose asm/errno.h it uses; all others use asm-generic's.
OWN = {
    "alpha": "alpha",
    "mips": "mips",
    "mips64n32el": "mips",
    "parisc64": "parisc",
    "sparc": "sparc",
    "ppc64le": "powerpc",
    "ppc": "powerpc",
    "x86_64": None,
    "aarch64": None,
    "s390x": None,
}


def folders(source: str, arch: str | None) -> list[Path]:
    if source == "kernel":
        own = [TREE / "arch" / arch / "include" / "uapi"] if arch else []
        return [*own, TREE / "include" / "uapi"]
    return [*([INCLUDE / f"{TRIPLETS[arch]}-linux-gnu"] if arch else []), INCLUDE]


def header_numbers(source: str, arch: str | None) -> dict[str, int]:
    include = "<asm/errno.h>" if arch else "<asm-generic/errno.h>"
    if not all(path.is_dir() for path in folders(source, arch)):
        pytest.skip(f"no headers for {arch} in {INCLUDE}: package linux-libc-dev")
    paths = [word for path in folders(source, arch) for word in ("-I", str(path))]
    run = [shutil.which("gcc") or "gcc", "-E", "-P", "-undef", "-nostdinc", "-x", "c", "-", *paths]
    text = f"#include {include}\n" + "".join(f'"{n}" {n}\n' for n in sorted(ERRNO_NAMES))
    output = subprocess.run(run, input=text, capture_output=True, text=True, check=True).stdout
    return {name: int(nr) for name, nr in re.findall(r'"(E\w+)"\s+(\d+)', output)}


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("abi", OWN)
def test_numbers_are_the_headers(abi: str, source: str) -> None:
    expected = header_numbers(source, OWN[abi])
    assert len(expected) > 130
    ours = {name: errno_number(name, ABIS[abi]) for name in expected}
    assert ours == expected
    # EDEADLOCK is the one name that asm-generic does not have; a distribution's headers may be old.
    assert ERRNO_NAMES - set(expected) <= {"EDEADLOCK"} | LACKING[source]


def test_names_are_found_again() -> None:
    assert errno_name(89, ABIS["mips"]) == "ENOSYS"
    assert errno_name(38, ABIS["x86_64"]) == "ENOSYS"
    assert errno_name(4095, ABIS["x86_64"]) is None
