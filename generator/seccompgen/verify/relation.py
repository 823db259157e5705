"""The relation between the answers of two filters that a proof is about: equality, or permission.

Actions have the kernel's order, from KILL_PROCESS, the strictest, to ALLOW. An answer permits
if its action is one of those from ALLOW down to ``up_to``. A kernel kills the process for an action
that it does not know, whatever its number; so such an answer permits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.verify.kernel import rank

ACTION_FULL = 0xFFFFFFFF ^ RET_DATA_MAX
"""The bits of an answer that are its action; the others are data."""


@dataclass(frozen=True)
class Relation:
    """The relation that has to hold between the answers of the left and the right filter.

    With ``up_to`` the right one permits what the left one permits; without, the two are equal.
    """

    up_to: ActionKind | None = None

    @cached_property
    def permitted(self) -> tuple[int, ...]:
        """The actions that count as permitted."""
        least = rank((self.up_to or ActionKind.ALLOW).value)
        return tuple(kind.value for kind in ActionKind if rank(kind.value) >= least)

    def permits(self, answer: int) -> bool:
        """Return True if ``answer``, a SECCOMP_RET value, counts as permission."""
        return answer & ACTION_FULL in self.permitted

    def holds(self, left: int, right: int) -> bool:
        """Return True if the relation holds between two answers to one call."""
        if self.up_to is None:
            return left == right
        return self.permits(right) or not self.permits(left)


SAME = Relation()
"""Both answer alike, data included."""
