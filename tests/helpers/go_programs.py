"""Programs in Go, compiled for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def go_program(
    directory: Path, source: str, *flags: str, arch: str = "amd64", cgo: bool = False
) -> Path:
    """Compile ``source`` to a program in ``directory``; skip where there is no Go.

    Go keeps packages below $XDG_CACHE_HOME, which all tests of a run share: the packages of a web
    server take it half a minute.
    """
    if not shutil.which("go"):
        pytest.skip("there is no go")
    (directory / "main.go").write_text(source)
    (directory / "go.mod").write_text("module program\ngo 1.21\n")
    environment = {
        "CGO_ENABLED": str(int(cgo)),
        "GOARCH": arch,
        "GOFLAGS": "-mod=mod",
        "GOPATH": str(directory / "path"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
    }
    subprocess.run(
        ["go", "build", *flags, "-o", "program", "."],
        cwd=directory,
        env={**os.environ, **environment},
        check=True,
    )
    return directory / "program"
