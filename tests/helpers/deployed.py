"""A small application with a vendored filter, to be deployed in one shape or another.

It installs the filter and makes the call that its policy refuses.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import running_kernel as kernel
from command import seccompgen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHAPES = {
    "package": ("app/sandbox", "from app.sandbox import worker"),
    "single-file": ("app/worker.py", "from app import worker"),
}
"""The kinds of DEST, and how the application imports each."""
POLICY = "default_action: allow\nsyscalls:\n- {action: errno(EXDEV), names: [getppid]}\n"
# getppid cannot fail, so libc hands on what the kernel returned: -EXDEV.
MAIN = """\
import os
import sys

%s

before = os.getppid()
worker.install()
print(before > 0, os.getppid(), sys.flags.optimize)
"""


def lay_out(directory: Path, shape: str) -> Path:
    """Write the application to ``directory``, with ``__main__.py`` at its top; return that."""
    dest, imports = SHAPES[shape]
    policy = directory.parent / "worker.yml"
    policy.write_text(POLICY)
    (directory / "app").mkdir(parents=True)
    (directory / "app" / "__init__.py").touch()
    options = ["--single-file"] if shape == "single-file" else []
    run = seccompgen(
        "vendor", policy, directory / dest, "--arch", "x86_64", "--arch", "arm64", *options
    )
    assert run.code == 0, run.err
    main = directory / "__main__.py"
    main.write_text(MAIN % imports)
    return main


def said(command: Sequence[str | Path]) -> tuple[int, str, str]:
    """Run the application; return its exit code, and what it said on stdout and stderr."""
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=kernel.TIMEOUT, check=False
    )
    return run.returncode, run.stdout, run.stderr


def refused(optimize: int = 0) -> tuple[int, str, str]:
    """Return what `said` must be: the call was made, and then refused."""
    return 0, f"True -18 {optimize}\n", ""
