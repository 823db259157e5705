"""`make quick`: the tests of what changed, the nearest first, for a minute.

The files are chosen before pytest sees them, as collecting all tests takes most of a minute. This
module is also a pytest plugin, which ends the run in time and fails it if nothing ran.

The change is what differs from the commit ``$BASE``; without it, from where the branch left main,
or on main from the commit before. A test is near to a changed file if it lies in it, imports it, or
lies in its room, in this order. Tests that a subprocess alone connects with the change are in the
room, or are left to `make test`.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
TESTS = PurePosixPath("tests")
SECONDS, AT_LEAST = 45.0, 15.0
"""After which no test begins: since the start, but since collecting at least so many."""
FILES = 40
"""The most that are collected; what changed under everything is imported by hundreds."""

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
    if change.parts[0] == "generator":
        room = _room(change)
        return 2 if room != TESTS and room in test.parents else None
    if change.parts[0] == "tests":
        return 2 if change.name == "conftest.py" and change.parent in test.parents else None
    rooms = _ROOMS.get(change.parts[0], ("project",))
    return 2 if any(TESTS / name in test.parents for name in rooms) else None


def _room(change: PurePosixPath) -> PurePosixPath:
    """Return the folder of tests for a source: its own, or else the nearest one above that."""
    room = TESTS.joinpath(*change.parts[2:-1])
    while not (ROOT / room).is_dir():
        room = room.parent
    return room


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


def near(changes: list[PurePosixPath], tests: list[Path]) -> list[Path]:
    """Return those of ``tests`` that are near to a change, the nearest first.

    Among equals the changed file's namesake and its own room come first, then who imports little.
    """
    found: list[tuple[int, int, int, Path]] = []
    for path in tests:
        test, imports = PurePosixPath(path.relative_to(ROOT).as_posix()), _imports(path)
        for change in changes:
            distance = nearness(test, imports, change)
            if distance is not None:
                other = test.stem != f"test_{change.stem}"
                elsewhere = TESTS.joinpath(*change.parts[2:-1]) not in test.parents
                found.append((distance, other + elsewhere, len(imports), path))
    return [*dict.fromkeys(path for *_, path in sorted(found))]


def main() -> int:
    """Run them; return pytest's code."""
    base = os.environ.get("BASE")
    try:
        changes = changed(base)
    except pytest.UsageError as error:
        print(error, file=sys.stderr)
        return pytest.ExitCode.USAGE_ERROR
    if not changes:
        print("nothing changed")
        return pytest.ExitCode.OK
    left_out = {ROOT / TESTS / name for name in ("ecosystem", "guests")}
    tests = (ROOT / TESTS).rglob("test_*.py")
    files = near(changes, [path for path in tests if not left_out & {*path.parents}])
    if not files:
        print("no test is near to the change: run `make test`", file=sys.stderr)
        return pytest.ExitCode.NO_TESTS_COLLECTED
    if len(files) > FILES:
        print(f"the nearest {FILES} of {len(files)} files: `make test` runs the others")
    options = ["-q", "-p", "quick", "-n", "auto", "--dist", "load"]
    return pytest.main([*options, *map(str, files[:FILES])])


# The plugin

_BEGUN = time.monotonic()
_UNTIL = pytest.StashKey[float]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the nearest first, as `main` wrote them; nothing had begun before this."""
    config.stash[_UNTIL] = max(_BEGUN + SECONDS, time.monotonic() + AT_LEAST)
    places = {Path(file): place for place, file in enumerate(config.args)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what the time does not suffice for, and say so."""
    if time.monotonic() > item.config.stash[_UNTIL]:
        pytest.skip("the time of `make quick` is up: `make test` runs it")


def pytest_configure(config: pytest.Config) -> None:
    """Watch what runs in the one process that reports, which is no worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Watch(), "quick watch")


class _Watch:
    """Fails a run in which no test ran."""

    def __init__(self) -> None:
        self._ran = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a test that ran, or failed before it could."""
        self._ran |= report.failed or (report.when == "call" and not report.skipped)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Nothing failed, but nothing was tried."""
        if session.exitstatus == pytest.ExitCode.OK and not self._ran:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say so."""
        if not self._ran:
            terminalreporter.line("Nothing ran, so nothing is known: run `make test`.", red=True)


if __name__ == "__main__":
    sys.exit(main())
