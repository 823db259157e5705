"""The files of the runtime: how much runs when all is well, and what is imported when."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
import tokenize
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from interpreters import find_interpreter
from runtime_template import TEMPLATE, runtime
from seccompgen.core.abis import ABIS
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

MOST_LINES = 200
"""What fits on three screens, so that who vendors it reads it all."""
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Count the lines that hold code: not the blank ones, nor those of comments and docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            assert first.end_lineno
            lines -= set(range(first.lineno, first.end_lineno + 1))
    return len(lines)


def test_lines_are_counted_as_said() -> None:
    docstring = '"""Doc\n\nof three."""\n# why\n\n'
    code = 'X = """\na\n"""  # so\n\n\ndef f():\n    "d"\n    return (\n        X\n    )\n'
    assert code_lines(docstring + code) == 3 + 1 + 3


def test_what_runs_when_all_is_well_fits_on_three_screens() -> None:
    assert code_lines(TEMPLATE.read_text()) <= MOST_LINES


# Runs on 3.9, knows nothing of the test suite.
SCRIPT = """
import errno, json, os, resource, sys
sys.path.insert(0, sys.argv[1])
from application import _runtime
program, outer = bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
def install(program, flags=0):
    programs = {"x86_64": (317, program)}
    _runtime.install("p", programs, flags=flags, no_new_privs=True, actions=())
import _ctypes  # loaded by now, also where nothing can be opened
if sys.argv[4] == "descriptors":
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
if outer:
    install(outer)
print(_runtime.supported(), file=sys.stderr)
try:
    install(program, 1 << 20)
except _runtime.SeccompError as error:
    before = [name for name in sys.modules if name.startswith("application")]
    told = [error.errno, error.cause, error.facts]
    same = before == [name for name in sys.modules if name.startswith("application")]
    words = [error.errno_name, error.reason, error.remedy, error.strerror, str(error)]
after = [name for name in sys.modules if name.startswith("application.")]
os.write(1, json.dumps([told, same, words, before, after]).encode())
"""


def explained(
    python: str, tmp_path: Path, *, outer: bytes = b"", way: str = "", without: str = ""
) -> Any:
    """Return what an error tells under ``outer``, or where ``way`` or ``without`` is in the way."""
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    for template in TEMPLATE.parent.glob("_*.py"):
        if template.name != without:
            shutil.copy(template, package)
    words = [kernel.always(kernel.ALLOW).hex(), outer.hex(), way]
    done = subprocess.run(
        [python, "-I", "-B", "-W", "error", "-c", SCRIPT, tmp_path, *words],
        capture_output=True,
        text=True,
        timeout=kernel.TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "True\n")
    return json.loads(done.stdout)


PYTHONS = [python for version in ("3.9", "3.13") if (python := find_interpreter(version))]


@pytest.mark.parametrize("python", [sys.executable, *PYTHONS])
def test_the_words_are_imported_when_they_are_read(python: str, tmp_path: Path) -> None:
    told, same, words, before, after = explained(python, tmp_path)
    assert told == [22, "unknown_flag", {"flags": "0x100000"}]
    assert same
    assert words[0] == "EINVAL"
    assert words[1] == "this runtime does not know the filter flags 0x100000"
    assert words[3] == f"cannot install filter 'p': {words[1]}; {words[2]}"
    assert words[4] == f"[Errno 22] {words[3]}"
    assert (before, after[-1]) == (["application", "application._runtime"], "application._explain")


NR_OPENAT = 257


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize(
    "lack",
    [
        {"without": "_explain.py"},
        {"way": "descriptors"},
        {"outer": kernel.on_call(NR_OPENAT, kernel.ERRNO | 13)},
    ],
    ids=["missing", "descriptors", "sandbox"],
)
@pytest.mark.parametrize("python", [sys.executable, *PYTHONS])
def test_errno_and_a_short_reason_are_there_without_the_words(
    python: str, lack: dict[str, Any], tmp_path: Path
) -> None:
    told, _, words, _, after = explained(python, tmp_path, **lack)
    assert told == [22, "unknown_flag", {"flags": "0x100000"}]
    reason, remedy = "unknown flag, flags 0x100000", "see unknown_flag in docs/runtime.md"
    assert words[:3] == ["22", reason, remedy]
    assert words[4] == f"[Errno 22] cannot install filter 'p': {reason}; {remedy}"
    assert after == ["application._runtime"]


def test_who_reads_no_words_opens_no_file(tmp_path: Path) -> None:
    """Under a filter that kills who opens files, errno and cause can be had."""
    script = SCRIPT.replace("words = [", "words = [] and [")
    assert script != SCRIPT
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    for template in TEMPLATE.parent.glob("_*.py"):
        shutil.copy(template, package)
    outer = kernel.on_call(NR_OPENAT, kernel.KILL_PROCESS)
    words = [kernel.always(kernel.ALLOW).hex(), outer.hex(), ""]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, tmp_path, *words], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0][1] == "unknown_flag"


def test_a_filter_is_put_in_force_without_the_rest(tmp_path: Path) -> None:
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(TEMPLATE, package)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from application import _runtime\n"
        "programs = {'x86_64': (317, bytes.fromhex(sys.argv[2]))}\n"
        "_runtime.install('p', programs, flags=0, no_new_privs=True, actions=(0x80000000,))\n"
        "try: print(_runtime.mode())\n"
        'except _runtime.SeccompError as error: assert error.cause == "no_module"\n'
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path, kernel.always(kernel.ALLOW).hex()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_flags_are_those_of_the_kernels_headers() -> None:
    facts = shipped_tables().facts
    for name in ("_TSYNC", "_NEW_LISTENER", "_TSYNC_ESRCH", "_WAIT_KILLABLE_RECV"):
        value = facts.value(f"SECCOMP_FILTER_FLAG{name}", ABIS["x86_64"])
        assert getattr(runtime, name) == value
