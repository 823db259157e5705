"""Outputs are put into the tree as one step, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from command import seccompgen, snapshot
from seccompgen.core.errors import InputError, OutsideError
from seccompgen.io import outputs
from seccompgen.io.outputs import Outputs

if TYPE_CHECKING:
    from pathlib import Path


def files(directory: Path, content: bytes, count: int = 400) -> dict[Path, bytes]:
    return {directory / f"{i % 7}" / f"{i}.py": content for i in range(count)}


@pytest.mark.long("runs commands against what fails, one by one")
def test_killed_in_the_middle_of_the_commit_it_still_ends(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    Outputs(files(tree, b"old")).write()
    watched = tree / "0" / "0.py"
    writer = os.fork()
    if writer == 0:
        os.setsid()
        Outputs(files(tree, b"new")).write()
        os._exit(0)
    while watched.read_bytes() == b"old":
        pass
    os.killpg(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    deadline = time.monotonic() + 120
    while list(tree.rglob(".*")) or any(path.read_bytes() == b"old" for path in files(tree, b"")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert snapshot(tree) == {
        str(path.relative_to(tree)): data for path, data in files(tree, b"new").items()
    }


def test_nothing_is_written_or_removed_where_a_link_leads(tmp_path: Path) -> None:
    """A link below the directory that has all outputs; that one may be a link, for it was named."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "old.py").write_bytes(b"theirs")
    (tmp_path / "tree").mkdir()
    (tmp_path / "named").symlink_to("tree")
    made = tmp_path / "named"
    (made / "linked").symlink_to(elsewhere)
    before = snapshot(elsewhere)
    for files, orphans in (
        ({"__init__.py": b"", "linked/new.py": b"ours"}, ()),
        ({"__init__.py": b""}, ("linked/old.py",)),
    ):
        found = Outputs(
            {made / name: content for name, content in files.items()},
            frozenset(made / name for name in orphans),
        )
        with pytest.raises(InputError, match="linked: leads out of "):
            found.write()
        assert snapshot(elsewhere) == before
        assert not (made / "__init__.py").exists()
    Outputs({made / "__init__.py": b"", made / "own" / "new.py": b"ours"}).write()
    assert (tmp_path / "tree" / "own" / "new.py").read_bytes() == b"ours"


def test_no_bytecode_is_removed_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    theirs = tmp_path / "elsewhere" / "old.cpython-311.pyc"
    theirs.touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "old.py").touch()
    (tmp_path / "tree" / "__pycache__").symlink_to(tmp_path / "elsewhere")
    Outputs({}, frozenset({tmp_path / "tree" / "old.py"})).write()
    assert theirs.exists()
    assert not (tmp_path / "tree" / "old.py").exists()


def test_killed_while_staging_it_leaves_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    Outputs(files(tree, b"old", 3)).write()
    before = snapshot(tmp_path)
    for delay in (0.003, 0.03):
        writer = os.fork()
        if writer == 0:
            outputs._commit = lambda *_: signal.pause()  # however long the sleep takes
            big = dict.fromkeys(files(tree, b"", 30), b"x" * 30000000)
            Outputs(big).write()
            os._exit(0)
        time.sleep(delay)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert snapshot(tmp_path) == before


def test_without_unnamed_files_it_writes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    tree = tmp_path / "new" / "tree"
    Outputs(files(tree, b"1", 20)).write()
    Outputs(files(tree, b"2", 20)).write()
    assert snapshot(tmp_path / "new") == {
        str(path.relative_to(tmp_path / "new")): b"2" for path in files(tree, b"", 20)
    }
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_is_the_same_is_not_touched(tmp_path: Path) -> None:
    outputs = Outputs(files(tmp_path, b"same", 5))
    assert len(outputs.write()) == 5
    inode = (tmp_path / "0" / "0.py").stat().st_ino
    assert outputs.write() == []
    assert (tmp_path / "0" / "0.py").stat().st_ino == inode
    assert outputs.stale() == []


def test_a_refusal_comes_before_the_first_replacement(tmp_path: Path) -> None:
    (tmp_path / "z").write_bytes(b"a file where a directory is wanted")
    (tmp_path / "y").mkdir()
    (tmp_path / "a").write_bytes(b"old")
    before = snapshot(tmp_path)
    with pytest.raises(OutsideError, match="cannot write"):
        Outputs({tmp_path / "a": b"new", tmp_path / "z" / "b": b"new"}).write()
    with pytest.raises(OutsideError, match="y: is a directory"):
        Outputs({tmp_path / "a": b"new", tmp_path / "y": b"new"}).write()
    with pytest.raises(OutsideError, match="y: is a directory"):
        Outputs({tmp_path / "b" / "c" / "d": b"new", tmp_path / "y": b"new"}).write()
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "b").exists()


