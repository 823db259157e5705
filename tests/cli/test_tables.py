"""``seccompgen tables`` from outside: pins, servers that misbehave, kills, two runs at once."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from command import RENEW, checkout, seccompgen, snapshot
from cpu_budget import apart
from seccompgen.kernel.shipped import LOCK_NAME, MATRIX_NAME, SHIPPED
from upstream import MINIATURE, NEW, OLD, TREES, Upstream, on_real_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstream import Fault

QUICK = {"SECCOMPGEN_TIMEOUT": "2"}


PIN, OTHER = NEW, OLD
"""The way of a bump here: back, from the checkout's pin to a tag that has other files."""
LINK = {"arch/arm64/tools/syscall_64.tbl": b"../../../scripts/syscall.tbl"}
"""A symbolic link, as a raw file server answers it."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout whose tables are the miniature's."""
    return checkout(tmp_path / "checkout", MINIATURE)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@cache
def moved() -> dict[str, bytes]:
    """Return what the miniature's checkout is after a bump to OTHER."""
    with apart(), TemporaryDirectory() as directory, Upstream() as server:
        tree = checkout(Path(directory) / "checkout", MINIATURE)
        assert seccompgen("tables", "--tag", OTHER, "--from", server.url, cwd=tree).code == 0
        return snapshot(tree)


@pytest.fixture
def bumped() -> dict[str, bytes]:
    return moved()


def test_nothing_is_fetched_at_the_pin_even_without_generated(tree: Path) -> None:
    before = snapshot(tree)
    for path in (tree / "generated").rglob("*.py"):
        path.unlink()
    unreachable = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    run = seccompgen("tables", cwd=tree, env=unreachable)
    assert run.code == 0, run.err
    assert snapshot(tree) == before


@pytest.mark.long("brings a checkout to another tag")
def test_a_bump_says_what_changes_and_changes_all_of_it(
    tree: Path, bumped: dict[str, bytes]
) -> None:
    before = snapshot(tree)
    with Upstream(content=LINK) as upstream:
        run = seccompgen("tables", "--tag", OTHER, "--from", upstream.url, cwd=tree)
        assert run.code == 0, run.err
        assert f"from {PIN} to {OTHER}:" in run.out
        assert "  x86_64: lost 3: uretprobe 335, " in run.out
        assert "mseal 462" in run.out
        assert "\n  constants: lost " in run.out
        assert "  s390: gained " in run.out
        assert f"not in {OTHER}, so left out: loongarch32" in run.out
        after = snapshot(tree)
        assert after == bumped
        assert b'linux = "v6.1.176"' in after["pyproject.toml"]
        assert "generated/seccomp_filters/tables/s390.py" in after
        assert "generated/seccomp_filters/tables/loongarch32.py" not in after
        assert b"Linux v6.1.176" in after["generated/seccomp_filters/no_network/__init__.py"]

        # The pin alone, edited by hand, does the same; and the way back leaves no trace.
        pyproject = tree / "pyproject.toml"
        pyproject.write_bytes(pyproject.read_bytes().replace(OTHER.encode(), PIN.encode()))
        back = seccompgen("tables", "--from", upstream.url, cwd=tree)
        assert back.code == 0
        assert "\n  no_network: allow, by default_action: " in back.out
        assert snapshot(tree) == before


@on_real_files
@pytest.mark.weekly("the miniature trees show it, and a real bump is tried whole")
def test_a_bump_of_the_real_tables(tmp_path: Path) -> None:
    """The shipped tables are those of the real pin, and only the real files have declarations."""
    tree = checkout(tmp_path / "checkout")
    source = TREES["real"] / OTHER
    run = seccompgen("tables", "--tag", OTHER, "--from", source, cwd=tree)
    assert run.code == 0, run.err
    assert f"from {PIN} to {OTHER}:" in run.out
    assert "  x86_64: lost 24: uretprobe 335, " in run.out
    assert "\n  constants: lost " in run.out
    assert "  mmap: arg5 off: unsigned long -> arg5 pgoff: off_t on 10 ABIs\n" in run.out
    assert "generated/seccomp_filters/tables/s390.py" in snapshot(tree)


@pytest.mark.long("brings a checkout to another tag")
def test_a_directory_and_a_tarball_give_the_same_as_a_server(tmp_path: Path) -> None:
    tarball = tmp_path / "linux-6.1.176.tar.xz"
    source = MINIATURE / OTHER
    subprocess.run(
        ["tar", "-cJf", tarball, "--transform", "s,^\\.,linux-6.1.176,", "-C", source, "."],
        check=True,
    )
    results = []
    with Upstream() as upstream:
        wheres: tuple[str | Path, ...] = (upstream.url, source, tarball)
        for i, where in enumerate(wheres):
            run = seccompgen("tables", "--tag", OTHER, "--from", where, "-o", tmp_path / str(i))
            assert run.code == 0, run.err
            results.append(snapshot(tmp_path / str(i)))
    assert results[0] == results[1] == results[2]
    listed = seccompgen("syscalls", "--arch", "s390", "--json", "--tables", tmp_path / "0")
    table = json.loads(listed.out)
    assert (table["abi"], table["tag"], table["audit_arch"]) == ("s390", OTHER, 22)
    assert table["syscalls"]["socketcall"] == 102


