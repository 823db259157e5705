"""The check of a policy file's form: types, ranges and spellings, all errors at once.

`keys` declares the form. Checks that need tables or other files are in `resolve`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.policy.expressions import ExpressionError
from seccompgen.policy.form import keyed
from seccompgen.policy.keys import POLICY_KEYS, argument_faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.policy.document import Document, Path
    from seccompgen.policy.form import Fault
    from seccompgen.policy.keys import SyscallGroup

_MOST_ERRORS = 200
"""The most errors of one file that are reported."""
_TOML = re.compile(r"^[ \t]*\w+[ \t]*=", re.M)
_check = keyed(POLICY_KEYS)


def validate(document: Document) -> tuple[dict[str, Any], Path]:
    """Check ``document``; return the values of its keys, and the path of the section with them.

    Raises InputError with every error of the file.
    """
    data = document.data
    base: Path = ()
    if isinstance(data, dict) and "seccomp" in data:
        text = "{!r} is outside 'seccomp:', so it would be ignored; move it into that section"
        outside = [
            Diagnostic(text.format(key), document.key_position((key,)), Problem.MISPLACED_KEY)
            for key in data
            if key != "seccomp"
        ]
        if outside:
            raise InputError(*outside)
        data, base = data["seccomp"], ("seccomp",)
    if not isinstance(data, dict):
        text = "a policy is a mapping with default_action and syscalls"
        if isinstance(data, str) and _TOML.search(document.text):
            text += "; if this is TOML, end the file's name in .toml"
        raise InputError(Diagnostic(text, document.position(base), Problem.WRONG_VALUE))
    faults: list[Fault] = []
    result: dict[str, Any] = _check(data, base, faults)
    if faults:
        raise InputError(*_explained(faults, document))
    problems = _combinations(result, base, document)
    if problems:
        raise InputError(*problems)
    return result, base


def _explained(faults: list[Fault], document: Document) -> list[Diagnostic]:
    """Return the errors sorted by position; beyond a limit, only their number."""
    found = {one for fault in faults[:_MOST_ERRORS] for one in _explain(fault, document)}
    shown = sorted(found, key=_by_position)
    if len(faults) > _MOST_ERRORS:
        more = f"{len(faults) - _MOST_ERRORS} more errors in this file"
        shown.append(Diagnostic(more, Position(document.file), Problem.TOO_MANY_ERRORS))
    return shown


def _by_position(diagnostic: Diagnostic) -> tuple[int, int, str]:
    where = diagnostic.position
    return (where.line, where.column, diagnostic.message) if where else (0, 0, diagnostic.message)


def _explain(fault: Fault, document: Document) -> list[Diagnostic]:
    """Return the error, or all errors of an expression, each with its position."""
    if isinstance(fault.error, ExpressionError):
        place = document.places(fault.path, str(fault.value))
        kind = Problem.WRONG_EXPRESSION
        return [Diagnostic(said, place(at), kind) for said, at in fault.error.faults]
    find = document.key_position if fault.of_key else document.position
    return [Diagnostic(fault.text, find(fault.path), fault.kind)]


def _combinations(policy: dict[str, Any], base: Path, document: Document) -> list[Diagnostic]:
    """Return the errors of keys that need or exclude each other."""
    problems = []
    groups: Sequence[SyscallGroup] = policy.get("syscalls", ())
    for i, group in enumerate(groups):
        path = (*base, "syscalls", i)
        if not group.names and not group.names_with_args:
            message = "the group names no system call: fill names or names_with_args"
            problems.append(Diagnostic(message, document.position(path), Problem.EMPTY_GROUP))
        for j, entry in enumerate(group.names_with_args):
            if not entry.arguments and entry.when is None:
                message = "'arguments' is missing: say what must hold, there or in 'when'"
                where = document.position((*path, "names_with_args", j))
                problems.append(Diagnostic(message, where, Problem.MISSING_KEY))
            for k, argument in enumerate(entry.arguments):
                where = document.position((*path, "names_with_args", j, "arguments", k))
                problems += [
                    Diagnostic(text, where, Problem.WRONG_VALUE)
                    for text in argument_faults(argument)
                ]
    return problems
