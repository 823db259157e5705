"""The declaration of a format, which its package holds as ``FORMAT``."""

from __future__ import annotations

from typing import NamedTuple

NEVER = "(?!)"
"""A pattern that matches nothing."""


class Format(NamedTuple):
    """A format of policy files; the command line calls it by the name of its package.

    ``title`` and ``meaning`` fill its row in docs/formats.md: its common name with a link to its
    section, and the program that defines what its files mean. ``signs`` are patterns that only
    texts of this format match, except that a text of a lower ``precedence`` may quote one of a
    higher precedence. ``names_abis`` is a pattern that matches files which name their ABIs; by
    default all files do. With ``several``, a file may hold more than one filter, and the reader has
    ``filter_names``.
    """

    title: str
    meaning: str
    signs: tuple[str, ...] = ()
    precedence: int = 2
    names_abis: str = ""
    several: bool = False
