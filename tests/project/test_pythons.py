"""Trials and table of ``make pythons``; the Pythons themselves are tried by that alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from command import ROOT

from release.pythons import root
from release.pythons.__main__ import PAGE, table, with_table
from release.pythons.trials import Trial

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = re.search(r"writes this table -->\n(.*?)\n\n", PAGE.read_text(), re.DOTALL)


def seen(packages: Path) -> dict[str, object]:
    script = ROOT / "release" / "pythons" / "inside.py"
    words = [sys.executable, "-W", "error", str(script), str(packages)]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(run.stdout)
    return found


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    kernel.require_x86_64()
    whole = ROOT / "generated" / "seccomp_filters"
    for name in ("no_exec", "no_network", "."):
        place = tmp_path / "seccomp_filters" / name
        place.mkdir(parents=True, exist_ok=True)
        for file in ("__init__.py", "_x86_64.py", "_runtime.py", "_explain.py", "_questions.py"):
            if (whole / name / file).exists():
                shutil.copy(whole / name / file, place)
    return tmp_path


def test_filters_that_confine_are_told_from_those_that_do_not(packages: Path) -> None:
    assert seen(packages) == {
        "python": ".".join(map(str, sys.version_info[:3])),
        "modules": 7,
        "no_exec": True,
        "no_network": True,
        "lock": True,
    }
    (packages / "seccomp_filters" / "no_exec" / "__init__.py").write_text("def install(): pass\n")
    assert seen(packages)["no_exec"] is False


def test_the_page_has_a_row_for_each_python_that_was_tried() -> None:
    assert SHOWN
    head, line, *rows = SHOWN[1].splitlines()
    assert set(head.split("|")) <= set(table([]).splitlines()[0].split("|"))
    tried = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert tried
    for release in tried:
        version = ".".join(release.split(".")[:2]) + "t" * release.endswith("t")
        assert version in root.VERSIONS
    assert {row.count("|") for row in rows} == {head.count("|")} == {line.count("|")}


def test_the_table_takes_the_place_of_the_last_one() -> None:
    trials = [
        Trial("3.9", "3.9.18", "151", "yes"), Trial("3.14t", "3.14.1", "151", "yes", "off", "114")
    ]  # fmt: skip
    text = with_table(PAGE.read_text(), trials)
    assert "\n|---|---:|---|---|---:|\n| 3.9.18 | 151 | yes | | |\n" in text
    assert "\n| 3.14.1t | 151 | yes | off | 114 |\n\n" in text
    assert with_table(text, []) == with_table(PAGE.read_text(), [])


def test_a_python_that_is_nowhere_cannot_be_had() -> None:
    assert root.find("3.8t") is None
    with pytest.raises(root.UnavailableError):
        root.obtain("3.8t")
