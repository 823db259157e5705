"""Fetch wheels with pip's own client, from the index that it is configured with."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from companions.sources import PLATFORM

if TYPE_CHECKING:
    from pathlib import Path


class PipError(RuntimeError):
    """pip failed; the text is the last line that it printed."""


def fetch(requirement: str, directory: Path) -> Path:
    """Download the wheel of ``name==version`` to ``directory``, and return its path.

    Raises PipError.
    """
    platform, interpreter, abi = PLATFORM
    options = (
        *("--no-deps", "--only-binary=:all:", f"--platform={platform}"),
        *(f"--python-version={interpreter[2:]}", f"--abi={abi}", f"--dest={directory}"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", *options, requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PipError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    (wheel,) = directory.glob("*.whl")
    return wheel
