"""Forms of values, lists and mappings in a document; a check reports all errors at once.

A check takes a value, its path, and a list to which it adds faults. It returns the parsed value;
the result is undefined if it added a fault. Types are strict: nothing is converted.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, dataclass_transform

from seccompgen.core.errors import did_you_mean
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.policy.document import Path

_SHOWN = 40
"""The most characters of a wrong value that a message shows."""


_T = TypeVar("_T")
NO_SCHEMA: Mapping[str, Any] = MappingProxyType({})


class Fault(NamedTuple):
    """An error in the value at ``path``, or in its key if ``of_key``.

    ``error`` is the error that a parser raised, if any.
    """

    path: Path
    value: object
    text: str
    kind: Problem = Problem.WRONG_VALUE
    of_key: bool = False
    error: ValueError | None = None


Check: TypeAlias = "Callable[[object, Path, list[Fault]], Any]"


class ValueForm(NamedTuple):
    """The form of a value: its check, and the equivalent JSON Schema for editors."""

    check: Check
    schema: Mapping[str, Any] = NO_SCHEMA


class Key(NamedTuple):
    """The declaration of a key: the form of its value, and a sentence that explains it.

    ``otherwise`` explains the default. ``absent`` is the value for a file without the key, if the
    Python field has no default.
    """

    form: ValueForm
    help: str = ""
    otherwise: str = ""
    absent: object = None


def key(
    form: ValueForm,
    help: str = "",  # noqa: A002 - the field's own word
    otherwise: str = "",
    *,
    absent: object = None,
    default: Any = dataclasses.MISSING,
    kw_only: bool = True,
) -> Any:
    """Return a field of a class `with_keys`; the parameters are those of `Key` and of a field."""
    metadata = {"key": Key(form, help, otherwise, absent)}
    return dataclasses.field(default=default, kw_only=kw_only, metadata=metadata)


def defined(name: str) -> Mapping[str, str]:
    """Return a reference to a definition in the JSON Schema, as built by `json_schema`."""
    return {"$ref": f"#/$defs/{name}"}


class PolicyValue:
    """A part of a policy; it stores lists as tuples, and its repr omits defaults."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):  # type: ignore[arg-type] # subclasses are dataclasses
            value = getattr(self, one.name)
            if isinstance(value, list):
                object.__setattr__(self, one.name, tuple(value))

    def __repr__(self) -> str:
        """Render as a Python expression for an equal value."""
        shown = []
        for one in sorted(dataclasses.fields(self), key=lambda one: one.kw_only is True):  # type: ignore[arg-type] # as above
            value = getattr(self, one.name)
            if value == one.default:
                continue
            shown.append(f"{one.name}={value!r}" if one.kw_only else repr(value))
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass_transform(field_specifiers=(key,), kw_only_default=True, frozen_default=True)
def with_keys(kind: type[_T]) -> type[_T]:
    """Make ``kind`` a frozen dataclass of keys, with the ``__repr__`` of its base class."""
    return dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)(kind)


def keys_of(section: type) -> dict[str, Key]:
    """Return the keys that a class declares."""
    found = dataclasses.fields(section)
    return {one.name: one.metadata["key"] for one in found if "key" in one.metadata}


def needed_keys(section: type) -> list[str]:
    """Return the required keys of a class."""
    return [
        one.name
        for one in dataclasses.fields(section)
        if one.default is dataclasses.MISSING and one.metadata["key"].absent is None
    ]


def parsed(
    parse: Callable[[object], object],
    schema: Mapping[str, Any] = NO_SCHEMA,
    then: ValueForm | None = None,
) -> ValueForm:
    """Return a form that ``parse`` reads or refuses by ValueError; ``then`` checks the result."""

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        try:
            found = parse(value)
        except ValueError as error:
            faults.append(Fault(path, value, str(error), error=error))
            return None
        return then.check(found, path, faults) if then else found

    return ValueForm(check, schema)


