"""Read what a command line calls FILTER: a policy, a generated module, raw instructions."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.architectures import ABIS
from seccompgen.build import PLAIN_MEANS, build_policy
from seccompgen.errors import Diagnostic, InputError, Position
from seccompgen.program import decode
from seccompgen.verify import kernel_objections

if TYPE_CHECKING:
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


def read_filters(
    path: Path, tables: Tables, only: Abi | None, means: Means = PLAIN_MEANS
) -> list[Filter]:
    """Return the filters in ``path``, of ABI ``only`` or of all ABIs that it holds.

    A generated module is read, never run: its bytes count, not its comments. Raises InputError
    where the file is none of the three, or the kernel would refuse what it holds.
    """
    if path.suffix == ".bpf":
        if only is None:
            raise InputError(f"{path}: say with --arch which ABI these instructions are for")
        found = [_decode(path, only, _read(path))]
    elif path.suffix == ".py":
        programs = _module_programs(path)
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
        raise InputError(*(Diagnostic(f"{abi.name}: {text}", where) for text in objections))
    return Filter(abi, instructions)


def _module_programs(path: Path) -> dict[str, bytes]:
    """Return the programs of a generated module, by ABI name, from its syntax tree."""
    no_module = InputError(
        Diagnostic("not a module that seccompgen generated", Position(str(path)))
    )
    try:
        tree = ast.parse(_read(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise no_module from None
    constants: dict[str, ast.expr] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                constants[name] = value
    programs: dict[str, bytes] = {}
    match constants.get("_PROGRAMS"):
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                match key, value:
                    case ast.Constant(value=str(abi)), ast.Tuple(elts=[_, ast.Name(id=name)]):
                        data = constants.get(name)
                    case _:
                        raise no_module
                if abi not in ABIS or not isinstance(data, ast.Constant):
                    raise no_module
                if not isinstance(data.value, bytes):
                    raise no_module
                programs[abi] = data.value
    if not programs:
        raise no_module
    return programs
