"""Policies as values that a program makes, read from files and written to them.

They say what a policy file says, by the same names, and have no meaning of their own: `document_of`
hands them to the checks that files go through. So a wrong value can be made, and is reported like
a wrong file, with all other errors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import Action, FilterFlag, Op
from seccompgen.core.problems import Problem
from seccompgen.policy.keys import (
    POLICY_KEYS,
    Condition,
    InstallKeys,
    NamedGroup,
    NameWithConditions,
    Policy,
    SyscallGroup,
)
from seccompgen.policy.yaml_text import policy_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.policy.document import Document

_Path: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True, slots=True, repr=False)
class Filter(InstallKeys):
    """A policy and how it is installed: all that a policy file says.

    Without ``no_new_privs``, the kernel wants CAP_SYS_ADMIN. A module with ``install_on_import``
    needs no call of its install().
    """

    policy: Policy

    def install(self) -> int:
        """Compile the filter, and put it in force for the calling thread; it cannot be taken back.

        With TSYNC every thread of the process is confined. Returns the listener's descriptor with
        NEW_LISTENER, and -1 otherwise. For applications, build: docs/library.md says why.

        Raises InputError with everything that is wrong, SeccompError, with no filter in force,
        where anything else is in the way.
        """
        from seccompgen.api.install import install  # noqa: PLC0415 - the compiler, and the runtime

        return install(self)

    def to_yaml(self) -> str:
        """Return the text of a policy file that says the same; equal values give equal text.

        Raises InputError for what no file can say; other mistakes are in the text, too.
        """
        from seccompgen.policy.schema import validate  # noqa: PLC0415 - takes what reads files

        document = document_of(self)
        validate(document)
        return policy_text(document.data)


def document_of(value: Policy | Filter) -> Document:
    """Return ``value`` as the content of a policy file, positions being places in it.

    Raises InputError, with the place, for text that no file holds.
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
    """Return ``value`` as a filter: a policy is installed as one without settings would be."""
    return value if isinstance(value, Filter) else Filter(value)


def _data(whole: Filter) -> tuple[dict[str, Any], dict[_Path, _Path]]:
    """Return what a file says for ``whole``, and the place in ``whole`` of each part of it."""
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
    """Return the groups as a file has them, and enter their places into ``places``."""
    if not all(isinstance(one, NamedGroup) for one in groups):
        return _plain(groups, ("groups",), where, places)
    places["groups",] = where
    return {
        one.name: _plain(one.members, ("groups", one.name), (*where, i, "members"), places)
        for i, one in enumerate(groups)
    }


def _repeated(groups: Any) -> Iterator[tuple[int, str]]:
    """Yield the groups, by index and name, whose names are taken: a file cannot say that."""
    names = [one.name for one in groups if isinstance(one, NamedGroup)]
    yield from ((i, name) for i, name in enumerate(names) if name in names[:i])


def _said(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value that do not have their defaults."""
    for one in fields(value):
        said = getattr(value, one.name)
        if type(said) is not type(one.default) or said != one.default:
            yield one.name, said


def _plain(value: Any, path: _Path, where: _Path, places: dict[_Path, _Path]) -> Any:
    """Return a part of a policy as a file has it, and enter its place into ``places``."""
    places[path] = where
    match value:
        case Action(kind=kind, data=data):
            # What takes no data must not lose it on the way to who says so.
            return f"{value}({data})" if data and not kind.takes_data else str(value)
        case Op():
            return str(value)
        case FilterFlag():
            rest = value & ~sum(FilterFlag)
            return [*value.names, *([hex(rest)] if rest else [])]
        case Condition() | NameWithConditions() | SyscallGroup():
            return {
                key: _plain(said, (*path, key), (*where, key), places) for key, said in _said(value)
            }
        case list() | tuple():
            return [_plain(one, (*path, i), (*where, i), places) for i, one in enumerate(value)]
        case int() if not isinstance(value, bool):
            return int(value)
    return value


def _texts(data: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Yield every text in ``data``, and the way to it."""
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
