"""Errno numbers against the kernel's own headers, read by a C preprocessor."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from seccompgen.architectures import ABIS
from seccompgen.errnos import ERRNO_NAMES, errno_name, errno_number

KERNEL = Path(__file__).parents[2] / "shared" / "kernel" / "v7.3.4"
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


def header_numbers(arch: str | None) -> dict[str, int]:
    uapi = KERNEL / "include" / "uapi"
    include = "<asm/errno.h>" if arch else "<asm-generic/errno.h>"
    paths = ["-I", str(uapi)]
    if arch:
        paths = ["-I", str(KERNEL / "arch" / arch / "include" / "uapi"), *paths]
    run = [shutil.which("gcc") or "gcc", "-E", "-P", "-undef", "-nostdinc", "-x", "c", "-", *paths]
    source = f"#include {include}\n" + "".join(f'"{n}" {n}\n' for n in sorted(ERRNO_NAMES))
    output = subprocess.run(run, input=source, capture_output=True, text=True, check=True).stdout
    return {name: int(nr) for name, nr in re.findall(r'"(E\w+)"\s+(\d+)', output)}


@pytest.mark.skipif(not KERNEL.is_dir(), reason="../shared/kernel is not here")
@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize("abi", OWN)
def test_numbers_are_the_headers(abi: str) -> None:
    expected = header_numbers(OWN[abi])
    assert len(expected) > 130
    ours = {name: errno_number(name, ABIS[abi]) for name in expected}
    assert ours == expected
    # EDEADLOCK is the one name that asm-generic does not have.
    assert ERRNO_NAMES - set(expected) <= {"EDEADLOCK"}


def test_names_are_found_again() -> None:
    assert errno_name(89, ABIS["mips"]) == "ENOSYS"
    assert errno_name(38, ABIS["x86_64"]) == "ENOSYS"
    assert errno_name(4095, ABIS["x86_64"]) is None
