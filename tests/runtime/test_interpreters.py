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

import ctypes, errno, json, os, threading
program = bytes.fromhex(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
answers = []
def ask():
    answers.append((libc.syscall(110), ctypes.get_errno()))
started = threading.Event()
thread = threading.Thread(target=lambda: (started.wait(), ask()))
thread.start()
def refusal(abi, program, flags):
    try:
        _runtime.install("p", {abi: (317, program)}, flags=flags, no_new_privs=True, actions=())
    except _runtime.SeccompError as error:
        return [error.errno, error.strerror]
refusals = [refusal("s390x", program, 0), refusal("x86_64", program[:-8], 0),
            refusal("x86_64", program, 1 << 20)]
result = _runtime.install("p", {"x86_64": (317, program)}, flags=1, no_new_privs=True,
                          actions=(0x80000000, 0x7fff0000, 0x00050000))
started.set()
thread.join()
ask()
json.dump({"new": new, "abi": _runtime.running_abi(), "refusals": refusals,
           "result": result, "answers": answers}, sys.stdout)
"""


def try_out(python: str, tmp_path: Path) -> dict[str, Any]:
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(TEMPLATE, package)
    program = kernel.on_call(kernel.NR_GETPPID, kernel.ERRNO | 33)
    result = subprocess.run(
        [python, "-I", "-W", "error", "-c", SCRIPT, tmp_path, program.hex()],
        capture_output=True,
        text=True,
        timeout=kernel.TIMEOUT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def check(python: str, tmp_path: Path) -> None:
    value = try_out(python, tmp_path)
    assert value["new"] == ["application", "application._runtime"]
    assert value["abi"] == "x86_64"
    assert value["result"] == -1
    assert value["answers"] == [[-1, 33], [-1, 33]]
    assert [number for number, _ in value["refusals"]] == [8, 22, 22]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str, tmp_path: Path) -> None:
    python = find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    check(python, tmp_path)


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_the_running_and_the_system_python(python: str, tmp_path: Path) -> None:
    assert os.access(python, os.X_OK)
    check(python, tmp_path)


def test_importing_does_nothing_but_define() -> None:
    allowed = (ast.Import, ast.Assign, ast.FunctionDef, ast.ClassDef)
    first, *rest = ast.parse(TEMPLATE.read_text(), feature_version=(3, 9)).body
    assert isinstance(first, ast.Expr)
    assert [type(node).__name__ for node in rest if not isinstance(node, allowed)] == []
    loads = (ast.Call, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
    values = [node.value for node in rest if isinstance(node, ast.Assign)]
    assert [n for value in values for n in ast.walk(value) if isinstance(n, loads)] == []
