"""Reachability: the rules that some call reaches, and the calls left over, as exact sets of values.

A rule's condition is a conjunction of comparisons, so the arguments that satisfy it form a
*box*: the product of one set of 64-bit values for each argument. A rule is dead if its box,
less the boxes of the rules before it, is empty; the default is, if the boxes cover everything.

Subtracting a box cuts up to six boxes out of one, which can grow exponentially with rules that
overlap in many arguments. Beyond ``_MOST_BOXES`` the rule is taken to be alive: a dead rule may
go unreported there, a live one is never called dead. Boxes that differ in one argument are
merged as they come, so lists of thousands of values stay one box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import condition_for
from seccompgen.core.sets import EVERYTHING, NOTHING, Box, Sets

if TYPE_CHECKING:
    from seccompgen.core.model import Rule

_MOST_BOXES = 256


@dataclass(frozen=True, slots=True)
class DeadRule:
    """``rule``, the ``index``-th given, can never match: ``hidden_by`` answer instead.

    Nothing hides a rule whose own condition is never true.
    """

    index: int
    rule: Rule
    hidden_by: tuple[Rule, ...]


class Reach(NamedTuple):
    """The calls that reach each of a list of rules, of which the first match decides.

    ``alive`` are the rules that some call reaches, in order, ``dead`` the others; ``rest`` is
    True if some calls match no rule.
    """

    alive: tuple[Rule, ...]
    dead: tuple[DeadRule, ...]
    rest: bool


@lru_cache(maxsize=1024)
def reach(rules: tuple[Rule, ...], argument_bits: int = 64) -> Reach:
    """Return what calls reach among ``rules``, all for one system call.

    ``argument_bits`` of each argument count, 32 or 64. Most ABIs have the same calls, so the same
    question comes up for each: hence the cache.
    """
    sets = Sets()
    seen: list[tuple[Box, Rule]] = []
    covered: list[Box] = []
    dead = []
    for index, rule in enumerate(rules):
        box = sets.box(condition_for(rule.condition, argument_bits))
        if NOTHING in box:
            dead.append(DeadRule(index, rule, ()))
        elif _is_covered(sets, box, covered):
            dead.append(DeadRule(index, rule, _hiders(sets, box, seen)))
        else:
            seen.append((box, rule))
            _cover(sets, covered, box)
    rest = not _is_covered(sets, EVERYTHING, covered)
    return Reach(tuple(rule for _, rule in seen), tuple(dead), rest)


def _cover(sets: Sets, covered: list[Box], box: Box) -> None:
    """Add ``box`` to ``covered``, into a box that differs from it in one argument if it can."""
    for i, other in enumerate(covered):
        merged = sets.merged(box, other)
        if merged is not None:
            covered[i] = merged
            return
    covered.append(box)


def _is_covered(sets: Sets, box: Box, covered: list[Box]) -> bool:
    left = [box]
    for cut in covered:
        left = [piece for part in left for piece in sets.without(part, cut)]
        if not left:
            return True
        if len(left) > _MOST_BOXES:
            return False
    return False


def _hiders(sets: Sets, box: Box, seen: list[tuple[Box, Rule]]) -> tuple[Rule, ...]:
    """Return the one earlier rule that covers ``box``, or else all that share in it."""
    for other, rule in seen:
        if not sets.without(box, other):
            return (rule,)
    return tuple(rule for other, rule in seen if sets.without(box, other) != [box])
