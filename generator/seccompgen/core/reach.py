"""Reachability: the rules that some call reaches, and the calls left over, as exact sets of values.

A rule's condition is a conjunction of comparisons, so the arguments that satisfy it form a *box*:
the product of one set of 64-bit values for each argument. A rule is dead if its box, less the boxes
of the rules before it, is empty; the default action is dead if the boxes cover everything.

Subtracting a box leaves up to six boxes of one, so with rules that overlap in many arguments the
number of boxes can grow exponentially, and the sets of values grow as well. The work on the rules
of a call is limited; beyond the limit a rule is assumed to be alive: a dead rule may go unreported,
but a live one is never called dead. Boxes that differ in one argument are merged at once, so lists
of thousands of values stay one box.

Rules that only compare whole words for equality need no sets. Each of them leaves 2**32 calls or
more for each one that a narrower rule takes, so a rule is dead only if a single other covers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.equalities import OverlapIndex, low_words, word_values
from seccompgen.core.errors import Diagnostic, UndecidedError
from seccompgen.core.model import U64, comparisons, condition_for
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING, NOTHING, Box, Sets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.equalities import ArgumentWord, LowWords
    from seccompgen.core.model import Rule

_MOST_STEPS = 200_000
"""The most comparisons of two boxes for all rules of a call."""
_MOST_NODES = 50_000
_NODES_OF_A_RULE = 400
"""The most nodes of the sets of these boxes, and how many more each rule adds."""


@dataclass(frozen=True, slots=True)
class DeadRule:
    """The ``index`` of a rule that can never match; the rules ``hidden_by`` match instead.

    ``hidden_by`` is empty if the rule's own condition is never true.
    """

    index: int
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
    if found := _of_equalities(rules, argument_bits):
        return found
    sets = Sets(_MOST_NODES + _NODES_OF_A_RULE * len(rules))
    covered = _Covered(sets)
    alive = []
    dead = []
    for index, rule in enumerate(rules):
        try:
            condition = condition_for(rule.condition, argument_bits)
            box, words = sets.box(condition), low_words(comparisons(condition))
            hiders = covered.hiders(box, words)
            if hiders is None:
                covered.add(box, words, rule)
        except UndecidedError:
            hiders = None if _is_ever_true(rule, argument_bits) else ()
        if hiders is None:
            alive.append(rule)
        else:
            dead.append(DeadRule(index, hiders))
    return Reach(tuple(alive), tuple(dead), covered.leaves_some())


def _of_equalities(rules: tuple[Rule, ...], argument_bits: int) -> Reach | None:
    """Return the reach of rules that compare words for equality; None if one does not.

    Each rule is looked up among the earlier ones for each choice of words that they compare.
    """
    earlier: dict[tuple[ArgumentWord, ...], dict[tuple[int | None, ...], int]] = {}
    dead = {}
    for index, rule in enumerate(rules):
        values = word_values(comparisons(condition_for(rule.condition, argument_bits)))
        if values is None:
            return None
        found = (
            others.get(tuple(_value_in(values, word) for word in words))
            for words, others in earlier.items()
        )
        if hiders := [hider for hider in found if hider is not None]:
            dead[index] = DeadRule(index, (rules[min(hiders)],))
        else:
            earlier.setdefault(tuple(values), {})[tuple(values.values())] = index
    alive = tuple(rule for index, rule in enumerate(rules) if index not in dead)
    return Reach(alive, tuple(dead.values()), () not in earlier)


def _value_in(values: Mapping[ArgumentWord, int], word: ArgumentWord) -> int | None:
    """Return what ``values`` say of ``word``; None if that can be anything."""
    argument, mask = word
    value = values.get((argument, U64), values.get(word))
    return None if value is None else value & mask


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
        self._without: dict[tuple[int, Box], int] = {}
        """The index of a box, by an argument and the box without its set of that one's values."""
        self._near_seen, self._near_boxes = OverlapIndex(), OverlapIndex()
        self._steps = 0

    def add(self, box: Box, words: LowWords, rule: Rule) -> None:
        """Add ``box``, or merge it with a box that differs from it in one argument only."""
        self._seen.append((box, rule))
        self._near_seen.add(words)
        near = (self._without.get(key) for key in _without_each(box))
        for i in sorted({i for i in near if i is not None}):
            merged = self._sets.merged(box, self._boxes[i])
            if merged is not None:
                self._boxes[i] = merged
                self._near_boxes.widen(i, words)
                break
        else:
            i, merged = len(self._boxes), box
            self._boxes.append(box)
            self._near_boxes.add(words)
        self._without |= dict.fromkeys(_without_each(merged), i)

    def hiders(self, box: Box, words: LowWords) -> tuple[Rule, ...] | None:
        """Return the rules that together cover ``box``: one if one suffices, else all that overlap.

        None if part of ``box`` is not covered. For an empty box there are no rules. ``words`` are
        the low words that all calls of ``box`` have.
        """
        if NOTHING in box:
            return ()
        if not self._has(box, words):
            return None
        near = [self._seen[i] for i in self._near_seen.near(words)]
        for other, rule in near:
            if not self._sets.without(box, other):
                return (rule,)
        return tuple(rule for other, rule in near if self._sets.without(box, other) != [box])

    def leaves_some(self) -> bool:
        """Return True if some calls are in none of the boxes, or if that is not known."""
        try:
            return not self._has(EVERYTHING, {})
        except UndecidedError:
            return True

    def _has(self, box: Box, words: LowWords) -> bool:
        left = [box]
        for cut in self._near_boxes.near(words):
            self._steps += len(left)
            if self._steps > _MOST_STEPS:
                raise UndecidedError("too many rules to compare", kind=Problem.TOO_MANY_CASES)
            left = [piece for part in left for piece in self._sets.without(part, self._boxes[cut])]
            if not left:
                return True
        return False


def _without_each(box: Box) -> Iterator[tuple[int, Box]]:
    """Yield each argument with ``box`` less its set for that argument."""
    for n in range(6):
        yield n, (*box[:n], NOTHING, *box[n + 1 :])  # type: ignore[misc] # six parts
