"""Record a command, then run it under what was recorded: as users do, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

from command import inside, seccompgen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from command import Result

_BECOME = """
import importlib, os, sys
sys.path.insert(0, sys.argv[1])
filter = importlib.import_module("sandbox." + sys.argv[2])
words = sys.argv[3:]
filter.install()
os.execv(words[0], words)
"""


def record(policy: Path, command: Sequence[str | Path], *options: str | Path) -> Result:
    """Record exactly what ``command``, a path and its arguments, calls into ``policy``."""
    return seccompgen(
        "record", "-o", policy, "--exact", *options, "--", *command, cwd=policy.parent
    )


def confined(policy: Path, command: Sequence[str | Path]) -> list[str]:
    """Return the command line that runs ``command`` under ``policy``, which this compiles."""
    package = policy.parent / "sandbox"
    built = inside("build", str(policy), "-o", str(package), cwd=policy.parent)
    assert built.code == 0, built.err
    (package / "__init__.py").touch()
    return [sys.executable, "-c", _BECOME, str(policy.parent), policy.stem, *map(str, command)]


def run(
    command: Sequence[str | Path], timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


def calls(policy: Path) -> list[str]:
    """Return the names of the calls in a recorded policy, by its text alone."""
    lines = (line.strip().partition(" #")[0] for line in policy.read_text().splitlines())
    names = [line[2:].removeprefix("name: ") for line in lines if line.startswith("- ")]
    return sorted({name for name in names if name.isidentifier()} - {"action", "argument"})
