"""The form of a policy file: types, ranges and spellings, all errors at once.

A superset of go-seccomp-bpf's ``seccomp:`` section. Meaning that needs tables or other files
is ``resolve``'s business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import U32, U64, Action, FilterFlag, Op
from seccompgen.core.problems import Problem
from seccompgen.core.releases import Release
from seccompgen.policy.expressions import ExpressionError, parse_condition, parse_value
from seccompgen.policy.form import (
    boolean,
    key,
    list_of,
    mapping_of,
    maybe,
    parsed,
    required_key,
    section,
    text,
)
from seccompgen.policy.groups import check_own_name, is_mention

if TYPE_CHECKING:
    from seccompgen.policy.document import Document, Path
    from seccompgen.policy.form import Fault

_MOST_ERRORS = 200
"""The most errors of one file that are explained."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KERNEL = re.compile(r"v[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
_FIRST_FILTERS = Release(3, 5)
_TOML = re.compile(r"^[ \t]*\w+[ \t]*=", re.M)


def _parse_name(text: object) -> object:
    """Return the name of a call; of a number, its text."""
    if isinstance(text, int) and not isinstance(text, bool):
        if not -1 <= text <= U32:
            raise ValueError(f"{text} is not the number of a system call: -1 to 2**32-1")
        return str(text)
    if isinstance(text, str) and not _NAME.fullmatch(text):
        hint = "; a group stands under 'names'" if is_mention(text) else ""
        if "*" in text:
            hint = "; there are no patterns: name the calls, or a group such as '@basic-io'"
        elif " " in text.strip():
            hint = "; write a comma between names"
        elif "(" in text:
            hint = f"; write {text.partition('(')[0]}"
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


def _number(value: object, path: Path, faults: list[Fault]) -> object:
    """Check a number, or the text of a value with constants in it."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            parse_value(value)
        elif not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{path[-1]!r} must be a whole number or a constant, not {value!r}")
        elif not -(1 << 63) <= value <= U64:
            raise ValueError(f"{path[-1]!r} must be -2**63 to 2**64-1, not {value}")
        return value

    return parsed(parse)(value, path, faults)


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


def _parse_width(value: object) -> object:
    if not isinstance(value, int | float) or value not in {32, 64}:
        raise ValueError(f"'width' must be 32 or 64, not {value!r}")
    return int(value)


_action = parsed(Action.parse)
_arches = maybe(list_of(text, least=1))
_when = maybe(parsed(_parse_when, text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One condition on one argument."""

    argument: int | str = key(parsed(_parse_argument), 0)
    operation: Op = required_key(parsed(Op.parse))
    value: int | str = key(_number, 0)
    mask: int | str | None = key(_number)
    width: Literal[32, 64] | None = key(maybe(parsed(_parse_width)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NameWithArgs:
    """A system call with conditions, all of which must hold."""

    name: str = required_key(parsed(_parse_name, text))
    arguments: list[Argument] | None = key(maybe(list_of(section(Argument), least=1)))
    when: str | None = key(_when)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """System calls that share an action, for ``arches`` only where it says so.

    ``when`` must hold for all of them, beside what an entry says of its own.
    """

    action: Action = required_key(_action)
    names: list[str] = key(list_of(parsed(_parse_item, text)), [])
    names_with_args: list[NameWithArgs] = key(list_of(section(NameWithArgs)), [])
    when: str | None = key(_when)
    arches: list[str] | None = key(_arches)
    multiplexed: Action | None = key(maybe(_action))
    optional: bool = key(boolean, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """A policy file; all keys optional here, since an included file may leave them out."""

    description: str | None = key(maybe(text))
    arches: list[str] | None = key(_arches)
    compat_arches: list[str] | None = key(maybe(list_of(text)))
    kernel: Release | None = key(maybe(parsed(parse_kernel)))
    default_action: Action | None = key(maybe(_action))
    unknown_action: Action | None = key(maybe(_action))
    bad_arch_action: Action | None = key(maybe(_action))
    no_new_privs: bool | None = key(maybe(boolean))
    flags: list[FilterFlag] | None = key(maybe(list_of(parsed(FilterFlag.one))))
    install_on_import: bool | None = key(maybe(boolean))
    multiplexed: Action | None = key(maybe(_action))
    include: list[str] = key(list_of(text), [])
    groups: dict[str, list[str]] = key(
        mapping_of(check_own_name, list_of(parsed(_parse_member, text), least=1)), {}
    )
    syscalls: list[Group] | None = key(maybe(list_of(section(Group))))


_policy = section(PolicyFile)


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
        if isinstance(data, str) and _TOML.search(document.text):
            text += "; if this is TOML, end the file's name in .toml"
        raise InputError(Diagnostic(text, document.position(base), Problem.WRONG_VALUE))
    faults: list[Fault] = []
    result: PolicyFile | None = _policy(data, base, faults)
    if faults:
        raise InputError(*_explained(faults, document))
    assert result is not None
    problems = _combinations(result, base, document)
    if problems:
        raise InputError(*problems)
    return result, base


def _explained(faults: list[Fault], document: Document) -> list[Diagnostic]:
    """Return the errors by position; beyond a limit, their number only."""
    found = {one for fault in faults[:_MOST_ERRORS] for one in _explain(fault, document)}
    told = sorted(found, key=_by_position)
    if len(faults) > _MOST_ERRORS:
        more = f"{len(faults) - _MOST_ERRORS} more errors in this file"
        told.append(Diagnostic(more, Position(document.file), Problem.TOO_MANY_ERRORS))
    return told


def _by_position(diagnostic: Diagnostic) -> tuple[int, int, str]:
    where = diagnostic.position
    return (where.line, where.column, diagnostic.message) if where else (0, 0, diagnostic.message)


def _explain(fault: Fault, document: Document) -> list[Diagnostic]:
    """Return the error, or all that is wrong with an expression, each at its own place."""
    if isinstance(fault.error, ExpressionError):
        place = document.places(fault.path, str(fault.value))
        kind = Problem.WRONG_EXPRESSION
        return [Diagnostic(said, place(at), kind) for said, at in fault.error.faults]
    find = document.key_position if fault.of_key else document.position
    return [Diagnostic(fault.text, find(fault.path), fault.kind)]


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
