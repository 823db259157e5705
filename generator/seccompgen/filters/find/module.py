"""Read generated modules: their banners, and the values in them. Nothing is run."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import itertools
import re
import shlex
import unicodedata
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import OURS, PLAIN_READING, Reading
from seccompgen.core.model import U32
from seccompgen.core.problems import Problem
from seccompgen.core.settings import FilterFlag, Settings
from seccompgen.formats import READABLE
from seccompgen.io.reading import MAX_FILTER, read_input
from seccompgen.languages.python import (
    ENCODING,
    ModuleForm,
    inlined_runtime,
    module_tree,
    program_module,
    program_tree,
)
from seccompgen.pipeline.packages import INIT_NAME
from seccompgen.verify import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Banner:
    """The inputs that a generated filter names.

    ``policies`` are names and sha256 of the policy's files, the main one last; or ``parts`` those
    of the combined filters, and ``made`` the operation, with the action that refuses what was
    subtracted. The last two hashes are those of the tables and of the proved programs; ``tag`` is
    that of the tables. ``redo`` are the words of the command that makes it again.
    """

    policies: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, str], ...]
    made: tuple[Operation, str] | None
    tag: str
    tables_sha256: str
    programs_sha256: str
    redo: tuple[str, ...]

    def reading(self, place: int = 0) -> Reading:
        """Return the choices with which the policy, or the part at ``place``, was read.

        They are plain if the command has none, or unknown ones.
        """
        try:
            found = Reading.of_options(self.redo, place)
        except ValueError:
            return PLAIN_READING
        return found if found.format in {None, OURS, *READABLE} else PLAIN_READING


_BANNER_LINE = re.compile(
    r"#   (?P<key>policy|part  |tables(?=  Linux )|proved)  (?P<what>.+?)"
    r"  sha256:(?P<sha256>[0-9a-f]{64})"
)
_REDO_LINE = re.compile(r"#   redo    (?P<command>.+)")
_MADE_LINE = re.compile(r"#   made    (?P<operation>\w+)(  (?P<refusal>\S+))?")


def read_banner(path: Path) -> Banner:
    """Return the banner of the generated filter at ``path``; raise InputError if it has none."""
    said: dict[str, list[tuple[str, str]]] = {"policy": [], "part": [], "tables": [], "proved": []}
    made = None
    redo: tuple[str, ...] = ()
    for line in read_input(main_file(path), MAX_FILTER).decode(errors="replace").splitlines():
        if not line.startswith("#"):
            break
        if match := _BANNER_LINE.fullmatch(line):
            said[match["key"].strip()].append((match["what"], match["sha256"]))
        elif (match := _MADE_LINE.fullmatch(line)) and match["operation"] in _OPERATIONS:
            made = Operation(match["operation"]), match["refusal"] or ""
        elif match := _REDO_LINE.fullmatch(line):
            redo = _words(match["command"])
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
        redo,
    )


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError:
        return ()


_PROGRAM_STATEMENTS = 3
"""A docstring, the number of seccomp(2) and the program; a value for rings comes after them."""
_OPERATIONS = {operation.value for operation in Operation}


@dataclass(frozen=True, slots=True)
class Module:
    """The programs of a generated filter, and the settings with which they are installed.

    The keys of ``programs``, and of ``numbers`` of seccomp(2), are names of ABIs; ``actions`` are
    the SECCOMP_RET_ACTION_FULL values that the filter requires of the kernel. ``files`` are all of
    its files except the runtime, the one with install() first, and ``sha256`` is their hash.
    ``rings`` are the values for rings by ABI (`ring_source.RingValue`), of any form; empty if there
    are none.
    """

    form: ModuleForm
    docstring: str
    programs: Mapping[str, bytes]
    numbers: Mapping[str, int]
    actions: frozenset[int]
    settings: Settings
    files: tuple[Path, ...]
    sha256: str
    rings: Mapping[str, object]


def main_file(path: Path) -> Path:
    """Return the file of a filter, a package or a single file, that has install()."""
    return path / INIT_NAME if path.is_dir() else path


def read_module(path: Path) -> Module:
    """Return the content of a generated filter, a package or a single file.

    Its values are taken from their expected positions, and the files rendered again from them: the
    filter is ours if the statements are the same, whatever their layout and comments. Raises
    InputError otherwise, with the first position that differs. Nothing is run.
    """
    main = main_file(path)
    contents = {main: read_input(main, MAX_FILTER)}
    tree = parse_generated(main, contents[main])
    imported: list[str] = []
    programs: dict[str, tuple[int, bytes]] = {}
    rings: dict[str, object] = {}
    with _expecting_ours(main):
        docstring = _docstring(tree)
        settings, actions = _installed(tree.body)
        if path.is_dir():
            former = isinstance(tree.body[1], ast.ImportFrom) and not tree.body[1].module
            form = ModuleForm.FORMER_PACKAGE if former else ModuleForm.PACKAGE
            imported = _imported(tree.body)
        else:
            alone = isinstance(tree.body[1], ast.Import)
            form = ModuleForm.SINGLE_FILE if alone else ModuleForm.MODULE
            programs, rings = _table(tree.body)
    for abi in imported:
        file = path / f"{program_module(abi)}.py"
        contents[file] = read_input(file, MAX_FILTER)
        part = parse_generated(file, contents[file])
        with _expecting_ours(file):
            programs[abi] = _program(part.body)
            if settings.without:
                rings[abi] = _rings(part.body)
        tree_of_it = program_tree(abi, *programs[abi], rings.get(abi))
        require_same(file, part.body, tree_of_it.body)
    expected = module_tree(programs, settings, sorted(actions), form, rings)
    runtime = inlined_runtime(rings=bool(rings)) if form is ModuleForm.SINGLE_FILE else ""
    _require_same_module(main, contents[main], tree, expected, runtime)
    return Module(
        form,
        docstring,
        {abi: data for abi, (_, data) in programs.items()},
        {abi: number for abi, (number, _) in programs.items()},
        actions,
        settings,
        tuple(contents),
        _sha256_of(contents),
        rings,
    )


def read_program(path: Path) -> tuple[str, bytes]:
    """Return the ABI and the program of the file at ``path``, which belongs to a package.

    Its docstring names the ABI, so that the file may have any name. Raises InputError as
    `read_module` does.
    """
    tree = parse_generated(path, read_input(path, MAX_FILTER))
    with _expecting_ours(path):
        abi = _docstring(tree).split()[3]
        number, data = _program(tree.body)
        rings = _rings(tree.body) if len(tree.body) > _PROGRAM_STATEMENTS else None
        require_same(path, tree.body, program_tree(ABIS[abi].name, number, data, rings).body)
    return abi, data


def filter_sha256(path: Path) -> str:
    """Return the hash of a filter: of the files of a package, or of a file of any kind."""
    if path.is_dir():
        return read_module(path).sha256
    return hashlib.sha256(read_input(path, MAX_FILTER)).hexdigest()


_FORMER_RUNTIMES = {47: "663d7196f6fd8fe714318cd5830e7cb46ec221fdcf639d3138e750575a276f25"}
"""The runtimes of released single files: their number of statements, and the hash of these."""


def _is_former_runtime(content: bytes, body: list[ast.stmt]) -> bool:
    """Return True if ``body`` is the unchanged runtime of a single file from an earlier release."""
    lines = (
        content.decode().replace("\r\n", "\n").split("\n")[body[0].lineno - 1 : body[-1].end_lineno]
    )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return digest == _FORMER_RUNTIMES[len(body)]


def _require_same_module(
    main: Path, content: bytes, tree: ast.Module, expected: ast.Module, inlined: str
) -> None:
    """Raise InputError unless two modules with install() are equal except for their docstrings.

    ``inlined`` is the runtime that they contain, or empty.
    """
    here, there = tree.body[1:], expected.body[1:]
    if inlined:
        runtime = len(ast.parse(inlined).body)
        former = [one for one in _FORMER_RUNTIMES if _is_former_runtime(content, here[:one])]
        if not former:
            what = "its runtime is not that of this seccompgen, or was changed: vendor it again"
            require_same(main, here[:runtime], there[:runtime], what)
        here, there = here[former[0] if former else runtime :], there[runtime:]
    require_same(main, here, there)


def _sha256_of(contents: Mapping[Path, bytes]) -> str:
    """Return the hash of one file, or a hash over the names and hashes of several."""
    hashes = {file.name: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    return hashlib.sha256(lines.encode()).hexdigest()


# --- the values of a module, from their expected positions ---------------------------------------
#
# These functions need not be strict: anything else in the file is found when it is rendered again.
# They raise ValueError, TypeError or LookupError if there is no such value.


@contextlib.contextmanager
def _expecting_ours(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, LookupError):
        raise _none_of_ours(path) from None


def _docstring(tree: ast.Module) -> str:
    docstring = ast.get_docstring(tree)
    if not isinstance(tree.body[0], ast.Expr) or docstring is None:
        raise ValueError("there is no docstring")
    return docstring


def _installed(body: list[ast.stmt]) -> tuple[Settings, frozenset[int]]:
    """Return the settings of install(), and the actions that it requires of the kernel."""
    calls: list[ast.Call] = []
    on_import = report_only = False
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="REPORT_ONLY")]):
                report_only = True
            case ast.FunctionDef(name="install", body=[*_, ast.Expr(value) | ast.Return(value)]):
                calls += [value] if isinstance(value, ast.Call) else []
            case ast.Expr(value=ast.Call()):
                on_import = True
    said = {word.arg: _value(word.value) for word in calls[0].keywords}
    flags, no_new_privs, actions, without = map(
        said.get, ("flags", "no_new_privs", "actions", "without")
    )
    # An invalid value is found when the module is rendered without it.
    asked = actions if isinstance(actions, tuple) else ()
    return (
        Settings(
            FilterFlag(flags if _is_u32(flags) else 0),
            no_new_privs is True,
            on_import,
            report_only,
            str(without or ""),
        ),
        frozenset(action for action in asked if _is_u32(action)) or frozenset({0}),
    )


def _imported(body: list[ast.stmt]) -> list[str]:
    """Return the ABIs whose programs a package imports, in its order."""
    nodes = (node for statement in body for node in ast.walk(statement))
    relative = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1)
    abis = [(node.module or "").removeprefix("_") for node in relative]
    if not abis or not ABIS.keys() >= set(abis):
        raise ValueError("a program is for an ABI")
    return abis


def _program(body: list[ast.stmt]) -> tuple[int, bytes]:
    """Return the number of seccomp(2) and the program of a package's module for an ABI."""
    match body:
        case [
            _,
            ast.Assign(value=ast.Constant(value=number)),
            ast.Assign(value=ast.Constant(value=bytes(data))),
            *_,
        ] if _is_u32(number):
            return number, data
    raise ValueError("there is no program")


