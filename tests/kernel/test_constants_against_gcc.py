"""Constants, against what GCC makes of the same headers for the ABIs that this machine's serves.

Cross compilers say the same for other ABIs: tests/ecosystem/test_cross_compilers.py.
"""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING

import pytest
from c_constants import Compiler, compared
from longer import long_but
from seccompgen.kernel.shipped import shipped_tables
from upstream import NEW, REAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seccompgen.core.tables import Tables

WIDTHS = {"x86_64": "-m64", "i386": "-m32", "x32": "-mx32"}
LEAST_REAL, LEAST_MINIATURE = 20_000, 60


@pytest.mark.skipif(
    not shutil.which("gcc") or platform.machine() != "x86_64", reason="needs gcc for x86"
)
@pytest.mark.parametrize(
    "abi", long_but(["x86_64"], WIDTHS, "others have most constants of x86_64", long=0)
)
def test_gcc_gives_every_constant_the_same_value(
    abi: str, kernel_tree: Path, tables_of: Callable[[str], Tables], tmp_path: Path
) -> None:
    compiler = Compiler(("gcc", WIDTHS[abi]))
    # A test of its own says that the shipped ones are those of the real tree.
    tables = shipped_tables() if kernel_tree == REAL else tables_of(NEW)
    constants = tables.facts.constants
    count, wrong = compared(abi, compiler, kernel_tree / NEW, constants, tmp_path)
    assert not wrong
    assert count > (LEAST_REAL if kernel_tree == REAL else LEAST_MINIATURE)
