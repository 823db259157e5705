"""Decide by induction over the cases of a policy whether a program answers as they do.

`classes` follows every combination of outcomes, which multiply if there are many. For a program
that tests rule after rule this is needless: if a case of the policy fails, it comes to one place,
whichever of the case's tests failed. If from there on it answers as the later cases do, for *all*
arguments, then it does so for the calls that come there. So a claim is about a case of the policy
and a place in the program:

    from here on, both give the same answer to every call.

It holds if the program, from that place on, agrees with the case where the case answers, and where
it does not, both come to a case and a place for which the claim holds. Each claim is followed once,
and leads to later cases only. If some claim does not hold, nothing is known: the program may be
right for the calls that actually come there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seccompgen.core.word import ARCH, NR, Word
from seccompgen.verify.followers import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.verify.followers import Follower, Question, State, Step

_Box: TypeAlias = tuple[Any, ...]
_NUMBERS = (Word.low(NR), Word.low(ARCH))
_MOST_PLACES = 3
"""The most places that are tried for one claim."""
_MOST_STEPS = 2_000
"""The most comparisons to follow for one claim, which is about one rule."""


class _TooManyStepsError(Exception):
    """A claim takes too many steps to be about one rule."""


class _Claim(NamedTuple):
    """From ``left`` and ``right`` on, all calls with these ``numbers`` are answered alike."""

    left: State
    right: State | int
    numbers: _Box


class Induction:
    """Proves claims on ``left``, a policy, and ``right``.

    ``divide`` returns the parts of a box for which the answer to a question is yes, and no, None
    for an empty one; ``agree`` returns True if two answers agree.
    """

    def __init__(
        self,
        left: Follower,
        right: Follower,
        divide: Callable[[_Box, Question], tuple[_Box | None, _Box | None]],
        agree: Callable[[int, int], bool],
    ) -> None:
        self._left = left
        self._right = right
        self._divide = divide
        self._agree = agree
        self._steps = 0

    def proves(self, left: State | int, right: State | int, calls: _Box) -> bool:
        """Return True if both sides answer ``calls`` alike from these states on, False if unknown.

        ``calls`` must include all arguments that count, but may have only some numbers.
        """
        if isinstance(left, int) or self._left.case(left) is None:
            return False
        first = _Claim(left, right, _numbers(calls))
        seen, waiting = {first}, [first]
        try:
            while waiting:
                self._steps = 0
                for claim in self._needed(waiting.pop(), calls):
                    if claim is None:
                        return False
                    if claim not in seen:
                        seen.add(claim)
                        waiting.append(claim)
        except _TooManyStepsError:
            return False
        return True

    def _needed(self, claim: _Claim, calls: _Box) -> Iterator[_Claim | None]:
        """Yield the claims that together imply this one; None if it is not known to hold."""
        everything = _with_numbers(calls, claim.numbers)
        left_over: dict[tuple[State, _Box], list[_Box]] = {}
        for box, state in self._one_case(claim.left, everything):
            if not isinstance(state, int):
                left_over.setdefault((state, _numbers(box)), []).append(box)
            elif not self._all_answer(claim.right, box, state):
                yield None
        for (state, numbers), boxes in left_over.items():
            if boxes == [_with_numbers(calls, numbers)]:  # the case is about other calls
                yield _Claim(state, claim.right, numbers)
                continue
            place = self._meeting(claim.right, boxes)
            yield None if place is None else _Claim(state, place, numbers)

    def _one_case(self, state: State, box: _Box) -> Iterator[tuple[_Box, State | int]]:
        """Yield the parts of ``box``, with the answer of the case or the start of the next one."""
        own = self._left.case(state)
        for part, at, _ in self._followed(
            self._left, state, box, lambda at, _: self._left.case(at) != own
        ):
            yield part, at

    def _all_answer(self, state: State | int, box: _Box, answer: int) -> bool:
        return all(
            isinstance(at, int) and self._agree(answer, at)
            for _, at, _ in self._followed(self._right, state, box, lambda _at, _step: False)
        )

    def _meeting(self, state: State | int, boxes: Sequence[_Box]) -> State | int | None:
        """Return the first place behind ``state`` to which all calls of ``boxes`` come."""
        first, *others = (self._way(state, box) for box in boxes)
        common = [step for step in first if all(step in other for other in others)]
        for step in common[:_MOST_PLACES]:
            if all(self._all_come_to(step, state, box) for box in boxes):
                return first[step]
        return None

    def _all_come_to(self, target: Step, state: State | int, box: _Box) -> bool:
        ends = self._followed(self._right, state, box, lambda _, step: step == target)
        return all(step == target for _, _, step in ends)

    def _way(self, state: State | int, box: _Box) -> dict[Step, State | int]:
        """Return the steps behind ``state`` on the way of one call of ``box``, in their order."""
        found: dict[Step, State | int] = {}
        at: State | int = state
        while True:
            step = at if isinstance(at, int) else self._right.step(at)
            if at is not state:
                found[step] = at
            if not isinstance(step, Ask):
                return found
            yes, no = self._divide(box, step.question)
            at, box = (step.true, yes) if yes else (step.false, no or box)

    def _followed(
        self,
        side: Follower,
        state: State | int,
        box: _Box,
        stop: Callable[[State, Step], bool],
    ) -> Iterator[tuple[_Box, State | int, Step]]:
        """Yield the parts of ``box`` with the state and the step at which each ends.

        A part ends at an answer, or at the first state behind ``state`` for which ``stop`` holds.
        """
        waiting: list[tuple[State | int, _Box]] = [(state, box)]
        while waiting:
            at, box = waiting.pop()
            while True:
                step = at if isinstance(at, int) else side.step(at)
                if isinstance(at, int) or (at is not state and stop(at, step)):
                    yield box, at, step
                    break
                if not isinstance(step, Ask):
                    yield box, step, step
                    break
                self._steps += 1
                if self._steps > _MOST_STEPS:
                    raise _TooManyStepsError
                yes, no = self._divide(box, step.question)
                if yes is None:
                    assert no is not None
                    at, box = step.false, no
                    continue
                if no is not None:
                    waiting.append((step.false, no))
                at, box = step.true, yes


def _numbers(box: _Box) -> _Box:
    return tuple(box[word] for word in _NUMBERS)


def _with_numbers(box: _Box, numbers: _Box) -> _Box:
    """Return ``box`` with other numbers."""
    changed = list(box)
    for word, own in zip(_NUMBERS, numbers, strict=True):
        changed[word] = own
    return tuple(changed)
