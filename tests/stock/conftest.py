"""The stock filters, as they are committed, and the interpreters that import them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from confine import Confine
from proving import GENERATED

SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the package ``stock``: the filters, as the sources give them."""
    directory = tmp_path_factory.mktemp("filters")
    shutil.copytree(GENERATED, directory / "stock", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


@pytest.fixture(
    params=[
        sys.executable,
        pytest.param(SYSTEM_PYTHON, marks=pytest.mark.long("another Python, another C library")),
    ]
)
def confine(request: pytest.FixtureRequest, stock: Path) -> Confine:
    """Return what runs `worker.py` under a policy, with this Python and with the system's."""
    if not Path(request.param).exists():
        pytest.skip(f"there is no {request.param}")
    return Confine(request.param, stock)
