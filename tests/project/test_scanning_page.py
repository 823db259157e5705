"""The table of scanned programs: what the work of a program showed comes into its own row."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.scanning import __main__ as scanning
from benchmarks.scanning import workloads
from benchmarks.scanning.programs import PROGRAMS

SCRIPTS = sorted(Path(workloads.__file__).with_name("work").glob("*.sh"))


def test_a_result_fills_the_row_of_its_program_and_architecture_alone() -> None:
    both = [one for one in PROGRAMS if one.name == "bash"]
    rows = [scanning.Row(one, "5.2", 99, (), 1.0, 90, "") for one in both]
    page = scanning.report(rows)
    result = workloads.Result(frozenset({"read", "fsync"}), frozenset({"fsync"}), "yes")
    before, after = page.splitlines(), workloads.filled(page, both[1], result).splitlines()
    (changed,) = (pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])
    assert changed[0].endswith("| 1.0 | 90 | | | |")
    assert changed[1].startswith("| bash | C, shell | aarch64 |")
    assert changed[1].endswith("| 1.0 | 90 | 2 | fsync | yes |")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.stem)
def test_each_work_is_of_a_program_and_the_shell_reads_it(script: Path) -> None:
    assert script.stem in {one.name.partition(",")[0] for one in PROGRAMS}
    assert '"$PROGRAM"' in script.read_text()
    subprocess.run(["sh", "-n", str(script)], check=True)
