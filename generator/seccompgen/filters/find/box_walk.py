"""Follow filters on sets of calls: disjoint parts that leave nothing out, each with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, NOTHING, Sets
from seccompgen.core.word import ARCH, ARGS, FIELDS, INSTRUCTION_POINTER, NR
from seccompgen.verify.call import Call
from seccompgen.verify.followers import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.verify.followers import Follower, Question

_MOST_STEPS = 500_000
_MOST_NODES = 150_000
_HIGH_BITS = 32

CallBox: TypeAlias = tuple[int, ...]
"""A set for each field of a call."""
ALL_CALLS: CallBox = (ALL,) * FIELDS


class BoxWalk:
    """Follows filters on boxes of calls, all over the same ``sets``, in a number of steps."""

    def __init__(self, sets: Sets | None = None) -> None:
        self.sets = sets or Sets(_MOST_NODES)
        self._steps = 0
        self._asked: dict[Question, int] = {}

    def parts(
        self,
        side: Follower,
        box: CallBox = ALL_CALLS,
        known: Callable[[Question], bool | None] = lambda _: None,
    ) -> Iterator[tuple[CallBox, int]]:
        """Yield disjoint parts that make up ``box``, each with the answer of ``side``.

        ``known`` returns the answer to a question whose word is known, else None. Raises
        UndecidedError where the parts are too many.
        """
        waiting: list[tuple[Any, CallBox]] = [(side.start, box)]
        while waiting:
            state, box = waiting.pop()
            step = side.step(state)
            if not isinstance(step, Ask):
                yield box, step
                continue
            self.count()
            question = step.question
            field = question.word.field
            holds = known(question)
            if holds is not None:
                waiting.append((step.true if holds else step.false, box))
                continue
            own, asked = box[field], self._values(question)
            inside = self.sets.both(own, asked)
            for way, part in ((step.false, self.sets.minus(own, inside)), (step.true, inside)):
                if part != NOTHING:
                    waiting.append((way, with_field(box, field, part)))

    def count(self) -> None:
        """Count a step. Raises UndecidedError where there are too many."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise too_many_cases()

    def low_word(self, values: int) -> int:
        """Return the set of values whose low word is that of one of ``values`` below 2**32."""
        values = self.sets.both(values, self.sets.masked(U32 << 32, 0))
        while values > ALL and self.sets.nodes[values][0] < _HIGH_BITS:
            values = self.sets.nodes[values][1]
        return values

    def example(self, box: CallBox) -> Call:
        """Return the least call of ``box``, which must have one."""
        least = list(map(self.sets.least, box))
        a, b, c, d, e, f = least[ARGS:]
        return Call(least[NR], least[ARCH], (a, b, c, d, e, f), least[INSTRUCTION_POINTER])

    def _values(self, question: Question) -> int:
        found = self._asked.get(question)
        if found is None:
            shift, mask = question.word.shift, question.mask << question.word.shift
            if question.among is not None:
                found = self.sets.among(question.among, shift)
            elif question.more:
                found = self.sets.above(mask, question.k << shift)
            else:
                found = self.sets.masked(mask, question.k << shift)
            self._asked[question] = found
        return found


def too_many_cases() -> UndecidedError:
    """Return the error for a filter whose cases are too many."""
    return UndecidedError("too many cases to tell apart", kind=Problem.TOO_MANY_CASES)


def with_field(box: CallBox, field: int, values: int) -> CallBox:
    """Return ``box`` with other values of a field."""
    return (*box[:field], values, *box[field + 1 :])
