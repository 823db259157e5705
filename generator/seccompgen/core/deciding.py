"""The part of a policy that decides a call, for reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import Origin

if TYPE_CHECKING:
    from seccompgen.core.errors import Position


@dataclass(frozen=True, slots=True)
class DecidingRule:
    """The part of a policy that decided a call, by its label and its position.

    ``condition`` is the condition of the rule that matched. If no rule matched, ``allowed`` is the
    condition under which the policy would allow the call. Both may be empty.
    """

    label: str
    position: Position
    condition: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        """Render with the position first, like every reference to a file."""
        label = f"{self.label}: {self.condition}" if self.condition else self.label
        allowed = f"; allowed where {self.allowed}" if self.allowed else ""
        return f"{self.position} ({label}{allowed})"

    def as_json(self) -> dict[str, object]:
        """Return the label, position and conditions as a value for JSON."""
        place = origin_json(Origin(self.label, self.position))
        return {**place, "condition": self.condition, "allowed": self.allowed}


def origin_json(origin: Origin) -> dict[str, object]:
    """Return the label and position of a part of a policy as a value for JSON."""
    return {
        "label": origin.label,
        "file": origin.position.file,
        "line": origin.position.line,
        "column": origin.position.column,
    }
