"""Dependencies of the outputs, for make and ninja: they do what is needed, and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import seccompgen
from command import ROOT, inside, said, snapshot
from longer import long_but
from runtime_template import FILES
from seccompgen.kernel.shipped import LOCK_NAME, MATRIX_NAME, SHIPPED
from transcript import BIN, blocks, replay, section

EXAMPLE = ROOT / "examples" / "make_ninja"
PAGE = ROOT / "docs" / "packaging.md"
BASE = (
    "default_action: allow\narches: [x86_64]\nsyscalls:\n- {action: errno(2), names: [getppid]}\n"
)
WRITTEN = [
    "out/w/__init__.py",
    "out/w/_x86_64.py",
    "out/_runtime.py",
    "out/_questions.py",
    "out/_explain.py",
]
"""What the policy w becomes."""


def require(name: str) -> None:
    """Skip the caller where a tool is missing; on CI it must not be."""
    if not shutil.which(name):
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is missing")


def copy(directory: Path) -> Path:
    """Return a copy of the example, without what somebody may have built there."""
    leave = shutil.ignore_patterns("sandbox", "build", ".ninja_*", "__pycache__")
    return shutil.copytree(EXAMPLE, directory / "example", ignore=leave)


def tool(name: str, cwd: Path) -> str:
    """Run make or ninja; return what it said."""
    require(name)
    run = subprocess.run(
        [name],
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def version(path: Path) -> tuple[int, int]:
    """Return what a file has anew when somebody writes it."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def later(path: Path) -> None:
    """Give a file a time that no file made before has, however coarse the clock."""
    time.sleep(0.02)
    os.utime(path)


def inputs(depfile: Path) -> list[str]:
    """Return the names that depfile has on lines of their own, of those that only spaces escape."""
    rule = depfile.read_text().split("\n\n")[0].split(": \\\n")[1]
    lines = [line.strip(" \\") for line in rule.splitlines() if not line.endswith(":")]
    return [line.replace("\\ ", " ") for line in lines]


@pytest.mark.parametrize(
    "name", long_but([], ["make", "ninja"], "each build starts an interpreter")
)
def test_the_example_is_built_anew_when_an_include_changes_and_only_then(
    tmp_path: Path, name: str
) -> None:
    place = copy(tmp_path)
    filters = [place / "sandbox" / file for file in ("worker/_x86_64.py", *sorted(FILES))]
    include = place / "seccomp" / "_python.yml"

    def builds() -> bool:
        return "seccompgen build" in tool(name, place)

    assert [builds(), builds()] == [True, False]
    before = [version(file) for file in filters]
    later(include)
    assert [builds(), builds()] == [True, False]
    assert [version(file) for file in filters] == before, "what is the same was touched"
    include.write_text(include.read_text().replace("EPERM", "EACCES"))
    later(include)
    assert [builds(), builds()] == [True, False]
    worker, *runtime = map(version, filters)
    assert (worker != before[0], runtime) == (True, before[1:])


@pytest.mark.parametrize(
    ("name", "file"),
    long_but(
        [("make", "Makefile")],
        [("make", "Makefile"), ("ninja", "build.ninja")],
        "each build starts an interpreter",
    ),
)
def test_the_page_shows_the_example_and_what_it_does(tmp_path: Path, name: str, file: str) -> None:
    require(name)
    place = copy(tmp_path)
    text = section(PAGE, f"## {name}")
    (shown,) = blocks(name, text)
    assert shown in (place / file).read_text()
    (commands,) = blocks("console", text)
    replay(commands, place)


@pytest.mark.long("builds again and again")
@pytest.mark.parametrize("name", ["make", "ninja"])
def test_names_with_what_the_syntax_is_made_of_are_still_names(tmp_path: Path, name: str) -> None:
    include = tmp_path / "a b$c#d:e" / "_x $y: #z.yml"
    include.parent.mkdir()
    include.write_text(BASE)
    (tmp_path / "w.yml").write_text(f"include: ['{include.relative_to(tmp_path)}']\n")
    command = "seccompgen build w.yml -o out --depfile"
    (tmp_path / "Makefile").write_text(
        f"out/w/__init__.py:\n\t{command} d\n\ttouch $@\n-include d\n"
    )
    (tmp_path / "build.ninja").write_text(
        f"rule s\n  command = {command} d\n  depfile = d\n  deps = gcc\n  restat = 1\n"
        f"build {' '.join(WRITTEN)}: s w.yml\n"
    )
    assert command in tool(name, tmp_path)
    assert command not in tool(name, tmp_path)
    later(include)
    assert command in tool(name, tmp_path)
    # Without its empty rule, make would not know how to make it.
    include.unlink()
    (tmp_path / "w.yml").write_text(BASE)
    assert command in tool(name, tmp_path)
    assert command not in tool(name, tmp_path)


