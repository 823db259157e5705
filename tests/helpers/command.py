"""Run the command line as users do, and look at trees of files."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import cpu_budget
import fork_server
import pytest
from seccompgen.__main__ import main
from upstream import NEW, OLD, REAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
RENEW = "run the same command without --check, look at what changes, and commit it"
"""The last line of ``--check`` where something would change."""

_READ_EARLY = ("PYTHON", "LANG", "LC_", "LD_")
"""How variables begin that are read when a process starts, so that a fork would not see them."""


@dataclass(frozen=True)
class Result:
    """The output and exit code of a command."""

    code: int
    out: str
    err: str


def seccompgen(*args: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Result:
    """Run ``seccompgen`` to its end; a traceback fails the test, whatever the test is about.

    Only some of what ``env`` is for needs a new interpreter; a fork has loaded all that a command
    imports.
    """
    env = env or {}
    if not any(name.startswith(_READ_EARLY) for name in env):
        return forked(*args, cwd=cwd, env=env)
    run = subprocess.run(
        [sys.executable, "-m", "seccompgen", *map(str, args)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return Result(run.returncode, run.stdout, run.stderr)


def in_pid_namespace(*args: str | Path, proc: bool = False) -> Result:
    """Run ``seccompgen`` in a PID namespace of its own, with or without its /proc."""
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    unshare += ["--mount-proc"] if proc else []
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    command = [*unshare, sys.executable, "-m", "seccompgen", *map(str, args)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in run.stderr, run.stderr
    return Result(run.returncode, run.stdout, run.stderr)


def inside(*args: str | Path, cwd: Path = ROOT) -> Result:
    """Run ``seccompgen`` as above, but in this process, which is quicker."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["seccompgen", *map(str, args)])
        try:
            main()
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
    return Result(code, out.getvalue(), err.getvalue())


class _Server:
    """The fork server of this process, started when the first command is."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open("w") as nowhere:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, fork_server.__file__],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2),
                ],
            )
        self._lock = threading.Lock()
        atexit.register(self._end)

    def run(self, order: fork_server.Order, out: int, err: int) -> int:
        """Run a command to its end, but no longer than a test may take; return its status."""
        with self._lock:
            fork_server.send(self._sock, pickle.dumps(tuple(order)), (out, err))
            pid = int(fork_server.receive(self._sock)[0])
            if not select.select([self._sock], [], [], 280)[0]:
                os.kill(pid, signal.SIGKILL)
            status, seconds = fork_server.receive(self._sock)[0].split()
            cpu_budget.note_served(self._pid, float(seconds))
            return int(status)

    def _end(self) -> None:
        """End with what it has used counted as this process's."""
        self._sock.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


@cache
def _server(_process: int) -> _Server:
    """Return the server of a process; a fork of the process has one of its own."""
    return _Server()


def forked(*args: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Result:
    """Run ``seccompgen`` in a fork of a process that has loaded it: see `fork_server`."""
    order = fork_server.Order([*map(str, args)], str(cwd), {**os.environ, **(env or {})})
    with TemporaryFile() as out, TemporaryFile() as err:
        status = _server(os.getpid()).run(order, out.fileno(), err.fileno())
        out.seek(0)
        err.seek(0)
        told = err.read().decode(errors="replace")
        assert "Traceback" not in told, told
        return Result(os.waitstatus_to_exitcode(status), out.read().decode(), told)


def said(run: Result) -> tuple[int, list[str], list[str]]:
    """Return the exit code, and the lines on stdout and on stderr."""
    return run.code, run.out.splitlines(), run.err.splitlines()


def said_but_warnings(run: Result) -> tuple[int, list[str], list[str]]:
    """Return what `said` does, without the warnings of lint: they are tried elsewhere."""
    code, out, err = said(run)
    return code, out, [line for line in err if ": warning: " not in line]


def snapshot(directory: Path) -> dict[str, bytes]:
    """Return every file under ``directory`` by relative path, but what Python caches there."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def checkout(directory: Path, tree: Path | None = None) -> Path:
    """Lay a checkout out as far as generation needs it: pin, lock, policies, generated files.

    It has the two stock policies that take a second to compile, not the others, and these for two
    and three ABIs only: a checkout is compiled anew wherever it lies. Its tables are the
    shipped ones, or those that ``tree``, a folder of kernel trees, has at the pin.
    """
    shutil.copytree(_small_checkout(tree), directory, dirs_exist_ok=True)
    return directory


@cache
def older_tables() -> Path:
    """Return a directory of the real tables of OLD, which `tables` makes once a run of the tests.

    Skip the test where the files of that kernel are not beside the checkout.
    """
    if not (REAL / OLD).is_dir():
        pytest.skip("the older kernel's files are not beside this checkout")
    return _made_once(f"tables-{OLD}", _make_older_tables)


def _make_older_tables(directory: Path) -> None:
    made = inside("tables", "--tag", OLD, "--from", REAL / OLD, "-o", directory)
    assert made.code == 0, made.err


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the directory that ``make`` made in the first process of this run to need it."""
    kept = Path(os.environ["XDG_CACHE_HOME"], name)
    if kept.exists():
        return kept
    unfinished = kept.with_suffix(f".{os.getpid()}")
    with cpu_budget.apart():
        make(unfinished)
    with contextlib.suppress(OSError):  # another process was sooner
        unfinished.rename(kept)
    return kept


@cache
def _small_checkout(tree: Path | None) -> Path:
    """Return the checkout to copy, which the processes of one run of the tests make once."""
    name = "-".join(("checkout", *(tree.parts[1:] if tree else ["shipped"])))
    return _made_once(name, lambda directory: _lay_out(directory, tree))


_QUICK = frozenset({"no_exec", "no_network"})


def _lay_out(directory: Path, tree: Path | None) -> None:
    if tree:
        shutil.copytree(_small_checkout(None), directory)
        policy = directory / "policies" / "no_network.yml"
        # Most calls of the miniature have no entry point, so that nobody knows their arguments. The
        # last rule is about one that it has not.
        rules = policy.read_text().replace("family != AF_UNIX", "arg0 != AF_UNIX")
        policy.write_text(rules[: rules.rindex("- action:")])
        for tag in (OLD, NEW):  # the lock holds the pin's files to the shipped ones
            run = seccompgen("tables", "--tag", tag, "--from", tree / "{tag}", cwd=directory)
            assert run.code == 0, run.err
        return
    for name in ("policies", "generated", "generator/seccompgen/kernel"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for policy in (directory / "policies").iterdir():
        if policy.stem not in _QUICK:
            policy.unlink()
    _for_few_abis(directory / "policies" / "no_exec.yml", "x86_64, arm")
    _for_few_abis(directory / "policies" / "no_network.yml", "x86_64, i386, mips")
    shutil.copy(ROOT / "pyproject.toml", directory)
    assert seccompgen("tables", cwd=directory).code == 0


def _for_few_abis(policy: Path, abis: str) -> None:
    policy.write_text(f"arches: [{abis}]\n{policy.read_text()}")
