"""A depfile: the files that a build read, in the Makefile syntax that make and ninja share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\*?\[\]%;|=&<>]|^~|\)$")
"""Characters in file names that make and ninja interpret differently."""


def depfile(outputs: Iterable[Path], read: Iterable[Path]) -> bytes:
    """Return the rule ``outputs: read``, then a rule without a recipe for each file that was read.

    These rules let make continue if a file is gone (like gcc's -MP). Paths below the current
    directory are relative to it, as in build files. Raises InputError for each name that cannot be
    written so that both make and ninja read it.
    """
    targets, inputs = _names(outputs), _names(read)
    problems = [
        Diagnostic(
            f"make gives {found.group()!r} in a name a meaning of its own: rename the file, "
            "or build without --depfile",
            Position(name),
        )
        for name in (*targets, *inputs)
        if (found := _UNWRITABLE.search(name))
    ]
    if problems:
        raise InputError(*problems)
    names = [_escape(name) for name in inputs]
    rule = " \\\n  ".join([f"{' '.join(map(_escape, targets))}:", *names])
    return "\n".join([rule, *(f"{name}:" for name in names), ""]).encode()


def _names(paths: Iterable[Path]) -> list[str]:
    here = Path.cwd()
    return [str(p.relative_to(here) if p.is_relative_to(here) else p) for p in paths]


def _escape(name: str) -> str:
    """Escape as gcc does; no name contains a backslash."""
    return re.sub(r"([ #:])", r"\\\1", name.replace("$", "$$"))
