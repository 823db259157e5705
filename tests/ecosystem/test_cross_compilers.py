"""Constants, against GCC's cross compilers of Debian, which need no assembler and no library.

They are fetched as the kernels of the guests are, and nothing is installed.
"""

from __future__ import annotations

import platform
import subprocess
from typing import TYPE_CHECKING

import pytest
from c_constants import Compiler, compared
from guests.packages import Unavailable, fetch
from longer import long_but
from seccompgen.kernel.shipped import shipped_tables
from upstream import NEW, REAL

if TYPE_CHECKING:
    from pathlib import Path

    from guests.packages import Package

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/kernel"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the compilers run on x86_64"),
]

SUITE = "trixie"
# ABI: the target, and what the compiler driver would tell the compiler for this ABI.
TARGETS = {
    "arm": ("arm-linux-gnueabihf", ()),
    "aarch64": ("aarch64-linux-gnu", ()),
    "riscv64": ("riscv64-linux-gnu", ("-march=rv64gc", "-mabi=lp64d")),
    "riscv32": ("riscv64-linux-gnu", ("-march=rv32gc", "-mabi=ilp32d")),
    "s390x": ("s390x-linux-gnu", ()),
    "ppc64le": ("powerpc64le-linux-gnu", ()),
    "ppc64": ("powerpc64-linux-gnu", ()),
    "ppc": ("powerpc-linux-gnu", ()),
    "mips": ("mips-linux-gnu", ()),
    "mipsel": ("mipsel-linux-gnu", ()),
    "mips64el": ("mips64el-linux-gnuabi64", ()),
    "mips64n32el": ("mips64el-linux-gnuabi64", ("-mabi=n32",)),
    "parisc": ("hppa-linux-gnu", ()),
    "sparc": ("sparc64-linux-gnu", ("-m32", "-mptr32", "-mno-stack-bias")),
    "sparc64": ("sparc64-linux-gnu", ("-m64", "-D__arch64__")),
    "alpha": ("alpha-linux-gnu", ()),
    "m68k": ("m68k-linux-gnu", ()),
    "sh": ("sh4-linux-gnu", ("-ml",)),
}
PACKAGES = {target: f"cpp-14-{target}" for target, _ in TARGETS.values()}


@pytest.fixture(scope="module")
def packages(request: pytest.FixtureRequest) -> dict[str, Package]:
    """Fetch what the tests of this run need, all at once."""
    chosen = {
        PACKAGES[TARGETS[str(item.callspec.params["abi"])][0]]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    }
    try:
        return fetch(SUITE, "amd64", sorted(chosen))
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "abi", long_but(["sparc64"], TARGETS, "18,000 constants each, which change with the pin alone")
)
def test_a_cross_compiler_gives_every_constant_the_same_value(
    abi: str, packages: dict[str, Package], tmp_path: Path
) -> None:
    target, options = TARGETS[abi]
    package = packages[PACKAGES[target]].path
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    (compiler,) = (path for path in root.rglob("cc1") if target in path.parts)
    if subprocess.run([compiler, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("the compiler does not run here: GCC's libraries are missing")
    command = Compiler((str(compiler), "-quiet", *options), compile=())
    constants = shipped_tables().facts.constants
    place = tmp_path / "program"
    place.mkdir()
    count, wrong = compared(abi, command, REAL / NEW, constants, place)
    assert not wrong
    assert count > 18_000
