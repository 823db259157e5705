"""The committed modules under generated/: fresh, honest in their comments, light to import."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.program import Instruction
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.pipeline.build import BuildOptions, shipped_tables
from seccompgen.pipeline.cache import cache_directory
from seccompgen.pipeline.packages import is_filter_package
from seccompgen.pipeline.project import find_project
from seccompgen.pipeline.project_files import project_outputs
from seccompgen.render.listing import listing

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "generated" / "seccomp_filters"
FILTERS = sorted(path for path in PACKAGE.iterdir() if is_filter_package(path))
LAYERS = ["no_path_sockets", "no_escape", "no_listen"]
STOCK = {"compute_only", "no_exec", "no_network", "sandboxed_code", "web_worker", *LAYERS}
TABLES = shipped_tables()


@pytest.mark.weekly("`make fresh` says the same, of all that is committed")
def test_it_is_what_the_sources_give_and_nothing_else() -> None:
    project = find_project(ROOT)
    assert project
    assert project.linux == TABLES.tag
    # What these sources compiled once in this run of the tests, see `own_cache`, is theirs too.
    kept = cache_directory()
    assert kept
    _, outputs = project_outputs(project, TABLES, options=BuildOptions(cache=kept / "programs"))
    assert [str(d) for d in outputs.stale()] == []
    there = {p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert there <= set(outputs.files)


def test_the_stock_filters_are_there_for_every_abi_they_can_hold() -> None:
    assert {path.name for path in FILTERS} == STOCK
    wanted = {name for name, table in TABLES.tables.items() if table.has_filters}
    assert len(wanted) == 27
    for path in FILTERS:
        # s390x passes the arguments of mmap in memory, where no filter sees PROT_EXEC.
        lacking = {"s390x"} if path.stem == "compute_only" else set()
        assert load_filter(path, TABLES).programs.keys() == wanted - lacking


def shown(source: str) -> list[tuple[str, bytes, str]]:
    """Read (label, bytes, comment) for each line of a bytes literal, as a reviewer would."""
    found: list[tuple[str, bytes, str]] = []
    label = ""
    for line in source.splitlines():
        if row := re.fullmatch(r'    (b"(?:\\x[0-9a-f]{2}){8}")  # (.*)', line):
            found.append((label, ast.literal_eval(row[1]), row[2]))
            label = ""
        elif heading := re.fullmatch(r"    # ([^:]*):( .*)?", line):
            label = heading[1]
    return found


def heads(source: str) -> list[tuple[list[str], str, int]]:
    """Read what stands above the blocks of calls: the calls, and each line of a policy."""
    found = []
    for head in re.finditer(r"^    # ([^:\n]*): (.+)$", source, re.MULTILINE):
        calls = re.sub(r" \(\d+\)$", "", head[1]).split(", ")
        for file, numbers in re.findall(r"(\w+\.yml):([\d, ]+)", head[2]):
            found += [(calls, file, int(number)) for number in re.findall(r"\d+", numbers)]
    return found


def item_at(lines: list[str]) -> str:
    """Return the item of a YAML list, or the list of names, with which these lines begin."""
    first, *rest = lines
    assert first.lstrip().startswith(("- ", "names: [")), first
    indent = len(first) - len(first.lstrip("- "))
    end = next((at for at, line in enumerate(rest) if line[:indent].strip()), len(rest))
    return " ".join([first, *rest[:end]])


@pytest.mark.parametrize("name", ["compute_only", "web_worker"])
def test_the_block_of_a_call_names_lines_of_the_policy_that_name_the_call(name: str) -> None:
    found = heads((PACKAGE / name / "_x86_64.py").read_text())
    assert len(found) > 5
    for calls, file, number in found:
        rule = item_at((ROOT / "policies" / file).read_text().splitlines()[number - 1 :])
        named = "'@" in rule or any(re.search(rf"\b{call}\b", rule) for call in calls)
        assert named, (calls, file, number, rule)


@pytest.mark.few(1, "does all that a page shows")
@pytest.mark.parametrize("path", FILTERS, ids=lambda p: p.stem)
def test_comments_say_what_the_bytes_do(path: Path) -> None:
    modules = sorted(path.glob("_[!_]*.py"))
    assert len(modules) >= 20
    for module in modules:
        abi, rows = ABIS[module.stem[1:]], shown(module.read_text())
        assert rows
        instructions = tuple(
            Instruction(
                int.from_bytes(data[:2], abi.byte_order),
                data[2],
                data[3],
                int.from_bytes(data[4:], abi.byte_order),
            )
            for _, data, _ in rows
        )
        lines = listing(instructions, abi, TABLES)
        assert [(line.label, line.text) for line in lines] == [(a, c) for a, _, c in rows]


@pytest.mark.parametrize("path", FILTERS, ids=lambda p: p.stem)
def test_comments_hold_no_indices_and_banners_no_clock_or_host(path: Path) -> None:
    text = (path / "__init__.py").read_text()
    banner = text[: text.index('"""')].splitlines()
    included = {"web_worker": ["compute_only"], "sandboxed_code": LAYERS}
    sources = [*included.get(path.stem, []), path.stem]
    expected = [
        re.escape("# Generated by seccompgen; do not edit."),
        *(rf"#   policy  {name}\.yml  sha256:[0-9a-f]{{64}}" for name in sources),
        rf"#   tables  Linux {re.escape(TABLES.tag)}  sha256:[0-9a-f]{{64}}",
        r"#   proved  programs  sha256:[0-9a-f]{64}",
        rf"#   redo    seccompgen build {path.stem}\.yml -o DIR",
    ]
    assert len(banner) == len(expected)
    for line, pattern in zip(banner, expected, strict=True):
        assert re.fullmatch(pattern, line)


