"""Processes and the cache under ``build`` and ``tables``: the same answers, sooner or later."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ROOT, checkout, inside, seccompgen, snapshot
from longer import long_but
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.pipeline import pool
from seccompgen.pipeline.build import BuildOptions, build_policies, shipped_tables
from seccompgen.pipeline.files import filter_files

TABLES = shipped_tables()
STOCK = sorted((ROOT / "policies").glob("*.yml"))
SOME = [ABIS[name] for name in ("x86_64", "ppc64", "ppc64le")]
POLICY = (
    "arches: [x86_64, s390x]\ndefault_action: errno\nsyscalls:\n"
    "- {action: allow, names: [read, write, exit_group]}\n"
)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_UP", 1e-9)


@pytest.mark.usefixtures("eager")
def test_the_number_of_processes_does_not_show(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    policies = [path for path in STOCK if path.stem in {"no_exec", "no_network"}]
    alone = build_policies(policies, TABLES, SOME)
    options = BuildOptions(3)
    built = build_policies(policies, TABLES, SOME, lambda *n: told.append(n), options=options)
    assert built == alone
    assert told == [(i, 6) for i in range(1, 7)]
    files = filter_files(alone, TABLES, tmp_path)
    assert filter_files(built, TABLES, tmp_path, options=options) == files


def too_long(path: Path) -> None:
    """Write a policy whose programs are longer than the kernel takes, if soon compiled."""
    both = TABLES.tables["x86_64"].numbers.keys() & TABLES.tables["riscv64"].numbers.keys()
    tests = "".join(
        f"  - name: {name}\n    arguments:\n"
        + "".join(
            f"    - {{argument: {n}, operation: Equal, value: {6 * place + n << 40}, width: 64}}\n"
            for n in range(6)
        )
        for place, name in enumerate(sorted(both)[:180], 1)
    )
    path.write_text(
        "arches: [x86_64, riscv64]\ndefault_action: errno\nsyscalls:\n- action: allow\n"
        f"  names_with_args:\n{tests}"
    )


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("jobs", "hired"), [("1", []), ("2", [2]), ("3", [3])])
def test_jobs_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: str, hired: list[int]
) -> None:
    told: list[int] = []
    monkeypatch.setattr(pool, "START_UP", 1e-9)  # so that every policy is enough to do
    monkeypatch.setattr(pool, "_hire", lambda team, count: told.append(count))  # noqa: ARG005
    policy = tmp_path / "p.yml"
    policy.write_text(POLICY.replace("[x86_64, s390x]", "[x86_64, i386, arm, aarch64, s390x]"))
    run = inside("build", policy, "-o", tmp_path / "out", "--no-cache", "--jobs", jobs)
    assert (run.code, told) == (0, hired)


def test_no_jobs_at_all_is_an_error(tmp_path: Path) -> None:
    run = inside("build", "p.yml", "--jobs", "0", "-o", tmp_path)
    assert run.code == 2
    assert "--jobs" in run.err


@pytest.mark.parametrize(
    "compiled", long_but([False], [False, True], "it compiles a program that is too long", long=0)
)
def test_errors_of_all_policies_come_in_their_order(tmp_path: Path, compiled: bool) -> None:
    paths = [tmp_path / name for name in ("a.yml", "b.yml", "c.yml", "d.yml", "class.yml")]
    paths[0].write_text("nonsense: true\n")
    paths[1].write_text(POLICY)
    if compiled:
        too_long(paths[2])
    else:
        paths[2].write_text("flags: [nonsense]\n")
    paths[3].write_text(POLICY.replace("read", "reed"))
    paths[4].write_text(POLICY)
    told = []
    for workers in (1, 3):
        with pytest.raises(InputError) as caught:
            build_policies(paths, TABLES, options=BuildOptions(workers))
        told.append(caught.value.diagnostics)
    assert told[0] == told[1]
    files = [Path(one.position.file).name if one.position else "" for one in told[0]]
    assert list(dict.fromkeys(files)) == ["a.yml", "c.yml", "d.yml", "class.yml"]
    # Of a policy, the first ABI that fails speaks for all.
    assert sum("the kernel takes 4096" in one.message for one in told[0]) == compiled


COMMANDS = [
    [sys.executable, "-m", "seccompgen"],
    [sys.executable, "-O", "-m", "seccompgen"],
    [str(Path(sys.executable).parent / "seccompgen")],
]


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` started which are workers."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == pid and b"spawn_main" in command:
            found.append(int(directory.name))
    return found


def start(command: list[str], out: Path, cache: Path) -> subprocess.Popen[str]:
    """Start a build that takes a while, and wait until it has workers."""
    # On so many that there is something to do for each.
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    # Where tests run in the background, their children are told to ignore Ctrl-C.
    prefix = ["taskset", "-c", cpus, "env", "--default-signal=INT"]
    run = subprocess.Popen(
        [*prefix, *command, "build", *map(str, STOCK), "-o", str(out)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    while not children(run.pid):
        if run.poll() is not None:
            pytest.skip("this machine has one CPU, or compiles too fast for workers")
        time.sleep(0.005)
    return run


def wait_until_they_work(run: subprocess.Popen[str]) -> None:
    """Wait until workers of ``run`` have had more processor time than any takes to start.

    By the clock it would be luck where they are then.
    """
    tick = os.sysconf("SC_CLK_TCK")
    while True:
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in children(run.pid)]
        fields = [stat.rpartition(")")[2].split() for stat in stats]
        if fields and min(int(one[11]) + int(one[12]) for one in fields) > 1.5 * tick:
            return
        assert run.poll() is None
        time.sleep(0.01)


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


MOMENTS = [
    *((COMMANDS[0], delay) for delay in (0, 0.03, 0.1, 0.3, None)),
    *((command, 0.2) for command in COMMANDS[1:]),
]


@pytest.mark.parametrize(
    ("command", "delay"),
    long_but([(COMMANDS[0], 0.1)], MOMENTS, "more moments, and ways to start the command", long=3),
)
def test_ctrl_c_stops_all_without_a_traceback(
    tmp_path: Path, command: list[str], delay: float | None
) -> None:
    """At once, at any moment of the workers' start, and (None) while they work."""
    if not Path(command[0]).exists():
        pytest.skip(f"there is no {command[0]}")
    run = start(command, tmp_path / "out", tmp_path / "cache")
    if delay is None:
        wait_until_they_work(run)
    else:
        time.sleep(delay)
    workers = children(run.pid)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate()
    assert (run.returncode, out, err.strip()) == (130, "", "")
    assert gone(workers)
    assert not (tmp_path / "out").exists()
    # What was finished by then is not lost.
    assert list((tmp_path / "cache" / "seccompgen" / "programs").iterdir())