ONE = "arch/x86/entry/syscalls/syscall_64.tbl"
FAULTS: list[tuple[Fault, str]] = [("truncated", ONE)]
MORE_FAULTS: list[Fault] = ["404", "500", "html", "truncated", "endless", "stalled"]
MORE_FAULTS += ["redirect-loop"]


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        *FAULTS,
        *[
            pytest.param(fault, where, marks=pytest.mark.weekly("test_fetch has these faults"))
            for where in ("*", ONE)
            for fault in MORE_FAULTS
            if (fault, where) not in FAULTS
        ],
    ],
)
def test_a_bad_server_ends_in_one_line_and_changes_nothing(
    tree: Path, fault: Fault, where: str
) -> None:
    before = snapshot(tree)
    with Upstream(faults={where: fault}) as server:
        run = seccompgen("tables", "--tag", OTHER, "--from", server.url, cwd=tree, env=QUICK)
    assert run.code == 3
    assert len(run.err.splitlines()) == 1, run.err
    assert snapshot(tree) == before


def test_a_refused_connection_ends_in_one_line(tree: Path) -> None:
    before = snapshot(tree)
    with Upstream() as server:
        url = server.url
    run = seccompgen("tables", "--tag", OTHER, "--from", url, cwd=tree, env=QUICK)
    assert (run.code, len(run.err.splitlines())) == (3, 1), run.err
    assert snapshot(tree) == before


def test_a_file_that_differs_from_the_lock_stops_everything(tree: Path) -> None:
    path = "arch/x86/entry/syscalls/syscall_64.tbl"
    changed = (MINIATURE / PIN / path).read_bytes() + b"999 common evil sys_evil\n"
    before = snapshot(tree)
    with Upstream(content={path: changed}) as server:
        run = seccompgen("tables", "--tag", PIN, "--from", server.url, cwd=tree)
    assert run.code == 1
    assert path in run.err
    locked = before["generator/seccompgen/kernel/kernel.lock.toml"].decode()
    shown = [word.strip(",;:.()") for word in run.err.split()]
    hashes = [word.removeprefix("sha256:") for word in shown if len(word) >= 64]
    assert len(hashes) == 2, run.err
    assert sum(h in locked for h in hashes) == 1
    assert snapshot(tree) == before


SOMETIMES_500 = ("arch/x86/entry/syscalls/syscall_64.tbl", "include/uapi/linux/audit.h")


@pytest.mark.long("waits before it tries again, as kernel/test_fetch does")
def test_once_500_is_tried_again(tree: Path, bumped: dict[str, bytes]) -> None:
    # One of the first, one in the middle: each costs a wait.
    faults: dict[str, Fault] = dict.fromkeys(SOMETIMES_500, "500-once")
    with Upstream(faults=faults) as server:
        run = seccompgen("tables", "--tag", OTHER, "--from", server.url, cwd=tree)
    assert run.code == 0, run.err
    assert snapshot(tree) == bumped


def _start(tree: Path, tag: str, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "seccompgen", "tables", "--tag", tag, "--from", url],
        cwd=tree,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.long("writes and kills whole trees")
@pytest.mark.parametrize(
    "moments",
    [
        pytest.param((0.4, 0.8), id="two"),
        pytest.param(
            (0.2, 0.35, 0.5, 0.65, 0.8, 0.95), id="six", marks=pytest.mark.weekly("more moments")
        ),
    ],
)
def test_killed_at_any_moment_the_tree_is_the_old_or_the_new_one(
    tree: Path, upstream: Upstream, bumped: dict[str, bytes], moments: tuple[float, ...]
) -> None:
    before = snapshot(tree)
    # How long a whole run takes here and now, to spread the kills over it.
    started = time.monotonic()
    _start(tree, OTHER, upstream.url).wait()
    whole = time.monotonic() - started
    assert snapshot(tree) == bumped
    interrupted = []
    for moment in moments:
        current = snapshot(tree)
        tag = PIN if current == bumped else OTHER
        run = _start(tree, tag, upstream.url)
        time.sleep(whole * moment)
        os.killpg(run.pid, signal.SIGKILL)
        interrupted.append(run.wait() == -signal.SIGKILL)
        if not interrupted[-1]:
            whole /= 2  # the machine was busier then
        # A commit that had begun goes on in a session of its own; the lock says when it ended.
        directory = os.open(tree, os.O_RDONLY)
        fcntl.flock(directory, fcntl.LOCK_EX)
        after = snapshot(tree)
        os.close(directory)
        assert after in (before, bumped)
    assert any(interrupted)


