"""Several filters combined into one: stacked as the kernel does it, or by another operation.

Actions have an order, by which the kernel decides between stacked filters: SECCOMP_RET_ACTION_FULL
as a signed number, KILL_PROCESS the least and ALLOW the greatest (seccomp_run_filters() in
kernel/seccomp.c). Of answers with the same action it takes the newest filter's. All three
operations go by that order, and each can be worked out filter by filter: the common answer of some,
combined with that of the next, is the common answer of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.model import ActionKind
from seccompgen.verify.kernel import rank, strictest
from seccompgen.verify.machine import Code
from seccompgen.verify.oracle import Meaning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.verify.call import Call


class Operation(Enum):
    """The operation on the answers to one call.

    INTERSECT is the stack: the strictest answer. UNION is the laxest. SUBTRACT is the first
    filter's answer, but at least as strict as ``refusal`` for a call that another filter lets
    through (ALLOW or LOG).
    """

    INTERSECT = "intersect"
    UNION = "union"
    SUBTRACT = "subtract"


@dataclass(frozen=True)
class Stack:
    """``parts``, each with an answer of its own, the oldest first; ``refusal`` is for SUBTRACT."""

    operation: Operation
    parts: tuple[FilterSemantics, ...]
    refusal: int = ActionKind.KILL_PROCESS.value

    def answer(self, call: Call) -> int:
        """Return the SECCOMP_RET value for ``call``."""
        return self.combine([part.answer(call) for part in self.parts])

    @property
    def different(self) -> tuple[FilterSemantics, ...]:
        """The parts without those that a later one repeats, which is newer and decides alike."""
        first = 1 if self.operation is Operation.SUBTRACT else 0
        last = {
            part.answers if isinstance(part, Meaning) else part: number
            for number, part in enumerate(self.parts)
            if number >= first
        }
        return (*self.parts[:first], *(self.parts[number] for number in sorted(last.values())))

    def combine(self, answers: Sequence[int]) -> int:
        """Return the common answer, given the answers of ``parts``."""
        match self.operation:
            case Operation.INTERSECT:
                return strictest(answers)
            case Operation.UNION:
                return max(reversed(answers), key=rank)
            case Operation.SUBTRACT:
                taken = any(rank(ret) >= rank(ActionKind.LOG.value) for ret in answers[1:])
                return strictest([self.refusal, answers[0]]) if taken else answers[0]


FilterSemantics: TypeAlias = Meaning | Code | Stack
"""One side of a claim: a policy, a program, or several put together. It answers every call."""
