"""Read generated modules: their banners, and the values that they hold. Nothing is run."""

from __future__ import annotations

import ast
import hashlib
import itertools
import re
import unicodedata
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import U32, FilterFlag, Settings
from seccompgen.core.problems import Problem
from seccompgen.io.reading import MAX_FILTER, read_input
from seccompgen.verify import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Banner:
    """What a generated module says that it was made from.

    ``policies`` are names and sha256 of the policy's files, the main one last; or ``parts`` those
    of the filters that were combined, and ``made`` how, with the action that refuses what was
    subtracted. The last two are those of the tables, and of the programs that were proved; ``tag``
    is that of the tables.
    """

    policies: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, str], ...]
    made: tuple[Operation, str] | None
    tag: str
    tables_sha256: str
    programs_sha256: str


_BANNER_LINE = re.compile(
    r"#   (?P<key>policy|part  |tables(?=  Linux )|proved)  (?P<what>.+?)"
    r"  sha256:(?P<sha256>[0-9a-f]{64})"
)
_MADE_LINE = re.compile(r"#   made    (?P<operation>\w+)(  (?P<refusal>\S+))?")


def read_banner(path: Path) -> Banner:
    """Return the banner of the generated module at ``path``; raise InputError if it has none."""
    said: dict[str, list[tuple[str, str]]] = {"policy": [], "part": [], "tables": [], "proved": []}
    made = None
    for line in read_input(path, MAX_FILTER).decode(errors="replace").splitlines():
        if not line.startswith("#"):
            break
        if match := _BANNER_LINE.fullmatch(line):
            said[match["key"].strip()].append((match["what"], match["sha256"]))
        elif (match := _MADE_LINE.fullmatch(line)) and match["operation"] in _OPERATIONS:
            made = Operation(match["operation"]), match["refusal"] or ""
    parts = bool(said["part"] and made)
    if bool(said["policy"]) == parts or len(said["tables"]) != 1 or len(said["proved"]) != 1:
        text = (
            "its banner does not say what it was made from: generate it again, or name its "
            "policy with --policy"
        )
        raise InputError(Diagnostic(text, Position(str(path)), Problem.NO_BANNER))
    ((tables, tables_sha256),) = said["tables"]
    ((_, programs_sha256),) = said["proved"]
    return Banner(
        tuple(said["policy"]),
        tuple(said["part"]),
        made,
        tables.removeprefix("Linux "),
        tables_sha256,
        programs_sha256,
    )


_OPERATIONS = {operation.value for operation in Operation}


@dataclass(frozen=True, slots=True)
class Module:
    """What a generated module hands to the kernel, and how.

    ``programs`` and ``numbers``, that of seccomp(2), are by the names of ABIs; ``actions`` are the
    SECCOMP_RET_ACTION_FULL values that it asks the kernel for first. With ``single_file`` the
    runtime is part of it. ``sha256`` is the hash of its file.
    """

    programs: Mapping[str, bytes]
    numbers: Mapping[str, int]
    actions: frozenset[int]
    settings: Settings
    single_file: bool
    sha256: str


def read_module(path: Path) -> Module:
    """Return what a generated module holds, from its syntax tree.

    What is read is rendered as a module again, and the two trees must be one, but for the docstring
    of the module. So nothing that a statement could do beside need be known here. Raises
    InputError, with the first place that differs, where that is not so.
    """
    return _read_module(path)[0]


def module_docstring(path: Path) -> str:
    """Return the docstring of a generated module."""
    return ast.get_docstring(_read_module(path)[1]) or ""


def _read_module(path: Path) -> tuple[Module, ast.Module]:
    from seccompgen.render import inlined_runtime, module_tree  # noqa: PLC0415 - jinja2

    content = read_input(path, MAX_FILTER)
    tree = parse_generated(path, content)
    try:
        module = _gathered(tree.body, hashlib.sha256(content).hexdigest())
    except (ValueError, TypeError, LookupError):
        raise _none_of_ours(path) from None
    asked = sorted(module.actions)
    programs = {abi: (module.numbers[abi], data) for abi, data in module.programs.items()}
    expected = module_tree(programs, module.settings, asked, single_file=module.single_file)
    here, there = tree.body[1:], expected.body[1:]
    if module.single_file:
        runtime = len(ast.parse(inlined_runtime()).body)
        what = "its runtime is not that of this seccompgen, or was changed: vendor it again"
        require_same(path, here[:runtime], there[:runtime], what)
        here, there = here[runtime:], there[runtime:]
    require_same(path, here, there)
    return module, tree


