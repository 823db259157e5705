"""Findings of lint, as frozen values, each with a call that shows the mistake."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.core.problems import Problem, RuleCode
    from seccompgen.verify.call import Call


class Severity(Enum):
    """The severity of a finding.

    An error breaks a promise of the filter, whatever its author intends. A warning breaks one if
    the author intends what such filters are for. A note is worth knowing.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the most severe."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Witness:
    """A call, and the SECCOMP_RET value with which the filter answers it."""

    call: Call
    ret: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A probable mistake in a filter, and how to correct it.

    The calls in question are made through ``abis``, by name. ``witness`` is a call that shows the
    mistake; ``beside`` is a call that should get the same answer but gets another. ``position`` is
    that of the rule, or None without a policy; then ``instruction`` is an index into the program
    for the first of ``programs``. ``permitting`` is the rule for the witness if ``position`` is
    another one.
    """

    kind: Problem | RuleCode
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
