"""Which rules some call reaches, and whether any call is left over: exactly, as sets of values.

A rule's condition is a conjunction of comparisons, so the arguments that satisfy it form a
*box*: the product of one set of 64-bit values for each argument. A rule is dead if its box,
less the boxes of the rules before it, is empty; the default is, if the boxes cover everything.
Sets are reduced ordered binary decision
diagrams over the 64 bits, where masks, ranges and lists of values are one thing and all
operations are exact (Bryant 1986). The lowest bit is looked at first: there most values of a
list differ, so that most pairs are seen to be disjoint at once.

Subtracting a box cuts up to six boxes out of one, which can grow exponentially with rules that
overlap in many arguments. Beyond ``_MOST_BOXES`` the rule is taken to be alive: a dead rule may
go unreported there, a live one is never called dead. Boxes that differ in one argument are
merged as they come, so lists of thousands of values stay one box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.model import U32, U64, All, Comparison, Op

if TYPE_CHECKING:
    from seccompgen.model import Condition, Rule

_MOST_BOXES = 256
_BITS = 64
_NOTHING, _ALL = 0, 1

Box: TypeAlias = tuple[int, int, int, int, int, int]
"""A set (the number of its diagram) for each of the six arguments."""

_EVERYTHING: Box = (_ALL,) * 6


class _Sets:
    """Sets of 64-bit values as nodes (bit, set where it is 0, set where it is 1), made once."""

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, int]] = [(_BITS, 0, 0), (_BITS, 0, 0)]
        self._known: dict[tuple[int, int, int], int] = {}
        self._minus: dict[tuple[int, int], int] = {}
        self._both: dict[tuple[int, int], int] = {}

    def _node(self, bit: int, zero: int, one: int) -> int:
        if zero == one:
            return zero
        key = (bit, zero, one)
        if key not in self._known:
            self._known[key] = len(self._nodes)
            self._nodes.append(key)
        return self._known[key]

    def _branches(self, a: int, b: int) -> tuple[int, int, int, int, int]:
        """Return the first bit that a or b look at, and both sets where it is 0 and 1."""
        (bit_a, zero_a, one_a), (bit_b, zero_b, one_b) = self._nodes[a], self._nodes[b]
        if bit_a < bit_b:
            return bit_a, zero_a, one_a, b, b
        if bit_b < bit_a:
            return bit_b, a, a, zero_b, one_b
        return bit_a, zero_a, one_a, zero_b, one_b

    def minus(self, a: int, b: int) -> int:
        """Return a without b; the recursion is at most 64 deep."""
        if a == _NOTHING or b in (_ALL, a):
            return _NOTHING
        if b == _NOTHING:
            return a
        if (a, b) not in self._minus:
            bit, zero_a, one_a, zero_b, one_b = self._branches(a, b)
            self._minus[a, b] = self._node(
                bit, self.minus(zero_a, zero_b), self.minus(one_a, one_b)
            )
        return self._minus[a, b]

    def both(self, a: int, b: int) -> int:
        """Return what is in a and in b."""
        if b == _ALL or a in (_NOTHING, b):
            return a
        if a == _ALL or b == _NOTHING:
            return b
        if (a, b) not in self._both:
            bit, zero_a, one_a, zero_b, one_b = self._branches(a, b)
            self._both[a, b] = self._node(bit, self.both(zero_a, zero_b), self.both(one_a, one_b))
        return self._both[a, b]

    def either(self, a: int, b: int) -> int:
        """Return what is in a or in b."""
        return self.minus(_ALL, self.minus(self.minus(_ALL, a), b))

    def masked(self, mask: int, value: int) -> int:
        """Return the x for which ``x & mask == value``."""
        if value & ~mask:
            return _NOTHING
        result = _ALL
        for bit in reversed(range(_BITS)):
            if mask >> bit & 1:
                branches = (_NOTHING, result) if value >> bit & 1 else (result, _NOTHING)
                result = self._node(bit, *branches)
        return result

    def below(self, value: int, width: int) -> int:
        """Return the x whose low ``width`` bits are less than ``value``.

        From the lowest bit up, the highest bit seen in which x and ``value`` differ decides;
        ``less`` and ``other`` are what follows after either verdict so far.
        """
        if value >> width:
            return _ALL
        less, other = _ALL, _NOTHING
        for bit in reversed(range(width)):
            if value >> bit & 1:
                other = self._node(bit, less, other)
            else:
                less = self._node(bit, less, other)
        return other

    def of(self, test: Comparison) -> int:
        """Return the values that satisfy ``test``."""
        full = U64 if test.width == 64 else U32
        match test.op:
            case Op.EQ:
                return self.masked(full, test.value)
            case Op.NE:
                return self.minus(_ALL, self.masked(full, test.value))
            case Op.LT:
                return self.below(test.value, test.width)
            case Op.LE:
                return self.below(test.value + 1, test.width)
            case Op.GE:
                return self.minus(_ALL, self.below(test.value, test.width))
            case Op.GT:
                return self.minus(_ALL, self.below(test.value + 1, test.width))
            case Op.MASKED_EQ:
                return self.masked(test.mask & full, test.value)
            case Op.NO_BITS:
                return self.masked(test.value, 0)
            case Op.ANY_BITS:
                return self.minus(_ALL, self.masked(test.value, 0))


def _comparisons(condition: Condition | None) -> list[Comparison]:
    if condition is None:
        return []
    if isinstance(condition, Comparison):
        return [condition]
    assert isinstance(condition, All)
    return [test for part in condition.parts for test in _comparisons(part)]


@dataclass(frozen=True, slots=True)
class DeadRule:
    """``rule``, the ``index``-th given, can never match: ``hidden_by`` answer instead.

    Nothing hides a rule whose own condition is never true.
    """

    index: int
    rule: Rule
    hidden_by: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """What calls reach among rules of which the first match decides.

    ``alive`` are the rules that some call reaches, in order, ``dead`` the others; ``rest`` is
    True if some calls match no rule.
    """

    alive: tuple[Rule, ...]
    dead: tuple[DeadRule, ...]
    rest: bool


@lru_cache(maxsize=1024)
def reach(rules: tuple[Rule, ...]) -> Reach:
    """Return what calls reach among ``rules``, all for one system call.

    Most ABIs have the same calls, so the same question comes up for each: hence the cache.
    """
    sets = _Sets()
    seen: list[tuple[Box, Rule]] = []
    covered: list[Box] = []
    dead = []
    for index, rule in enumerate(rules):
        box = _box(sets, rule)
        if _NOTHING in box:
            dead.append(DeadRule(index, rule, ()))
        elif _is_covered(sets, box, covered):
            dead.append(DeadRule(index, rule, _hiders(sets, box, seen)))
        else:
            seen.append((box, rule))
            _cover(sets, covered, box)
    rest = not _is_covered(sets, _EVERYTHING, covered)
    return Reach(tuple(rule for _, rule in seen), tuple(dead), rest)


def _box(sets: _Sets, rule: Rule) -> Box:
    box = list(_EVERYTHING)
    for test in _comparisons(rule.condition):
        box[test.argument] = sets.both(box[test.argument], sets.of(test))
    return box[0], box[1], box[2], box[3], box[4], box[5]


def _cover(sets: _Sets, covered: list[Box], box: Box) -> None:
    """Add ``box`` to ``covered``, into a box that differs from it in one argument if it can."""
    for i, other in enumerate(covered):
        n = _only_difference(box, other)
        if n is not None:
            merged = sets.either(box[n], other[n])
            covered[i] = (*other[:n], merged, *other[n + 1 :])  # type: ignore[assignment] # six
            return
    covered.append(box)


def _only_difference(box: Box, other: Box) -> int | None:
    """Return the one argument in which the boxes differ, or None if there are more or none."""
    found = None
    for n in range(6):
        if box[n] != other[n]:
            if found is not None:
                return None
            found = n
    return found


def _without(sets: _Sets, box: Box, cut: Box) -> list[Box]:
    """Return disjoint boxes that make up ``box`` without ``cut``."""
    common = []
    for a, b in zip(box, cut, strict=True):
        shared = a if b == _ALL else sets.both(a, b)
        if shared == _NOTHING:
            return [box]
        common.append(shared)
    pieces = []
    for n in range(6):
        rest = sets.minus(box[n], cut[n])
        if rest != _NOTHING:
            pieces.append((*common[:n], rest, *box[n + 1 :]))
    return pieces  # type: ignore[return-value] # six parts each


def _is_covered(sets: _Sets, box: Box, covered: list[Box]) -> bool:
    left = [box]
    for cut in covered:
        left = [piece for part in left for piece in _without(sets, part, cut)]
        if not left:
            return True
        if len(left) > _MOST_BOXES:
            return False
    return False


def _hiders(sets: _Sets, box: Box, seen: list[tuple[Box, Rule]]) -> tuple[Rule, ...]:
    """Return the one earlier rule that covers ``box``, or else all that share in it."""
    for other, rule in seen:
        if not _without(sets, box, other):
            return (rule,)
    return tuple(rule for other, rule in seen if _without(sets, box, other) != [box])
