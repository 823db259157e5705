"""Other people's policies: a package for each format, or a module where that is enough.

A reader translates a text into a `Draft`, which is checked and resolved as any policy is: there is
no second meaning. What our language cannot say is an error at its place, never dropped. What a
writer makes is read back and proved before it is a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.formats.load import (
        filter_names,
        load_policy,
        load_policy_for,
        names_no_abi,
        policy_files,
        translate,
    )

__all__ = [
    "filter_names",
    "load_policy",
    "load_policy_for",
    "names_no_abi",
    "policy_files",
    "translate",
]


def __getattr__(name: str) -> object:
    """Import what reads policies when it is used: that takes long."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from seccompgen.formats import load  # noqa: PLC0415

    return getattr(load, name)