def _rings(body: list[ast.stmt]) -> object:
    """Return the value for rings of a package's module for an ABI."""
    match body[-1]:
        case ast.Assign(targets=[ast.Name(id="IO_URING")], value=value):
            found: object = ast.literal_eval(value)
            return found
    raise ValueError("there is no value for rings")


def _table(
    body: list[ast.stmt],
) -> tuple[dict[str, tuple[int, bytes]], dict[str, object]]:
    """Return numbers and programs of a single file, and values for rings, by the names of ABIs."""
    constants: dict[str, ast.expr] = {}
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                constants.setdefault(name, value)
    programs: dict[str, tuple[int, bytes]] = {}
    rings: dict[str, object] = {}
    match constants["_PROGRAMS"]:
        case ast.Dict(keys=[_, *_] as keys, values=values):
            pairs = zip(keys, values, strict=True)
        case _:
            raise TypeError("there is no table of programs")
    for key, value in pairs:
        match key, value:
            case (
                ast.Constant(value=str(abi)),
                ast.Tuple(elts=[ast.Constant(value=number), ast.Name(id=name), *others]),
            ) if abi in ABIS and abi not in programs and _is_u32(number):
                data = ast.literal_eval(constants[name])
                if not isinstance(data, bytes):
                    raise TypeError("a program is bytes")
                programs[abi] = number, data
                for other in others[:1]:
                    rings[abi] = ast.literal_eval(constants[ast.unparse(other)])
            case _:
                raise ValueError("a program is for an ABI")
    return programs, rings


