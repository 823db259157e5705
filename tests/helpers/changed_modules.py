"""Modules of filters, everything that can be changed in one, and how a module behaves."""

from __future__ import annotations

import ast
import copy
import itertools
import sys
import types
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import SeccompgenError
from seccompgen.filters.compare.module_claims import claims_of_programs
from seccompgen.filters.find.module import read_module
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TABLES = shipped_tables()
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
_Programs = print
_Programs: dict = {}
_Programs.__code__ = install.__code__
_Programs = lambda abi: {}
del _Programs
PROGRAM = b""
PROGRAM += b""
NR_SECCOMP = 0
NR_SECCOMP: int = 0
_runtime = None
_install = print
_Programs.__getitem__ = print
__name__ = "other"
from ._other import _Programs
from ._other import *
from . import _other as _install
import _runtime
install()
install = print
install = lambda: None
raise SystemExit
assert not _Programs
(_Programs := {})
globals().clear()
exec("_Programs = {}")
getattr = lambda *_: 2
ImportError = print
print = exec
if True:
    _Programs = {}
if False:
    _Programs = {}
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
    _install(__name__, _Programs, flags=0, no_new_privs=False, actions=(0,))
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
global _Programs
import sys; sys.modules[__name__] = None
"""


NAMES = ("install", "_runtime", "_install", "_x86_64", "_arm", "print", "_Programs", "PROGRAM")


def statements() -> list[ast.stmt]:
    return ast.parse(STATEMENTS).body


def behaviour(files: Mapping[str, bytes]) -> object:
    """Return what a package does when it is imported and its install() called: all that it asks."""
    asked: list[object] = []

    class Recorder(types.ModuleType):
        FORMAT = 1

        def install(self, name: object, programs: Any, **how: object) -> int:
            abi = asked[-1]
            program = copy.deepcopy(programs[abi]) if abi in programs else None
            asked.append((name, sorted(programs), program, how))
            return 7

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


def mutants(source: str, stride: int = 1) -> Iterator[tuple[str, str]]:
    """Yield what was changed and the module changed so, one change each: each ``stride``-th."""
    tree = ast.parse(source)
    turns = itertools.count()

    def due() -> bool:
        return next(turns) % stride == 0

    for at, node in enumerate(list(ast.walk(tree))):

        def again(at: int = at) -> tuple[ast.Module, ast.AST]:
            fresh = copy.deepcopy(tree)
            return fresh, list(ast.walk(fresh))[at]

        for which, there in enumerate(lists(node)):
            for i in range(len(there)):
                for kind in ("delete", "double", "swap", "last"):
                    if not due():
                        continue
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
                if not due():
                    continue
                fresh, here = again()
                assert isinstance(here, ast.Constant)
                here.value = value  # type: ignore[assignment]
                yield f"constant {node.value!r:.20} to {value!r:.20}", unparsed(fresh)
        for field in ("id", "name", "attr", "arg", "asname", "module"):
            if isinstance(getattr(node, field, None), str):
                for name in NAMES:
                    if not due():
                        continue
                    fresh, here = again()
                    setattr(here, field, name)
                    yield f"{field} {getattr(node, field)} to {name}", unparsed(fresh)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.If):
            for i in range(len(node.body) + 1):
                for extra in statements():
                    if not due():
                        continue
                    fresh, here = again()
                    here.body.insert(i, extra)  # type: ignore[attr-defined]
                    yield f"insert {ast.unparse(extra)!r} at {i}", unparsed(fresh)
        if isinstance(node, ast.FunctionDef):
            for words in (
                ("def", "@print\ndef"),
                ("def", "async def"),
                ("()", "(x=_Programs.clear())"),
                ("()", "(*install)"),
                ("()", "(_Programs=())"),
                ("()", "(_install=print)"),
                (") -> None", ") -> _Programs.clear()"),
                (") -> int", ") -> _Programs.clear()"),
            ):
                if due():
                    yield f"{words}", ast.unparse(tree).replace(*words)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant):
            for form in ("({} and print)", "(_x := {})", "({} if 0 else {})", "print({})", "[{}]"):
                text = ast.unparse(node)
                if due():
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
        "nul and more": data + b"#\0\n_Programs = {}\n",
        "carriage return": data + b"# a comment\r_Programs = {}\n",
        "line separator": (source + "# a comment\u2028_Programs = {}\n").encode(),
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
        "continuation": data + b"\\\n_Programs = {}\n",
        "semicolon": data.replace(b"_Programs = {", b"install = 1; _Programs = {", 1),
    }
