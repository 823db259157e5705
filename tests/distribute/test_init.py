"""A project begins to use seccompgen: what ``init`` adds works, and what was there is untouched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, said, snapshot
from seccompgen.distribute.scaffold import KINDS
from seccompgen.policy.modeline import MODELINE, SCHEMA_NAME
from seccompgen.policy.stock import stock_policies
from transcript import blocks, replay

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "init.md").read_text()
STANZA = """\
# `seccompgen build` compiles the policies into the output; commit both.
[tool.seccompgen]
policies = "seccomp"
output = "sandbox"
"""
_SAY_WHERE = "say where filters may go with --output DIR"
_NO_PACKAGE = "cannot be the place of a Python package"


def failed(project: Path) -> set[str]:
    """Run the project's tests as its users do; return those that failed, by their file."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # ours take long to load
        timeout=120,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    assert "skipped" not in run.stdout
    return {*re.findall(r"^FAILED (\S+?)::", run.stdout, re.MULTILINE)}


def test_there_is_a_kind_for_each_stock_policy() -> None:
    assert set(KINDS) == stock_policies().keys()


@pytest.mark.few(1, "makes projects and builds them")
@pytest.mark.parametrize("kind", KINDS)
def test_in_an_empty_directory_it_makes_a_project(tmp_path: Path, kind: str) -> None:
    run = inside("init", "--policy", kind, cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert (tmp_path / "pyproject.toml").read_text() == STANZA
    wrote = [line.removeprefix("wrote ") for line in run.out.splitlines() if "wrote" in line]
    assert sorted(wrote) == sorted(snapshot(tmp_path))


@pytest.mark.long("makes projects and builds them")
def test_what_it_makes_builds_and_passes(tmp_path: Path) -> None:
    for kind in KINDS:
        assert inside("init", "--policy", kind, cwd=tmp_path).code == 0
    build = inside("build", cwd=tmp_path)
    assert (build.code, build.err) == (0, "")
    assert not failed(tmp_path)
    # The tests are such that fail where the filter lets through what it must not.
    for kind in KINDS:
        (tmp_path / "seccomp" / f"{kind}.yml").write_text(
            "default_action: allow\nsyscalls: [{action: errno, names: [ptrace]}]\n"
        )
    assert inside("build", cwd=tmp_path).code == 0
    assert failed(tmp_path) == {f"tests/test_seccomp_{kind}.py" for kind in KINDS}


MORE = pytest.mark.long("simpler layouts")


@pytest.mark.few(1, "makes projects and builds them")
@pytest.mark.parametrize(
    ("there", "output", "package"),
    [
        pytest.param(["app.py"], "sandbox", "sandbox", marks=MORE),
        pytest.param(
            ["app/__init__.py", "tests/__init__.py"], "app/sandbox", "app.sandbox", marks=MORE
        ),
        (["src/app/__init__.py", "test/test_app.py"], "src/app/sandbox", "app.sandbox"),
        # Of a namespace package, which has no __init__.py.
        (
            ["src/ns/app/__init__.py", "src/ns/app/a/__init__.py"],
            "src/ns/app/sandbox",
            "ns.app.sandbox",
        ),
    ],
)
def test_filters_go_where_the_program_can_import_them(
    tmp_path: Path, there: list[str], output: str, package: str
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    before = snapshot(tmp_path)
    run = inside("init", "--json", cwd=tmp_path)
    assert json.loads(run.out)["package"] == package
    assert tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]["seccompgen"] == {
        "policies": "seccomp",
        "output": output,
    }
    tests = "test" if (tmp_path / "test").exists() else "tests"
    assert (tmp_path / tests / "test_seccomp_no_exec.py").is_file()
    assert inside("build", cwd=tmp_path).code == 0
    assert not failed(tmp_path)
    assert snapshot(tmp_path).items() >= before.items()


@pytest.mark.few(1, "makes projects and builds them")
@pytest.mark.parametrize(
    "text",
    [
        '# ours\n[project]  # odd   spacing\nname = "x"\n\n\n[tool.other]\na=1 # last\n',
        "[project]\nname = 'x'",
        "[project]\r\nname = 'x'\r\n[tool.ruff]\r\n",
        "",
        "[tool]\nother.a = 1\n",
    ],
)
def test_pyproject_is_added_to_and_nothing_of_it_changes(tmp_path: Path, text: str) -> None:
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_bytes(text.encode())
    elsewhere.chmod(0o640)
    pyproject = tmp_path / "pyproject.toml"
    pyproject.symlink_to(elsewhere)
    run = inside("init", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert "added [tool.seccompgen] to pyproject.toml\n" in run.out
    after = elsewhere.read_bytes().decode()
    assert after.startswith(text)
    assert after.endswith(STANZA.replace("\n", "\r\n") if "\r" in text else STANZA)
    assert after.count("\n\r") + after.count("\n\n") >= (1 if text else 0)
    data = tomllib.loads(after)
    assert data["tool"].pop("seccompgen") == {"policies": "seccomp", "output": "sandbox"}
    assert pyproject.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o640


@pytest.mark.long("makes projects and builds them")
def test_a_second_run_changes_nothing_and_a_second_policy_joins(tmp_path: Path) -> None:
    inside("init", cwd=tmp_path)
    before = snapshot(tmp_path)
    again = inside("init", cwd=tmp_path)
    assert again.code == 0
    assert [line for line in again.out.splitlines() if line.startswith(("wrote", "added"))] == []
    assert again.out.count(", which is there already\n") == 4
    assert snapshot(tmp_path) == before
    assert inside("init", "--policy", "no_network", cwd=tmp_path).code == 0
    after = snapshot(tmp_path)
    assert after.items() > before.items()
    assert after.keys() - before.keys() == {
        *("seccomp/no_network.yml", "seccomp/stock/no_network.yml"),
        "tests/test_seccomp_no_network.py",
    }


@pytest.mark.long("makes projects and builds them")
def test_the_policy_leads_editors_to_the_schema_beside_it(tmp_path: Path) -> None:
    assert inside("init", cwd=tmp_path).code == 0
    policies = tmp_path / "seccomp"
    assert (policies / "no_exec.yml").read_text().startswith(MODELINE)
    assert (policies / SCHEMA_NAME).read_text() == inside("schema").out
    assert "_policy" not in inside("build", cwd=tmp_path).out


def test_files_that_are_there_are_kept_even_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "seccomp").mkdir()
    (tmp_path / "seccomp" / "no_exec.yml").write_text("mine")
    (tmp_path / "tests").mkdir()
    link = tmp_path / "tests" / "test_seccomp_no_exec.py"
    link.symlink_to("nowhere")
    run = inside("init", cwd=tmp_path)
    assert "kept seccomp/no_exec.yml, which is there already\n" in run.out
    assert (tmp_path / "seccomp" / "no_exec.yml").read_text() == "mine"
    assert (link.is_symlink(), link.exists()) == (True, False)


@pytest.mark.long("makes projects and builds them")
def test_it_follows_what_pyproject_says_already(tmp_path: Path) -> None:
    text = '[tool.seccompgen]\npolicies = "p/q"\noutput = "a/b"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    assert inside("init", "-o", "./a/b", cwd=tmp_path).code == 0
    assert (tmp_path / "pyproject.toml").read_text() == text
    assert inside("build", cwd=tmp_path).code == 0
    assert (tmp_path / "a" / "b" / "no_exec" / "__init__.py").is_file()
    assert not failed(tmp_path)


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (
            ["a/__init__.py", "src/b/__init__.py"],
            [],
            "several packages are here (a, src/b): say which, as --output a/sandbox",
        ),
        (["sandbox/x"], [], f"sandbox is there already: {_SAY_WHERE}"),
        (["sandbox.py"], [], f"sandbox.py is there already: {_SAY_WHERE}"),
        (["my-app/__init__.py"], [], f"my-app/sandbox {_NO_PACKAGE}: {_SAY_WHERE}"),
        (["class/__init__.py"], [], f"class/sandbox {_NO_PACKAGE}: {_SAY_WHERE}"),
        ([], ["-o", "my-app/x"], f"my-app/x {_NO_PACKAGE}: {_SAY_WHERE}"),
        ([], ["-o", "src"], f"src {_NO_PACKAGE}: {_SAY_WHERE}"),
        ([], ["-o", "../x"], "{parent}/x is not in this project, {root}, where 'init' adds things"),
    ],
)
def test_where_there_is_no_place_it_says_so_and_writes_nothing(
    tmp_path: Path, files: list[str], options: list[str], message: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    before = snapshot(tmp_path)
    code, out, err = said(inside("init", *options, cwd=root))
    assert (code, out, err) == (2, [], [message.format(root=root, parent=tmp_path)])
    assert snapshot(tmp_path) == before


@pytest.mark.long("makes projects and builds them")
def test_the_page_shows_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "myapp").mkdir()
    (tmp_path / "myapp" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (shown,) = blocks("console", PAGE)
    replay(shown, tmp_path)
    kinds = re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)
    assert sorted(kinds) == sorted(KINDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tool = {other = 1}\n",
            ": a table [tool.seccompgen] cannot be added at its end; add it yourself, with "
            'policies = "seccomp" and output = "sandbox"',
        ),
        ("[tool.seccompgen]\noutput = 3\n", ":2:1: [tool.seccompgen]: 'output' must be text"),
        ('[tool.seccompgen]\noutput = "x"\n', ": [tool.seccompgen] has another output already: "),
        ("[", ":1:2: not TOML: "),
    ],
)
def test_a_pyproject_that_cannot_be_used_stops_all(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    before = snapshot(tmp_path)
    code, out, (line,) = said(inside("init", "--output", "sandbox", cwd=tmp_path))
    assert (code, out, snapshot(tmp_path)) == (2, [], before)
    assert line.startswith(f"{tmp_path / 'pyproject.toml'}{message}")
