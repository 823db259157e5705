"""Read the file of a FILTER: a policy, a generated module, raw instructions."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seccompgen.architectures import ABIS
from seccompgen.build import PLAIN_MEANS, build_policy
from seccompgen.errors import Diagnostic, InputError, Position
from seccompgen.locate import Kind, kind_of
from seccompgen.model import FilterFlag, Settings
from seccompgen.program import decode
from seccompgen.verify import Operation, kernel_objections

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seccompgen.architectures import Abi
    from seccompgen.build import Means
    from seccompgen.model import Origin
    from seccompgen.program import Instruction
    from seccompgen.tables import Tables


@dataclass(frozen=True, slots=True)
class Filter:
    """The instructions for one ABI; ``origins`` is empty where only bytes were there."""

    abi: Abi
    instructions: tuple[Instruction, ...]
    origins: tuple[tuple[Origin, ...], ...] = ()


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
    for line in _read(path).decode(errors="replace").splitlines():
        if not line.startswith("#"):
            break
        if match := _BANNER_LINE.fullmatch(line):
            said[match["key"].strip()].append((match["what"], match["sha256"]))
        elif (match := _MADE_LINE.fullmatch(line)) and match["operation"] in _OPERATIONS:
            made = Operation(match["operation"]), match["refusal"] or ""
    parts = bool(said["part"] and made)
    if bool(said["policy"]) == parts or len(said["tables"]) != 1 or len(said["proved"]) != 1:
        raise InputError(
            Diagnostic(
                "its banner does not say what it was made from: generate it again, or name its "
                "policy with --policy",
                Position(str(path)),
            )
        )
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


def read_filters(
    path: Path, tables: Tables, only: Abi | None, means: Means = PLAIN_MEANS
) -> list[Filter]:
    """Return the filters in ``path``, of ABI ``only`` or of all ABIs that it holds.

    A generated module is read, never run: its bytes count, not its comments. Raises InputError
    where the file is none of the three, or the kernel would refuse what it holds.
    """
    if kind_of(path) is Kind.RAW:
        if only is None:
            raise InputError(f"{path}: say with --arch which ABI these instructions are for")
        found = [_decode(path, only, _read(path))]
    elif kind_of(path) is Kind.MODULE:
        programs = read_module(path).programs
        found = [
            _decode(path, ABIS[name], data)
            for name, data in programs.items()
            if only is None or only.name == name
        ]
    else:
        built = build_policy(path, tables, [only] if only else [], means=means)
        return [Filter(p.abi, p.instructions, p.origins) for p in built.programs]
    if not found:
        raise InputError(f"{path}: no program for {only.name if only else 'any ABI'}")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _decode(path: Path, abi: Abi, data: bytes) -> Filter:
    where = Position(str(path))
    try:
        instructions = decode(data, abi)
    except ValueError as error:
        raise InputError(Diagnostic(f"{abi.name}: {error}", where)) from None
    objections = kernel_objections(instructions)
    if objections:
        other = next(one for one in ABIS.values() if one.byte_order != abi.byte_order)
        if not kernel_objections(decode(data, other)):
            text = f"{abi.name} is {abi.byte_order}-endian, but these instructions are not"
            raise InputError(Diagnostic(f"{text}: are they for another ABI?", where))
        raise InputError(*(Diagnostic(f"{abi.name}: {text}", where) for text in objections))
    return Filter(abi, instructions)


@dataclass(frozen=True, slots=True)
class Module:
    """What a generated module hands to the kernel, and how.

    ``programs`` and ``numbers``, that of seccomp(2), are by the names of ABIs; ``actions`` are the
    SECCOMP_RET_ACTION_FULL values that it asks the kernel for first.
    """

    programs: Mapping[str, bytes]
    numbers: Mapping[str, int]
    actions: frozenset[int]
    settings: Settings


def read_module(path: Path) -> Module:
    """Return what a generated module holds, from its syntax tree.

    Raises InputError where it is none, or has anything besides that could change what is installed.
    """
    no_module = InputError(
        Diagnostic("not a module that seccompgen generated", Position(str(path)))
    )
    try:
        tree = ast.parse(_read(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise no_module from None
    constants: dict[str, ast.expr] = {}
    install: dict[str, Any] = {}
    on_import = False
    for statement in _without_runtime(path, tree.body):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if (
                name not in constants
                and isinstance(value, ast.Dict if name == "_PROGRAMS" else ast.Constant)
                and name in _CONSTANTS
            ):
                constants[name] = value
            case _ if not _is_generated(statement):
                raise InputError(
                    Diagnostic(
                        "not a module that seccompgen generated: this was added, or changed",
                        Position(str(path), statement.lineno, statement.col_offset + 1),
                    )
                )
            case ast.FunctionDef(body=[_, ast.Expr(value=call) | ast.Return(value=call)]):
                assert isinstance(call, ast.Call)
                install = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
            case ast.Expr(value=ast.Call()):
                on_import = True
    programs: dict[str, bytes] = {}
    numbers: dict[str, int] = {}
    match constants.get("_PROGRAMS"):
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                match key, value:
                    case (
                        ast.Constant(value=str(abi)),
                        ast.Tuple(elts=[ast.Constant(value=int(number)), ast.Name(id=name)]),
                    ) if abi not in programs:
                        data = constants.get(name)
                    case _:
                        raise no_module
                if abi not in ABIS or not isinstance(data, ast.Constant):
                    raise no_module
                if not isinstance(data.value, bytes):
                    raise no_module
                programs[abi], numbers[abi] = data.value, number
    if not programs or not install:
        raise no_module
    return Module(
        programs,
        numbers,
        frozenset(install["actions"]),
        Settings(FilterFlag(install["flags"]), install["no_new_privs"], on_import),
    )


# Any other might be one that a runtime in the same module goes by.
_CONSTANTS = {"_PROGRAMS", *(f"_{name.upper()}" for name in ABIS)}


def _without_runtime(path: Path, body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a module less the runtime, if that is part of it.

    Raises InputError where it is, but not word for word: it decides what is installed.
    """
    from seccompgen.render import inlined_runtime  # noqa: PLC0415 - jinja2

    if len(body) < 2 or not isinstance(body[1], ast.Import):
        return body
    expected = ast.parse(inlined_runtime()).body
    for here, there in zip(body[1:], expected, strict=False):
        if ast.dump(here) != ast.dump(there):
            text = "its runtime is not that of this seccompgen, or was changed: vendor it again"
            raise InputError(
                Diagnostic(text, Position(str(path), here.lineno, here.col_offset + 1))
            )
    return body[:1] + body[1 + len(expected) :]


_INSTALL = re.compile(
    r"(return )?(_runtime\.|_)install\(__name__, _PROGRAMS, flags=\d+, no_new_privs=(True|False), "
    r"actions=\([\d, ]+\)\)"
)

_FORMAT_CHECK = re.compile(
    r"if getattr\(_runtime, 'FORMAT', 0\) != (\d+):\n"
    r"    raise ImportError\(f'{_runtime\.__file__} does not fit {__name__}, which needs its "
    r"format \1: generate both again, with one seccompgen'\)"
)


def _is_generated(statement: ast.stmt) -> bool:
    """Return whether a generated module has such a statement, besides its constants."""
    match statement:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.ImportFrom():
            return ast.unparse(statement) == "from . import _runtime"
        case ast.If():
            return bool(_FORMAT_CHECK.fullmatch(ast.unparse(statement)))
        case ast.Expr():
            return ast.unparse(statement) == "install()"
        case ast.FunctionDef(
            name="install", decorator_list=[], returns=ast.Constant() | ast.Name(), body=[doc, last]
        ):
            plain = isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
            takes_nothing = not ast.unparse(statement.args)
            return plain and takes_nothing and bool(_INSTALL.fullmatch(ast.unparse(last)))
    return False
