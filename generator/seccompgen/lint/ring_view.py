"""The section ``io_uring`` of a filter, as the rules of lint ask about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.program import INSTRUCTION_SIZE
from seccompgen.kernel.ring_operations import ring_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.ring import RingRule


@dataclass(frozen=True)
class RingView:
    """The permitted operations of rings on one ABI, by name; True: whatever their fields are.

    ``rules`` are those of a policy; a program has none.
    """

    permitted: Mapping[str, bool]
    rules: tuple[RingRule, ...] = ()

    def rules_of(self, operation: str) -> tuple[RingRule, ...]:
        """Return the rules about one operation, in their order."""
        return tuple(one for one in self.rules if one.operation.name == operation)

    def position(self, operation: str) -> Position | None:
        """Return the position of the first rule that permits ``operation``; None in a program."""
        found = (one.origin.position for one in self.rules_of(operation) if one.permits)
        return next(found, None)

    def does(self, call: str) -> Iterator[str]:
        """Yield the permitted operations that do the same as a system call, without its rules."""
        mirrored = {one.operation.name for one in self.rules if one.mirrored}
        for name, one in ring_numbers().operations.items():
            if name in self.permitted and name not in mirrored and call in one.calls:
                yield name


def ring_of_policy(policy: ResolvedPolicy | None, abi: Abi) -> RingView | None:
    """Return what rings may do under ``policy``; None if it has no section for them."""
    if policy is None or policy.io_uring is None:
        return None
    rules = policy.io_uring.rules_for(abi)
    permitted: dict[str, bool] = {}
    for operation in policy.io_uring.operations(abi):
        own = [one for one in rules if one.operation == operation]
        permitted[operation.name] = own[0].permits and not own[0].tests
    return RingView(permitted, rules)


def ring_of_module(value: object) -> RingView | None:
    """Return what rings may do under a module with ``value`` for them (`ring_source.RingValue`)."""
    names = {one.nr: name for name, one in ring_numbers().operations.items()}
    match value:
        case (_, tuple(operations), _, _, _):
            return RingView(
                {
                    names[one[0]]: len(one[2]) == INSTRUCTION_SIZE
                    for one in operations
                    if isinstance(one, tuple) and len(one) == 3 and one[0] in names
                }
            )
    return None
