"""Report-only filters on the command line: built, and never taken for filters that refuse."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from command import inside, seccompgen

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
description: Reads its input.
arches: [x86_64]
default_action: kill_process
syscalls:
- {action: allow, names: [read, write, exit_group]}
- {action: errno(ENOTTY), names: [ioctl]}
"""
PROJECT = '[tool.seccompgen]\npolicies = "seccomp"\noutput = "app/sandbox"\n'
NOTE = "report only: refuses nothing; what its policy refuses is made, and logged"
DOCSTRING = '''\
"""REPORT ONLY: refuses nothing, logs what worker.yml refuses.

Reads its input.

Once the policy is enforced, the first line that a call fits answers it. Here the call is made,
and logged unless the line says allow:

    =============  ========================================
    answer         calls
    =============  ========================================
    allow          read, write, exit_group
    errno(ENOTTY)  ioctl
    kill_process   every other system call
    kill_process   calls through any other ABI of the kernel
    =============  ========================================

install() sets no_new_privs; refuses nothing. There is a program for each of
'''
FILTER = "sandbox/worker_report_only"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report-only")
    (place / "worker.yml").write_text(POLICY)
    for options in ([], ["--report-only"]):
        done = inside("build", "worker.yml", *options, "-o", "sandbox", cwd=place)
        assert done.code == 0, done.err
    return place


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_module_says_what_it_is(here: Path) -> None:
    text = (here / FILTER / "__init__.py").read_text()
    assert DOCSTRING in text
    assert "\nREPORT_ONLY = True\n" in text
    assert "#   redo    seccompgen build worker.yml --report-only -o DIR\n" in text
    done = inside("build", "worker.yml", "--report-only", "-o", "sandbox", "--check", cwd=here)
    assert (done.code, done.out.splitlines()[0].rpartition(": ")[2]) == (0, "REPORT ONLY")


def test_verify_proves_that_it_logs_what_the_policy_refuses(here: Path) -> None:
    done = inside("verify", "sandbox", "--no-runtime", cwd=here)
    told = "report only, refuses nothing and logs what the policy refuses"
    assert (done.code, done.out.count(told)) == (0, 1)
    program = here / FILTER / "_x86_64.py"
    # One of its answers is not to log: RET_K of allow, in place of that of log.
    program.write_text(program.read_text().replace(r"\x00\x00\xfc\x7f", r"\x00\x00\xff\x7f", 1))
    done = inside("verify", FILTER, "--no-runtime", "--json", cwd=here)
    (one,) = json.loads(done.out)["programs"]
    assert (done.code, one["result"], one["report_only"]) == (1, "refuted", True)
    assert {side["ret"] for side in one["sides"]} == {0x7FFC0000, 0x7FFF0000}


def test_neither_takes_the_place_of_the_other(here: Path) -> None:
    """A program that refuses is no report-only filter, nor the other way round."""
    ours, other = (here / f / "_x86_64.py" for f in (FILTER, "sandbox/worker"))
    ours_text, other_text = ours.read_text(), other.read_text()
    ours.write_text(other_text)
    other.write_text(ours_text)
    for name in (FILTER, "sandbox/worker"):
        done = inside("verify", name, "--no-runtime", cwd=here)
        assert (done.code, "refuted" in done.out) == (1, True)


def test_raw_instructions_say_it_by_their_name(here: Path) -> None:
    for options in ([], ["--report-only"]):
        words = ("build", "worker.yml", *options, "--format", "bpf", "-o", ".")
        assert inside(*words, cwd=here).code == 0
    raw, reports = "worker.x86_64.bpf", "worker_report_only.x86_64.bpf"
    for name in (raw, reports):
        assert inside("verify", name, "--policy", "worker.yml", cwd=here).code == 0
    (here / raw).replace(here / "other.x86_64.bpf")
    (here / reports).replace(here / raw)
    (here / "other.x86_64.bpf").replace(here / reports)
    for name in (raw, reports):
        assert inside("verify", name, "--policy", "worker.yml", cwd=here).code == 1


@pytest.mark.parametrize(
    "command", [["explain"], ["explain", "mkdir"], ["lint"], ["run", "--", "/bin/true"]]
)
def test_every_command_says_that_it_refuses_nothing(here: Path, command: list[str]) -> None:
    first, *rest = command
    # run becomes the command, so that it needs a process of its own.
    done = (seccompgen if first == "run" else inside)(first, FILTER, *rest, cwd=here)
    assert (done.code, f"{FILTER}: note: {NOTE}" in done.err) == (0, True)


def test_diff_and_report_say_it(here: Path) -> None:
    done = inside("diff", "sandbox/worker", FILTER, cwd=here)
    assert "report_only: false -> true" in done.out
    assert inside("report", FILTER, "-o", "page.html", cwd=here).code == 0
    page = (here / "page.html").read_text()
    assert "REPORT ONLY: refuses nothing, logs what worker.yml refuses." in page
    assert "sets no_new_privs; refuses nothing" in page