@pytest.mark.long("test_pool kills workers that have less to do")
def test_a_worker_that_is_killed_ends_the_build_with_code_3(tmp_path: Path) -> None:
    run = start(COMMANDS[0], tmp_path / "out", tmp_path / "cache")
    wait_until_they_work(run)  # without one that never began, it would go on
    workers = children(run.pid)
    os.kill(workers[0], signal.SIGKILL)
    out, err = run.communicate()
    assert (run.returncode, out) == (3, "")
    (line,) = err.splitlines()
    assert line.startswith("a compiling process died")
    assert gone(workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.long("test_pool kills a parent whose workers have less to do")
def test_a_killed_build_leaves_no_workers(tmp_path: Path) -> None:
    run = start(COMMANDS[0], tmp_path / "out", tmp_path / "cache")
    time.sleep(0.5)
    workers = children(run.pid)
    run.kill()
    run.communicate()
    assert gone(workers)


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "seccompgen" / "programs").glob("*"))


def poison(cache: Path) -> None:
    """Make every entry a program of one instruction, ``ret trace(77)`` in x86_64's order."""
    for entry in entries(cache):
        payload = json.loads(entry.read_bytes().partition(b"\n")[2])
        payload |= {"code": "060000004d00f07f", "of": [[]]}
        text = json.dumps(payload).encode()
        digest = hashlib.sha256(entry.name.encode() + text).hexdigest().encode()
        entry.write_bytes(digest + b"\n" + text)


