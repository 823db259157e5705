"""Settings and fixtures of all tests."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

import corpus
import pytest
import upstream
import walkthrough
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECIDES = {
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS"),
    *("CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"),
}
"""Variables by which programs that tests start do otherwise than without them."""

_LONGEST = (
    # Other files take what the first two compile from the cache of the run.
    *("stock/test_programs", "compile/test_corpus", "compile/test_large_policies"),
    *("pipeline/test_build_options", "cli/test_tables", "verify/test_indistinguishable"),
    *(
        "policy/test_json_schema",
        "filters/find/test_forms",
        "languages/test_sources",
        "cli/test_history",
    ),
    *("lint/test_historic", "compile/test_programs", "pipeline/test_depfile"),
    "languages/test_sources",
    *("distribute/test_pytest_plugin", "compile/test_objectives", "verify/test_provers"),
    *("ecosystem/test_enforced", "ecosystem/test_packages", "ecosystem/test_site"),
    *("ecosystem/test_go", "ecosystem/test_bazel", "ecosystem/test_newcomer"),
    *("ecosystem/test_wheels", "ecosystem/test_servers", "ecosystem/test_scan_toolchains"),
    *("ecosystem/test_scan", "ecosystem/test_action", "ecosystem/test_containers"),
    *("ecosystem/test_record", "ecosystem/test_report", "ecosystem/test_tutorial"),
    *("ecosystem/test_cross_compilers", "ecosystem/test_frozen"),
)
"""The files whose tests take longest together; a list that has aged costs time and no more."""


# How long an example takes is a matter of the machine, and of what else it does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed: solvers get and free as much, many times a second.

    Otherwise a third of their time goes into pages that the kernel takes back and clears again.
    """
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt:
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_TOP_PAD, 1 << 24)
        mallopt(_MMAP_THRESHOLD, 1 << 25)


_LIBC = ctypes.CDLL(None)  # of glibc, or there is nothing to keep or to give back
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_keep_freed_memory()
_MUCH = 250 << 20
"""The bytes of memory with which a process forgets at the end of a file what that has made."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take an option that renews golden files."""
    parser.addoption("--update-data", action="store_true", help="write tests/data/compile anew")


def pytest_report_header() -> str:
    """Say what the tests of tables and of realistic policies are tried on."""
    there = ["real" in upstream.TREES, "production" in corpus.SETS]
    if all(there):
        return "on our own kernel tree and policies, and on those of ../shared"
    lacking = ", ".join(
        what
        for what, is_there in zip(("kernel sources", "policies"), there, strict=True)
        if not is_there
    )
    return f"on our own kernel tree and policies in tests/data; ../shared has no {lacking}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, lest one of them begin when the other workers have ended.

    The Makefile has xdist keep that order. Each worker has a file at a time, as it comes. All of
    them must have one order, in whichever they collected: the others are by their names.
    """
    tests = config.rootpath / "tests"
    places = {tests / f"{name}.py": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), item.path))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Have every other worker collect backwards, so that two of them meet in the middle.

    In a new clone pytest rewrites the assertions of 400 files, which is half of what collecting
    costs, and keeps what it wrote. Workers of one order would all do all of it.
    """
    report = cast("pytest.CollectReport", (yield))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    if int(worker) % 2 and isinstance(collector, pytest.Directory):
        report.result.reverse()
    return report  # type: ignore[return-value]  # pluggy's wrappers return what they got


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave what is marked ``root`` to root, except where it shows something to others as well."""
    for mark in item.iter_markers("root"):
        if os.geteuid() != 0 and not mark.kwargs.get("users_too"):
            pytest.skip(f"only root {mark.args[0]}")


def pytest_collection_finish() -> None:
    """Have what was collected never looked through again for garbage, and the rest less often.

    The compiler makes many small objects that live, so that a fifth of its time went there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither read nor fill the cache of whoever runs the tests; all workers of a run share one."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        yield


@pytest.fixture
def distributions_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the compilers that `make test-ecosystem` installs before any proxy of rustup's."""
    monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Have a large process forget what the compiler knows of a file's policies."""
    yield
    with Path("/proc/self/statm").open() as file:
        resident = int(file.read().split()[1]) * resource.getpagesize()
    if resident < _MUCH:
        return
    for name, module in [*sys.modules.items()]:
        if name.startswith("seccompgen.compile."):
            for kept in vars(module).values():
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()
                elif isinstance(kept, threading.local):
                    vars(kept).clear()
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of the example that the test names as its parameter."""
    return walkthrough.copy(request.param, tmp_path)


@pytest.fixture(scope="session", autouse=True)
def plain_start() -> Iterator[None]:
    """Hand on to what tests start only what a new machine has.

    A shell starts what runs in its background with SIGINT and SIGQUIT ignored, and nohup with
    SIGHUP, which survives exec. An outer make has its say, and variables such as PYTHONUNBUFFERED
    hide what everybody else would see.
    """
    deaf = [
        one
        for one in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
        if signal.getsignal(one) is signal.SIG_IGN
    ]
    for one in deaf:
        handler = signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL
        signal.signal(one, handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith("PYTHON") or name in _DECIDES:
                patch.delenv(name)
        yield
    for one in deaf:
        signal.signal(one, signal.SIG_IGN)
