"""No prover and no oracle shares code with the compiler."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from seccompgen.verify import kernel

PACKAGE = Path(kernel.__file__).parents[1]


def imported_by(module: Path) -> set[str]:
    """Return the modules of seccompgen that ``module`` imports, wherever in it and whatever for."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("seccompgen.") and file_of(name)}


def file_of(module: str) -> Path | None:
    place = PACKAGE.parent / Path(*module.split("."))
    options = (place.with_suffix(".py"), place / "__init__.py")
    return next((one for one in options if one.is_file()), None)


# The compiler, what it knows of sets and rules, and all that is above it.
_COMPILES = re.compile(
    r"seccompgen\.(core\.(sets|reach)|policy|compile|render|pipeline|filters|run|scan|cli)\b"
)


def test_no_prover_and_no_oracle_shares_code_with_the_compiler() -> None:
    waiting = {f"seccompgen.verify.{path.stem}" for path in (PACKAGE / "verify").glob("*.py")}
    waiting = {"seccompgen.verify"} | waiting - {"seccompgen.verify.__init__"}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        path = file_of(name)
        assert path
        waiting |= imported_by(path) - seen
    assert "seccompgen.core.model" in seen
    assert not any(map(_COMPILES.match, seen)), seen


def test_what_is_loaded_shares_no_code_with_the_compiler() -> None:
    script = (
        "import sys, seccompgen.verify, seccompgen.verify.classes, seccompgen.verify.smt\n"
        "print(*(name for name in sys.modules if name.startswith('seccompgen.')))"
    )
    loaded_there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "seccompgen.verify.smt" in loaded_there
    assert not any(map(_COMPILES.match, loaded_there)), loaded_there


def test_the_oracle_reads_the_policy_and_the_tables_only() -> None:
    path = PACKAGE / "verify" / "oracle.py"
    assert {name.removeprefix("seccompgen.") for name in imported_by(path)} <= {
        *("core.errnos", "core.model", "core.abis", "core.releases", "core.tables", "core.word"),
        *("verify", "verify.call"),
    }
