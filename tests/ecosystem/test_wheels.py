"""Projects whose wheels have their filters in them: hatchling's and setuptools' examples, built.

A few of hatchling's run with the whole suite, for seccompgen itself is built with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, snapshot
from transcript import blocks, replay, section

if TYPE_CHECKING:
    from pathlib import Path

OFFLINE = (
    "import os, sys; from seccomp_filters import no_network; no_network.install(); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Runs Python under a filter of ours, so that whoever looks for something on the network fails."""


@dataclass(frozen=True)
class Example:
    """A project in examples/: its filter package, by path and name, and one policy and module.

    ``argument`` makes the program do what it must not; ``said`` is what it says to the input "1".
    """

    tool: str
    output: str
    package: str
    policy: str
    module: str
    argument: str
    said: tuple[int, str, str]

    def copy(self, directory: Path) -> Path:
        """Return a copy of the project, without what somebody may have built there."""
        leave = shutil.ignore_patterns("sandbox", "build", "dist", "*.egg-info", "__pycache__")
        return shutil.copytree(ROOT / "examples" / self.tool, directory / "project", ignore=leave)


HATCHLING = Example(
    "hatchling",
    "shout/sandbox",
    "shout/sandbox",
    "seccomp/filter.yml",
    "filter/__init__.py",
    "/etc/passwd",
    (1, "", "/etc/passwd: Operation not permitted\n"),
)
SETUPTOOLS = Example(
    "setuptools",
    "src/adder/sandbox",
    "adder/sandbox",
    "seccomp/_python.yml",
    "worker/__init__.py",
    "",
    (0, "1\nsocket: Operation not permitted\n", ""),
)
BOTH = [
    pytest.param(HATCHLING, id="hatchling"),
    pytest.param(SETUPTOOLS, id="setuptools", marks=pytest.mark.ecosystem),
]
PIPS = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
EACH = [
    pytest.param(HATCHLING, id="hatchling", marks=pytest.mark.ecosystem),
    pytest.param(SETUPTOOLS, id="setuptools", marks=pytest.mark.ecosystem),
]
MORE = pytest.mark.long("builds wheels, as the other does by the same code of ours")
SLOW = [
    pytest.param(HATCHLING, id="hatchling", marks=[pytest.mark.ecosystem, MORE]),
    pytest.param(SETUPTOOLS, id="setuptools", marks=pytest.mark.ecosystem),
]
BUILD = ("-m", "build", "--no-isolation", "--outdir", "../dist")
PIP = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", "../dist", ".")