def _gathered(body: list[ast.stmt], sha256: str) -> Module:
    """Gather the values of a module from where they should stand; raise ValueError without them.

    It need not be strict: what stands in the module besides is found when it is rendered again.
    """
    constants: dict[str, ast.expr] = {}
    calls: list[ast.Call] = []
    on_import = False
    if not isinstance(body[0], ast.Expr) or ast.get_docstring(ast.Module(body, [])) is None:
        raise ValueError("there is no docstring")
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                constants.setdefault(name, value)
            case ast.FunctionDef(name="install", body=[*_, ast.Expr(value) | ast.Return(value)]):
                calls += [value] if isinstance(value, ast.Call) else []
            case ast.Expr(value=ast.Call()):
                on_import = True
    table = constants["_PROGRAMS"]
    if not isinstance(table, ast.Dict):
        raise TypeError("there is no table of programs")
    programs: dict[str, bytes] = {}
    numbers: dict[str, int] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        match key, value:
            case (
                ast.Constant(value=str(abi)),
                ast.Tuple(elts=[ast.Constant(value=int(number)), ast.Name(id=name)]),
            ) if abi in ABIS and abi not in programs and number <= U32:
                data = ast.literal_eval(constants[name])
                if not isinstance(data, bytes):
                    raise TypeError("a program is bytes")
                programs[abi], numbers[abi] = data, number
            case _:
                raise ValueError("a program is for an ABI")
    said = {word.arg: _value(word.value) for word in calls[0].keywords}
    flags, no_new_privs, actions = map(said.get, ("flags", "no_new_privs", "actions"))
    if not programs:
        raise ValueError("there are no programs")
    # What is none of our values is none where it is rendered either, and found as such.
    asked = actions if isinstance(actions, tuple) else ()
    return Module(
        programs,
        numbers,
        frozenset(action for action in asked if _is_u32(action)) or frozenset({0}),
        Settings(FilterFlag(flags if _is_u32(flags) else 0), no_new_privs is True, on_import),
        single_file=len(body) > 1 and isinstance(body[1], ast.Import),
        sha256=sha256,
    )


def _is_u32(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= U32


def _value(expression: ast.expr) -> object:
    """Return the value of a literal, or None where there is another expression."""
    try:
        value: object = ast.literal_eval(expression)
    except (ValueError, TypeError):
        return None
    return value


# --- the source of generated files ---------------------------------------------------------------

_NO_MODULE = "not a module that seccompgen generated"
_ENCODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")
"""The line, one of the first two, that says how Python has to read a file (PEP 263)."""
_LITERAL = re.compile(r"(?m)^[ ]*(?:b\"(?:\\x[0-9a-f]{2})*\"|)[ ]*(?:#.*)?\n")
"""A line of a program, or a comment."""
_MAX_CODE = 1 << 19
"""Characters besides; what is longer may hold more statements than there is memory for."""
_STRANGE = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that do not show, or that end a line for some readers only."""


def parse_generated(path: Path, content: bytes) -> ast.Module:
    """Return the syntax tree of a file that seccompgen generated, as every Python reads it.

    Raises InputError for what is no Python, or might be read otherwise by an editor, a reviewer or
    another Python: another encoding than UTF-8, and characters that do not show.
    """
    try:
        text = content.decode().replace("\r\n", "\n")
        if sum(map(len, _LITERAL.split(text))) > _MAX_CODE:
            raise _none_of_ours(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would show parts of the file
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _none_of_ours(path) from None
    for number, line in enumerate(text.split("\n"), 1):
        strange = [] if line.isascii() and line.isprintable() else _unshown(line)
        if strange or (number <= 2 and _ENCODING.match(line)):
            what = f"U+{ord(line[strange[0]]):04X} in it" if strange else "it names an encoding"
            column = strange[0] + 1 if strange else 1
            message = f"{_NO_MODULE}: {what}"
            raise InputError(
                Diagnostic(message, Position(str(path), number, column), Problem.FOREIGN_MODULE)
            )
    return tree


def _unshown(line: str) -> list[int]:
    return [at for at, one in enumerate(line) if unicodedata.category(one) in _STRANGE]


def require_same(
    path: Path,
    body: list[ast.stmt],
    expected: list[ast.stmt],
    what: str = f"{_NO_MODULE}: this was added, or changed",
) -> None:
    """Raise InputError, with the first place that differs, if two lists of statements do.

    ``what`` is said of that place.
    """
    last = Position(str(path))
    for here, there in itertools.zip_longest(body, expected):
        if here is None:
            text = f"{_NO_MODULE}: what comes after this is missing"
            raise InputError(Diagnostic(text, last, Problem.FOREIGN_MODULE))
        place = Position(str(path), here.lineno, here.col_offset + 1)
        if there is None or not _same(here, there):
            raise InputError(Diagnostic(what, place, Problem.FOREIGN_MODULE))
        last = place


def _same(here: ast.stmt, there: ast.stmt) -> bool:
    try:
        return ast.dump(_without_layout(here)) == ast.dump(_without_layout(there))
    except (ValueError, RecursionError, MemoryError):  # of what is none of ours
        return False


def _without_layout(statement: ast.stmt) -> ast.stmt:
    """Take from docstrings what formatters do to them: indentation, and blanks at line ends."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            text = ast.get_docstring(node, clean=True) or ""
            node.body[0] = ast.Expr(ast.Constant("\n".join(map(str.rstrip, text.split("\n")))))
    return statement


def _none_of_ours(path: Path) -> InputError:
    return InputError(Diagnostic(_NO_MODULE, Position(str(path)), Problem.FOREIGN_MODULE))