@pytest.mark.long("builds again and again")
def test_ninja_reads_the_file_by_itself_too(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(BASE)
    (tmp_path / "build.ninja").write_text(
        "rule s\n  command = seccompgen build w.yml -o out --depfile d\n  depfile = d\n"
        f"build {' '.join(WRITTEN)}: s\n"
    )
    assert "seccompgen build" in tool("ninja", tmp_path)
    assert "no work to do" in tool("ninja", tmp_path)
    later(tmp_path / "w.yml")
    assert "seccompgen build" in tool("ninja", tmp_path)


def test_it_names_all_that_decides_a_projects_filters(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "_b.yml").write_text(BASE)
    (tmp_path / "p" / "w.yml").write_text("include: [_b.yml]\n")
    (tmp_path / "counts").write_text("getppid: 3\n")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.seccompgen]\npolicies = 'p'\noutput = 'out'\nprofile = 'counts'\n"
    )
    run = inside("build", "--depfile", "d", cwd=tmp_path)
    assert run.code == 0, run.err
    targets = (tmp_path / "d").read_text().split(":")[0].split()
    assert targets == [*WRITTEN, "out/__init__.py", "out/py.typed"]
    named = inputs(tmp_path / "d")
    assert named[:5] == ["p/_b.yml", "p/w.yml", "counts", "pyproject.toml", "p"]
    package = Path(seccompgen.__file__).parent
    own = {*package.rglob("*.py"), SHIPPED / LOCK_NAME, SHIPPED / MATRIX_NAME}
    assert {str(path) for path in own} < set(named[5:])
    assert {Path(name).name for name in named} > {"filter.py.j2", "_runtime.py"}
    assert all((tmp_path / name).exists() for name in named)


def test_other_tables_are_inputs(tmp_path: Path) -> None:
    shutil.copytree(Path(seccompgen.__file__).parent / "kernel", tmp_path / "t")
    (tmp_path / "w.yml").write_text(BASE)
    run = inside("build", "w.yml", "-o", ".", "--tables", "t", "--depfile", "d", cwd=tmp_path)
    assert run.code == 0, run.err
    assert inputs(tmp_path / "d")[:3] == ["w.yml", "t/kernel.lock.toml", "t/syscalls.csv"]


@pytest.mark.parametrize("name", ["a*b", "a%b", "a;b", "a=b", "a\\b", "~a", "a[b]", "a|b"])
def test_a_name_that_cannot_be_written_stops_all(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.yml").write_text(BASE)
    (tmp_path / "w.yml").write_text(f"include: ['{name}.yml']\n")
    before = snapshot(tmp_path)
    code, out, (line,) = said(inside("build", "w.yml", "-o", "o", "--depfile", "d", cwd=tmp_path))
    assert (code, out, snapshot(tmp_path)) == (2, [], before)
    assert line.startswith(f"{name}.yml: ")
    assert line.endswith("rename the file, or build without --depfile")


@pytest.mark.parametrize("name", ["w.yml", "w/_x86_64.py", "_runtime.py", "../o/w/__init__.py"])
def test_it_is_not_written_over_what_the_build_reads_or_writes(tmp_path: Path, name: str) -> None:
    place = tmp_path / "o"
    place.mkdir()
    (place / "w.yml").write_text(BASE)
    before = snapshot(tmp_path)
    run = inside("build", "w.yml", "-o", ".", "--depfile", name, cwd=place)
    message = f"--depfile {name} would overwrite what is read or written already"
    assert said(run) == (2, [], [message])
    assert snapshot(tmp_path) == before


def test_a_check_writes_none(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(BASE)
    run = inside("build", "w.yml", "--check", "--depfile", "d", cwd=tmp_path)
    assert said(run) == (2, [], ["--check writes nothing, so it has no --depfile"])
