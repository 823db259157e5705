"""A directory with policies to combine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from combine_command import ASKS, ONE, TWO

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with these policies, and a directory for what is made."""
    for name, text in (("one.yml", ONE), ("two.yml", TWO), ("asks.yml", ASKS)):
        (tmp_path / name).write_text(text)
    (tmp_path / "out").mkdir()
    return tmp_path
