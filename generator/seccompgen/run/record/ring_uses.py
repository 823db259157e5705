"""Collect what rings of traced processes do: operations, registrations, what was not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.run.record.observations import RingsSeen

if TYPE_CHECKING:
    from seccompgen.run.record.observations import RingFields, SeenOperation

MOST_TOLD_APART = 256
"""The most uses of one operation that are told apart by their fields."""


class RingUses:
    """The uses that some processes made of rings.

    ``operations`` maps the ABI's name and the opcode to the fields that were seen, None if they
    were too many. ``unseen`` are reasons why it is not all. ``early`` is True if a ring was made
    before the startup marker.
    """

    def __init__(self) -> None:
        self.made = 0
        self.early = False
        self.operations: dict[tuple[str, int], set[RingFields] | None] = {}
        self.registered: set[int] = set()
        self.unseen: dict[str, None] = {}

    def add(self, abi: str, operation: SeenOperation) -> None:
        """Count an operation."""
        known = self.operations.setdefault((abi, operation.opcode), set())
        if known is not None:
            known.add(operation.fields)
            if len(known) > MOST_TOLD_APART:
                self.operations[abi, operation.opcode] = None

    def miss(self, why: str) -> None:
        """Note that something was not seen."""
        self.unseen[why] = None

    def begin_again(self) -> None:
        """Forget what was done before the marker; what is not seen of its rings remains."""
        self.early = self.early or self.made > 0
        self.operations.clear()
        self.registered.clear()

    def update(self, other: RingUses) -> None:
        """Add the uses of another process."""
        self.made += other.made
        self.early = self.early or other.early
        for (abi, opcode), fields in other.operations.items():
            known = self.operations.setdefault((abi, opcode), set())
            both = None if known is None or fields is None else known | fields
            self.operations[abi, opcode] = (
                both if both is not None and len(both) <= MOST_TOLD_APART else None
            )
        self.registered |= other.registered
        self.unseen |= other.unseen

    def seen(self) -> RingsSeen:
        """Return the uses as a value, in the order of opcodes."""
        return RingsSeen(
            self.made,
            self.early,
            {
                key: None if fields is None else frozenset(fields)
                for key, fields in sorted(self.operations.items(), key=lambda one: one[0])
            },
            tuple(sorted(self.registered)),
            tuple(self.unseen),
        )
