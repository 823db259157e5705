"""Raw programs, handed to what takes them: bubblewrap."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from pages import follow

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem


@pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap")
def test_the_page_does_what_it_shows(tmp_path: Path) -> None:
    bare = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "true"]
    done = subprocess.run(bare, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"bubblewrap starts nothing here: {done.stderr.strip()}")
    assert follow("bpf.md", tmp_path) == 3
