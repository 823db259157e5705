"""Packages scanned by workers of dask: the same table as without, whatever happens to a worker."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from c_programs import compiled
from command import inside
from debian_packages import COLUMNS, packaged, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("distributed", reason="in the extra ecosystem")
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb"),
]

SPY = """
import os
from seccompgen.scan import cluster

# dask loads this file more than once
add = cluster.Kept.own = getattr(cluster.Kept, "own", cluster.Kept.add)

def added(kept, made, result):
    made = list(made)
    done = add(kept, made, result)
    for sha256, _ in made:
        os.write(1, f"{sha256} {done}\\n".encode())
    return done

cluster.Kept.add = added
"""
PROGRAMS = 40


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    """Two packages: 40 programs, each with a library of its own."""
    programs: dict[str, bytes] = {}
    libraries: dict[str, bytes] = {}
    for i in range(PROGRAMS):
        options = ("-O1", "-shared", "-fPIC", f"-Wl,-soname,lib{i}.so")
        text = f"void own(void) {{ enter({i}, 0, 0, 0); }}"
        compiled(tmp_path, text, *options).rename(tmp_path / f"lib{i}.so")
        libraries[f"usr/lib/lib{i}.so"] = (tmp_path / f"lib{i}.so").read_bytes()
        (tmp_path / "p.c").write_text("void own(void); void _start(void) { own(); for (;;); }")
        flags = ("-nostdlib", "-O1", "-fPIE", "-pie", "-Wl,--no-dynamic-linker", "-o", "linked")
        command = ["gcc", *flags, "p.c", f"./lib{i}.so"]
        subprocess.run(command, check=True, cwd=tmp_path)
        programs[f"usr/bin/p{i}"] = (tmp_path / "linked").read_bytes() + bytes([i])
    packaged(tmp_path, "libraries", libraries)
    packaged(tmp_path, "programs", programs)
    return tmp_path / "debs"


class Cluster:
    """A scheduler, and workers whose reports come through one pipe."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "scheduler.json"
        self.reports, self.there = os.pipe()
        os.set_blocking(self.reports, False)
        (directory / "spy.py").write_text(SPY)
        self.scheduler = self._started("scheduler", "--port", "0", "--no-dashboard")
        self.workers: list[subprocess.Popen[bytes]] = []

    def work(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker, and return its process."""
        local = self.directory / name
        options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--preload", "spy.py")
        self.workers.append(self._started("worker", "--local-directory", str(local), *options))
        return self.workers[-1]

    def _started(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words, "--scheduler-file", str(self.file)],
            stdout=self.there,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
        )

    def address(self) -> str:
        """Return the scheduler's address, once all workers are there."""
        from distributed import Client

        with Client(scheduler_file=str(self.file), timeout=60) as client:
            client.wait_for_workers(len(self.workers), timeout=60)
            return str(client.scheduler.address)

    def reported(self) -> list[list[str]]:
        try:
            text = os.read(self.reports, 1 << 20).decode()
        except BlockingIOError:
            return []
        return [line.split() for line in text.splitlines()]

    def end(self) -> None:
        for one in (*self.workers, self.scheduler):
            one.kill()
            one.wait()
        os.close(self.reports)
        os.close(self.there)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    one = Cluster(tmp_path)
    yield one
    one.end()


def test_a_killed_worker_and_a_full_disk_change_nothing(
    debs: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """Of three workers, one is killed, and one can write to no disk: no fact is found twice."""
    full, killed, _ = [cluster.work(name) for name in ("full", "killed", "other")]
    address = cluster.address()
    resource.prlimit(full.pid, resource.RLIMIT_FSIZE, (0, 0))
    ask = [sys.executable, "-m", "seccompgen", "scan", "--packages", str(debs)]
    where = ["--scheduler", address, "--store", "store", "--table", "t"]
    run = subprocess.Popen([*ask, *where], cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        seen: list[list[str]] = []
        while len(seen) < PROGRAMS // 2 and run.poll() is None:
            seen += cluster.reported()
            time.sleep(0.01)
        killed.kill()
        _, errors = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 0, errors
    seen += cluster.reported()
    assert inside("scan", "--packages", str(debs), "--table", "w", cwd=tmp_path).code == 0
    for query in (
        f"SELECT {COLUMNS} FROM programs ORDER BY file",
        "SELECT * FROM calls ORDER BY 1, 3",
    ):
        assert rows(tmp_path / "t", query) == rows(tmp_path / "w", query)
    assert len(rows(tmp_path / "t")) == PROGRAMS
    facts = Counter(sha256 for sha256, _ in seen)
    assert len(facts) >= 2 * PROGRAMS - 1  # the one killed may not have come to say its last
    assert set(facts.values()) == {1}
    assert {done for _, done in seen} == {"True", "False"}  # the full disk was tried
    assert not list((tmp_path / "store").glob("seccompgen-*"))


def test_rows_come_before_all_programs_were_read(
    debs: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one worker the first row is there while most programs wait here."""
    from seccompgen.kernel.shipped import shipped_tables
    from seccompgen.scan import cluster as scanned_by
    from seccompgen.scan.packages import PackagedProgram, packages_in

    read: list[str] = []
    of = scanned_by._files_of

    def files_of(program: PackagedProgram, root: Path) -> dict[str, Path] | None:
        read.append(program.name)
        return of(program, root)

    monkeypatch.setattr(scanned_by, "_files_of", files_of)
    cluster.work("one")
    package = packages_in(debs)[1]
    programs = [
        PackagedProgram(package, f"/usr/bin/p{i}", tmp_path / "root/usr/bin" / f"p{i}")
        for i in range(PROGRAMS)
    ]
    for deb in debs.iterdir():
        subprocess.run(["dpkg-deb", "-x", str(deb), str(tmp_path / "root")], check=True)
    (tmp_path / "store").mkdir()
    rows_of = scanned_by.rows_by(cluster.address(), tmp_path / "store", shipped_tables())
    found = rows_of(programs, tmp_path / "root")
    first = next(found)
    assert first
    assert first.calls
    assert len(read) < PROGRAMS // 2
    assert len([first, *found]) == PROGRAMS
    assert sorted(read) == sorted(one.name for one in programs)


def test_a_killed_scan_goes_on(debs: Path, tmp_path: Path, cluster: Cluster) -> None:
    """Killed with some rows, the same command adds the others, and finds no fact again."""
    cluster.work("one")
    address = cluster.address()
    ask = [sys.executable, "-m", "seccompgen", "scan", "--packages", str(debs)]
    where = ["--scheduler", address, "--store", "store", "--table", "t"]
    run = subprocess.Popen([*ask, *where], cwd=tmp_path)
    seen: list[list[str]] = []
    there = 0
    while there < PROGRAMS // 4 and run.poll() is None:
        seen += cluster.reported()
        there = len(rows(tmp_path / "t")) if (tmp_path / "t").exists() and seen else 0
        time.sleep(0.01)
    run.kill()
    run.wait()
    assert PROGRAMS // 4 <= len(rows(tmp_path / "t")) < PROGRAMS
    again = subprocess.run([*ask, *where], cwd=tmp_path, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    seen += cluster.reported()
    assert inside("scan", "--packages", str(debs), "--table", "w", cwd=tmp_path).code == 0
    query = f"SELECT {COLUMNS} FROM programs ORDER BY file"
    assert rows(tmp_path / "t", query) == rows(tmp_path / "w", query)
    assert set(Counter(sha256 for sha256, _ in seen).values()) == {1}
