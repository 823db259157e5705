"""From a policy's text to its generated module, as an application would import it."""

from __future__ import annotations

import importlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest
from seccompgen.io.outputs import Outputs
from seccompgen.pipeline.build import build_policies, shipped_tables
from seccompgen.pipeline.files import filter_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NUMBERS = itertools.count()
TABLES = shipped_tables()


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Compile a policy's text into a package of a name not used before, and import its module."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text: str) -> Any:
        number = next(_NUMBERS)
        policy = tmp_path / f"policy_{number}.yml"
        policy.write_text(text)
        package = tmp_path / f"vendored_{number}"
        built = build_policies([policy], TABLES)
        Outputs(filter_files(built, TABLES, package)).write()
        importlib.invalidate_caches()
        return importlib.import_module(f"{package.name}.{policy.stem}")

    yield make
    for name in [name for name in sys.modules if name.startswith("vendored_")]:
        del sys.modules[name]
