"""The runtime under each Python that generated code may meet, in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kernel
import pytest
from helpers.interpreters import find_interpreter
from helpers.runtime import TEMPLATE

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]

# Runs on 3.9, knows nothing of the test suite.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
from application import _runtime
new = sorted(set(sys.modules) - before)
import errno, os, threading  # before what install() loads is looked at
if sys.argv[3] == "loaded":
    import ctypes
elif sys.argv[3] == "public":
    _runtime._NEWEST_LEAN = (3, 8)

program = bytes.fromhex(sys.argv[2])
answers = []
started = threading.Event()
thread = threading.Thread(target=lambda: (started.wait(), answers.append(os.getppid())))
thread.start()
def install(abi, program, flags, actions):
    programs = {abi: (317, program)}
    return _runtime.install("p", programs, flags=flags, no_new_privs=True, actions=actions)
def refusal(abi, program, flags, actions=()):
    try:
        install(abi, program, flags, actions)
    except _runtime.SeccompError as error:
        return [error.cause, error.errno_name]
before = set(sys.modules)
questions = [_runtime.supported(), _runtime.action_available("log"), _runtime.no_new_privs()]
refusals = [refusal("s390x", program, 0), refusal("x86_64", program[:-8], 0),
            refusal("x86_64", program, 1 << 20), refusal("x86_64", program, 0, (0x7ffd0000,))]
modes = [_runtime.mode()]
result = install("x86_64", program, 1, (0x80000000, 0x7fff0000, 0x00050000))
modes.append(_runtime.mode())
loaded = sorted(set(sys.modules) - before)
started.set()
thread.join()
answers.append(os.getppid())
import json
json.dump({"new": new, "loaded": loaded, "abi": _runtime.running_abi(), "refusals": refusals,
           "result": result, "answers": answers, "modes": modes,
           "questions": [*questions, _runtime.no_new_privs()]}, sys.stdout)
"""

WAYS = {
    "lean": ["_ctypes"],
    "loaded": [],
    "public": ["_ctypes", "ctypes", "ctypes._endian"],
}
"""How install() calls the C library, and what it loads for that."""


def run(
    python: str, script: str, program: bytes, tmp_path: Path, way: str
) -> subprocess.CompletedProcess[str]:
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(TEMPLATE, package)
    return subprocess.run(
        [python, "-I", "-W", "error", "-c", script, tmp_path, program.hex(), way],
        capture_output=True,
        text=True,
        timeout=kernel.TIMEOUT,
        check=False,
    )


def try_out(python: str, tmp_path: Path, way: str) -> dict[str, Any]:
    program = kernel.on_call(kernel.NR_GETPPID, kernel.ERRNO | 33)
    result = run(python, SCRIPT, program, tmp_path, way)
    assert (result.returncode, result.stderr) == (0, "")
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def check(python: str, tmp_path: Path, way: str) -> None:
    value = try_out(python, tmp_path, way)
    assert value["new"] == ["application", "application._runtime"]
    # What ctypes loads besides differs from version to version.
    assert [name for name in value["loaded"] if "ctypes" in name] == WAYS[way]
    assert value["abi"] == "x86_64"
    assert value["result"] == -1
    assert value["answers"] == [-33, -33]  # the C library leaves that as it is
    assert value["refusals"] == [
        ["wrong_abi", "ENOEXEC"],
        ["rejected", "EINVAL"],
        ["unknown_flag", "EINVAL"],
        ["lacks_action", "EOPNOTSUPP"],
    ]
    before, after = value["modes"]
    assert after == ["filter", before[1] + 1]
    assert value["questions"][0::3] == [True, True]
    assert value["questions"][1] is True


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str, way: str, tmp_path: Path) -> None:
    python = find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    check(python, tmp_path, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_the_running_and_the_system_python(python: str, way: str, tmp_path: Path) -> None:
    assert os.access(python, os.X_OK)
    check(python, tmp_path, way)


# The filter permits exit_group(2) alone: nothing is left to do for install() after it.
LAST_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from application import _runtime
if sys.argv[3] == "loaded":
    import ctypes
elif sys.argv[3] == "public":
    _runtime._NEWEST_LEAN = (3, 8)
import os
programs = {"x86_64": (317, bytes.fromhex(sys.argv[2]))}
leave = os._exit
_runtime.install("p", programs, flags=0, no_new_privs=True, actions=(0x80000000,))
leave(7)
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_install_makes_no_call_after_the_last(
    version: str | None, way: str, tmp_path: Path
) -> None:
    python = find_interpreter(version) if version else "/usr/bin/python3"
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    program = kernel.on_call(kernel.NR_EXIT_GROUP, kernel.ALLOW, otherwise=kernel.KILL_PROCESS)
    assert run(python, LAST_SCRIPT, program, tmp_path, way).returncode == 7


def test_importing_does_nothing_but_define() -> None:
    allowed = (ast.Import, ast.Assign, ast.FunctionDef, ast.ClassDef)
    first, *rest = ast.parse(TEMPLATE.read_text(), feature_version=(3, 9)).body
    assert isinstance(first, ast.Expr)
    (never,) = (node for node in rest if isinstance(node, ast.If))
    assert ast.unparse(never).startswith("if TYPE_CHECKING:")
    assert "\nTYPE_CHECKING = False\n" in TEMPLATE.read_text()
    rest.remove(never)
    assert [type(node).__name__ for node in rest if not isinstance(node, allowed)] == []
    loads = (ast.Call, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
    values = [node.value for node in rest if isinstance(node, ast.Assign)]
    assert [n for value in values for n in ast.walk(value) if isinstance(n, loads)] == []
