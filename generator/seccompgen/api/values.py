"""Policies as values in a program, read from files and written to files.

They have the names and the meaning of the keys of a policy file: `document_of` passes them to the
checks for files. So construction does not fail, and errors are reported like those of a file, all
at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import Action, Op
from seccompgen.core.problems import Problem
from seccompgen.core.ring import Without
from seccompgen.core.settings import FilterFlag
from seccompgen.policy.keys import (
    POLICY_KEYS,
    Condition,
    InstallKeys,
    NamedGroup,
    NameWithConditions,
    Policy,
    SyscallGroup,
)
from seccompgen.policy.ring_keys import IoUring, OperationGroup
from seccompgen.policy.yaml_text import policy_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.policy.document import Document

_Path: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True, slots=True, repr=False)
class Filter(InstallKeys):
    """A policy and its settings for installation: the whole content of a policy file.

    Without ``no_new_privs``, the kernel requires CAP_SYS_ADMIN. A module with ``install_on_import``
    needs no call of its install().
    """

    policy: Policy

    def install(self) -> int:
        """Compile the filter and install it for the calling thread; it cannot be removed.

        With TSYNC every thread of the process is confined. Returns the listener's descriptor with
        NEW_LISTENER, and -1 otherwise. Applications should build instead: docs/library.md says why.

        Raises InputError with every error of the policy, and SeccompError if the filter cannot be
        installed; then none is in force.
        """
        from seccompgen.api.install import install  # noqa: PLC0415 - the compiler, and the runtime

        return install(self)

    def to_yaml(self) -> str:
        """Return the text of an equivalent policy file; equal values give equal text.

        Raises InputError for values of a wrong form; other mistakes, such as unknown names, are
        written as they are.
        """
        from seccompgen.policy.schema import validate  # noqa: PLC0415 - takes what reads files

        document = document_of(self)
        validate(document)
        return policy_text(document.data)


def document_of(value: Policy | Filter) -> Document:
    """Return ``value`` as a document, whose positions are paths in ``value``.

    Raises InputError, with the position, for text or groups that no file can contain.
    """
    from seccompgen.policy.document import Document  # noqa: PLC0415 - takes what reads files

    whole = whole_of(value)
    data, places = _data(whole)
    if isinstance(value, Policy):
        places = {path: where[where[:1] == ("policy",) :] for path, where in places.items()}
    positions = {path: Position(whole.policy.name, path=where) for path, where in places.items()}
    prefix = () if isinstance(value, Policy) else ("policy",)
    repeated = [
        Diagnostic(
            f"@{name} is defined already",
            Position(whole.policy.name, path=(*prefix, "groups", i, "name")),
            Problem.REPEATED_GROUP,
        )
        for i, name in _repeated(whole.policy.groups)
    ]
    torn = [positions[path] for path, text in _texts(data, ()) if not _is_text(text)]
    text = "half of a surrogate pair"
    problems = [Diagnostic(text, where, Problem.WRONG_VALUE) for where in torn]
    if problems or repeated:
        raise InputError(*problems, *repeated)
    return Document(whole.policy.name, data, {}, positions)


def whole_of(value: Policy | Filter) -> Filter:
    """Return ``value`` as a filter; a policy gets the default settings for installation."""
    return value if isinstance(value, Filter) else Filter(value)


def _data(whole: Filter) -> tuple[dict[str, Any], dict[_Path, _Path]]:
    """Return the data of a file for ``whole``, and the path in ``whole`` of each part of it."""
    data: dict[str, Any] = {}
    places: dict[_Path, _Path] = {(): ()}
    for owner, where in ((whole.policy, ("policy",)), (whole, ())):
        for key, value in _said(owner):
            if key == "groups":
                data[key] = _groups(value, (*where, key), places)
            elif key in POLICY_KEYS:
                data[key] = _plain(value, (key,), (*where, key), places)
    return data, places


def _groups(groups: Any, where: _Path, places: dict[_Path, _Path]) -> Any:
    """Return the groups in the form of a file, and add their paths to ``places``."""
    if not all(isinstance(one, NamedGroup) for one in groups):
        return _plain(groups, ("groups",), where, places)
    places["groups",] = where
    return {
        one.name: _plain(one.members, ("groups", one.name), (*where, i, "members"), places)
        for i, one in enumerate(groups)
    }


def _repeated(groups: Any) -> Iterator[tuple[int, str]]:
    """Yield index and name of each group whose name an earlier one has; files cannot express it."""
    names = [one.name for one in groups if isinstance(one, NamedGroup)]
    yield from ((i, name) for i, name in enumerate(names) if name in names[:i])


def _said(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value that do not have their defaults."""
    for one in fields(value):
        said = getattr(value, one.name)
        if type(said) is not type(one.default) or said != one.default:
            yield one.name, said


def _plain(value: Any, path: _Path, where: _Path, places: dict[_Path, _Path]) -> Any:
    """Return a part of a policy in the form of a file, and add its path to ``places``."""
    places[path] = where
    match value:
        case Action(kind=kind, data=data):
            # Keep data that the action does not take, so that the check can report it.
            return f"{value}({data})" if data and not kind.takes_data else str(value)
        case Op():
            return str(value)
        case FilterFlag():
            rest = value & ~sum(FilterFlag)
            return [*value.names, *([hex(rest)] if rest else [])]
        case Without():
            return value.value
        case Condition() | NameWithConditions() | SyscallGroup() | IoUring() | OperationGroup():
            return {
                key: _plain(said, (*path, key), (*where, key), places) for key, said in _said(value)
            }
        case list() | tuple():
            return [_plain(one, (*path, i), (*where, i), places) for i, one in enumerate(value)]
        case int() if not isinstance(value, bool):
            return int(value)
    return value


def _texts(data: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Yield every text in ``data``, with the path to it."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, (*path, key))


def _is_text(text: str) -> bool:
    """Return True if UTF-8 can encode ``text``: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