def _is_u32(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= U32


def _value(expression: ast.expr) -> object:
    """Return the value of a literal, or None for any other expression."""
    try:
        value: object = ast.literal_eval(expression)
    except (ValueError, TypeError):
        return None
    return value


# --- the source of generated files ---------------------------------------------------------------

_NO_MODULE = "not a module that seccompgen generated"
_LITERAL = re.compile(r"(?m)^[ ]*(?:b\"(?:\\x[0-9a-f]{2})*\"|)[ ]*(?:#.*)?\n")
"""A line of a program, or a comment."""
_MAX_CODE = 1 << 19
"""The most other characters; a longer file may hold more statements than fit into memory."""
_STRANGE = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that are invisible, or that end a line for some readers only."""


def parse_generated(path: Path, content: bytes) -> ast.Module:
    """Return the syntax tree of a file that seccompgen generated, as every Python reads it.

    Raises InputError for anything that is not Python, or that an editor, a reviewer or another
    Python might read differently: another encoding than UTF-8, and invisible characters.
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
        if strange or (number <= 2 and ENCODING.match(line)):
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
    """Raise InputError at the first difference between two lists of statements.

    ``what`` is the message.
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
    except (ValueError, RecursionError, MemoryError):  # not our statements
        return False


def _without_layout(statement: ast.stmt) -> ast.stmt:
    """Undo what formatters do to docstrings: indentation, and blanks at line ends."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            text = ast.get_docstring(node, clean=True) or ""
            node.body[0] = ast.Expr(ast.Constant("\n".join(map(str.rstrip, text.split("\n")))))
    return statement


def _none_of_ours(path: Path) -> InputError:
    return InputError(Diagnostic(_NO_MODULE, Position(str(path)), Problem.FOREIGN_MODULE))
