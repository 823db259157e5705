"""A pytest plugin that counts the CPU time of each test and of the run, and the memory of workers.

It holds them to a budget. Counted is what the worker uses, and the processes that it has waited
for. Unlike a clock, that is much the same on a machine that is busy otherwise.
"""

from __future__ import annotations

import contextlib
import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_T = TypeVar("_T")

CEILING = 5.0
"""The seconds of CPU that a test of `make test` may use; they are counted from set-up to teardown.

Most use less than a tenth of a second, and few more than one. What is made for the whole run does
not count: see `apart`."""

GROSS = 2.0
"""The multiple of its budget at which a test or a run fails: processors differ, and busy ones take
twice as long for the same."""

LONG = 6
"""How many cases of a test `make test-long` tries beside those of `make test`, unless told."""

_FREE = ("long", "weekly", "ecosystem", "kernels")
"""Marks of tests that have no ceiling each."""

_DEAREST = 5

_served: dict[int, float] = {}
"""By PID, the seconds of children that are still to be waited for, as they said themselves."""


def note_served(pid: int, seconds: float) -> None:
    """Note what a child that goes on serving has used until now."""
    _served[pid] = seconds


def used() -> float:
    """Return the seconds of CPU that this process and its children have used."""
    user, system, of_children, of_system, _ = os.times()
    return user + system + of_children + of_system + sum(_served.values())


_apart = [0.0]


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Count what is made for all tests of a run as no test's own."""
    before, counted = used(), _apart[0]
    yield
    _apart[0] = counted + used() - before


def _own() -> float:
    return used() - _apart[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the minutes that the run may use, and a file for what each test used."""
    group = parser.getgroup("CPU")
    group.addoption(
        "--cpu-minutes", type=float, help="fail if the run uses far more CPU than these minutes"
    )
    group.addoption(
        "--worker-megabytes", type=int, help="fail if a worker ever had more memory resident"
    )
    group.addoption("--cpu-times", type=Path, help="write the CPU seconds of each test to this CSV")


def pytest_configure(config: pytest.Config) -> None:
    """Count in this process; only the one that reports, which is no worker, sums up."""
    config.pluginmanager.register(_Counting(), "cpu counting")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Sum(config), "cpu sum")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases that `few` leaves out; refuse what is left out without a reason."""
    _leave_few(items)
    for item in items:
        for name in ("long", "weekly"):
            for mark in item.iter_markers(name):
                if len(mark.args) != 1 or not isinstance(mark.args[0], str) or mark.kwargs:
                    raise pytest.UsageError(f'{item.nodeid}: write mark.{name}("reason")')
        if weekly := item.get_closest_marker("weekly"):
            item.add_marker(pytest.mark.long(*weekly.args))


def _leave_few(items: Sequence[pytest.Item]) -> None:
    """Mark all but a few cases of a test, those evenly spread over its cases.

    ``few(count, reason)`` leaves ``count`` to `make test`, ``long=`` more of them to `make
    test-long`, and the others to `make test-weekly`. The choice depends on the cases that were
    collected, of which a run of one file has the same.
    """
    cases: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few") and not (
            item.get_closest_marker("long") or item.get_closest_marker("weekly")
        ):
            name = getattr(item, "originalname", item.name)
            cases.setdefault((item.parent.nodeid if item.parent else "", name), []).append(item)
    for several in cases.values():
        mark = several[0].get_closest_marker("few")
        assert mark
        count, reason = mark.args
        left = []
        for item in all_but(count, several):
            # Where a test has a smaller and a larger size, the larger one shows what this would.
            if item.get_closest_marker("smaller"):
                item.add_marker(pytest.mark.weekly(reason))
            else:
                left.append(item)
        weekly = all_but(mark.kwargs.get("long", LONG), left)
        for item in left:
            item.add_marker((pytest.mark.weekly if item in weekly else pytest.mark.long)(reason))


