"""The form of a policy file: types, ranges and spellings, all errors at once.

A superset of go-seccomp-bpf's ``seccomp:`` section. Meaning that needs tables or other files
is ``resolve``'s business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import U32, U64, Action, FilterFlag, Op
from seccompgen.core.problems import Problem
from seccompgen.policy.groups import check_own_name, is_mention

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from seccompgen.policy.document import Document, Path

_MOST_ERRORS = 200
"""The most errors of one file that are explained."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _parse_name(text: object) -> object:
    if isinstance(text, str) and not _NAME.fullmatch(text):
        hint = "; a group stands under 'names'" if is_mention(text) else ""
        raise ValueError(f"{text!r} is not the name of a system call{hint}")
    return text


def _parse_item(text: object) -> object:
    return text if isinstance(text, str) and is_mention(text) else _parse_name(text)


_Action = Annotated[Action, BeforeValidator(Action.parse)]
_Operation = Annotated[Op, BeforeValidator(Op.parse)]
_Flag = Annotated[FilterFlag, BeforeValidator(FilterFlag.one)]
_Name = Annotated[str, BeforeValidator(_parse_name)]
_Item = Annotated[str, BeforeValidator(_parse_item)]
_GroupName = Annotated[str, BeforeValidator(check_own_name)]
_Word = Annotated[int, Field(ge=0, le=U64)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Argument(_Section):
    """One condition on one argument."""

    argument: Annotated[int, Field(ge=0, le=5)] = 0
    operation: _Operation
    value: _Word = 0
    mask: _Word | None = None
    width: Literal[32, 64] = 64


class NameWithArgs(_Section):
    """A system call with conditions, all of which must hold."""

    name: _Name
    arguments: Annotated[list[Argument], Field(min_length=1)]


class Group(_Section):
    """System calls that share an action."""

    action: _Action
    names: list[_Item] = []
    names_with_args: list[NameWithArgs] = []
    optional: bool = False


class PolicyFile(_Section):
    """A policy file; all keys optional here, since an included file may leave them out."""

    description: str | None = None
    arches: Annotated[list[str], Field(min_length=1)] | None = None
    compat_arches: list[str] | None = None
    default_action: _Action | None = None
    unknown_action: _Action | None = None
    bad_arch_action: _Action | None = None
    no_new_privs: bool | None = None
    flags: list[_Flag] | None = None
    install_on_import: bool | None = None
    include: list[str] = []
    groups: dict[_GroupName, Annotated[list[_Item], Field(min_length=1)]] = {}
    syscalls: list[Group] = []


def validate(document: Document) -> tuple[PolicyFile, Path]:
    """Check ``document``; return what it says and the path of the section that says it.

    Raises InputError with every error of the file.
    """
    data = document.data
    base: Path = ()
    if isinstance(data, dict) and "seccomp" in data:
        beside = [key for key in data if key != "seccomp"]
        if beside:
            raise InputError(
                *(
                    Diagnostic(
                        f"{key!r} stands beside 'seccomp:', so it would be ignored; "
                        "move it into that section",
                        document.key_position((key,)),
                        Problem.MISPLACED_KEY,
                    )
                    for key in beside
                )
            )
        data, base = data["seccomp"], ("seccomp",)
    if not isinstance(data, dict):
        text = "a policy is a mapping with default_action and syscalls"
        raise InputError(Diagnostic(text, document.position(base), Problem.WRONG_VALUE))
    try:
        result = PolicyFile.model_validate(data)
    except ValidationError as error:
        raise InputError(*_explained(error, base, document)) from None
    problems = _combinations(result, base, document)
    if problems:
        raise InputError(*problems)
    return result, base


def _explained(error: ValidationError, base: Path, document: Document) -> list[Diagnostic]:
    """Return the errors by position; beyond a limit, their number only."""
    errors = error.errors()
    told = sorted({_explain(e, base, document) for e in errors[:_MOST_ERRORS]}, key=_by_position)
    if len(errors) > _MOST_ERRORS:
        more = f"{len(errors) - _MOST_ERRORS} more errors in this file"
        told.append(Diagnostic(more, Position(document.file), Problem.TOO_MANY_ERRORS))
    return told


def _by_position(diagnostic: Diagnostic) -> tuple[int, int, str]:
    where = diagnostic.position
    return (where.line, where.column, diagnostic.message) if where else (0, 0, diagnostic.message)


def _explain(error: ErrorDetails, base: Path, document: Document) -> Diagnostic:
    """Say in the words of a policy file what pydantic found."""
    path: Path = (*base, *error["loc"])
    key, value = path[-1] if path else "", error["input"]
    field = f"'{key}'" if isinstance(key, str) else "an item here"
    match error["type"]:
        case "extra_forbidden":
            known = _keys_at(path[len(base) : -1])
            text = f"unknown key {key!r}{did_you_mean(str(key), known)}; known: {', '.join(known)}"
            return Diagnostic(text, document.key_position(path), Problem.UNKNOWN_KEY)
        case "missing":
            text = f"{field} is missing"
            return Diagnostic(text, document.position(path[:-1]), Problem.MISSING_KEY)
        case "value_error":
            message = str(error["ctx"]["error"])
        case "int_type":
            message = f"{field} must be a whole number, not {value!r}"
        case "greater_than_equal" | "less_than_equal":
            message = f"{field} must be 0 to {5 if key == 'argument' else '2**64-1'}, not {value}"
        case "literal_error":
            message = f"{field} must be 32 or 64, not {value!r}"
        case "list_type":
            message = f"{field} must be a list, not {_short(value)}"
        case "string_type":
            message = f"{field} must be text, not {_short(value)}"
        case "bool_type":
            message = f"{field} must be true or false, not {_short(value)}"
        case "too_short":
            message = f"{field} must not be empty"
        case "model_type" | "dict_type":
            message = f"{field} must be a mapping, not {_short(value)}"
        case _:
            message = f"{field}: {error['msg']}"
    where = document.key_position(path[:-1]) if key == "[key]" else document.position(path)
    return Diagnostic(message, where, Problem.WRONG_VALUE)


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _keys_at(path: Path) -> list[str]:
    """Return the keys allowed in the mapping at ``path``."""
    model: Any = PolicyFile
    for part in path:
        if isinstance(part, str):
            model = {"syscalls": Group, "names_with_args": NameWithArgs}.get(part, Argument)
    return list(model.model_fields)


def _combinations(policy: PolicyFile, base: Path, document: Document) -> list[Diagnostic]:
    """Return what single values cannot show: fields that need or exclude each other."""
    problems = []
    for i, group in enumerate(policy.syscalls):
        path = (*base, "syscalls", i)
        if not group.names and not group.names_with_args:
            message = "the group names no system call: fill names or names_with_args"
            problems.append(Diagnostic(message, document.position(path), Problem.EMPTY_GROUP))
        for j, entry in enumerate(group.names_with_args):
            for k, argument in enumerate(entry.arguments):
                where = document.position((*path, "names_with_args", j, "arguments", k))
                problems += [
                    Diagnostic(text, where, Problem.WRONG_VALUE)
                    for text in _argument_problems(argument)
                ]
    return problems


def _argument_problems(argument: Argument) -> list[str]:
    problems = []
    masked = argument.operation is Op.MASKED_EQ
    if masked and argument.mask is None:
        problems.append("MaskedEqual needs a mask: (arg & mask) == value")
    if not masked and argument.mask is not None:
        problems.append("only MaskedEqual takes a mask")
    for name in ("value", "mask"):
        number = getattr(argument, name)
        if argument.width == 32 and number is not None and number > U32:
            problems.append(f"{name} {number:#x} does not fit into a width of 32 bits")
    return problems
