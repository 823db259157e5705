"""Filters changed in every way: what `verify` accepts behaves as what was generated.

What a filter does is seen by running it beside a runtime that only takes down what it is asked. It
shares nothing with the reader of modules, which never runs one. SECCOMPGEN_TRIES=all tries every
change; without it, each seventh.
"""

from __future__ import annotations

import ast
import copy
import os
import shutil
import sys
import types
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside
from runtime_template import FILES
from seccompgen.core.errors import SeccompgenError
from seccompgen.filters.claims import claims_of_programs
from seccompgen.filters.module import read_module
from seccompgen.pipeline.build import shipped_tables
from seccompgen.render import Form

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TABLES = shipped_tables()
STRIDE = 1 if os.environ.get("SECCOMPGEN_TRIES") == "all" else 7
POLICY = """\
arches: [x86_64, arm]
default_action: errno
{setting}
syscalls:
- {{action: allow, names: [read, write]}}
- {{action: user_notif, names: [openat], optional: true}}
"""
KINDS = {
    "plain": "no_new_privs: true",
    "on import": "install_on_import: true",
    "listener": "flags: [new_listener]",
}

STATEMENTS = """\
pass
_programs = print
_programs: dict = {}
_programs.__code__ = install.__code__
_programs = lambda abi: {}
del _programs
PROGRAM = b""
PROGRAM += b""
NR_SECCOMP = 0
NR_SECCOMP: int = 0
_runtime = None
_runtime.install = print
__name__ = "other"
from ._other import _programs
from ._other import *
from . import _other as _runtime
import _runtime
install()
install = print
install = lambda: None
raise SystemExit
assert not _programs
(_programs := {})
globals().clear()
exec("_programs = {}")
getattr = lambda *_: 2
ImportError = print
print = exec
if True:
    _programs = {}
if False:
    _programs = {}
for install in (print,): pass
while False: pass
with open("/dev/null") as install: pass
try:
    install = None
finally:
    pass
match 1:
    case install: pass
def install() -> None:
    \"\"\"Nothing.\"\"\"
def install() -> None:
    \"\"\"Weak.\"\"\"
    _runtime.install(__name__, _programs, flags=0, no_new_privs=False, actions=(0,))
async def install() -> None: pass
class install: pass
class _runtime:
    FORMAT = 2
    install = print
def __getattr__(name): return print
def __dir__(): return []
__all__ = []
__builtins__ = {}
"a string"
b"bytes"
...
global _programs
import sys; sys.modules[__name__] = None
"""


NAMES = ("install", "_runtime", "_x86_64", "_arm", "print", "_programs", "PROGRAM")


def statements() -> list[ast.stmt]:
    return ast.parse(STATEMENTS).body


@pytest.fixture(scope="module", params=list(KINDS))
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filter's package with its policy and its runtime beside it."""
    here = tmp_path_factory.mktemp("modules")
    setting = KINDS[request.param]
    policy = POLICY.format(setting=setting)
    if "new_listener" not in setting:
        policy = policy.replace("user_notif", "log")
    (here / "m.yml").write_text(policy)
    run = inside("build", "m.yml", "-o", ".", "--no-cache", cwd=here)
    assert run.code == 0, run.err
    shutil.copytree(here / "m", here / "changed")
    return here / "m"


def behaviour(files: Mapping[str, bytes]) -> object:
    """Return what a package does when it is imported and its install() called: all that it asks."""
    asked: list[object] = []

    class Recorder(types.ModuleType):
        FORMAT = 1

        def install(self, name: object, programs: object, **how: object) -> int:
            asked.append((name, copy.deepcopy(programs), how))
            return 7

        def running_abi(self) -> object:
            return asked[-1]

    def module(name: str, file: str) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__package__ = "sandbox.m"
        sys.modules[name] = made
        exec(compile(files[file], file, "exec"), vars(made))
        return made

    package, runtime = types.ModuleType("sandbox"), Recorder("sandbox._runtime")
    package.__path__ = []
    package._runtime = runtime  # type: ignore[attr-defined]
    before = dict(sys.modules)
    sys.modules |= {"sandbox": package, "sandbox._runtime": runtime}
    try:
        for file in files:
            if file != "__init__.py":
                module(f"sandbox.m.{file.removesuffix('.py')}", file)
        for abi in ("x86_64", "arm", "mips"):
            asked.append(abi)
            main = module("sandbox.m", "__init__.py")
            asked.append(abi)
            asked.append(main.install())
        names = {name for name in vars(main) if name != "__builtins__"}
        return asked, names, sorted(vars(runtime)), sys.modules["sandbox.m"] is main
    finally:
        sys.modules.clear()
        sys.modules |= before


