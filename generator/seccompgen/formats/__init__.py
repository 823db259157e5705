"""Policies in other tools' formats: one package per format.

A package declares itself (`declaration.Format`) and has a ``reader``, a ``writer`` or both. There
is no other list of formats: command line, detection and tests ask this room.

A reader translates a text into a `Draft`, which is checked and resolved like any policy: its rules
get no second meaning. A construct that our language cannot express is an error at its position; it
is never dropped. A writer's output is read back and proved before it becomes a file.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.formats.declaration import Format
    from seccompgen.formats.load import (
        filter_names,
        load_policy,
        load_policy_for,
        names_no_abi,
        policy_files,
        translate,
    )

FORMATS: dict[str, Format] = {
    one.name: import_module(f"{__name__}.{one.name}").FORMAT
    for one in iter_modules(__path__)
    if one.ispkg
}
READABLE = tuple(name for name in FORMATS if find_spec(f"{__name__}.{name}.reader"))
"""The formats that policies are read from, in addition to ours."""
WRITABLE = tuple(name for name in FORMATS if find_spec(f"{__name__}.{name}.writer"))
"""The formats that filters are written in for other tools."""
AMENDABLE = tuple(name for name in FORMATS if find_spec(f"{__name__}.{name}.editor"))
"""The formats whose files can be changed in place, in addition to ours."""


__all__ = [
    "AMENDABLE",
    "FORMATS",
    "READABLE",
    "WRITABLE",
    "filter_names",
    "load_policy",
    "load_policy_for",
    "names_no_abi",
    "policy_files",
    "translate",
]


def __getattr__(name: str) -> object:
    """Import `load` when one of its names is first used: the import is slow."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from seccompgen.formats import load  # noqa: PLC0415

    return getattr(load, name)
