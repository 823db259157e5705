"""The form of what a document says: checks of values, lists and mappings, all errors at once.

A check takes a value, the path to it, and the list that it adds faults to. It returns what the
value stands for, or anything where it found a fault. Types are strict: nothing is converted.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seccompgen.core.errors import did_you_mean
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.policy.document import Path

_SHOWN = 40
"""Characters of a wrong value that are shown."""


class Fault(NamedTuple):
    """One thing that is wrong with the value at ``path``, or with its key if ``of_key``.

    ``error`` is what a parser raised.
    """

    path: Path
    value: object
    text: str
    kind: Problem = Problem.WRONG_VALUE
    of_key: bool = False
    error: ValueError | None = None


Check: TypeAlias = "Callable[[object, Path, list[Fault]], Any]"


def key(check: Check, default: object = None) -> Any:
    """Return the field of a section whose key may be left out."""
    metadata = {"check": check}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=type(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def required_key(check: Check) -> Any:
    """Return the field of a section whose key must be there."""
    return dataclasses.field(metadata={"check": check})


def parsed(parse: Callable[[object], object], then: Check | None = None) -> Check:
    """Return a check by ``parse``, which raises ValueError, of which ``then`` checks the result."""

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        try:
            found = parse(value)
        except ValueError as error:
            faults.append(Fault(path, value, str(error), error=error))
            return None
        return then(found, path, faults) if then else found

    return check


def text(value: object, path: Path, faults: list[Fault]) -> Any:
    """Check that ``value`` is text."""
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    faults.append(Fault(path, value, f"{_name(path)} must be text, not {_short(value)}"))
    return None


def boolean(value: object, path: Path, faults: list[Fault]) -> Any:
    """Check that ``value`` is true or false."""
    if not isinstance(value, bool):
        said = f"{_name(path)} must be true or false, not {_short(value)}"
        faults.append(Fault(path, value, said))
    return value


def maybe(check: Check) -> Check:
    """Return a check that also takes nothing."""

    def either(value: object, path: Path, faults: list[Fault]) -> Any:
        return None if value is None else check(value, path, faults)

    return either


def list_of(item: Check, least: int = 0) -> Check:
    """Return the check of a list of at least ``least`` items."""

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        if not isinstance(value, list):
            said = f"{_name(path)} must be a list, not {_short(value)}"
            hint = f": write [{value}]" if isinstance(value, str | int) and value != "" else ""
            hint = ": write - before it, for an item" if isinstance(value, dict) else hint
            faults.append(Fault(path, value, f"{said}{hint}"))
            return None
        if len(value) < least:
            faults.append(Fault(path, value, f"{_name(path)} must not be empty"))
        return [item(one, (*path, place), faults) for place, one in enumerate(value)]

    return check


def tuple_of(item: Check) -> Check:
    """Return the check of a list whose items are kept in a tuple."""
    items = list_of(item)

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        return tuple(items(value, path, faults) or ())

    return check


def mapping_of(parse: Callable[[str], object], item: Check) -> Check:
    """Return the check of a mapping whose keys ``parse`` reads, which raises ValueError."""

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            faults.append(_no_mapping(value, path))
            return None
        found = {}
        for own, content in value.items():
            place = (*path, own)
            try:
                if not isinstance(own, str):
                    raise ValueError(f"a key must be text, not {_short(own)}")
                found[parse(own)] = item(content, place, faults)
            except ValueError as error:
                faults.append(Fault(place, own, str(error), of_key=True))
                item(content, place, faults)
        return found

    return check


def section(form: type) -> Check:
    """Return the check of a mapping as ``form``, a dataclass whose fields were made here."""
    fields = dataclasses.fields(form)
    checks = {one.name: one.metadata["check"] for one in fields}
    needed = [one.name for one in fields if is_required(one)]
    known = ", ".join(checks)

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            faults.append(_no_mapping(value, path, needed))
            return None
        before = len(faults)
        faults += (
            Fault(path, value, f"{name!r} is missing", Problem.MISSING_KEY)
            for name in needed
            if name not in value
        )
        found = {}
        for name, own in checks.items():
            if name in value:
                found[name] = own(value[name], (*path, name), faults)
        for name in value:
            if name not in checks:
                near = did_you_mean(str(name), checks) or f"; known: {known}"
                said = f"unknown key {name!r}{near}"
                faults.append(Fault((*path, name), value[name], said, Problem.UNKNOWN_KEY, True))
        return form(**found) if len(faults) == before else None

    return check


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Return True if the key of ``field`` must be there."""
    none = dataclasses.MISSING
    return field.default is none and field.default_factory is none


def _no_mapping(value: object, path: Path, needed: Sequence[str] = ()) -> Fault:
    what = f"a mapping with {' and '.join(needed)}" if needed else "a mapping"
    return Fault(path, value, f"{_name(path)} must be {what}, not {_short(value)}")


def _name(path: Path) -> str:
    return f"'{path[-1]}'" if path and isinstance(path[-1], str) else "an item here"


def _short(value: object) -> str:
    shown = "nothing" if value is None else repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
