"""Debian packages: a table of their programs, which grows over kills, and can be asked."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from c_programs import HEAD, compiled
from command import inside
from debian_packages import COLUMNS, packaged, rows

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="the programs are written for x86_64"
    ),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb"),
]


def program(directory: Path, *numbers: int) -> bytes:
    calls = "".join(f"enter({number}, 0, 0, 0); " for number in numbers)
    text = f"void _start(void) {{ {calls}enter(60, 0, 0, 0); __builtin_unreachable(); }}"
    return compiled(directory, text, "-O1", "-static", "-Wl,--build-id=0x1234").read_bytes()


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    """Two packages: programs of one need a library of the other.

    One program is in /bin, as in packages of older releases, which is a link to /usr/bin.
    """
    options = ("-O1", "-shared", "-fPIC", "-Wl,-soname,libown.so.1")
    library = compiled(tmp_path, "void own(void) { enter(425, 0, 0, 0); }", *options)
    library.rename(tmp_path / "libown.so.1")
    text = "void own(void); void _start(void) { own(); for (;;); }"
    (tmp_path / "program.c").write_text(HEAD + text)
    flags = ("-nostdlib", "-O1", "-fPIE", "-pie", "-Wl,--no-dynamic-linker")
    command = ["gcc", *flags, "-o", "linked", "program.c", "./libown.so.1"]
    subprocess.run(command, check=True, cwd=tmp_path)
    unknown_text = "volatile long n; void _start(void) { enter(n, 0, 0, 0); for (;;); }"
    unknown = compiled(tmp_path, unknown_text).read_bytes()
    packaged(tmp_path, "own", {"usr/lib/libown.so.1": (tmp_path / "libown.so.1").read_bytes()})
    files = {
        "bin/ring": (tmp_path / "linked").read_bytes(),
        "usr/bin/plain": program(tmp_path, 39),
        "usr/bin/unknown": unknown,
        "usr/bin/broken": b"\x7fELF" + bytes(100),
        "usr/bin/script": b"#!/bin/sh\n",
    }
    packaged(tmp_path, "tools", files, "2:3.4~rc1-5+b1")
    return tmp_path / "debs"


def test_the_table_has_the_programs_and_their_calls(debs: Path) -> None:
    run = inside("scan", "--packages", "debs", "--table", "t.sqlite", cwd=debs.parent)
    assert run.code == 0, run.err
    assert run.out.splitlines() == [
        "t.sqlite: 4 programs of 2 packages",
        "1 with unknown calls, 1 that could not be scanned",
    ]
    table = debs.parent / "t.sqlite"
    version = "2:3.4~rc1-5+b1"
    found = rows(table)
    assert found[1:] == [
        ("tools", version, "/usr/bin/plain", "1234", 3, 0, ""),
        ("tools", version, "/usr/bin/ring", found[2][3], 2, 0, ""),
        ("tools", version, "/usr/bin/unknown", found[3][3], 1, 1, ""),
    ]
    assert "/usr/bin/broken: is a broken ELF file" in str(found[0])
    calls = "SELECT call, file FROM calls WHERE file = '/usr/bin/plain' ORDER BY call"
    assert [call for call, _ in rows(table, calls)] == [
        "exit",
        "getpid",
        "restart_syscall",
    ]


def test_the_table_says_who_calls(debs: Path) -> None:
    assert inside("scan", "--packages", "debs", "--table", "t", cwd=debs.parent).code == 0
    ask = ("scan", "--table", "t", "--who-calls")
    run = inside(*ask, "io_uring_setup", cwd=debs.parent)
    assert (run.code, run.out) == (0, "tools 2:3.4~rc1-5+b1 /usr/bin/ring\n")
    unclear = "note: it is unknown if /usr/bin/{} of tools 2:3.4~rc1-5+b1 does"
    assert run.err.splitlines() == [unclear.format(name) for name in ("broken", "unknown")]
    found = json.loads(inside(*ask, "getpid", "--json", cwd=debs.parent).out)
    assert [one["file"] for one in found["programs"]] == ["/usr/bin/plain"]
    assert [one["file"] for one in found["unclear"]] == ["/usr/bin/broken", "/usr/bin/unknown"]
    assert found["finished"] is True
    run = inside(*ask, "mount", cwd=debs.parent)
    assert (run.code, run.err.splitlines()[-1]) == (
        1,
        "t has no program that is known to call mount",
    )
    run = inside(*ask, "io_uring_stup", cwd=debs.parent)
    assert run.code == 2
    assert "did you mean 'io_uring_setup'?" in run.err


@pytest.mark.long("scans 150 programs twice")
def test_a_killed_scan_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed twice between its programs: no row is lost, and none is made twice."""
    one = program(tmp_path, 39)
    for letter in "abc":
        files = {f"usr/bin/{letter}{i}": one + bytes([i]) for i in range(50)}
        packaged(tmp_path, letter, files)
    command = [sys.executable, "-m", "seccompgen", "scan", "--packages", "debs", "--no-cache"]
    table = tmp_path / "t"
    before: list[Any] = []
    order = "SELECT rowid, seconds, file FROM programs ORDER BY rowid"
    for wanted in (3, 30):
        run = subprocess.Popen(
            [*command, "--table", "t"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # a killed scan leaves its directory
            start_new_session=True,
        )
        try:
            while run.poll() is None and len(before) < wanted:
                before = some(table, order)
        finally:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        after = some(table, order)
        assert after[: len(before)] == before
        assert wanted <= len(after) < 150
        before = after
    done = inside("scan", "--packages", "debs", "--table", "t", cwd=tmp_path)
    assert done.out.splitlines()[0] == "t: 150 programs of 3 packages"
    assert rows(table, order)[: len(before)] == before
    assert inside("scan", "--packages", "debs", "--table", "w", cwd=tmp_path).code == 0
    for query in (
        f"SELECT {COLUMNS} FROM programs ORDER BY file",
        "SELECT * FROM calls ORDER BY 1, 3",
    ):
        assert rows(table, query) == rows(tmp_path / "w", query)


def some(table: Path, query: str) -> list[Any]:
    """Return the rows that there are; none before the table is made."""
    try:
        return rows(table, query) if table.exists() else []
    except sqlite3.OperationalError:  # not made yet, or being written
        return []


def test_a_list_names_packages(debs: Path) -> None:
    (debs / "some").write_text("# of two\n\nown.deb\n  tools.deb  \n")
    assert inside("scan", "--packages", "debs/some", "--table", "t", cwd=debs.parent).code == 0
    assert len(rows(debs.parent / "t")) == 4
    (debs / "some").write_text("own.deb\n")
    run = inside("scan", "--packages", "debs/some", "--table", "one", cwd=debs.parent)
    assert run.out.startswith("one: 0 programs of 1 packages")
    (debs / "some").write_text("gone.deb\n")
    run = inside("scan", "--packages", "debs/some", "--table", "t", cwd=debs.parent)
    assert (run.code, run.err) == (2, "debs/gone.deb: is no Debian package\n")
    run = inside("scan", "--packages", "gone", "--table", "t", cwd=debs.parent)
    assert (run.code, run.err) == (2, "cannot read gone: No such file or directory\n")


def test_workers_are_asked_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, "a", {"usr/bin/a": b""})
    ask = ("scan", "--packages", "debs", "--table", "t", "--scheduler", "tcp://127.0.0.1:1")
    run = inside(*ask, cwd=tmp_path)
    text = "--scheduler goes with --store DIR, which its workers share\n"
    assert (run.code, run.err) == (2, text)
    run = inside("scan", "/bin/true", *ask[-2:], cwd=tmp_path)
    assert (run.code, run.err) == (2, "--scheduler and --store are for --packages\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "distributed" or None)
    run = inside(*ask, "--store", "store", cwd=tmp_path)
    assert run.code == 3
    assert "pip install 'seccompgen[cluster]'" in run.err
    assert not (tmp_path / "t").exists()


def test_an_unfinished_table_says_so(debs: Path) -> None:
    assert inside("scan", "--packages", "debs", "--table", "t", cwd=debs.parent).code == 0
    database = sqlite3.connect(debs.parent / "t")
    with database:
        database.execute("UPDATE about SET finished = 0")
    database.close()
    run = inside("scan", "--table", "t", "--who-calls", "getpid", cwd=debs.parent)
    assert "note: the scan has not finished: more programs may" in run.err


def test_a_table_is_of_one_set_of_packages(debs: Path) -> None:
    ask = ("scan", "--packages", "debs", "--table", "t")
    assert inside(*ask, cwd=debs.parent).code == 0
    other = "t: was made of other packages, or by another release: name a new table\n"
    packaged(debs.parent, "more", {"usr/bin/more": b""})
    run = inside(*ask, cwd=debs.parent)
    assert (run.code, run.err) == (2, other)
    new = ("scan", "--packages", "debs", "--table", "new")
    assert inside(*new, cwd=debs.parent).code == 0
    packaged(debs.parent, "more", {"usr/bin/more": b"of the same name and version"})
    run = inside(*new, cwd=debs.parent)
    assert (run.code, run.err.partition(": ")[2]) == (2, other.partition(": ")[2])


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    (tmp_path / "debs").mkdir()
    ask = ("scan", "--packages", "debs", "--table", "t")
    assert inside(*ask, cwd=tmp_path).err == "debs: has no packages: no *.deb\n"
    (tmp_path / "debs" / "a.deb").write_bytes(b"no package")
    assert inside(*ask, cwd=tmp_path).err == "debs/a.deb: is no Debian package\n"
    (tmp_path / "debs" / "a.deb").unlink()
    for name in ("a", "b"):
        packaged(tmp_path, name, {"usr/bin/same": b""})
    assert inside(*ask, cwd=tmp_path).err == "b.deb: and a.deb have both /usr/bin/same\n"
    (tmp_path / "t").write_text("no table, but a text that is long enough to be read as one")
    run = inside(*ask, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("t: cannot be used as a table of scans: ")
    run = inside(*ask[:-1], "no/where/t", cwd=tmp_path)
    assert (
        run.err == "no/where/t: cannot be used as a table of scans: unable to open database file\n"
    )
    run = inside("scan", "--who-calls", "mount", "--table", "gone", cwd=tmp_path)
    assert (run.code, run.err) == (2, "gone: there is no such table\n")
    for options in (("--packages", "debs"), ("--table", "t"), (*ask[1:], "/bin/true")):
        run = inside("scan", *options, cwd=tmp_path)
        assert run.code == 2
        assert run.err.startswith("--table goes with --packages DIR")
