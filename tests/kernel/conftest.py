"""Upstream's files, in miniature and, beside the checkout, real ones, and tables made from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from kernel_trees import read_tree, tables_from
from upstream import Upstream, each_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from seccompgen.core.tables import Tables


@pytest.fixture(params=each_tree())
def kernel_tree(request: pytest.FixtureRequest) -> Path:
    """A folder of kernel trees by tag: each of them in turn."""
    root: Path = request.param
    return root


@pytest.fixture
def tree(kernel_tree: Path) -> Callable[[str], dict[str, bytes]]:
    """Upstream's files of a tag, by path, free to be changed."""
    return lambda tag: dict(read_tree(kernel_tree, tag))


@pytest.fixture
def tables_of(kernel_tree: Path) -> Callable[[str], Tables]:
    """The tables of a tag."""
    return lambda tag: tables_from(kernel_tree, tag)


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