@pytest.mark.weekly("black on all modules; render/test_layout tries the templates")
def test_black_would_change_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "black", "--check", "-l", "100", "-t", "py39", PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_it_is_python_3_9() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 200
    for path in paths:
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


@pytest.mark.parametrize("name", sorted(STOCK))
def test_a_filter_imports_the_runtime_and_to_install_one_program(name: str) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import seccomp_filters.{name}\n"
        "print(*sorted(set(sys.modules) - before))\n"
        "before = set(sys.modules)\n"
        f"seccomp_filters.{name}.install()\n"
        "print(*sorted(name for name in set(sys.modules) - before if 'filters' in name))\n"
        "print(seccomp_filters._runtime.running_abi())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported, installed, abi = run.stdout.splitlines()
    assert imported == f"seccomp_filters seccomp_filters._runtime seccomp_filters.{name}"
    assert installed == f"seccomp_filters.{name}._{abi}"


@pytest.mark.parametrize("path", FILTERS, ids=lambda p: p.stem)
def test_a_filter_holds_constants_and_install_only(path: Path) -> None:
    tree = ast.parse((path / "__init__.py").read_text())
    kinds = [type(node).__name__ for node in tree.body]
    assert kinds == ["Expr", "ImportFrom", "ImportFrom", "If", "ClassDef", "FunctionDef"]
    for module in path.glob("_[!_]*.py"):
        tree = ast.parse(module.read_text())
        assert [type(node).__name__ for node in tree.body] == ["Expr", "Assign", "Assign"]
        folded = compile(tree, str(module), "exec").co_consts
        assert sum(isinstance(constant, bytes) for constant in folded) == 1


@pytest.mark.parametrize(("old", "new"), [("FORMAT = 1\n", "FORMAT = 0\n"), ("T = 1\n", "T = 2\n")])
def test_a_runtime_of_another_format_is_refused_by_name(tmp_path: Path, old: str, new: str) -> None:
    package = tmp_path / "app"
    package.mkdir()
    shutil.copytree(PACKAGE / "no_network", package / "no_network")
    runtime = package / "_runtime.py"
    source = (PACKAGE / "_runtime.py").read_text()
    assert source.count(old) == 1
    runtime.write_text(source.replace(old, new))
    code = "import sys; sys.path.insert(0, sys.argv[1]); import app.no_network"
    run = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert run.stderr.splitlines()[-1] == (
        f"ImportError: {runtime} does not fit app.no_network, which needs its format 1: "
        "generate both again, with one seccompgen"
    )


@pytest.mark.parametrize(
    "planted",
    [
        "class _runtime:\n    FORMAT = 1\n    install = print\n    running_abi = print\n",
        "from . import _runtime, other as _runtime\n",
    ],
)
def test_no_name_in_the_package_above_replaces_the_runtime(tmp_path: Path, planted: str) -> None:
    package = tmp_path / "app"
    package.mkdir()
    shutil.copytree(PACKAGE / "no_exec", package / "no_exec")
    for path in PACKAGE.glob("_*.py"):
        shutil.copy(path, package)
    (package / "__init__.py").write_text(planted)
    (package / "other.py").write_text("FORMAT = 1\ninstall = running_abi = print\n")
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import app.no_exec as m; m.install()\n"
        "try: os.execv('/bin/true', ['true'])\nexcept PermissionError: print('refused')"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("refused\n", "")


def test_tables_find_every_spelling() -> None:
    sys.path.insert(0, str(PACKAGE.parent))
    try:
        from seccomp_filters import tables
    finally:
        sys.path.pop(0)
    for spelling in ("x86_64", "amd64", "SCMP_ARCH_X86_64"):
        assert tables.nr(spelling, "openat2") == 437
    assert tables.find("arm64").ABI == "aarch64"
    assert tables.name("mipsel", 4001) == "exit"
    assert tables.nr("x32", "read") == 0x40000000
    with pytest.raises(KeyError):
        tables.nr("x86_64", "opnat")


def test_a_package_names_the_tables_where_it_has_them() -> None:
    packages = [PACKAGE, *(ROOT / "examples").glob("*/sandbox")]
    assert len(packages) > 5
    for package in packages:
        names = "in the package tables" in (package / "__init__.py").read_text()
        assert names is (package / "tables").is_dir(), package