@pytest.mark.long("brings a checkout to another tag")
def test_a_run_waits_for_the_one_before_it(tree: Path) -> None:
    missing = tree / "generated" / "seccomp_filters" / "no_exec" / "__init__.py"
    missing.unlink()
    before = snapshot(tree)
    directory = os.open(tree, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with subprocess.Popen(
        [sys.executable, "-m", "seccompgen", "tables"],
        cwd=tree,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr
        assert run.stderr.readline() == f"waiting for another seccompgen in {tree}\n"
        assert snapshot(tree) == before
        os.close(directory)
        assert run.wait() == 0
    assert missing.exists()


@pytest.mark.long("brings a checkout to another tag")
def test_tables_leave_filters_in_the_same_directory_alone(tmp_path: Path) -> None:
    policy = tmp_path / "worker.yml"
    policy.write_text("default_action: errno\nsyscalls: [{action: allow, names: [read]}]\n")
    assert seccompgen("build", policy, "-o", tmp_path / "d").code == 0
    (tmp_path / "d" / "s390.py").write_bytes(b"# Generated by seccompgen; do not edit.\n")
    assert seccompgen("tables", "-o", tmp_path / "d").code == 0
    there = set(snapshot(tmp_path / "d"))
    assert {"worker/__init__.py", "_runtime.py", "x86_64.py"} <= there
    assert "s390.py" not in there


@pytest.mark.long("the lock, which the test of a run that waits shows as well")
def test_two_runs_at_once_do_not_mix(
    tree: Path, upstream: Upstream, bumped: dict[str, bytes]
) -> None:
    before = snapshot(tree)
    runs = [_start(tree, OTHER, upstream.url), _start(tree, PIN, upstream.url)]
    assert [run.wait() for run in runs] == [0, 0]
    assert snapshot(tree) in (before, bumped)


@pytest.mark.long("brings a checkout to another tag and spoils it file by file")
def test_check_tells_stale_missing_and_superfluous(tree: Path) -> None:
    assert seccompgen("tables", "--check", cwd=tree).code == 0
    generated = tree / "generated" / "seccomp_filters"
    (generated / "no_exec" / "__init__.py").write_bytes(b"# edited\n")
    (generated / "tables" / "arm.py").unlink()
    old = generated / "old_filter.py"
    old.write_bytes(b"# Generated by seccompgen; do not edit.\n")
    mine = generated / "mine.py"
    mine.write_bytes(b"# somebody's own\n")
    run = seccompgen("tables", "--check", cwd=tree)
    assert run.code == 1
    *found, hint = run.err.splitlines()
    assert hint == RENEW
    assert {line.split("/seccomp_filters/")[1] for line in found} == {
        "no_exec/__init__.py: is stale: no_exec.yml has changed; its programs cannot be compared, "
        "as another seccompgen made it",
        "tables/arm.py: is missing",
        "old_filter.py: is no longer generated",
    }
    assert seccompgen("tables", cwd=tree).code == 0
    assert not old.exists()
    assert mine.exists()
    mine.unlink()
    assert snapshot(tree) == snapshot(checkout(tree.parent / "fresh", MINIATURE))


def test_check_of_a_moved_pin_says_so_without_a_network(tree: Path) -> None:
    pyproject = tree / "pyproject.toml"
    pyproject.write_bytes(pyproject.read_bytes().replace(PIN.encode(), OTHER.encode()))
    run = seccompgen("tables", "--check", cwd=tree)
    assert run.code == 1
    assert f"the lock is at {PIN}, the wanted release is {OTHER}: run make generate" in run.err


def test_an_edited_matrix_is_refused(tree: Path) -> None:
    matrix = tree / "generator/seccompgen/kernel/syscalls.csv"
    matrix.write_bytes(matrix.read_bytes().replace(b"accept,43,", b"accept,44,"))
    run = seccompgen("tables", cwd=tree)
    assert run.code == 1
    assert "syscalls.csv" in run.err


@pytest.mark.few(4, "brings a checkout to another tag")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tag", "7.3"], "'7.3' is not a Linux release tag"),
        (["--tag", "v5.9"], "v5.9 is too old"),
        (["--tag", "v7.3.4", "--from", "https://example.org/nothing"], "{path}"),
        (["--tag", "v7.3.4", "--from", "/nowhere"], "/nowhere"),
        (["--tag", "v7.3.4", "--from", str(MINIATURE / OTHER)], "is Linux v6.1.176"),
    ],
)
def test_wrong_words_are_input_errors(tree: Path, args: list[str], message: str) -> None:
    run = seccompgen("tables", *args, cwd=tree)
    assert run.code == 2
    assert message in run.err


def test_outside_a_checkout_it_asks_for_a_directory(tmp_path: Path) -> None:
    run = seccompgen("tables", cwd=tmp_path)
    assert (run.code, "-o" in run.err) == (2, True)
    assert seccompgen("tables", "-o", tmp_path / "t", cwd=tmp_path).code == 0
    written = snapshot(tmp_path / "t")
    for path in (SHIPPED / LOCK_NAME, SHIPPED / MATRIX_NAME):
        assert written[path.name] == path.read_bytes()
