"""docs/vendor.md, command by command: what it shows is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import running_kernel as kernel
from command import ROOT
from deployed import lay_out, refused

kernel.require_x86_64()

BLOCKS = re.findall(
    r"^```console\n(.*?)^```", (ROOT / "docs" / "vendor.md").read_text(), re.MULTILINE | re.DOTALL
)


def transcript(block: str, cwd: Path) -> str:
    """Run the commands of a block, and return them with all that they printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    lines = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            run = subprocess.run(
                ["bash", "-c", line.removeprefix("$ ")],
                cwd=cwd,
                env={**os.environ, "PATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            lines += [line, run.stdout]
    return "".join(lines)


@pytest.mark.long("does all that a page shows")
def test_what_is_written_checked_and_run_as_shown(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "word_count" / "worker.yml", tmp_path)
    shown = [block for block in BLOCKS if "seccompgen " in block]
    assert len(shown) == 3
    assert [transcript(block, tmp_path) for block in shown] == shown


def test_a_zipapp_as_shown(tmp_path: Path) -> None:
    lay_out(tmp_path / "service", "package")
    (block,) = [block for block in BLOCKS if "zipapp" in block]
    assert transcript(block, tmp_path) == block + refused()[1]
