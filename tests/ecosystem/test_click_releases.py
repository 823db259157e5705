"""All commands say the same with the lowest click that pyproject.toml permits, and the newest."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ecosystem

TESTS = Path(__file__).parents[1]
(LOWEST,) = re.findall(r'"click>=([\d.]+)"', (TESTS.parent / "pyproject.toml").read_text())


@pytest.mark.parametrize("release", [f"=={LOWEST}", ">=0"])
def test_commands_say_the_same_with_a_click_of_another_release(
    release: str, tmp_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", "click"]
    had = subprocess.run(
        [*pip, f"click{release}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if had.returncode:
        pytest.skip(f"no click{release} from a registry: {had.stderr.splitlines()[-1]}")
    wrote = subprocess.run(
        [sys.executable, TESTS / "cli" / "test_command_lines.py", "golden"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "click")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (wrote.returncode, wrote.stderr) == (0, "")
    texts = [
        {path.name: path.read_text() for path in folder.iterdir()}
        for folder in (tmp_path / "golden", TESTS / "cli" / "golden")
    ]
    assert texts[0] == texts[1]
