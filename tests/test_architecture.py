"""The pipeline is one-way: no stage imports a sibling; ``build`` and ``files`` see them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "generator" / "seccompgen"

# What every stage may speak in.
VOCABULARY = {
    *("errors", "text", "architectures", "errnos", "tables"),
    *("reading", "console", "store"),
    *("model", "objective", "sets", "reach", "program", "oci", "stock"),
}
STAGES = {
    *("fetch", "parse", "lockfile", "policy", "profile"),
    *("compile", "cache", "pool", "verify", "render", "outputs"),
    *("manifest", "scan"),
}
# Above the stages: the pipeline, what reads its results, the command line.
ABOVE = {
    "project": set(),
    "shipped": {"lockfile"},
    "proved": {"compile", "verify"},
    "build": STAGES - {"compile", "outputs", "manifest", "scan"} | {"proved", "shipped"},
    "files": {"build", "lockfile", "outputs", "pool", "project", "render", "verify"},
    "locate": {"files", "manifest", "project"},
    "filters": {"build", "locate", "render", "verify"},
    "changes": {"build", "files", "filters", "verify"},
    "apart": {"compile", "verify"},
    "combine": {
        *("apart", "build", "compile", "files", "filters", "locate", "policy", "pool"),
        *("render", "verify"),
    },
    "proofs": {
        *("build", "combine", "files", "filters", "locate", "policy", "pool", "project"),
        *("render", "verify"),
    },
    "vendor": STAGES | {"build", "changes", "files", "filters", "project"},
    "trace": {"render", "verify"},
    "record": {"compile", "policy", "trace", "verify"},
    "cli": STAGES
    | {"build", "changes", "combine", "files", "filters", "locate", "project", "proofs", "record"}
    | {"scaffold", "shipped", "trace", "vendor"},
    "scaffold": {"build", "outputs", "policy", "project", "render"},
    "integrations": {"build", "changes", "files", "outputs", "project"},
    "pytest_plugin": {"build", "locate", "record"},
    "streams": set(),
    "__main__": {"cli", "streams"},
    "__init__": set(),
}


def room(path: Path) -> str:
    """Return the module or package directly below seccompgen that ``path`` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return the rooms of seccompgen that ``path`` imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "seccompgen" and len(parts) > 1:
                found.add(parts[1])
    return found & {room(p) for p in PACKAGE.rglob("*.py")}


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_a_place_in_the_drawing() -> None:
    assert {room(path) for path in MODULES} == VOCABULARY | STAGES | set(ABOVE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = room(path)
    if own in VOCABULARY:
        allowed = VOCABULARY
    elif own in STAGES:
        allowed = VOCABULARY | {own}
    else:
        allowed = VOCABULARY | ABOVE[own] | {own}
    assert imported(path) <= allowed


def test_the_vocabulary_has_no_circle() -> None:
    """``model`` may speak of ABIs, an ABI never of a model."""
    order = [
        "errors",
        "text",
        "reading",
        "console",
        "store",
        "architectures",
        "errnos",
        "tables",
        "model",
        "objective",
    ]
    order += ["sets", "reach", "program", "oci", "stock"]
    for i, name in enumerate(order):
        assert imported(PACKAGE / f"{name}.py") <= set(order[:i]) | {name}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_says_its_job(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_generated_code_imports_the_standard_library_only() -> None:
    generated = ROOT / "generated" / "seccomp_filters"
    modules = {
        name
        for path in generated.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    plain = {"_ctypes", "_thread", "ctypes", "errno", "importlib", "os", "sys", "types"}
    supervisor = {"collections.abc", "fcntl", "select", "socket", "struct", "time"}
    assert modules <= plain | supervisor
