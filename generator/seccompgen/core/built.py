"""A policy with its proved programs, and the names that its files have."""

from __future__ import annotations

import keyword
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.objective import DEFAULT_OBJECTIVE, Objective

if TYPE_CHECKING:
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram

_RESERVED = {"_runtime", "_questions", "_explain", "notification", "tables", "__init__"}
_DEVICES = frozenset(
    ("aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)


def is_device(name: str) -> bool:
    """Return True if Windows takes a file of that name for a device, whatever its name ends in.

    Where such a file or directory is in a repository, nobody can check it out there. Go refuses
    it in import paths on every system.
    """
    stem = unicodedata.normalize("NFKC", name).partition(".")[0]
    return stem.strip().casefold() in _DEVICES


def module_name(policy_name: str) -> str:
    """Return the name of a policy's module: the file's, an underscore for what Python forbids."""
    # An import looks for the file of a name's NFKC form, however the name is written.
    return unicodedata.normalize("NFKC", policy_name).replace("-", "_").replace(".", "_")


def is_module_name(name: str) -> bool:
    """Return True if a filter module may have that name, which no module of our own has."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in _RESERVED


class Built(NamedTuple):
    """A policy with its programs, the notes about it, and its objective.

    ``warnings`` are what lint finds doubtful (`build_policies`). ``unit_lines`` are settings, and
    comments, that a drop-in for systemd has besides its list.
    """

    policy: ResolvedPolicy
    programs: tuple[CompiledProgram, ...]
    notes: tuple[Diagnostic, ...]
    objective: Objective = DEFAULT_OBJECTIVE
    warnings: tuple[Diagnostic, ...] = ()
    unit_lines: tuple[str, ...] = ()

    @property
    def module_name(self) -> str:
        """The name of its module."""
        return module_name(self.policy.name)
