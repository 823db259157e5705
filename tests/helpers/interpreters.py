"""The Pythons of this machine."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def find_interpreter(version: str) -> str | None:
    """Return a Python of this version, None if there is none."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    candidates = [shutil.which(f"python{version}"), *map(str, pyenv)]
    for candidate in candidates:
        if candidate and _version_of(candidate) == version:
            return candidate
    return None


def _version_of(python: str) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
