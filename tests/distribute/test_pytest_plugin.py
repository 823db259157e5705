"""The pytest plugin, on a project of its own: recorded, enforced, and out of the way otherwise."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from recorded_policies import load
from recording import run
from running_kernel import require_x86_64
from seccompgen.core.model import Action

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

require_x86_64()

TESTS = """
import os, socket, subprocess, sys

os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))

def test_calls():
    os.chown(__file__, -1, -1)

def test_starts_a_process():
    assert subprocess.run(["true"]).returncode == 0

def test_makes_a_socket():
    if "INET" in os.environ:
        socket.socket(socket.AF_INET).close()

def test_does_not_notice():
    try:
        if "PRIORITY" in os.environ:
            os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    except PermissionError:
        pass
"""


CONTROLLER = """
import os

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        os.sched_setaffinity(0, os.sched_getaffinity(0))
"""


NOTHING_ELSE = "[pytest]\naddopts = -p no:cacheprovider -p no:hypothesispytest -q\n"
XDIST = [
    pytest.param((), id="one process"),
    pytest.param(("-n", "2"), id="xdist", marks=pytest.mark.long("starts three pytests for each")),
]


def lay_out(place: Path) -> Path:
    (place / "test_it.py").write_text(TESTS)
    (place / "conftest.py").write_text(CONTROLLER)
    (place / "pytest.ini").write_text(NOTHING_ELSE)
    return place


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return lay_out(tmp_path)


UNREACHED = "- action: allow\n  names: [mlockall]\n"


def permitted(policy: Path) -> set[str]:
    return {rule.name for rule in load(policy).own_rules if rule.action == Action.ALLOW}


def pytest_in(project: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": "/usr/bin:/bin", "HOME": str(project), "XDG_CACHE_HOME": str(project / "c")}
    return run([sys.executable, "-m", "pytest", *options], cwd=project, env={**path, **environment})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The policy that a run of the tests in one process wrote."""
    place = lay_out(tmp_path_factory.mktemp("recorded"))
    return record(place)


def record(project: Path, *workers: str) -> str:
    """Record the tests; return the policy that was written."""
    seen = pytest_in(project, "--seccompgen-record", "suite.yml", *workers)
    assert seen.returncode == 0, seen.stderr
    assert "4 passed" in seen.stdout
    return (project / "suite.yml").read_text()


