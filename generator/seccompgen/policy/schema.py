"""The form of a policy file: types, ranges and spellings, all errors at once.

A superset of go-seccomp-bpf's ``seccomp:`` section. Meaning that needs tables or other files
is ``resolve``'s business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import U32, U64, Action, FilterFlag, Op
from seccompgen.core.problems import Problem
from seccompgen.core.releases import Release
from seccompgen.policy.expressions import ExpressionError, parse_condition, parse_value
from seccompgen.policy.groups import check_own_name, is_mention

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from seccompgen.policy.document import Document, Path

_MOST_ERRORS = 200
"""The most errors of one file that are explained."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KERNEL = re.compile(r"v[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
_FIRST_FILTERS = Release(3, 5)


def _parse_name(text: object) -> object:
    """Return the name of a call; of a number, its text."""
    if isinstance(text, int) and not isinstance(text, bool):
        if not -1 <= text <= U32:
            raise ValueError(f"{text} is not the number of a system call: -1 to 2**32-1")
        return str(text)
    if isinstance(text, str) and not _NAME.fullmatch(text):
        hint = "; a group stands under 'names'" if is_mention(text) else ""
        raise ValueError(f"{text!r} is not the name of a system call{hint}")
    return text


def parse_kernel(text: object) -> Release:
    """Return the release that ``v6.1`` names; raise ValueError for anything else.

    The letter keeps 6.10 from being read as the number 6.1. Stable releases are refused: calls
    come with mainline ones. A release is returned as it is.
    """
    if isinstance(text, Release):
        return text
    if not isinstance(text, str) or not _KERNEL.fullmatch(text):
        raise ValueError(f"'kernel' must be a mainline release such as v6.1, not {text!r}")
    release = Release.parse(text)
    if release < _FIRST_FILTERS:
        raise ValueError(f"{text} has no seccomp filters: 'kernel' is v{_FIRST_FILTERS} at least")
    return release


def _parse_number(value: object, info: ValidationInfo) -> object:
    """Return a number, or the text of a value with constants in it, which has been checked."""
    if isinstance(value, str):
        parse_value(value)
    elif not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{info.field_name!r} must be a whole number or a constant, not {value!r}")
    elif not -(1 << 63) <= value <= U64:
        raise ValueError(f"{info.field_name!r} must be -2**63 to 2**64-1, not {value}")
    return value


def _parse_argument(value: object) -> object:
    """Return an index, or the name of an argument."""
    if isinstance(value, str):
        if not _NAME.fullmatch(value) or value != value.lower():
            raise ValueError(f"{value!r} is not the name of an argument, such as flags or arg1")
    elif not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"'argument' must be a name or 0 to 5, not {value!r}")
    elif not 0 <= value <= 5:
        raise ValueError(f"'argument' must be 0 to 5, not {value}")
    return value


def _parse_when(text: object) -> object:
    if not isinstance(text, str):
        raise ValueError(f"'when' must be an expression such as flags & O_CREAT, not {text!r}")
    parse_condition(text)
    return text


def _parse_member(text: object) -> object:
    return text if isinstance(text, int) else _parse_item(text)


def _parse_item(text: object) -> object:
    return text if isinstance(text, str) and is_mention(text) else _parse_name(text)


_Action = Annotated[Action, BeforeValidator(Action.parse)]
_Operation = Annotated[Op, BeforeValidator(Op.parse)]
_Kernel = Annotated[Release, BeforeValidator(parse_kernel)]
_Flag = Annotated[FilterFlag, BeforeValidator(FilterFlag.one)]
_Name = Annotated[str, BeforeValidator(_parse_name)]
_Number = Annotated[int | str, BeforeValidator(_parse_number)]
_When = Annotated[str, BeforeValidator(_parse_when)]
_Item = Annotated[str, BeforeValidator(_parse_item)]
_Member = Annotated[str, BeforeValidator(_parse_member)]
_GroupName = Annotated[str, BeforeValidator(check_own_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Argument(_Section):
    """One condition on one argument."""

    argument: Annotated[int | str, BeforeValidator(_parse_argument)] = 0
    operation: _Operation
    value: _Number = 0
    mask: Annotated[int | str | None, BeforeValidator(_parse_number)] = None
    width: Literal[32, 64] | None = None


class NameWithArgs(_Section):
    """A system call with conditions, all of which must hold."""

    name: _Name
    arguments: Annotated[list[Argument] | None, Field(min_length=1)] = None
    when: _When | None = None


class Group(_Section):
    """System calls that share an action, for ``arches`` only where it says so.

    ``when`` must hold for all of them, beside what an entry says of its own.
    """

    action: _Action
    names: list[_Item] = []
    names_with_args: list[NameWithArgs] = []
    when: _When | None = None
    arches: Annotated[list[str], Field(min_length=1)] | None = None
    multiplexed: _Action | None = None
    optional: bool = False


class PolicyFile(_Section):
    """A policy file; all keys optional here, since an included file may leave them out."""

    description: str | None = None
    arches: Annotated[list[str], Field(min_length=1)] | None = None
    compat_arches: list[str] | None = None
    kernel: _Kernel | None = None
    default_action: _Action | None = None
    unknown_action: _Action | None = None
    bad_arch_action: _Action | None = None
    no_new_privs: bool | None = None
    flags: list[_Flag] | None = None
    install_on_import: bool | None = None
    multiplexed: _Action | None = None
    include: list[str] = []
    groups: dict[_GroupName, Annotated[list[_Member], Field(min_length=1)]] = {}
    syscalls: list[Group] | None = None


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
    found = {one for e in errors[:_MOST_ERRORS] for one in _explain_all(e, base, document)}
    told = sorted(found, key=_by_position)
    if len(errors) > _MOST_ERRORS:
        more = f"{len(errors) - _MOST_ERRORS} more errors in this file"
        told.append(Diagnostic(more, Position(document.file), Problem.TOO_MANY_ERRORS))
    return told


def _by_position(diagnostic: Diagnostic) -> tuple[int, int, str]:
    where = diagnostic.position
    return (where.line, where.column, diagnostic.message) if where else (0, 0, diagnostic.message)


def _explain_all(error: ErrorDetails, base: Path, document: Document) -> list[Diagnostic]:
    """Return the error, or all that is wrong with an expression, each at its own place."""
    fault = error.get("ctx", {}).get("error")
    if not isinstance(fault, ExpressionError):
        return [_explain(error, base, document)]
    place = document.places((*base, *error["loc"]), str(error["input"]))
    return [Diagnostic(text, place(at), Problem.WRONG_EXPRESSION) for text, at in fault.faults]


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
    for i, group in enumerate(policy.syscalls or ()):
        path = (*base, "syscalls", i)
        if not group.names and not group.names_with_args:
            message = "the group names no system call: fill names or names_with_args"
            problems.append(Diagnostic(message, document.position(path), Problem.EMPTY_GROUP))
        for j, entry in enumerate(group.names_with_args):
            if not entry.arguments and entry.when is None:
                message = "'arguments' is missing: say what must hold, there or in 'when'"
                where = document.position((*path, "names_with_args", j))
                problems.append(Diagnostic(message, where, Problem.MISSING_KEY))
            for k, argument in enumerate(entry.arguments or ()):
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
        if argument.width == 32 and isinstance(number, int) and number > U32:
            problems.append(f"{name} {number:#x} does not fit into a width of 32 bits")
    return problems
