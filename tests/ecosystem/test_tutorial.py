"""The tutorial, typed as shown: our wheel in an empty directory, gunicorn from an index."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from released import lay_out, pins, plain_path
from servers import free_port
from shown import console_blocks, same
from transcript import play

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem


def test_the_tutorial_passes_as_written(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    lay_out(tmp_path / "seccompgen")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(pins())
    env = {
        "HOME": str(tmp_path),
        "PATH": plain_path(tmp_path),
        "PIP_CONSTRAINT": str(constraints),
        "PIP_BUILD_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",
        "VIRTUAL_ENV": "",
    }
    port = str(free_port())
    env["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{port}"
    shown = [step for block in console_blocks("docs/tutorial.md") for step in block.steps()]
    assert len(shown) > 15
    work = tmp_path / "work"
    work.mkdir()
    try:
        played = play([step.command.replace(":8000", f":{port}") for step in shown], work, env)
    finally:
        stop(work)
    for step, (code, said) in zip(shown, played, strict=True):
        assert same(step.output, said), f"{step.command}{said}"
        assert code == 0, f"{step.command}{said}"


def stop(place: Path) -> None:
    """End a server that is left over from a tutorial that did not get to its end."""
    for file in place.rglob("gunicorn.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGTERM)
