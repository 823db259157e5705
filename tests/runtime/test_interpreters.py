"""The runtime under each Python that generated code may meet, in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from interpreters import find_interpreter
from runtime_template import TEMPLATE

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

NR_GETSID = 124
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
def ask():
    try:
        return os.getsid(0)
    except OSError as error:
        return -error.errno
started = threading.Event()
thread = threading.Thread(target=lambda: (started.wait(), answers.append(ask())))
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
nothing = _runtime.marker()
modes = [_runtime.mode()]
result = install("x86_64", program, 1, (0x80000000, 0x7fff0000, 0x00050000))
modes.append(_runtime.mode())
loaded = sorted(set(sys.modules) - before)
started.set()
thread.join()
answers.append(ask())
import json
json.dump({"new": new, "loaded": loaded, "abi": _runtime.running_abi(), "refusals": refusals,
           "result": result, "answers": answers, "modes": modes,
           "questions": [*questions, _runtime.no_new_privs()], "marker": nothing}, sys.stdout)
"""

WAYS = {
    "lean": ["_ctypes"],
    "loaded": [],
    "public": ["_ctypes", "ctypes", "ctypes._endian"],
}
"""The ways in which install() calls the C library, and the modules that it loads for that."""


def run(
    python: str, script: str, program: bytes, tmp_path: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    for template in TEMPLATE.parent.glob("_*.py"):
        shutil.copy(template, package)
    return subprocess.run(
        [python, "-I", "-W", "error", "-c", script, tmp_path, program.hex(), *words],
        capture_output=True,
        text=True,
        timeout=kernel.TIMEOUT,
        check=False,
    )


def try_out(python: str, tmp_path: Path, way: str) -> dict[str, Any]:
    program = kernel.on_call(NR_GETSID, kernel.ERRNO | 33)
    result = run(python, SCRIPT, program, tmp_path, way)
    assert (result.returncode, result.stderr) == (0, "")
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def check(python: str, tmp_path: Path, way: str) -> list[str]:
    """Assert what the script tells; return the modules of ctypes that install() loaded."""
    value = try_out(python, tmp_path, way)
    assert value["new"] == ["application", "application._runtime"]
    assert value["abi"] == "x86_64"
    assert (value["marker"], value["result"]) == (None, -1)
    assert value["answers"] == [-33, -33]
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
    # What ctypes loads besides differs from version to version.
    return [name for name in value["loaded"] if "ctypes" in name]


LEAN_FIRST = [
    "lean",
    *[
        pytest.param(way, marks=pytest.mark.long("the other ways, which the running Python shows"))
        for way in WAYS
        if way != "lean"
    ],
]


@pytest.mark.few(2, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("way", LEAN_FIRST)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str, way: str, tmp_path: Path) -> None:
    python = find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    assert check(python, tmp_path, way) == WAYS[way]


@pytest.mark.parametrize("way", LEAN_FIRST)
def test_the_system_python(way: str, tmp_path: Path) -> None:
    python = "/usr/bin/python3"
    assert os.access(python, os.X_OK)
    assert check(python, tmp_path, way) == WAYS[way]


@pytest.mark.parametrize("way", WAYS)
def test_the_running_python(way: str, tmp_path: Path) -> None:
    assert check(sys.executable, tmp_path, way) == WAYS[way]


PYPY = shutil.which("pypy3")


@pytest.mark.skipif(PYPY is None, reason="needs pypy3")
@pytest.mark.parametrize(
    "way", [pytest.param("loaded", marks=pytest.mark.long("a second way")), "public"]
)
def test_pypy(way: str, tmp_path: Path) -> None:
    assert PYPY
    assert ("ctypes" in check(PYPY, tmp_path, way)) == (way == "public")


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


@pytest.mark.few(2, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("way", LEAN_FIRST)
@pytest.mark.parametrize("version", [*VERSIONS, "system", "pypy"])
def test_install_makes_no_call_after_the_last(version: str, way: str, tmp_path: Path) -> None:
    others = {"system": "/usr/bin/python3", "pypy": PYPY}
    python = others[version] if version in others else find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    program = kernel.on_call(kernel.NR_EXIT_GROUP, kernel.ALLOW, otherwise=kernel.KILL_PROCESS)
    assert run(python, LAST_SCRIPT, program, tmp_path, way).returncode == 7


def test_importing_does_nothing_but_define() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.FunctionDef, ast.ClassDef)
    first, *rest = ast.parse(TEMPLATE.read_text(), feature_version=(3, 9)).body
    assert isinstance(first, ast.Expr)
    assert [type(node).__name__ for node in rest if not isinstance(node, allowed)] == []
    loads = (ast.Call, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
    values = [node.value for node in rest if isinstance(node, ast.Assign)]
    made = [n for value in values for n in ast.walk(value) if isinstance(n, loads)]
    assert list(map(ast.unparse, made)) == ["_local()"]


# Interpreters within one


INNER = """
import sys
sys.path.insert(0, {path!r})
from application import _runtime
programs = {{"x86_64": (317, bytes.fromhex({program!r}))}}
def install():
    _runtime.install("p", programs, flags=0, no_new_privs=True, actions=())
"""
OUTER = """
import os, sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
inner = sys.argv[3]
if sys.argv[4] == "before":
    exec(inner + "install()")
else:
    inner += {attempt!r}
interpreter = interpreters.create({options})
failed = interpreters.run_string(interpreter, inner)
assert not failed, failed
print(os.getppid(), flush=True)
os._exit(0)
"""
ATTEMPT = """
try:
    install()
except _runtime.SeccompError as error:
    print(error.cause, error.remedy, flush=True)
"""


@pytest.mark.few(3, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("when", ["inside", "before"])
@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_a_subinterpreter_with_a_gil_of_its_own(version: str, when: str, tmp_path: Path) -> None:
    """CPython 3.12 cannot load _ctypes there; there the remedy is tried as well."""
    python = find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    program = kernel.on_call(kernel.NR_GETPPID, kernel.ERRNO | 33)
    inner = INNER.format(path=str(tmp_path), program=program.hex())
    options = "isolated=True" if version == "3.12" else "'isolated'"
    script = OUTER.format(attempt=ATTEMPT, options=options)
    done = run(python, script, program, tmp_path, inner, when)
    assert done.returncode == 0, done.stderr
    *told, answer = done.stdout.splitlines()
    if version == "3.12" and when == "inside":
        assert told[0].startswith("no_ctypes ")
        assert "in the main interpreter of the same thread" in told[0]
        assert int(answer) > 0
    else:
        assert (told, answer) == ([], "-33")


# Where there is no Linux


# What those Pythons lack, and what they call themselves; loading ctypes' module may fail as well.
ELSEWHERE = """
import os, sys
sys.path.insert(0, sys.argv[1])
for name in "uname O_CLOEXEC pipe2 fork getppid".split():
    delattr(os, name)
for name in "fcntl _ctypes select resource".split():
    sys.modules[name] = None
sys.platform = sys.argv[3]
if sys.platform == "win32":
    del sys.implementation._multiarch
else:
    sys.implementation._multiarch = sys.platform
def open(*_):
    raise FileNotFoundError(2, "there is no /proc")
import builtins
builtins.open = open
from application import _runtime
print(_runtime.supported(), _runtime.action_available("log"), _runtime.marker())
program = {"x86_64": (317, bytes.fromhex(sys.argv[2]))}
for question in (_runtime.running_abi, _runtime.mode, _runtime.no_new_privs,
                 lambda: _runtime.install("p", program, flags=0, no_new_privs=True, actions=())):
    try:
        print(question())
    except _runtime.SeccompError as error:
        print(error.cause, error.errno_name, error.reason)
"""


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_another_system_has_no_filters_and_says_so(system: str, tmp_path: Path) -> None:
    done = run(sys.executable, ELSEWHERE, kernel.always(kernel.ALLOW), tmp_path, system)
    assert done.stderr == ""
    refusal = f"no_seccomp ENOSYS filters are Linux's, and this is {system}"
    assert done.stdout.splitlines() == ["False False None", *[refusal] * 4]