def contents(package: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(package.glob("*.py"))}


def accepted(path: Path) -> bool:
    """Return whether verify has nothing to say against a filter, but what its proofs would say."""
    try:
        read_module(path)
        claims, problems = claims_of_programs(path, None, TABLES, None)
    except SeccompgenError:
        return False
    return bool(claims) and not problems


def lists(node: ast.AST) -> Iterator[list[ast.AST]]:
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.AST):
            yield value


def constants(value: object) -> list[object]:
    match value:
        case bool():
            return [not value, int(value), None]
        case int():
            return [value + 1, value ^ 1, -value, 0, value << 40, float(value), True, str(value)]
        case bytes():
            return [value[:-8], value + value[-8:], b"", value[8:], value.decode("latin-1")]
        case str():
            return [value + "x", "", value.upper(), value.encode()]
    return [1]


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield what was changed and the module changed so, one change each."""
    tree = ast.parse(source)
    count = len(list(ast.walk(tree)))
    for at in range(count):

        def again(at: int = at) -> tuple[ast.Module, ast.AST]:
            fresh = copy.deepcopy(tree)
            return fresh, list(ast.walk(fresh))[at]

        _, node = again()
        for which, there in enumerate(lists(node)):
            for i in range(len(there)):
                for kind in ("delete", "double", "swap", "last"):
                    fresh, here = again()
                    inner = list(lists(here))[which]
                    if kind == "delete":
                        del inner[i]
                    elif kind == "double":
                        inner.insert(i, copy.deepcopy(inner[i]))
                    elif kind == "swap" and i + 1 < len(inner):
                        inner[i], inner[i + 1] = inner[i + 1], inner[i]
                    elif kind == "last":
                        inner.append(inner.pop(i))
                    yield f"{kind} {i} of a {type(here).__name__}", unparsed(fresh)
        if isinstance(node, ast.Constant):
            for value in constants(node.value):
                fresh, here = again()
                assert isinstance(here, ast.Constant)
                here.value = value  # type: ignore[assignment]
                yield f"constant {node.value!r:.20} to {value!r:.20}", unparsed(fresh)
        for field in ("id", "name", "attr", "arg", "asname", "module"):
            if isinstance(getattr(node, field, None), str):
                for name in NAMES:
                    fresh, here = again()
                    setattr(here, field, name)
                    yield f"{field} {getattr(node, field)} to {name}", unparsed(fresh)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.If):
            for i in range(len(node.body) + 1):
                for extra in statements():
                    fresh, here = again()
                    here.body.insert(i, extra)  # type: ignore[attr-defined]
                    yield f"insert {ast.unparse(extra)!r} at {i}", unparsed(fresh)
        if isinstance(node, ast.FunctionDef):
            for words in (
                ("def", "@print\ndef"),
                ("def", "async def"),
                ("()", "(x=_programs.clear())"),
                ("()", "(*install)"),
                ("()", "(_programs=())"),
                ("()", "(_runtime=print)"),
                (") -> None", ") -> _programs.clear()"),
                (") -> int", ") -> _programs.clear()"),
            ):
                yield (
                    f"{words}",
                    ast.unparse(tree).replace("def install", "def install").replace(*words),
                )
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant):
            for form in ("({} and print)", "(_x := {})", "({} if 0 else {})", "print({})", "[{}]"):
                text = ast.unparse(node)
                yield (
                    f"{form} of {text:.20}",
                    ast.unparse(tree).replace(text, form.format(text, text)),
                )


def unparsed(tree: ast.Module) -> str:
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    except Exception:  # noqa: BLE001, RUF100 - it is no tree of any source
        return ""


def texts(source: str) -> dict[str, bytes]:
    """Return changes that a syntax tree does not show."""
    data = source.encode()
    first, rest = source.split("\n", 1)
    doc = source.index('"""') + 3
    return {
        "byte order mark": b"\xef\xbb\xbf" + data,
        "encoding first": f"# coding: utf-7\n{source}".encode(),
        "encoding second": f"{first}\n# -*- coding: latin-1 -*-\n{rest}".encode(),
        "encoding of vim": f"{first}\n# vim: set fileencoding=cp037 :\n{rest}".encode(),
        "utf-16": source.encode("utf-16"),
        "latin-1": data.replace(b'"""', b'"""\xe9', 1),
        "form feed": source.replace("\ninstall", "\n\finstall").encode() + b"\f\n",
        "nul": data + b"\0",
        "nul and more": data + b"#\0\n_programs = {}\n",
        "carriage return": data + b"# a comment\r_programs = {}\n",
        "line separator": (source + "# a comment\u2028_programs = {}\n").encode(),
        "bidi": (source[:doc] + "\u202e" + source[doc:]).encode(),
        "escape": (source[:doc] + "\x1b[2J" + source[doc:]).encode(),
        "zero width": (source + "# \u200b\n").encode(),
        "surrogate": source[:doc].encode() + b"\xed\xa0\x80" + source[doc:].encode(),
        "cut": data[: len(data) // 2],
        "empty": b"",
        "nested": data + b"x = " + b"(" * 5000 + b")" * 5000 + b"\n",
        "signs": data + b"x = " + b"-" * 100_000 + b"1\n",
        "sum": data + b"x = " + b"1+" * 50_000 + b"1\n",
        "digits": data + b"x = " + b"9" * 5000 + b"\n",
        "hexadecimal": data.replace(b"flags=", b"flags=0x" + b"f" * 5000 + b" or ", 1),
        "continuation": data + b"\\\n_programs = {}\n",
        "semicolon": data.replace(b"_programs = {", b"install = 1; _programs = {", 1),
    }


@pytest.mark.parametrize("file", ["__init__.py", "_arm.py"])
def test_what_is_accepted_behaves_as_what_was_generated(generated: Path, file: str) -> None:
    files = contents(generated)
    right = behaviour(files)
    source = files[file].decode()
    tried = same = 0
    changes = [(name, text.encode()) for name, text in mutants(source) if text]
    changes = changes[::STRIDE] + list(texts(source).items())
    changed = generated.with_name("changed")
    for name, content in changes:
        # The banner is kept, so that it is not what verify objects to.
        banner = (
            b""
            if content[:1] in {b"#", b"\xff", b"\xef"}
            else source[: source.index('"""')].encode()
        )
        (changed / file).write_bytes(banner + content)
        if not accepted(changed):
            tried += 1
            continue
        same += 1
        assert behaviour(contents(changed)) == right, name
    (changed / file).write_bytes(files[file])
    print(f"{tried} refused, {same} accepted, which behave alike")
    assert tried > (1000 if file == "__init__.py" else 200) // STRIDE
    assert same  # swapping the last of a list with itself, for one, changes nothing


def test_what_changes_nothing_is_accepted(generated: Path) -> None:
    """A formatter's layout, comments and line ends are nobody's business."""
    changed = generated.with_name("changed")
    for file, content in contents(generated).items():
        source = content.decode()
        banner = source[: source.index('"""')]
        for text in (
            source,
            source.replace("\n", "\r\n"),
            banner + ast.unparse(ast.parse(source)) + "\n",
            source + "# a remark\n\n\n",
            source.replace("    ", "  "),
        ):
            (changed / file).write_bytes(text.encode())
            assert accepted(changed)
        (changed / file).write_bytes(content)


def test_weaker_before_it_is_called(generated: Path) -> None:
    """The second definition is ours, but comes after the call: seen in the wild."""
    files = contents(generated)
    source = files["__init__.py"].decode()
    start = source.index("def install()")
    whole = source[start:].partition("\n\n\n")[0]
    weak = whole.replace("no_new_privs=True", "no_new_privs=False")
    assert weak != whole
    text = f"{source[:start]}{weak}\n\n\ninstall()\n\n\n{whole}\n"
    changed = generated.with_name("changed")
    (changed / "__init__.py").write_text(text)
    assert not accepted(changed)
    assert behaviour({**files, "__init__.py": text.encode()}) != behaviour(files)
    (changed / "__init__.py").write_bytes(files["__init__.py"])


@pytest.mark.parametrize("lie", ["every other system call", "allow", "sets no_new_privs"])
def test_a_docstring_that_lies(generated: Path, lie: str) -> None:
    source = (generated / "__init__.py").read_text()
    target = generated.with_name("changed") / "__init__.py"
    target.write_text(source.replace(lie, "nothing"))
    run = inside("verify", "changed", cwd=generated.parent)
    target.write_text(source)
    text = "its docstring is not what seccompgen says of this policy; generate it again"
    assert (run.code, run.err) == (1, f"changed: {text}\n")


# --- what lies beside ----------------------------------------------------------------------------


def spoil(path: Path, addition: str) -> None:
    path.write_text(path.read_text() + addition)


@pytest.fixture
def sandbox(generated: Path, tmp_path: Path) -> Path:
    """A copy of a filter's package, to spoil, with what lies beside it."""
    here = tmp_path / "sandbox"
    leave = shutil.ignore_patterns("changed*", "__pycache__")
    shutil.copytree(generated.parent, here, ignore=leave)
    assert inside("verify", "m", cwd=here).code == 0
    return here


def test_the_runtime_beside_counts(sandbox: Path) -> None:
    here = sandbox
    listens = (here / "notification.py").exists()
    other = "not what this seccompgen writes; generate it again, or leave it out with --no-runtime"
    for name in [*sorted(FILES), *["notification.py"] * listens]:
        whole = (here / name).read_text()
        lines = len(whole.splitlines())
        spoil(here / name, "install = print\n")
        run = inside("verify", "m", cwd=here)
        assert (run.code, run.err) == (1, f"{name}:{lines + 1}:1: {other}\n")
        assert inside("verify", "m", "--no-runtime", cwd=here).code == 0
        (here / name).write_text(whole + "# a remark\n")
        assert inside("verify", "m", cwd=here).code == 0
        (here / name).unlink()
        run = inside("verify", "m", cwd=here)
        if name == "_explain.py":  # the runtime does without its sentences
            assert (run.code, run.err) == (0, "")
        else:
            assert run.code == 1
            assert run.err.startswith(f"{name}: cannot read what m imports: No such file")
        (here / name).write_text(whole)
    (here / "_explain.py").unlink()
    for place in ("_runtime/__init__.py", "_explain.abi3.so"):
        (here / place).parent.mkdir(exist_ok=True)
        (here / place).touch()
        run = inside("verify", "m", cwd=here)
        name = place.replace("/", ".").partition(".")[0]
        instead = f"{place}: Python imports this instead of {name}.py; remove it\n"
        assert (run.code, run.err) == (1, instead)
        (here / place).unlink()


@pytest.mark.parametrize(
    "place",
    [
        "_mips.py",
        "__init__.cpython-311-x86_64-linux-gnu.so",
        "_arm.pyc",
        "_arm/__init__.py",
        "x.py",
    ],
)
def test_what_is_no_part_of_a_package_is_told(sandbox: Path, place: str) -> None:
    """A module of an ABI that the policy had once, or what Python imports instead of ours."""
    (sandbox / "m" / place).parent.mkdir(exist_ok=True)
    shutil.copy(sandbox / "m" / "_arm.py", sandbox / "m" / place)
    run = inside("verify", "m", cwd=sandbox)
    text = f"m/{place.partition('/')[0]}: is no part of the filter m; remove it\n"
    assert (run.code, run.err) == (1, text)


def test_a_module_that_the_package_hides_is_told(sandbox: Path) -> None:
    (sandbox / "m.py").touch()
    run = inside("verify", "m", cwd=sandbox)
    text = "m.py: Python imports the package m instead of this; remove it\n"
    assert (run.code, run.err) == (1, text)


def test_programs_that_are_missing_exchanged_or_edited_are_found(sandbox: Path) -> None:
    arm, x86_64 = sandbox / "m" / "_arm.py", sandbox / "m" / "_x86_64.py"
    whole = arm.read_text()
    arm.write_text(x86_64.read_text())
    run = inside("verify", "m", cwd=sandbox)
    changed = "not a module that seccompgen generated: this was added, or changed"
    assert (run.code, run.err) == (2, f"m/_arm.py:2:1: {changed}\n")
    # Under its docstring it is another program than was proved, with another number.
    arm.write_text(x86_64.read_text().replace("for x86_64", "for arm"))
    run = inside("verify", "m", cwd=sandbox)
    assert run.code == 1
    assert "m: its programs are not those that were proved when it was generated" in run.err
    assert "m: its install() is not as it should be (the number of seccomp(2))" in run.err
    errno, allow = r"\x06\x00\x00\x00\x01\x00\x05\x00", r"\x06\x00\x00\x00\x00\x00\xff\x7f"
    assert errno in whole
    arm.write_text(whole.replace(errno, allow))
    run = inside("verify", "m", cwd=sandbox)
    assert (run.code, "m: refuted for arm" in run.out) == (1, True)
    arm.unlink()
    run = inside("verify", "m", cwd=sandbox)
    assert (run.code, run.err) == (2, "cannot read m/_arm.py: No such file or directory\n")
    x86_64.unlink()
    run = inside("verify", ".", "--arch", "arm", cwd=sandbox)
    assert (run.code, "cannot read m/_x86_64.py: No such file" in run.err) == (2, True)


# --- one file ------------------------------------------------------------------------------------


def test_one_module_with_the_runtime_beside_it_is_read_still(tmp_path: Path) -> None:
    """As it was generated before filters were packages."""
    old = tmp_path / "here.py"
    shutil.copy(ROOT / "tests" / "data" / "one_module.txt", old)
    assert read_module(old).form is Form.MODULE
    run = inside("equiv", old, ROOT / "examples" / "threads" / "sandbox" / "here")
    assert run.code == 0, run.err


def test_what_goes_before_a_single_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text(POLICY.format(setting="").replace("user_notif", "log"))
    assert inside("vendor", "m.yml", "m.py", "--single-file", cwd=tmp_path).code == 0
    for place in ("m/__init__.py", "m.cpython-311.so"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
        run = inside("verify", "m.py", cwd=tmp_path)
        instead = f"{place}: Python imports this instead of m.py; remove it\n"
        assert (run.code, run.err) == (1, instead)
        (tmp_path / place).unlink()


def test_every_statement_of_an_inlined_runtime_counts(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text(POLICY.format(setting="").replace("user_notif", "log"))
    run = inside("vendor", "m.yml", "one.py", "--single-file", cwd=tmp_path)
    assert run.code == 0, run.err
    module = tmp_path / "one.py"
    source = module.read_text()
    assert accepted(module)
    tree = ast.parse(source)
    banner = source[: source.index('"""')]
    target = tmp_path / "changed.py"
    for at in range(1, len(tree.body)):
        fresh = copy.deepcopy(tree)
        for change in (fresh.body[at : at + 1] * 2, []):
            fresh.body[at : at + 1] = change
            target.write_text(banner + ast.unparse(fresh))
            with pytest.raises(SeccompgenError):
                read_module(target)
            fresh = copy.deepcopy(tree)


def test_a_name_that_python_takes_for_an_encoding(tmp_path: Path) -> None:
    """It stands in the second line of a module, and `+AAo-` is a line feed in UTF-7."""
    name = "x coding=utf-7.yml"
    (tmp_path / name).write_text("description: +AAo-x\n")
    policy = POLICY.format(setting="").replace("user_notif", "log")
    (tmp_path / "m.yml").write_text(f"include: ['{name}']\n{policy}")
    run = inside("vendor", "m.yml", "one.py", "--single-file", cwd=tmp_path)
    assert run.code == 2
    assert run.err.endswith(
        "Python would take its name for an encoding (PEP 263): rename the file\n"
    )
    assert not (tmp_path / "one.py").exists()