@pytest.mark.long("builds again and again")
def test_build_uses_what_it_kept_and_the_proofs_do_not(tmp_path: Path) -> None:
    policy, out = tmp_path / "p.yml", tmp_path / "out"
    policy.write_text(POLICY.replace(", s390x", ""))
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert seccompgen("build", policy, "-o", out, env=env).code == 0
    good = snapshot(out)
    (entry,) = entries(tmp_path / "cache")
    sound = entry.read_bytes()
    poison(tmp_path / "cache")

    assert seccompgen("build", policy, "-o", out, env=env).code == 0
    assert b"ret  trace(77)" in snapshot(out)["p/_x86_64.py"]
    assert "trace(77)" in seccompgen("disasm", policy, env=env).out
    run = seccompgen("build", policy, "-o", out, "--check", env=env)
    assert run.code == 1
    assert "p says trace(77), p.yml says allow\n" in run.err
    assert entry.read_bytes() != sound
    assert seccompgen("build", policy, "-o", out, "--no-cache", env=env).code == 0
    assert snapshot(out) == good
    assert entry.read_bytes() != sound


def test_check_and_no_cache_keep_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "p.yml"
    policy.write_text(POLICY)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    seccompgen("build", policy, "-o", tmp_path / "out", "--check", env=env)
    seccompgen("build", policy, "-o", tmp_path / "out", "--no-cache", env=env)
    assert not (tmp_path / "cache").exists()


@pytest.mark.long("builds again and again")
def test_vendor_uses_what_it_kept_and_its_check_does_not(tmp_path: Path) -> None:
    policy, dest = tmp_path / "p.yml", tmp_path / "sandbox"
    policy.write_text(POLICY.replace(", s390x", ""))
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert seccompgen("vendor", policy, dest, env=env).code == 0
    # From here on the policy goes by the path from the manifest.
    assert seccompgen("vendor", dest, env=env).code == 0
    poison(tmp_path / "cache")
    assert seccompgen("vendor", "--check", dest, env=env).code == 0
    assert seccompgen("vendor", dest, env=env).code == 0
    assert b"ret  trace(77)" in snapshot(dest)["p/_x86_64.py"]
    assert seccompgen("vendor", "--check", dest, env=env).code == 1
    assert seccompgen("vendor", "--no-cache", dest, env=env).code == 0
    assert seccompgen("vendor", "--check", dest, env=env).code == 0


@pytest.mark.long("build and vendor show the same, and do not read all tables each time")
def test_tables_uses_what_it_kept_and_its_proof_does_not(tmp_path: Path) -> None:
    tree = checkout(tmp_path / "tree")
    for path in (tree / "policies").glob("*.yml"):
        path.unlink()
    (tree / "policies" / "p.yml").write_text(POLICY.replace(", s390x", ""))
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert seccompgen("tables", cwd=tree, env=env).code == 0
    assert seccompgen("tables", "--check", cwd=tree, env=env).code == 0
    poison(tmp_path / "cache")
    assert seccompgen("tables", "--check", cwd=tree, env=env).code == 0
    assert seccompgen("tables", cwd=tree, env=env).code == 0
    run = seccompgen("tables", "--check", cwd=tree, env=env)
    assert run.code == 1
    assert "p says trace(77), p.yml says allow\n" in run.err


def test_without_a_place_for_a_cache_everything_works(tmp_path: Path) -> None:
    policy = tmp_path / "p.yml"
    policy.write_text(POLICY)
    (tmp_path / "file").touch()
    env = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    run = seccompgen("build", policy, "-o", tmp_path / "out", env=env)
    assert (run.code, run.err) == (0, "")
