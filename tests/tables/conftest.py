"""Upstream's files, from the folder beside the checkout, and tables made from them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from seccompgen.parse import CANDIDATES, parse
from upstream import KERNEL, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.tables import Tables

NEW, OLD = "v7.3.4", "v6.1.176"


@cache
def _read(tag: str) -> dict[str, bytes]:
    root = KERNEL / tag
    if not root.is_dir():
        pytest.skip(f"{root} is not there: real kernel sources lie beside the checkout, not in it")
    return {path: (root / path).read_bytes() for path in CANDIDATES if (root / path).is_file()}


@cache
def _parse(tag: str) -> Tables:
    return parse(tag, _read(tag))


@pytest.fixture
def tree() -> Callable[[str], dict[str, bytes]]:
    """Upstream's files of a tag, by path, free to be changed."""
    return lambda tag: dict(_read(tag))


@pytest.fixture
def tables_of() -> Callable[[str], Tables]:
    """The tables of a tag."""
    return _parse


@pytest.fixture
def facts() -> list[dict[str, Any]]:
    """What arches.json says."""
    file = KERNEL / "arches.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there: it lies beside the checkout, not in it")
    data: list[dict[str, Any]] = json.loads(file.read_bytes())
    return data


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that stands for upstream's."""
    if not KERNEL.is_dir():
        pytest.skip(f"{KERNEL} is not there: real kernel sources lie beside the checkout")
    with Upstream() as server:
        yield server