def all_but(count: int, cases: Sequence[_T]) -> list[_T]:
    """Return ``cases`` without ``count`` of them, those evenly spread."""
    count = min(count, len(cases))
    kept = {n * len(cases) // count for n in range(count)}
    return [case for n, case in enumerate(cases) if n not in kept]


def _peak() -> float:
    """Return the most memory that this process has had resident, in megabytes.

    getrusage would tell that of the process that started this one, if it had more: Linux keeps
    `maxrss` across execve(2).
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class _Counting:
    """What each test of this process uses."""

    def __init__(self) -> None:
        self._before = 0.0

    def pytest_runtest_logstart(self) -> None:
        """Begin before what is set up for the test."""
        self._before = _own()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Fail a test that has used more than it may; its teardown is reported last."""
        if call.when == "teardown":
            item.user_properties.append(("cpu", _own() - self._before))
        report = cast("pytest.TestReport", (yield))
        if call.when == "teardown" and report.passed:
            seconds = _own() - self._before
            if seconds > CEILING * GROSS and not any(
                item.get_closest_marker(name) for name in _FREE
            ):
                report.outcome = "failed"
                report.longrepr = _TOO_DEAR.format(seconds=seconds, ceiling=CEILING)
        return report  # type: ignore[return-value]  # pluggy's wrappers return what they got

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand on what the whole process has used, collecting included."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["cpu"] = used()
            session.config.workeroutput["megabytes"] = _peak()


_TOO_DEAR = """\
This test used {seconds:.1f} s of CPU. A test of `make test` may use {ceiling:g}.
Make it cheaper: read what is committed, make it once (helpers/once_a_run.py), try fewer sizes, run
the command in a fork (helpers/command.py). What shows more goes to `make test-long`: mark it
@pytest.mark.long("why it takes long"), or one parameter with pytest.param(marks=...). What shows
the same at other sizes or on other ABIs is @pytest.mark.weekly("why")."""


class _Sum:
    """What the run has used, all processes together."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._of_tests: dict[str, float] = {}
        self._of_workers = 0.0
        self._largest = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test has used from its last report."""
        if report.when == "teardown":
            self._of_tests[report.nodeid] = float(dict(report.user_properties)["cpu"])  # type: ignore[arg-type]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take what a worker has used; one that crashed does not say."""
        output = getattr(node, "workeroutput", {})
        self._of_workers += output.get("cpu", 0.0)
        self._largest = max(self._largest, output.get("megabytes", 0.0))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that is otherwise fine if it used far more than its minutes, or its memory."""
        minutes, megabytes = map(self._config.getoption, ("--cpu-minutes", "--worker-megabytes"))
        if session.exitstatus == 0 and (
            (minutes and self._total() > minutes * 60 * GROSS)
            or (megabytes and self._megabytes() > megabytes)
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what the run has used, and its dearest tests."""
        minutes, megabytes = map(self._config.getoption, ("--cpu-minutes", "--worker-megabytes"))
        if minutes:
            total = self._total()
            apart = total - sum(self._of_tests.values())
            terminalreporter.section("CPU, the dearest tests first")
            terminalreporter.line(
                f"CPU: {total / 60:.1f} of {minutes:g} minutes, {apart:.0f} s outside of tests"
            )
            if total > minutes * 60:
                terminalreporter.line("That is more than the budget in the Makefile.")
            most = f" of {megabytes}" if megabytes else ""
            terminalreporter.line(
                f"memory: the largest worker had {self._megabytes():.0f}{most} MB"
            )
            for seconds, test in self._dearest()[:_DEAREST]:
                terminalreporter.line(f"{seconds:6.1f} s  {test}")

    def pytest_unconfigure(self) -> None:
        """Write the seconds, also of a run that broke off."""
        if path := self._config.getoption("--cpu-times"):
            with path.open("w", newline="") as file:
                csv.writer(file).writerows((f"{s:.2f}", test) for s, test in self._dearest())

    def _total(self) -> float:
        # Where there are workers, they are this process's children, waited for or not.
        return sum(os.times()[:2]) + self._of_workers if self._of_workers else used()

    def _megabytes(self) -> float:
        return self._largest or _peak()

    def _dearest(self) -> list[tuple[float, str]]:
        return sorted(((s, test) for test, s in self._of_tests.items()), reverse=True)
