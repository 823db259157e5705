"""The stock policies, built once, and the interpreters that import them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confine import POLICIES, Confine

SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the package ``stock``: the policies, as the command builds them."""
    directory = tmp_path_factory.mktemp("filters")
    package = directory / "stock"
    package.mkdir()
    (package / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "seccompgen", "build", *POLICIES, "-o", package],
        capture_output=True,
        text=True,
        check=False,
    )
    # Not one note: what is missing somewhere is expected to be.
    assert (done.returncode, done.stderr) == (0, "")
    return directory


@pytest.fixture(params=[sys.executable, SYSTEM_PYTHON])
def confine(request: pytest.FixtureRequest, stock: Path) -> Confine:
    """Return what runs `worker.py` under a policy, with this Python and with the system's."""
    if not Path(request.param).exists():
        pytest.skip(f"there is no {request.param}")
    return Confine(request.param, stock)
