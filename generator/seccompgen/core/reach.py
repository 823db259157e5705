"""Reachability: the rules that some call reaches, and the calls left over, as exact sets of values.

A rule's condition is a conjunction of comparisons, so the arguments that satisfy it form a *box*:
the product of one set of 64-bit values for each argument. A rule is dead if its box, less the boxes
of the rules before it, is empty; the default action is dead if the boxes cover everything.

Subtracting a box leaves up to six boxes of one, so with rules that overlap in many arguments the
number of boxes can grow exponentially, and the sets of values grow as well. The work on the rules
of a call is limited; beyond the limit a rule is assumed to be alive: a dead rule may go unreported,
but a live one is never called dead. Boxes that differ in one argument are merged at once, so lists
of thousands of values stay one box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, UndecidedError
from seccompgen.core.model import condition_for
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING, NOTHING, Box, Sets

if TYPE_CHECKING:
    from seccompgen.core.model import Rule

_MOST_STEPS = 200_000
"""The most comparisons of two boxes for all rules of a call."""
_MOST_NODES = 50_000
_NODES_OF_A_RULE = 400
"""The most nodes of the sets of these boxes, and how many more each rule adds."""


@dataclass(frozen=True, slots=True)
class DeadRule:
    """A rule that can never match, at ``index`` in the given list; ``hidden_by`` match instead.

    ``hidden_by`` is empty if the rule's own condition is never true.
    """

    index: int
    rule: Rule
    hidden_by: tuple[Rule, ...]


class Reach(NamedTuple):
    """The rules of a list that calls can reach, if the first match decides.

    ``alive`` are the rules that some call reaches, in order, ``dead`` the others; ``rest`` is True
    if some calls match no rule.
    """

    alive: tuple[Rule, ...]
    dead: tuple[DeadRule, ...]
    rest: bool


@lru_cache(maxsize=1024)
def reach(rules: tuple[Rule, ...], argument_bits: int = 64) -> Reach:
    """Return which of ``rules``, all for one system call, some call can reach.

    System calls get ``argument_bits``, 32 or 64, of each argument. The result is cached because
    most ABIs ask the same question. Raises UndecidedError, with the rule's position, for a
    condition with too many values.
    """
    sets = Sets(_MOST_NODES + _NODES_OF_A_RULE * len(rules))
    covered = _Covered(sets)
    alive = []
    dead = []
    for index, rule in enumerate(rules):
        try:
            box = sets.box(condition_for(rule.condition, argument_bits))
            hiders = covered.hiders(box)
            if hiders is None:
                covered.add(box, rule)
        except UndecidedError:
            hiders = None if _is_ever_true(rule, argument_bits) else ()
        if hiders is None:
            alive.append(rule)
        else:
            dead.append(DeadRule(index, rule, hiders))
    return Reach(tuple(alive), tuple(dead), covered.leaves_some())


def _is_ever_true(rule: Rule, argument_bits: int) -> bool:
    """Return True if some arguments satisfy the condition of ``rule`` on its own."""
    try:
        return NOTHING not in Sets().box(condition_for(rule.condition, argument_bits))
    except UndecidedError:
        text = f"the condition for {rule.name!r} has too many cases to tell apart"
        raise UndecidedError(
            Diagnostic(f"{text}; divide it, or compare fewer masks", rule.position),
            kind=Problem.TOO_MANY_CASES,
        ) from None


class _Covered:
    """The boxes of the rules so far. `add` and `hiders` may raise UndecidedError."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self._seen: list[tuple[Box, Rule]] = []
        self._boxes: list[Box] = []
        self._steps = 0

    def add(self, box: Box, rule: Rule) -> None:
        """Add ``box``, or merge it with a box that differs from it in one argument only."""
        self._seen.append((box, rule))
        for i, other in enumerate(self._boxes):
            merged = self._sets.merged(box, other)
            if merged is not None:
                self._boxes[i] = merged
                return
        self._boxes.append(box)

    def hiders(self, box: Box) -> tuple[Rule, ...] | None:
        """Return the rules that together cover ``box``: one if one suffices, else all that overlap.

        None if part of ``box`` is not covered. For an empty box there are no rules.
        """
        if NOTHING in box:
            return ()
        if not self._has(box):
            return None
        for other, rule in self._seen:
            if not self._sets.without(box, other):
                return (rule,)
        return tuple(rule for other, rule in self._seen if self._sets.without(box, other) != [box])

    def leaves_some(self) -> bool:
        """Return True if some calls are in none of the boxes, or if that is not known."""
        try:
            return not self._has(EVERYTHING)
        except UndecidedError:
            return True

    def _has(self, box: Box) -> bool:
        left = [box]
        for cut in self._boxes:
            self._steps += len(left)
            if self._steps > _MOST_STEPS:
                raise UndecidedError("too many rules to compare", kind=Problem.TOO_MANY_CASES)
            left = [piece for part in left for piece in self._sets.without(part, cut)]
            if not left:
                return True
        return False
