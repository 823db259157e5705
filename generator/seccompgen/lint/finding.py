"""Findings: what lint says of a filter, as frozen values that carry a call to show it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.core.problems import Problem
    from seccompgen.verify.call import Call


class Severity(Enum):
    """The weight of a finding.

    An error makes a promise of the filter false, whatever its author wants. A warning does if the
    author wants what filters of this kind are for. A note is worth knowing.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the weightiest."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Witness:
    """A call, and the SECCOMP_RET value with which the filter answers it."""

    call: Call
    ret: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a filter, or looks so, and how to mend it.

    ``abis`` are the ABIs, by name, through which the calls are made that it is about. ``witness``
    is a call that shows it; ``beside`` is one that should be answered like it, and is not.
    ``position`` is the rule, or None where there is no policy; then ``instruction`` is the place in
    the program for the first of ``programs``, if there is one. ``permitting`` is the rule that
    permits what another refuses, if that is about a call of its own.
    """

    kind: Problem
    severity: Severity
    message: str
    fix: str
    abis: tuple[str, ...] = ()
    position: Position | None = None
    witness: Witness | None = None
    beside: Witness | None = None
    instruction: int | None = None
    programs: tuple[str, ...] = ()
    permitting: Position | None = None
