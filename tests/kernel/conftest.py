"""Upstream's files, in miniature and, beside the checkout, real ones, and tables made from them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from seccompgen.kernel.parse import CANDIDATES, parse
from upstream import TREES, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from seccompgen.core.tables import Tables


@cache
def _read(root: Path, tag: str) -> dict[str, bytes]:
    paths = {path: root / tag / path for path in CANDIDATES}
    return {path: file.read_bytes() for path, file in paths.items() if file.is_file()}


@cache
def _parse(root: Path, tag: str) -> Tables:
    return parse(tag, _read(root, tag))


@pytest.fixture(params=list(TREES.values()), ids=list(TREES))
def kernel_tree(request: pytest.FixtureRequest) -> Path:
    """A folder of kernel trees by tag: each of them in turn."""
    root: Path = request.param
    return root


@pytest.fixture
def tree(kernel_tree: Path) -> Callable[[str], dict[str, bytes]]:
    """Upstream's files of a tag, by path, free to be changed."""
    return lambda tag: dict(_read(kernel_tree, tag))


@pytest.fixture
def tables_of(kernel_tree: Path) -> Callable[[str], Tables]:
    """The tables of a tag."""
    return lambda tag: _parse(kernel_tree, tag)


@pytest.fixture
def facts(kernel_tree: Path) -> list[dict[str, Any]]:
    """Return the facts of arches.json."""
    data: list[dict[str, Any]] = json.loads((kernel_tree / "arches.json").read_bytes())
    return data


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that stands for upstream's; what it serves is the miniature."""
    with Upstream() as server:
        yield server