def _check_text(value: object, path: Path, faults: list[Fault]) -> Any:
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    faults.append(Fault(path, value, f"{_name(path)} must be text, not {_short(value)}"))
    return None


def _check_boolean(value: object, path: Path, faults: list[Fault]) -> Any:
    if not isinstance(value, bool):
        said = f"{_name(path)} must be true or false, not {_short(value)}"
        faults.append(Fault(path, value, said))
    return value


text = ValueForm(_check_text, {"type": "string"})
boolean = ValueForm(_check_boolean, {"type": "boolean"})


def maybe(form: ValueForm) -> ValueForm:
    """Return a form that accepts None as well."""

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        return None if value is None else form.check(value, path, faults)

    return ValueForm(check, form.schema)


def list_of(item: ValueForm, least: int = 0) -> ValueForm:
    """Return the form of a list of at least ``least`` items, which becomes a tuple."""

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        if not isinstance(value, list):
            said = f"{_name(path)} must be a list, not {_short(value)}"
            hint = f": write [{value}]" if isinstance(value, str | int) and value != "" else ""
            hint = ": write - before it, for an item" if isinstance(value, dict) else hint
            faults.append(Fault(path, value, f"{said}{hint}"))
            return None
        if len(value) < least:
            faults.append(Fault(path, value, f"{_name(path)} must not be empty"))
        return tuple(item.check(one, (*path, place), faults) for place, one in enumerate(value))

    minimum = {"minItems": least} if least else {}
    return ValueForm(check, {"type": "array", "items": item.schema, **minimum})


def mapping_of(
    parse: Callable[[str], object], item: ValueForm, schema: Mapping[str, Any] = NO_SCHEMA
) -> ValueForm:
    """Return the form of a mapping whose keys ``parse`` reads or refuses by ValueError.

    ``schema`` is the JSON Schema of a key.
    """

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
                found[parse(own)] = item.check(content, place, faults)
            except ValueError as error:
                faults.append(Fault(place, own, str(error), of_key=True))
                item.check(content, place, faults)
        return found

    names = {"propertyNames": schema} if schema else {}
    return ValueForm(check, {"type": "object", **names, "additionalProperties": item.schema})


def keyed(keys: Mapping[str, Key], needed: Sequence[str] = ()) -> Check:
    """Return the check of a mapping with these keys; it drops optional keys without a value."""
    known = ", ".join(keys)
    absent = {name: one.absent for name, one in keys.items() if one.absent is not None}

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            faults.append(_no_mapping(value, path, needed))
            return None
        faults += (
            Fault(path, value, f"{name!r} is missing", Problem.MISSING_KEY)
            for name in needed
            if name not in value
        )
        found = {
            name: one.form.check(value[name], (*path, name), faults)
            for name, one in keys.items()
            if name in value
        }
        for name in value:
            if name not in keys:
                near = did_you_mean(str(name), keys) or f"; known: {known}"
                said = f"unknown key {name!r}{near}"
                faults.append(Fault((*path, name), value[name], said, Problem.UNKNOWN_KEY, True))
        set_ones = {name: one for name, one in found.items() if one is not None or name in needed}
        return absent | set_ones

    return check


def section(form: type, schema: Mapping[str, Any] = NO_SCHEMA) -> ValueForm:
    """Return the form of a mapping that becomes an instance of ``form``, a dataclass of keys."""
    read = keyed(keys_of(form), needed_keys(form))

    def check(value: object, path: Path, faults: list[Fault]) -> Any:
        before = len(faults)
        found = read(value, path, faults)
        return form(**found) if len(faults) == before else None

    return ValueForm(check, schema)


def _no_mapping(value: object, path: Path, needed: Sequence[str] = ()) -> Fault:
    what = f"a mapping with {' and '.join(needed)}" if needed else "a mapping"
    return Fault(path, value, f"{_name(path)} must be {what}, not {_short(value)}")


def _name(path: Path) -> str:
    return f"'{path[-1]}'" if path and isinstance(path[-1], str) else "an item here"


def _short(value: object) -> str:
    shown = "nothing" if value is None else repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