def python(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python without a network; what it says must be no traceback."""
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE, *args],
        cwd=cwd,
        env={**os.environ, **PIPS},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in run.stdout + run.stderr, run.stdout + run.stderr
    return run


def built(*args: str, cwd: Path) -> Path:
    """Build the project in ``cwd``; return its wheel."""
    run = python(*args, cwd=cwd)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = (cwd.parent / "dist").glob("*.whl")
    return wheel


def refused(project: Path) -> str:
    """Build a project that cannot be built; return what is said."""
    run = python(*BUILD, "--wheel", cwd=project)
    assert run.returncode != 0
    assert not list((project.parent / "dist").glob("*.whl"))
    return run.stdout + run.stderr


def setting(pyproject: Path, line: str) -> str:
    """Return the text of a pyproject.toml with one line more in our table."""
    return pyproject.read_text().replace("[tool.seccompgen]\n", f"[tool.seccompgen]\n{line}\n")


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def confined(program: str, argument: str, site: Path) -> tuple[int, str, str]:
    """Run a program of ``site`` without the packages of the tests, seccompgen among them."""
    code = (
        "import importlib.util, runpy, site, sys\n"
        "site.addsitedir(sys.argv.pop(1))\n"
        "assert not importlib.util.find_spec('seccompgen')\n"
        f"runpy.run_module({program!r}, run_name='__main__')\n"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, site, *filter(None, [argument])],
        input="1\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize("example", BOTH)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(BUILD, id="build", marks=pytest.mark.long("builds wheels")),
        pytest.param(PIP, id="pip", marks=pytest.mark.ecosystem),
    ],
)
def test_the_wheel_has_the_filters_and_they_hold(
    tmp_path: Path, example: Example, command: tuple[str, ...]
) -> None:
    project = example.copy(tmp_path)
    # As in a checkout: the filters are nobody's to commit, and hatchling heeds that.
    (project / ".gitignore").write_text("sandbox/\n")
    wheel = built(*command, cwd=project)
    assert inside("build", cwd=project).code == 0
    files = {
        f"{example.package}/{path.relative_to(project / example.output)}": path.read_bytes()
        for path in (project / example.output).rglob("*")
        if path.is_file()
    }
    assert len(files) >= 5
    assert content(wheel).items() >= files.items()
    site = tmp_path / "site"
    python("-m", "pip", "install", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    program = example.package.split("/")[0]
    assert confined(program, example.argument, site) == example.said


@pytest.mark.parametrize("example", SLOW)
def test_an_editable_install_finds_them_in_the_tree(tmp_path: Path, example: Example) -> None:
    project = example.copy(tmp_path)
    code = "import build; build.ProjectBuilder('.').build('editable', '../dist')"
    wheel = built("-c", code, cwd=project)
    assert not [name for name in content(wheel) if name.endswith(example.module)]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = example.package.split("/")[0]
    assert confined(program, example.argument, tmp_path / "site") == example.said
    module = project / example.output / example.module
    policy = project / example.policy
    policy.write_text(policy.read_text().replace("errno(EPERM)", "kill_process"))
    before = module.read_bytes()
    assert inside("build", cwd=project).code == 0
    assert module.read_bytes() != before
    assert confined(program, example.argument, tmp_path / "site")[0] == -31


@pytest.mark.parametrize("example", SLOW)
def test_the_sdist_has_what_they_are_made_of(tmp_path: Path, example: Example) -> None:
    project = example.copy(tmp_path)
    (project / "seccomp" / "more").mkdir()
    shutil.move(project / example.policy, project / "seccomp" / "more" / "_all.yml")
    policy = example.policy.replace("_python", "worker")
    (project / policy).write_text("include: [more/_all.yml]\n")
    (project / "counts").write_text("read: 1\n")
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text().replace(
        "[tool.seccompgen]\n", "[tool.seccompgen]\nprofile='counts'\n"
    )
    pyproject.write_text(text + '[tool.hatch.build.targets.sdist]\ninclude = ["/shout"]\n')
    wheel = built(*BUILD, cwd=project)
    assert f"{example.package}/{example.module}" in content(wheel)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {policy, "seccomp/more/_all.yml", "counts", "pyproject.toml"}


@pytest.mark.parametrize("example", BOTH)
def test_an_error_in_a_policy_ends_the_build_and_says_where(
    tmp_path: Path, example: Example
) -> None:
    project = example.copy(tmp_path)
    policy = project / example.policy
    policy.write_text(policy.read_text().replace("brk,", "brkk,").replace("ioctl", "ioctll"))
    lines = policy.read_text().splitlines()
    said = refused(project)
    for wrong, right in (("brkk", "brk"), ("ioctll", "ioctl")):
        ((row, line),) = [(n, text) for n, text in enumerate(lines, 1) if wrong in text]
        message = f"unknown system call {wrong!r} (did you mean {right!r}?)"
        assert f"\n{policy}:{row}:{line.index(wrong) + 1}: {message}\n" in said
    assert not (project / example.output).exists()


@pytest.mark.parametrize("example", SLOW)
def test_of_a_policy_that_is_gone_nothing_is_left(tmp_path: Path, example: Example) -> None:
    project = example.copy(tmp_path)
    more = project / "seccomp" / "more.yml"
    shutil.copy(project / example.policy, more)
    assert f"{example.package}/more/__init__.py" in content(built(*PIP, cwd=project))
    more.unlink()
    assert f"{example.package}/more/__init__.py" not in content(built(*PIP, cwd=project))
    assert not (project / example.output / "more").exists()


@pytest.mark.long("builds again and again")
@pytest.mark.parametrize("example", BOTH)
def test_committed_filters_are_checked_and_never_changed(tmp_path: Path, example: Example) -> None:
    project = example.copy(tmp_path)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(setting(pyproject, "committed = true"))
    assert f"{project / example.output / example.module}: is missing\n" in refused(project)
    assert not (project / example.output).exists()
    assert inside("build", cwd=project).code == 0
    output = snapshot(project / example.output)
    assert f"{example.package}/{example.module}" in content(built(*BUILD, cwd=project))
    shutil.rmtree(tmp_path / "dist")
    policy = project / example.policy
    policy.write_text(policy.read_text().replace("EPERM", "EACCES"))
    said = refused(project)
    assert f"{project / example.output / example.module}: is stale: " in said
    assert "run 'seccompgen build'" in said
    assert snapshot(project / example.output) == output


@pytest.mark.parametrize("example", SLOW)
def test_a_project_that_does_not_say_where_its_filters_are_is_not_built(
    tmp_path: Path, example: Example
) -> None:
    project = example.copy(tmp_path)
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text.replace("tool.seccompgen", "tool.seccompgenn"))
    assert f"{pyproject}: has no [tool.seccompgen], which says where" in refused(project)
    pyproject.write_text(text.replace(f'"{example.output}"', '"../sandbox"'))
    assert f"{pyproject}: [tool.seccompgen]: 'output' " in refused(project)


@pytest.mark.parametrize("example", EACH)
def test_the_page_shows_what_the_example_does(tmp_path: Path, example: Example) -> None:
    text = section(ROOT / "docs" / "packaging.md", f"## {example.tool}")
    (shown,) = blocks("console", text)
    replay(
        shown, example.copy(tmp_path), {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    (table,) = blocks("toml", text)
    pyproject = (ROOT / "examples" / example.tool / "pyproject.toml").read_text()
    assert all(line in pyproject for line in table.splitlines())


@pytest.mark.long("builds the wheel and installs it")
def test_settings_in_hatchs_table_are_pointed_to_ours(tmp_path: Path) -> None:
    project = HATCHLING.copy(tmp_path)
    with (project / "pyproject.toml").open("a") as file:
        file.write('\noutput = "elsewhere"\nenable-by-default = true\n')
    said = refused(project)
    assert "[tool.hatch.build.hooks.seccompgen] has no output: all settings stand in" in said


@pytest.mark.ecosystem
def test_setuptools_leaves_projects_alone_that_do_not_name_us(tmp_path: Path) -> None:
    project = SETUPTOOLS.copy(tmp_path)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"seccompgen"', '"seccompgen-not"'))
    wheel = built(*BUILD, "--wheel", "--skip-dependency-check", cwd=project)
    assert "adder/__main__.py" in content(wheel)
    assert "adder/sandbox/worker/__init__.py" not in content(wheel)


@pytest.mark.ecosystem
@pytest.mark.parametrize(
    ("directories", "output", "inside_wheel"),
    [
        pytest.param(
            *(
                "packages = ['adder']\npackage-dir = {adder = 'src/adder'}",
                "src/adder/a/b",
                "adder/a/b",
            ),
            marks=MORE,
        ),
        ("packages = ['x.y']\npackage-dir = {'x.y' = 'src/adder'}", "src/adder/s", "x/y/s"),
        pytest.param(
            *("packages = ['adder']\npackage-dir = {adder = 'src/adder'}", "top", "top"), marks=MORE
        ),
        ("packages = ['adder']\npackage-dir = {'' = 'src'}", "src/top", "top"),
    ],
)
def test_setuptools_puts_them_where_the_projects_layout_says(
    tmp_path: Path, directories: str, output: str, inside_wheel: str
) -> None:
    project = SETUPTOOLS.copy(tmp_path)
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text().replace("src/adder/sandbox", output)
    pyproject.write_text(f"{text}\n[tool.setuptools]\n{directories}\n")
    wheel = content(built(*BUILD, "--wheel", cwd=project))
    for name in ("worker/__init__.py", "worker/_x86_64.py"):
        assert wheel[f"{inside_wheel}/{name}"] == (project / output / name).read_bytes()
    assert f"{inside_wheel}/py.typed" in wheel


@pytest.mark.ecosystem
@pytest.mark.parametrize("mode", [pytest.param("lenient", marks=MORE), "strict"])
def test_setuptools_leads_to_a_package_that_was_not_there_when_it_looked(
    tmp_path: Path, mode: str
) -> None:
    project = SETUPTOOLS.copy(tmp_path)
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text().replace("src/adder/sandbox", "top")
    layout = "[tool.setuptools]\npackages = ['adder']\npackage-dir = {adder = 'src/adder'}\n"
    pyproject.write_text(f"{text}\n{layout}")
    main = project / "src" / "adder" / "__main__.py"
    main.write_text(
        "from top import notification\n" + main.read_text().replace("adder.sandbox", "top")
    )
    # With what a listener needs, a file that not every package has.
    policy = project / SETUPTOOLS.policy
    policy.write_text(policy.read_text().replace("flags: []", "flags: [new_listener]"))
    settings = f"{{'editable_mode': {mode!r}}}"
    code = f"import build; build.ProjectBuilder('.').build('editable', '../dist', {settings})"
    with zipfile.ZipFile(built("-c", code, cwd=project)) as archive:
        archive.extractall(tmp_path / "site")
    assert confined("adder", "", tmp_path / "site") == SETUPTOOLS.said


@pytest.mark.ecosystem
def test_setuptools_refuses_a_place_where_no_package_can_be(tmp_path: Path) -> None:
    project = SETUPTOOLS.copy(tmp_path)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("src/adder/sandbox", "elsewhere"))
    assert f"{pyproject}: output elsewhere is not where the packages are" in refused(project)
