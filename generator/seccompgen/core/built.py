"""A policy with its proved programs, and the names of its files."""

from __future__ import annotations

import keyword
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.objective import DEFAULT_OBJECTIVE, Objective

if TYPE_CHECKING:
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.ring import BuiltRings

_RESERVED = {
    "_runtime",
    "_questions",
    "_explain",
    "_io_uring",
    "notification",
    "tables",
    "__init__",
}
_DEVICES = frozenset(
    ("aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)


def is_device(name: str) -> bool:
    """Return True if ``name``, with any extension, is reserved for a device on Windows.

    A repository with such a file or directory cannot be checked out on Windows. Go refuses such
    names in import paths on every system.
    """
    stem = unicodedata.normalize("NFKC", name).partition(".")[0]
    return stem.strip().casefold() in _DEVICES


def module_name(policy_name: str) -> str:
    """Return the name of a policy's module: the policy's, with ``_`` for each ``-`` and ``.``."""
    # An import statement looks for a file under the NFKC form of the name.
    return unicodedata.normalize("NFKC", policy_name).replace("-", "_").replace(".", "_")


def is_module_name(name: str) -> bool:
    """Return True if a filter module may be called ``name``: no module of our own is."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in _RESERVED


class Built(NamedTuple):
    """A policy with its programs, the notes about it, and its objective.

    ``warnings`` are the findings of lint (`build_policies`). ``unit_lines`` are the settings and
    comments of a systemd drop-in in addition to its list of calls. ``losses`` are sentences about
    what the policy lost for its format, as the user accepted. ``rings`` has for each of
    ``programs`` what belongs to the policy's section ``io_uring``; empty without one.
    """

    policy: ResolvedPolicy
    programs: tuple[CompiledProgram, ...]
    notes: tuple[Diagnostic, ...]
    objective: Objective = DEFAULT_OBJECTIVE
    warnings: tuple[Diagnostic, ...] = ()
    unit_lines: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    rings: tuple[BuiltRings, ...] = ()

    @property
    def module_name(self) -> str:
        """The name of the policy's module."""
        return module_name(self.policy.name)