@pytest.mark.parametrize("workers", XDIST)
def test_a_suite_is_recorded(
    project: Path, workers: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    text = record(project, *workers) if workers else request.getfixturevalue("recorded")
    (project / "suite.yml").write_text(text)
    found = permitted(project / "suite.yml")
    assert {"chown", "execve", "wait4"} <= found
    assert not found & {"setpriority", "socket", "seccomp"}
    # What distributes tests runs none, so that what it calls is none of theirs.
    assert ("sched_setaffinity" in found) is not bool(workers)


@pytest.mark.long("makes projects and builds them")
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_suite_runs_under_what_was_recorded(project: Path, workers: tuple[str, ...]) -> None:
    text = record(project, *workers)
    (project / "suite.yml").write_text(f"{text}{UNREACHED}")
    line = text.count("\n") + 2
    held = pytest_in(project, "--seccompgen-enforce", "suite.yml", *workers)
    assert held.returncode == 0, held.stdout + held.stderr
    assert "4 passed" in held.stdout
    assert f"suite.yml:{line}:11: nothing called mlockall\n" in held.stderr
    assert "nothing called chown" not in held.stderr
    refused = pytest_in(project, "--seccompgen-enforce", "suite.yml", *workers, INET="1")
    assert refused.returncode == 1
    assert "1 failed, 3 passed" in refused.stdout
    assert "PermissionError" in refused.stdout
    assert "socket() on x86_64: errno(EPERM) by default_action" in refused.stderr


@pytest.mark.long("makes projects and builds them")
def test_rules_that_no_test_reaches_and_refusals_that_none_notices(
    project: Path, recorded: str
) -> None:
    (project / "suite.yml").write_text(f"{recorded}{UNREACHED}")
    skip = "--seccompgen-skip-unreached"
    short = pytest_in(project, "--seccompgen-enforce", "suite.yml", skip)
    assert short.returncode == 0, short.stdout + short.stderr
    assert "nothing called" not in short.stderr
    assert "rules reached; 0 calls refused" in short.stderr
    assert pytest_in(project, skip).returncode == 4
    unnoticed = pytest_in(project, "--seccompgen-enforce", "suite.yml", PRIORITY="1")
    assert "4 passed" in unnoticed.stdout
    assert unnoticed.returncode == 1
    assert "setpriority() on x86_64" in unnoticed.stderr


FOUR = """
import os, subprocess, sys, threading
import pytest

def attempt():
    try:
        os.getpriority(os.PRIO_PROCESS, 0)
    except PermissionError:
        pass

@pytest.mark.parametrize("n", range(2))
def test_here(n):
    attempt()

def test_there():
    pid = os.fork()
    if pid == 0:
        attempt()
        os._exit(0)
    os.waitpid(pid, 0)
    code = "import os\\ntry: os.getpriority(0, 0)\\nexcept PermissionError: pass"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

def test_none():
    thread = threading.Thread(target=len, args=([],))
    thread.start()
    thread.join()
"""
OWN = """
def test_own():
    from seccomp_filters import no_exec
    no_exec.install()
"""


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param((), id="one process"),
        pytest.param(("-n", "2"), id="xdist", marks=pytest.mark.long("starts workers of xdist")),
    ],
)
def test_each_refusal_is_counted_and_its_test_named(
    project: Path, workers: tuple[str, ...]
) -> None:
    """Also those of what a test starts; the policy's own filter is none of the tests'."""
    (project / "test_it.py").write_text(FOUR)
    policy = project / "suite.yml"
    policy.write_text("default_action: allow\nsyscalls: [{action: errno, names: [getpriority]}]\n")
    held = pytest_in(project, "--seccompgen-enforce", "suite.yml", *workers)
    assert "4 passed" in held.stdout, held.stderr
    assert held.returncode == 1
    tests = "test_it.py::test_here[0], test_it.py::test_here[1], test_it.py::test_there"
    first, *seen, last = held.stderr.splitlines()
    assert first == (
        "suite.yml:2:36: getpriority() on x86_64: errno(EPERM) by rule 1, 4 times, in " + tests
    )
    assert last == "suite.yml: 1 of 1 rules reached; 4 calls refused"
    attempt = f"at {project}/test_it.py:7 in attempt, {project}/test_it.py"
    assert [
        re.sub(r"^    .*\[\d+.*\] |, /[^,]*/site-packages/.*|, getpriority.0x.*", "", line)
        for line in sorted(seen)
    ] == sorted(
        [
            f"getpriority(PRIO_PROCESS, 0), 2 times, {attempt}:13 in test_here",
            f"getpriority(PRIO_PROCESS, 0), {attempt}:18 in test_there",
            "getpriority(PRIO_PROCESS, 0), at <string>:2 in <module>",
        ]
    )


@pytest.mark.long("makes projects and builds them")
def test_filters_of_the_tests_own_are_said(project: Path) -> None:
    (project / "test_it.py").write_text(OWN)
    (project / "suite.yml").write_text("default_action: allow\nsyscalls: []\n")
    own = pytest_in(project, "--seccompgen-enforce", "suite.yml")
    assert "a process installed a filter of its own" in own.stderr


@pytest.mark.long("makes projects and builds them")
def test_both_at_once_record_what_was_refused_as_well(project: Path, recorded: str) -> None:
    (project / "old.yml").write_text(recorded)
    options = ["--seccompgen-record", "suite.yml", "--seccompgen-enforce", "old.yml"]
    again = pytest_in(project, *options, PRIORITY="1")
    assert again.returncode == 1
    assert "setpriority" in permitted(project / "suite.yml")


def test_a_policy_that_is_none_stops_the_run_before_it_begins(project: Path) -> None:
    (project / "suite.yml").write_text("default_action: errno\nsyscalls: [{names: [opnat]}]\n")
    held = pytest_in(project, "--seccompgen-enforce", "suite.yml")
    assert held.returncode == 4
    assert held.stderr.startswith("ERROR: suite.yml:2:12: 'action' is missing")
    assert held.stdout == ""


def test_without_its_options_it_imports_nothing(project: Path) -> None:
    (project / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('seccomp')}\n"
        "    room = 'seccompgen.distribute'\n"
        "    assert ours == {'seccompgen', room, f'{room}.pytest_plugin'}\n"
        "    assert not {'click', 'numpy'} & {*sys.modules}\n"
    )
    plain = pytest_in(project)
    assert plain.returncode == 0, plain.stdout
