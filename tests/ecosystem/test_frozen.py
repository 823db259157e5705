"""A vendored filter in programs of one file, as PyInstaller and Nuitka build them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from command import ROOT
from deployed import SHAPES, lay_out, refused, said
from longer import long_but

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not sysconfig.get_config_var("Py_ENABLE_SHARED"),
        reason="this Python has no libpython.so, of which such a program takes a copy",
    ),
]


def commands() -> dict[str, list[str]]:
    """Return the commands that the page shows, as modules of this Python, by the module."""
    shown = (ROOT / "docs" / "vendor.md").read_text()
    lines = re.findall(r"^\$ (pyinstaller .*|python3 -m nuitka .*)$", shown, re.MULTILINE)
    words = [line.removeprefix("python3 -m ").split() for line in lines]
    return {tool: options for tool, *options in words}


@pytest.mark.parametrize(
    "shape", long_but(["package"], SHAPES, "collects Python's library once more")
)
@pytest.mark.parametrize(
    ("tool", "module", "place"),
    [
        ("pyinstaller", "PyInstaller", "dist/program"),
        pytest.param(
            *("nuitka", "nuitka", "program"), marks=pytest.mark.long("compiles Python's library")
        ),
    ],
)
def test_a_program_of_one_file(
    tmp_path: Path, shape: str, tool: str, module: str, place: str
) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is missing: it is in the extra 'ecosystem' of pyproject.toml")
    if tool == "nuitka" and not (shutil.which("gcc") and shutil.which("patchelf")):
        pytest.skip("Nuitka needs gcc and patchelf")
    lay_out(tmp_path / "service", shape)
    run = subprocess.run(
        [sys.executable, "-m", module, *commands()[tool]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = (tmp_path / place).rename(elsewhere / "program")
    shutil.rmtree(tmp_path / "service")
    assert said([program]) == refused()
