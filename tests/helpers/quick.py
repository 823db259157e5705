"""A pytest plugin, ``-p quick``: the tests of what changed, the nearest first, for a minute.

The change is what differs from the commit ``$BASE``; without it, from where the branch left main,
or on main from the commit before. A test is near to a changed file if it lies in it, imports it, or
lies in its room, in this order. Tests that a subprocess alone connects with the change are in the
room, or are left to `make test`.
"""

from __future__ import annotations

import ast
import os
import subprocess
import time
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
TESTS = PurePosixPath("tests")
SECONDS = 45.0
"""After which no test begins; collecting and the last tests take the rest of a minute."""

_ROOMS = {
    "templates": ("runtime", "render"),
    "policies": ("stock",),
    "generated": ("stock", "project"),
    "benchmarks": ("project",),
    "docs": ("project",),
    "examples": ("project",),
}
"""Folders of tests for what is not under ``generator/``; the project's own for the rest."""


def changed(base: str | None) -> list[PurePosixPath]:
    """Return the files that differ from ``base``, those that git does not know included."""
    head = _git("rev-parse", "HEAD")
    if base and not _git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}"):
        raise pytest.UsageError(f"BASE={base}: git knows no such commit")
    fork = [base] if base else _git("merge-base", "HEAD", "main")
    if fork == head and not _git("status", "--porcelain"):
        fork = _git("rev-parse", "--verify", "--quiet", "HEAD~1")
    (start,) = fork or head
    names = _git("diff", "--name-only", start) + _git("ls-files", "-o", "--exclude-standard")
    return [PurePosixPath(name) for name in names]


def nearness(test: PurePosixPath, imports: frozenset[str], change: PurePosixPath) -> int | None:
    """Return 0 for a changed test, 1 if it imports the change, 2 in its room; None elsewhere."""
    if test == change:
        return 0
    if _module(change) in imports:
        return 1
    room = TESTS.joinpath(*change.parts[2:-1])
    if change.parts[0] == "generator":
        return 2 if len(change.parts) > 3 and room in test.parents else None
    if change.parts[0] == "tests":
        return 2 if change.name == "conftest.py" and change.parent in test.parents else None
    rooms = _ROOMS.get(change.parts[0], ("project",))
    return 2 if any(TESTS / name in test.parents for name in rooms) else None


def _module(path: PurePosixPath) -> str:
    """Return the name by which a file is imported, as sources and helpers are."""
    inside = {"generator": 1, "tests": 2}.get(path.parts[0], 0)
    return ".".join(path.with_suffix("").parts[inside:]).removesuffix(".__init__")


@cache
def _imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _git(*words: str) -> list[str]:
    """Return the lines of git's answer; none where it has none, as of a branch unknown here."""
    run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.splitlines()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are near to the change, the nearest first."""
    changes = changed(os.environ.get("BASE"))
    near: dict[Path, int] = {}
    for path in {item.path for item in items}:
        test = PurePosixPath(path.relative_to(ROOT).as_posix())
        distances = [nearness(test, _imports(path), change) for change in changes]
        if known := [one for one in distances if one is not None]:
            near[path] = min(known)
    config.hook.pytest_deselected(items=[item for item in items if item.path not in near])
    items[:] = sorted((i for i in items if i.path in near), key=lambda item: near[item.path])


_BEGUN = time.monotonic()


def pytest_runtest_setup() -> None:
    """Leave out what the time does not suffice for, and say so."""
    if time.monotonic() - _BEGUN > SECONDS:
        pytest.skip("the time of `make quick` is up: `make test` runs it")
