"""Filters in the languages of the applications that install them.

Each module of this package is a language, named as in ``build --format``. Its `LANGUAGE` writes
filters with a template. There is no other list of languages: `NAMES` are the modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables

DEFAULT = "python"
NAMES = (DEFAULT, *sorted({one.name for one in iter_modules(__path__)} - {DEFAULT}))


@dataclass(frozen=True, slots=True)
class Language:
    """A language, and the ``page`` of docs/ that shows its filters in use.

    ``write`` returns the files of a filter by their paths below the directory of all filters. It
    raises InputError if the language cannot express the filter. ``targets`` maps the Linux ABIs
    that it compiles for to their name or condition in the language; None means every ABI. With
    ``filters_rings`` its filters may have a section ``io_uring``.
    """

    write: Callable[[Built, Tables], dict[str, bytes]]
    page: str
    targets: Mapping[str, str] | None = None
    filters_rings: bool = False

    def has(self, abi: str) -> bool:
        """Return True if filters in this language have programs for ``abi``."""
        return self.targets is None or abi in self.targets


def language(name: str) -> Language:
    """Return the language called ``name``, one of `NAMES`."""
    found: Language = import_module(f"{__name__}.{name}").LANGUAGE
    return found
