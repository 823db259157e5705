"""The house: rooms that import the rooms below them. That modules say their job is ruff's D100."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "generator" / "seccompgen"


def test_imports_point_downwards() -> None:
    """The layers and their order are in pyproject.toml; a room that is not in them is an error."""
    lint = Path(sys.executable).with_name("lint-imports")
    words = [str(lint), "--no-cache"]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_the_root_holds_rooms_alone() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_generated_code_imports_the_standard_library_only() -> None:
    generated = ROOT / "generated" / "seccomp_filters"
    modules = {
        name
        for path in generated.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    plain = {"_ctypes", "_thread", "ctypes", "errno", "importlib", "os", "sys", "types", "warnings"}
    supervisor = {"collections.abc", "fcntl", "select", "socket", "struct", "time"}
    assert modules <= plain | supervisor
