"""Every black leaves what seccompgen emits as it is: a project that formats its tree has no diff.

Nothing is formatted with black on the way, so this is what says that the templates lay it out so.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside
from longer import long_but
from seccompgen.languages.python import render_table, render_tables_package
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem

VERSIONS = {"oldest": "black==24.1.0", "between": "black==25.1.0", "newest": "black>=24"}

POLICIES = {
    "one": "arches: [x86_64]\ndefault_action: errno\nsyscalls: [{action: allow, names: [read]}]\n",
    "all_of_it": "default_action: trap(7)\nunknown_action: errno(ENOSYS)\n"
    "compat_arches: [i386]\nflags: [log, new_listener, spec_allow]\ninstall_on_import: true\n"
    "syscalls:\n- {action: user_notif, names: [openat]}\n- {action: log, names: [read]}\n"
    "- {action: kill_thread, names: [ptrace]}\n- {action: errno(EACCES), names: [socket]}\n",
    "threads": "default_action: allow\nflags: [tsync, tsync_esrch]\nno_new_privs: false\n"
    "syscalls: [{action: kill_process, names: [ptrace]}]\n",
}
"""Between them they take each turn that the template of a filter has."""

DESCRIPTIONS = [
    'Ends in a "quote"',
    "ends in a backslash \\",
    '"""',
    "\\x1B \\N{dash} \\uABCD",
    "a\ttab, a\fform feed, an\x1b[31mescape",
    "  indented\n\n\n    and more so \n",
    "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 60,
    *("x" * width for width in range(80, 104)),
]
"""Text that one formatter of docstrings might treat otherwise than another."""

CHILD = """
import json, sys
import black
mode = black.Mode(line_length=100, target_versions={black.mode.TargetVersion.PY39})
texts = json.load(sys.stdin)
json.dump([black.__version__, [black.format_str(text, mode=mode) for text in texts]], sys.stdout)
"""


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    sources = emit(tmp_path_factory.mktemp("emitted"))
    assert len(sources) > len(DESCRIPTIONS) + len(POLICIES)
    return sources


def emit(place: Path) -> list[str]:
    """Emit one of everything in Python below ``place``; return the texts of the files."""
    project = place / "project"
    (project / "policies").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[tool.seccompgen]\noutput = "out"\n')
    for name, text in POLICIES.items():
        (project / "policies" / f"{name}.yml").write_text(text)
    for number, description in enumerate(DESCRIPTIONS):
        policy = project / "policies" / f"said_{number}.yml"
        policy.write_text(f"description: {json.dumps(description)}\n{POLICIES['one']}")
    new = place / "new"
    new.mkdir()
    both = [project / "policies" / "one.yml", project / "policies" / "said_0.yml"]
    for cwd, words in (
        (project, ["build"]),
        (project, ["vendor", "--single-file", "policies/all_of_it.yml", "alone.py"]),
        (project, ["union", *both, "--arch", "x86_64", "--name", "both", "-o", "combined"]),
        (new, ["init", "--policy", "no_network"]),
    ):
        done = inside(*words, cwd=cwd)
        assert done.code == 0, done.err
    tables = shipped_tables()
    sources = [
        render_tables_package(tables),
        *(render_table(tables.tables[name]) for name in ("x86_64", "arm", "riscv32")),
    ]
    written = [path for path in place.rglob("*.py") if path.stat().st_size]
    written += (ROOT / "generated" / "seccomp_filters").glob("no_exec/*.py")
    return [text.decode() for text in sources] + [path.read_text() for path in written]


@pytest.mark.parametrize(
    "wanted", long_but(["newest"], VERSIONS, "installs another, which agrees with it")
)
def test_all_of_them_agree(wanted: str, emitted: list[str], tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--root-user-action=ignore", "--target", tmp_path, VERSIONS[wanted]],
        check=True,
        timeout=300,
    )  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={"PYTHONPATH": str(tmp_path)},
        input=json.dumps(emitted),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    version, formatted = json.loads(run.stdout)
    if wanted != "newest":
        assert VERSIONS[wanted] == f"black=={version}"
    for text, expected in zip(emitted, formatted, strict=True):
        ast.parse(text)
        assert text == expected, version


def test_what_is_asked_for_is_what_is_tried() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert VERSIONS["newest"] in project["optional-dependencies"]["dev"]
    assert not [one for one in project["dependencies"] if one.startswith("black")]