# --- what the system says, by the path that the user knows ---------------------------------------

LONG = "x" * 300
POLICY = "arches: [x86_64]\ndefault_action: errno\nsyscalls: [{action: allow, names: [read]}]\n"
WRITING = {
    "build": (["build", "a.yml", "-o", "OUT"], "OUT/_explain.py"),
    "bpf": (["build", "a.yml", "--format", "bpf", "-o", "OUT"], "OUT/a.x86_64.bpf"),
    "depfile": (
        ["build", "a.yml", "--format", "go", "-o", ".", "--depfile", "OUT"],
        "a/install_linux.go",
    ),
    "vendor": (["vendor", "a.yml", "OUT"], "OUT/_explain.py"),
    "single file": (["vendor", "--single-file", "a.yml", "OUT.py"], "OUT.py"),
    "union": (["union", "a.yml", "a.yml", "--name", "u", "-o", "OUT"], "OUT/_explain.py"),
    "record": (["record", "-o", "OUT.yml", "--", "true"], "OUT.yml"),
    "init": (["init", "--policy", "no_exec", "--output", "OUT"], "seccomp/_policy.schema.json"),
}


def tell(words: list[str], name: str, cwd: Path, limit: str = "unlimited") -> tuple[int, str]:
    """Run a command with OUT called ``name``; return its exit code and its last line of errors."""
    words = [word.replace("OUT", name) for word in words]
    (cwd / "a.yml").write_text(POLICY)
    if limit == "unlimited":
        done = seccompgen(*words, cwd=cwd)
        return done.code, (done.err.splitlines() or [""])[-1]
    shell = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', ""]
    run = subprocess.run(
        [*shell, sys.executable, "-m", "seccompgen", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # which a limit would damage
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, (run.stderr.splitlines() or [""])[-1]


@pytest.mark.few(1, "runs commands against what fails, one by one")
@pytest.mark.parametrize(("words", "first"), WRITING.values(), ids=WRITING)
def test_a_disk_that_takes_no_more(words: list[str], first: str, tmp_path: Path) -> None:
    """A limit on the size of files fails in like manner, and a process can set it for itself."""
    code, told = tell(words, "out", tmp_path, limit="0")
    path = first.replace("OUT", "out")
    # A recording cannot be made again, so it is kept elsewhere; that is no file either here.
    kept = "; what was recorded is on standard output" if words[0] == "record" else ""
    said = f"cannot write {path}: File too large{kept}"
    assert (code, told.replace(f"{tmp_path}/", "")) == (3, said)
    assert {path.name for path in tmp_path.rglob("*")} == {"a.yml"}


@pytest.mark.few(14, "runs commands against what fails, one by one")
@pytest.mark.parametrize(
    "words",
    [
        *(words for name, (words, _) in WRITING.items() if name != "init"),
        ["tables", "-o", "OUT"],
        ["tables", "--tag", "v6.12", "--from", "OUT", "-o", "tables"],
        ["build", "a.yml", "-o", "o", "--profile", "OUT"],
        ["build", "a.yml", "-o", "o", "--tables", "OUT"],
        *(["build", "OUT.yml"], ["disasm", "OUT.py"], ["verify", "OUT.bpf", "--arch", "x86_64"]),
        *(["run", "OUT.yml", "--", "true"], ["run", "a.yml", "--", "./OUT"]),
        *(["run", "--trace", "-o", "OUT", "a.yml", "--", "true"], ["scan", "OUT"]),
        ["union", "a.yml", "OUT.yml", "--name", "u", "-o", "u"],
    ],
    ids=" ".join,
)
def test_names_that_are_too_long(words: list[str], tmp_path: Path) -> None:
    code, told = tell(words, LONG, tmp_path)
    assert code in {2, 3, 126}, told
    assert LONG in told
    assert "File name too long" in told
    assert "None" not in told
    assert "/proc" not in told


def test_names_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    """The temporary file beside an output has no longer name than a file may have."""
    name = "x" * (255 - len(".py"))
    Outputs({tmp_path / f"{name}.py": b"text"}).write()
    assert (tmp_path / f"{name}.py").read_bytes() == b"text"
