"""The declaration of a format: what its package says of it as a whole."""

from __future__ import annotations

from typing import NamedTuple

NEVER = "(?!)"
"""The pattern that nothing has."""


class Format(NamedTuple):
    """A format of policy files; its package is named as the command line names it.

    ``title`` and ``meaning`` are its row in docs/formats.md: what people call it, with a link to
    its section, and whose program gives its files their meaning. ``signs`` are patterns that only
    texts of this format have; a text of a lower ``precedence`` may quote any of a higher one.
    ``names_abis`` is a pattern of files that say their ABIs; by default all do. With ``several``, a
    file may have more than one filter, and the reader has ``filter_names``.
    """

    title: str
    meaning: str
    signs: tuple[str, ...] = ()
    precedence: int = 2
    names_abis: str = ""
    several: bool = False