def test_it_is_combined_with_nothing(here: Path) -> None:
    words = ("intersect", "sandbox/worker", FILTER, "--name", "both", "-o", "sandbox")
    done = inside(*words, cwd=here)
    assert (done.code, done.err) == (2, f"{FILTER}: {NOTE}; combine the filter that refuses\n")


def test_no_other_filter_has_such_a_name(here: Path) -> None:
    (here / "worker.yml").rename(here / "other_report_only.yml")
    done = inside("build", "other_report_only.yml", "-o", "sandbox", cwd=here)
    assert (done.code, "taken for a filter that refuses nothing" in done.err) == (2, True)
    words = ("intersect", "other_report_only.yml", "no_exec", "--name", "x_report_only", "-o", ".")
    done = inside(*words, cwd=here)
    assert (done.code, "means a filter that refuses nothing" in done.err) == (2, True)


def test_a_project_has_one_beside_each_filter(here: Path) -> None:
    (here / "seccomp").mkdir()
    (here / "worker.yml").rename(here / "seccomp" / "worker.yml")
    (here / "pyproject.toml").write_text(PROJECT)
    done = inside("build", "--report-only", cwd=here)
    assert (done.code, "report_only = true under" in done.err) == (2, True)
    (here / "pyproject.toml").write_text(f"{PROJECT}report_only = true\n")
    assert inside("build", cwd=here).code == 0
    assert inside("build", "--check", cwd=here).code == 0
    done = inside("verify", cwd=here)
    assert (done.code, done.out.count("refuses nothing")) == (0, 1)
    assert f"- worker_report_only: {NOTE[:40]}" in (here / "app/sandbox/__init__.py").read_text()
    (here / "pyproject.toml").write_text(PROJECT)
    assert inside("build", "--check", cwd=here).code == 1
    assert inside("build", cwd=here).code == 0
    assert not (here / "app/sandbox/worker_report_only").exists()


def test_a_manifest_knows_it(here: Path) -> None:
    assert inside("vendor", "worker.yml", "app", "--report-only", cwd=here).code == 0
    manifest = json.loads((here / "app/seccomp-manifest.json").read_text())
    assert manifest["report_only"] is True
    assert inside("vendor", "app", "--check", cwd=here).code == 0
    assert "REPORT ONLY" in inside("vendor", "app", cwd=here).out
    stale = inside("vendor", "worker.yml", "app", "--check", cwd=here)
    assert (stale.code, "app/worker_report_only/__init__.py: superfluous" in stale.err) == (1, True)
    assert inside("vendor", "worker.yml", "app", cwd=here).code == 0
    assert not (here / "app/worker_report_only").exists()
    assert "report_only" not in json.loads((here / "app/seccomp-manifest.json").read_text())


@pytest.mark.parametrize(("name", "options"), [("one", ["--report-only"]), ("one_report_only", [])])
def test_a_single_file_is_named_for_what_it_is(here: Path, name: str, options: list[str]) -> None:
    words = ("vendor", "worker.yml", f"{name}.py", "--single-file", *options)
    done = inside(*words, cwd=here)
    assert (done.code, "_report_only.py" in done.err) == (2, True)
    assert not (here / f"{name}.py").exists()


def test_a_single_file_refuses_nothing(here: Path) -> None:
    words = ("vendor", "worker.yml", "one_report_only.py", "--single-file", "--report-only")
    assert inside(*words, cwd=here).code == 0
    done = inside("verify", "one_report_only.py", cwd=here)
    assert (done.code, "refuses nothing" in done.out) == (0, True)
    namespace: dict[str, object] = {}
    exec((here / "one_report_only.py").read_text(), namespace)
    assert namespace["REPORT_ONLY"] is True


def test_run_has_a_command_do_what_the_filter_refuses(here: Path) -> None:
    """Under this policy no program would even start."""
    done = seccompgen("run", "--report-only", "worker.yml", "--", "/bin/echo", "done", cwd=here)
    assert (done.code, done.out) == (0, "done\n")
    assert done.err == f"worker.yml: note: {NOTE}\n"


@pytest.mark.parametrize("option", ["--trace", "--permissive", "--log"])
def test_run_reports_in_one_way(here: Path, option: str) -> None:
    done = inside("run", "--report-only", option, "worker.yml", "--", "/bin/true", cwd=here)
    assert (done.code, "--report-only needs no --trace" in done.err) == (2, True)


def test_run_asks_no_supervisor(here: Path) -> None:
    policy = POLICY.replace("errno(ENOTTY)", "user_notif") + "flags: [new_listener]\n"
    (here / "worker.yml").write_text(policy)
    done = inside("run", "--report-only", "worker.yml", "--", "/bin/true", cwd=here)
    assert (done.code, done.err.count("report-only filter asks no supervisor")) == (2, 2)
