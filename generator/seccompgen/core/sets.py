"""Exact sets of argument values: sets for one 64-bit argument, boxes for all six.

A set is a reduced ordered binary decision diagram over the 64 bits. It represents masks, ranges and
lists of values alike, equal sets are the same node, and all operations are exact (Bryant,
Graph-Based Algorithms for Boolean Function Manipulation, 1986). The highest bit is tested first, so
the high word of an argument is the upper half of its diagram, the low word is the lower half, and a
walk that takes the branch of 0 before that of 1 meets the values in ascending order.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32, U64, Comparison, Op, comparisons
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.model import Predicate

BITS = 64
"""The level of NOTHING and ALL: beyond the last bit."""
NOTHING, ALL = 0, 1
"""The empty set and the set of all 64-bit values."""

MOST_NODES = 500_000
"""The most nodes, some 250 MB; the largest real policies need a hundredth."""
_STEPS_OF_A_NODE = 20
"""The most steps of set operations, per node that is permitted."""
_MOST_MORE = 2_000
"""The most nodes by which a union may exceed its parts together."""

_PRIME = (1 << 61) - 1
_A, _B = 0x123456789ABCDEF, 0xFEDCBA987654321
"""Arbitrary numbers that mix the parts of `Sets.order`."""

Box: TypeAlias = tuple[int, int, int, int, int, int]
"""A set for each of the six arguments; the box is their product."""

EVERYTHING: Box = (ALL,) * 6


def _too_many() -> UndecidedError:
    return UndecidedError("too many cases to tell apart", kind=Problem.TOO_MANY_CASES)


class Sets:
    """Sets as nodes (level, the set if that bit is 0, the set if it is 1), each created once.

    Level 0 is bit 63, level 63 is bit 0. Operations that would create more than ``most`` nodes
    raise UndecidedError: a few dozen masks can have billions of combinations.
    """

    def __init__(self, most: int = MOST_NODES) -> None:
        self._most = most
        self._most_steps = _STEPS_OF_A_NODE * most
        self._steps = 0
        self.nodes: list[tuple[int, int, int]] = [(BITS, 0, 0), (BITS, 0, 0)]
        # The least and the greatest member; bits above the node's level are 0 and 1, respectively.
        self._least = [U64, 0]
        self._greatest = [0, U64]
        self.order = [0, 1]
        """A sort key for each set, by its index, that is the same in every process.

        It does not depend on the order in which sets are created. Two sets may have the same key; a
        stable sort then keeps their order.
        """
        self._known: dict[tuple[int, int, int], int] = {}
        self._minus: dict[tuple[int, int], int] = {}
        self._both: dict[tuple[int, int], int] = {}
        self._either: dict[tuple[int, int], int] = {}
        self._members: dict[tuple[int, int], int] = {}
        self._masked: dict[tuple[int, int], int] = {}
        self._above: dict[tuple[int, int], int] = {}

    def node(self, level: int, zero: int, one: int) -> int:
        """Return the set that is ``zero`` if the bit at ``level`` is 0, and ``one`` if it is 1."""
        if zero == one:
            return zero
        key = (level, zero, one)
        found = self._known.get(key)
        if found is None:
            found = len(self.nodes)
            if found >= self._most:
                raise _too_many()
            self._known[key] = found
            self.nodes.append(key)
            bit = 1 << (BITS - 1 - level)
            self._least.append(self._least[one] | bit if zero == NOTHING else self._least[zero])
            greatest = self._greatest[zero] & ~bit if one == NOTHING else self._greatest[one]
            self._greatest.append(greatest)
            self.order.append((self.order[zero] ^ level + _A) * (self.order[one] + _B) % _PRIME)
        return found

    @contextmanager
    def within(self, nodes: int, steps: int) -> Iterator[None]:
        """Limit the nodes and steps of the block; beyond the limits UndecidedError is raised."""
        before = self._most, self._most_steps
        self._most = min(self._most, len(self.nodes) + nodes)
        self._most_steps = min(self._most_steps, self._steps + steps)
        try:
            yield
        finally:
            self._most, self._most_steps = before

    @contextmanager
    def attempt(self, nodes: int) -> Iterator[None]:
        """Limit the block like `within`, and drop its nodes if they are too many.

        This leaves room for other sets. Nothing outside of the block may keep indices of its nodes.
        """
        mark = len(self.nodes)
        try:
            with self.within(nodes, _STEPS_OF_A_NODE * nodes):
                yield
        except UndecidedError:
            self._forget(mark)
            raise

    def _forget(self, mark: int) -> None:
        """Drop the nodes from ``mark`` on, and all cached results about them."""
        for each in (self.nodes, self._least, self._greatest, self.order):
            del each[mark:]
        self._known = {key: node for key, node in self._known.items() if node < mark}
        self._masked = {key: node for key, node in self._masked.items() if node < mark}
        self._above = {key: node for key, node in self._above.items() if node < mark}
        self._members = {key: value for key, value in self._members.items() if key[0] < mark}
        self._minus, self._both, self._either = (
            {key: node for key, node in pairs.items() if max(*key, node) < mark}
            for pairs in (self._minus, self._both, self._either)
        )

    def step(self) -> None:
        """Count one step of a traversal; raise UndecidedError if the steps are too many."""
        self._steps += 1
        if self._steps > self._most_steps:
            raise _too_many()

    def _branches(self, a: int, b: int) -> tuple[int, int, int, int, int]:
        """Return the first level that a or b tests, then a and b for 0 there as well as for 1.

        The order is level, a for 0, a for 1, b for 0, b for 1.
        """
        (level_a, zero_a, one_a), (level_b, zero_b, one_b) = self.nodes[a], self.nodes[b]
        if level_a < level_b:
            return level_a, zero_a, one_a, b, b
        if level_b < level_a:
            return level_b, a, a, zero_b, one_b
        return level_a, zero_a, one_a, zero_b, one_b

    def minus(self, a: int, b: int) -> int:
        """Return a without b; the recursion is at most 64 deep."""
        if a == NOTHING or b in (ALL, a):
            return NOTHING
        if b == NOTHING:
            return a
        self.step()
        found = self._minus.get((a, b))
        if found is None:
            level, zero_a, one_a, zero_b, one_b = self._branches(a, b)
            found = self.node(level, self.minus(zero_a, zero_b), self.minus(one_a, one_b))
            self._minus[a, b] = found
        return found

    def both(self, a: int, b: int) -> int:
        """Return the intersection of a and b."""
        if b == ALL or a in (NOTHING, b):
            return a
        if a == ALL or b == NOTHING:
            return b
        if a > b:
            a, b = b, a
        self.step()
        found = self._both.get((a, b))
        if found is None:
            level, zero_a, one_a, zero_b, one_b = self._branches(a, b)
            found = self.node(level, self.both(zero_a, zero_b), self.both(one_a, one_b))
            self._both[a, b] = found
        return found

    def either(self, a: int, b: int) -> int:
        """Return the union of a and b."""
        if a == ALL or b in (NOTHING, a):
            return a
        if b == ALL or a == NOTHING:
            return b
        if a > b:
            a, b = b, a
        self.step()
        found = self._either.get((a, b))
        if found is None:
            level, zero_a, one_a, zero_b, one_b = self._branches(a, b)
            found = self.node(level, self.either(zero_a, zero_b), self.either(one_a, one_b))
            self._either[a, b] = found
        return found

    def united(self, parts: Sequence[int]) -> int | None:
        """Return the union of ``parts``, pair by pair to avoid quadratic cost.

        None if the union is far larger than the parts, as that of masks can be. The size of a set
        does not depend on earlier sets, so the result is the same in every process.
        """
        sized = [(part, self.size(part)) for part in parts]
        while len(sized) > 1:
            odd = sized[-1:] if len(sized) % 2 else []
            made = []
            for (a, size_a), (b, size_b) in zip(sized[::2], sized[1::2], strict=False):
                most = size_a + size_b + _MOST_MORE
                union = self._either_within(a, b, most)
                size = None if union is None else self.size(union)
                if union is None or size is None or size > most:
                    return None
                made.append((union, size))
            sized = made + odd
        return sized[0][0]

    def _either_within(self, a: int, b: int, most: int) -> int | None:
        """Return the union, or None once it is certain to have more than ``most`` nodes.

        The operation creates only nodes of the union.
        """
        before, self._most = self._most, min(self._most, len(self.nodes) + most)
        try:
            return self.either(a, b)
        except UndecidedError:
            if len(self.nodes) >= before:
                raise
            return None
        finally:
            self._most = before

    def has(self, a: int, value: int) -> bool:
        """Return True if ``value`` is a member of a."""
        while a > ALL:
            level, zero, one = self.nodes[a]
            a = one if value >> (BITS - 1 - level) & 1 else zero
        return a == ALL

    def size(self, a: int) -> int:
        """Return the number of nodes in a."""
        seen: set[int] = set()
        stack = [a]
        while stack:
            at = stack.pop()
            if at > ALL and at not in seen:
                seen.add(at)
                stack += self.nodes[at][1:]
        return len(seen)

    def least(self, a: int) -> int:
        """Return the smallest member of a, which must have one."""
        return self._least[a]

    def greatest(self, a: int) -> int:
        """Return the greatest member of a, which must have one."""
        return self._greatest[a]

    def member(self, a: int, ones: int) -> int:
        """Return a member of a, which must have one; the smallest for ``ones`` 0.

        A bit of the low word that can be 0 or 1 is chosen as in ``ones``. Bits above the first that
        a tests are 0, and the high word is as small as possible.
        """
        if a == ALL:
            return 0
        found = self._members.get((a, ones))
        if found is None:
            found = self._members[a, ones] = self._member(a, ones)
        return found

    def _member(self, a: int, ones: int) -> int:
        value = 0
        looked = False
        node = a
        for level in range(BITS):
            bit = 1 << (BITS - 1 - level)
            own, zero, one = self.nodes[node]
            if own == level and NOTHING in (zero, one):
                chosen = zero == NOTHING
            else:
                chosen = bool(ones & bit) and (looked or own == level)
            if own == level:
                looked |= bit <= U32
                node = one if chosen else zero
            value |= bit * chosen
        return value

    def disjoint(self, a: int, b: int) -> bool:
        """Return True if a and b have no common member; fast if one lies below the other."""
        if self._greatest[a] < self._least[b] or self._greatest[b] < self._least[a]:
            return True
        return self.both(a, b) == NOTHING

    def masked(self, mask: int, value: int) -> int:
        """Return the x for which ``x & mask == value``."""
        found = self._masked.get((mask, value))
        if found is not None:
            return found
        if value & ~mask:
            return NOTHING
        result = ALL
        for bit in range(BITS):
            if mask >> bit & 1:
                branches = (NOTHING, result) if value >> bit & 1 else (result, NOTHING)
                result = self.node(BITS - 1 - bit, *branches)
        self._masked[mask, value] = result
        return result

    def among(self, words: Iterable[int], shift: int = 0) -> int:
        """Return the x whose word of 32 bits at bit ``shift`` is one of ``words``."""
        made = dict.fromkeys(words, ALL)
        for bit in range(shift, shift + 32):
            level, halves = BITS - 1 - bit, made
            made = {
                high: self.node(
                    level, halves.get(high << 1, NOTHING), halves.get(high << 1 | 1, NOTHING)
                )
                for high in {word >> 1 for word in halves}
            }
        return made.get(0, NOTHING)

    def above(self, mask: int, value: int) -> int:
        """Return the x for which ``x & mask > value``."""
        found = self._above.get((mask, value))
        if found is not None:
            return found
        result = NOTHING
        for bit in range(BITS):
            if mask >> bit & 1:
                branches = (NOTHING, result) if value >> bit & 1 else (result, ALL)
                result = self.node(BITS - 1 - bit, *branches)
            elif value >> bit & 1:
                result = NOTHING
        self._above[mask, value] = result
        return result

    def given(self, a: int, mask: int, value: int) -> int:
        """Return the x that are in a if their bits under ``mask`` are replaced by ``value``'s."""
        known: dict[int, int] = {}

        def below(node: int) -> int:
            if node <= ALL:
                return node
            self.step()
            level, zero, one = self.nodes[node]
            bit = 1 << (BITS - 1 - level)
            if mask & bit:
                return below(one if value & bit else zero)
            if node not in known:
                known[node] = self.node(level, below(zero), below(one))
            return known[node]

        return below(a)

    def _at_least(self, mask: int, value: int) -> int:
        """Return the x for which ``x & mask >= value``."""
        return self.above(mask, value - 1) if value else ALL

    def of(self, test: Comparison) -> int:
        """Return the values that satisfy ``test``."""
        mask = test.mask & (U64 if test.width == 64 else U32)
        match test.op:
            case Op.EQ | Op.MASKED_EQ:
                return self.masked(mask, test.value)
            case Op.NE:
                return self.minus(ALL, self.masked(mask, test.value))
            case Op.LT:
                return self.minus(ALL, self._at_least(mask, test.value))
            case Op.LE:
                return self.minus(ALL, self.above(mask, test.value))
            case Op.GE:
                return self._at_least(mask, test.value)
            case Op.GT:
                return self.above(mask, test.value)
            case Op.NO_BITS:
                return self.masked(test.value, 0)
            case Op.ANY_BITS:
                return self.minus(ALL, self.masked(test.value, 0))

    def cubes(self, node: int) -> Iterator[tuple[int, int]]:
        """Yield (mask, value) pairs whose disjoint sets ``x & mask == value`` make up a set."""
        stack = [(node, 0, 0)]
        while stack:
            at, mask, value = stack.pop()
            if at == ALL:
                yield mask, value
            elif at != NOTHING:
                level, zero, one = self.nodes[at]
                bit = 1 << (BITS - 1 - level)
                stack += ((one, mask | bit, value | bit), (zero, mask | bit, value))

    def box(self, condition: Predicate | None) -> Box:
        """Return the box of the arguments that satisfy ``condition``."""
        box = list(EVERYTHING)
        for test in comparisons(condition):
            box[test.argument] = self.both(box[test.argument], self.of(test))
        return box[0], box[1], box[2], box[3], box[4], box[5]

    def common(self, box: Box, other: Box) -> Box:
        """Return the intersection of two boxes."""
        both = [self.both(a, b) for a, b in zip(box, other, strict=True)]
        return both[0], both[1], both[2], both[3], both[4], both[5]

    def without(self, box: Box, cut: Box) -> list[Box]:
        """Return disjoint boxes that make up ``box`` without ``cut``."""
        if any(map(self.disjoint, box, cut)):
            return [box]
        common = [self.both(a, b) for a, b in zip(box, cut, strict=True)]
        pieces = []
        for n in range(6):
            rest = self.minus(box[n], cut[n])
            if rest != NOTHING:
                pieces.append((*common[:n], rest, *box[n + 1 :]))
        return pieces  # type: ignore[return-value] # six parts each

    def merged(self, box: Box, other: Box) -> Box | None:
        """Return the union of two boxes if they differ in at most one argument; otherwise None."""
        found = None
        for n in range(6):
            if box[n] != other[n]:
                if found is not None:
                    return None
                found = n
        if found is None:
            return box
        union = self.either(box[found], other[found])
        return (*box[:found], union, *box[found + 1 :])  # type: ignore[return-value] # six
