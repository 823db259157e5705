"""Functions of one 32-bit word, as decision diagrams over its bits with an outcome at each end.

The same diagrams as in ``sets``, with any number of outcomes: which rules are left, or where to
go on. The highest bit is looked at first, so intervals come out in ascending order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.core.sets import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from seccompgen.compile.budget import Steps
    from seccompgen.core.sets import Sets

BITS = 32
YES, NO = "yes", "no"
"""The outcomes of a test."""

_CHOSEN_MAX = 1 << 20
"""So many results of `where`, and of `restricted`, are cached: a hundred megabytes each."""

_STEPS_OF_A_SET = 2
"""The steps for each set that `join` looks at."""
_STEPS_OF_A_PAIR = 8
"""The steps for each pair of nodes that `outcome_where` looks at; most are for the tests that are

cut by what it finds."""

WordId: TypeAlias = int


class WordDiagrams:
    """Functions as nodes (level, function where that bit is 0, where it is 1), each made once.

    Level 0 is bit 31. At level 32 the second part is the outcome. ``steps`` counts the nodes that
    `where` had to work out, ``restrictions`` those of `restricted`; large policies spend most of
    their time there.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, int]] = []
        self._known: dict[tuple[int, int, int], WordId] = {}
        self._outcomes: list[Hashable] = []
        self._numbers: dict[Hashable, int] = {}
        self._runs: dict[WordId, tuple[int, int, int]] = {}
        self._chosen: dict[tuple[WordId, WordId, WordId], WordId] = {}
        self._restricted: dict[str, dict[tuple[WordId, WordId], WordId]] = {YES: {}, NO: {}}
        self._masked: dict[tuple[int, int], WordId] = {}
        self._ends: dict[WordId, tuple[Hashable, ...]] = {}
        self.steps = self.restrictions = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def constant(self, outcome: Hashable) -> WordId:
        """Return the function that has ``outcome`` for every word."""
        number = self._numbers.setdefault(outcome, len(self._outcomes))
        if number == len(self._outcomes):
            self._outcomes.append(outcome)
        return self._intern((BITS, number, number))

    def outcome(self, word: WordId) -> Hashable | None:
        """Return the only outcome of ``word``, or None if it has more."""
        level, number, _ = self._nodes[word]
        return self._outcomes[number] if level == BITS else None

    def _intern(self, key: tuple[int, int, int]) -> WordId:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self._nodes)
            self._nodes.append(key)
        return found

    def node(self, level: int, zero: WordId, one: WordId) -> WordId:
        """Return the function that is ``zero`` or ``one`` by the bit at ``level``."""
        return zero if zero == one else self._intern((level, zero, one))

    def join(self, sets: Sets, roots: Sequence[int], top: int, steps: Steps) -> WordId:
        """Return what remains of ``roots`` for each value of the word from level ``top`` on.

        The outcome is a tuple of pairs: the index of a root that contains the value, and what
        remains of it below the word. That may take many ``steps``: a few dozen masks can leave any
        combination of each other.
        """
        memo: dict[tuple[tuple[int, int], ...], WordId] = {}
        nodes = sets.nodes

        def walk(active: tuple[tuple[int, int], ...]) -> WordId:
            found = memo.get(active)
            if found is not None:
                return found
            steps.spend(_STEPS_OF_A_SET * len(active))
            level = top + BITS
            for _, node in active:
                own = nodes[node][0]
                level = own if own < level else level
            if level == top + BITS:
                found = self.constant(active)
            else:
                halves = []
                for half in (1, 2):
                    below = []
                    for pair in active:
                        node = pair[1]
                        if nodes[node][0] != level:
                            below.append(pair)
                        elif (inner := nodes[node][half]) != NOTHING:
                            below.append((pair[0], inner))
                    halves.append(walk(tuple(below)))
                found = self.node(level - top, *halves)
            memo[active] = found
            return found

        return walk(tuple((i, root) for i, root in enumerate(roots) if root != NOTHING))

    def map(self, word: WordId, change: Callable[[Any], Hashable]) -> WordId:
        """Return ``word`` with each outcome changed."""
        memo: dict[WordId, WordId] = {}

        def walk(at: WordId) -> WordId:
            found = memo.get(at)
            if found is None:
                level, zero, one = self._nodes[at]
                if level == BITS:
                    found = self.constant(change(self._outcomes[zero]))
                else:
                    found = self.node(level, walk(zero), walk(one))
                memo[at] = found
            return found

        return walk(word)

    def at(self, word: WordId, value: int) -> Hashable:
        """Return the outcome for ``value``."""
        level, zero, one = self._nodes[word]
        while level < BITS:
            level, zero, one = self._nodes[one if value >> (BITS - 1 - level) & 1 else zero]
        return self._outcomes[zero]

    def _below(self, word: WordId) -> Iterator[tuple[int, int, int]]:
        """Yield each node in the diagram of ``word`` once, smaller values first."""
        seen: set[WordId] = set()
        stack = [word]
        while stack:
            at = stack.pop()
            if at not in seen:
                seen.add(at)
                node = self._nodes[at]
                yield node
                if node[0] < BITS:
                    stack += [node[2], node[1]]

    def outcomes(self, word: WordId) -> tuple[Hashable, ...]:
        """Return all outcomes, in order of the smallest value that has each."""
        known = self._ends.get(word)
        if known is None:
            ends = (number for level, number, _ in self._below(word) if level == BITS)
            known = self._ends[word] = tuple([self._outcomes[number] for number in ends])
        return known

    def size(self, word: WordId) -> int:
        """Return the number of nodes in the diagram of ``word``, constants included."""
        return sum(1 for _ in self._below(word))

    def support(self, word: WordId) -> int:
        """Return the bits that ``word`` looks at."""
        levels = {level for level, _, _ in self._below(word) if level < BITS}
        return sum(1 << (BITS - 1 - level) for level in levels)

    def runs(self, word: WordId) -> int:
        """Return the number of intervals of equal outcome."""
        return self._counted(word, 0)[0]

    def _counted(self, word: WordId, level: int) -> tuple[int, int, int]:
        """Return the intervals of ``word`` from ``level`` down, and its first and last outcome.

        A skipped level doubles the intervals below it; equal neighbours merge.
        """
        own, zero, one = self._nodes[word]
        found = self._runs.get(word)
        if found is None:
            if own == BITS:
                found = 1, zero, zero
            else:
                below, first, before = self._counted(zero, own + 1)
                above, after, last = self._counted(one, own + 1)
                found = below + above - (before == after), first, last
            self._runs[word] = found
        count, first, last = found
        skipped = own - level
        if first == last:
            return ((count - 1) << skipped) + 1, first, last
        return count << skipped, first, last

    def intervals(self, word: WordId) -> Iterator[tuple[int, int, Hashable]]:
        """Yield (first value, last value, outcome), ascending, neighbours merged."""
        start, current = 0, -1
        stack = [(word, 0, 0)]
        while stack:
            at, level, value = stack.pop()
            own, zero, one = self._nodes[at]
            if own == BITS and current in (-1, zero):
                current = zero
            elif own == BITS:
                yield start, value - 1, self._outcomes[current]
                start, current = value, zero
            elif own > level:
                half = 1 << (BITS - 1 - level)
                stack += [(at, level + 1, value + half), (at, level + 1, value)]
            else:
                half = 1 << (BITS - 1 - level)
                stack += [(one, level + 1, value + half), (zero, level + 1, value)]
        yield start, (1 << BITS) - 1, self._outcomes[current]

    def where(self, test: WordId, word: WordId, other: WordId) -> WordId:
        """Return ``word`` where ``test`` has the outcome YES, else ``other``.

        Results are cached from call to call: the same line is asked for under many tests, the same
        test for many lines, and these share most of their nodes.
        """
        nodes, kept, node = self._nodes, self._chosen, self.node
        if len(kept) > _CHOSEN_MAX:
            kept.clear()
        always, never = self.constant(YES), self.constant(NO)
        holds = self._numbers[YES]

        def walk(choice: WordId, yes: WordId, no: WordId) -> WordId:
            level, zero, one = nodes[choice]
            if level == BITS:
                return yes if zero == holds else no
            if yes == no:
                return yes
            if yes == always and no == never:
                return choice
            key = (choice, yes, no)
            found = kept.get(key)
            if found is None:
                self.steps += 1
                yes_level, yes_zero, yes_one = nodes[yes]
                no_level, no_zero, no_one = nodes[no]
                top = level if level < yes_level else yes_level
                top = no_level if no_level < top else top
                if level != top:
                    zero = one = choice
                if yes_level != top:
                    yes_zero = yes_one = yes
                if no_level != top:
                    no_zero = no_one = no
                low = walk(zero, yes_zero, no_zero)
                found = kept[key] = node(top, low, walk(one, yes_one, no_one))
            return found

        return walk(test, word, other)

    def outcome_where(self, test: WordId, word: WordId, steps: Steps) -> Hashable | None:
        """Return the outcome of ``word`` where ``test`` has the outcome YES.

        None if there are several, or none. It takes ``steps``.
        """
        seen: set[tuple[WordId, WordId]] = set()
        found = self._outcome_where(test, word, seen)
        steps.spend(_STEPS_OF_A_PAIR * len(seen))
        return found

    def _outcome_where(
        self, test: WordId, word: WordId, seen: set[tuple[WordId, WordId]]
    ) -> Hashable | None:
        nodes, holds = self._nodes, self._numbers.get(YES)
        found: int | None = None
        stack = [(word, test)]
        while stack:
            pair = stack.pop()
            if pair in seen:
                continue
            seen.add(pair)
            at, care = pair
            level, zero, one = nodes[at]
            above, without, having = nodes[care]
            if above == BITS and without != holds:
                continue
            if level == BITS:  # somewhere the test holds
                if found not in {None, zero}:
                    return None
                found = zero
            elif above == BITS:  # the test holds for both halves, whose outcomes differ
                return None
            elif level == above:
                stack += ((one, having), (zero, without))
            elif level < above:
                stack += ((one, care), (zero, care))
            else:
                stack += ((at, having), (at, without))
        return None if found is None else self._outcomes[found]

    def restricted(self, word: WordId, test: WordId, outcome: str) -> WordId:
        """Return a smaller function that is ``word`` where ``test`` has ``outcome``.

        Elsewhere its outcome is free: a bit that the test determines is not looked at, and where
        only one half matters, it serves for both (the operator "restrict" of Coudert and
        Madre, A unified framework for the formal verification of sequential circuits, 1990).

        Results are kept as those of `where` are: masks are tried on one line after the other, and
        most of these are made of the same nodes.
        """
        nodes, kept, node = self._nodes, self._restricted[outcome], self.node
        excluded = self.constant(NO if outcome == YES else YES)
        if len(kept) > _CHOSEN_MAX:
            kept.clear()

        def walk(at: WordId, care: WordId) -> WordId:
            level, zero, one = nodes[at]
            above, without, having = nodes[care]
            if BITS in (level, above):
                return at
            key = (at, care)
            found = kept.get(key)
            if found is None:
                self.restrictions += 1
                if above > level:
                    without = having = care
                if above < level:  # the function does not ask: either half of the test will do
                    found = walk(at, self._either(without, having, excluded))
                elif without == excluded:
                    found = walk(one, having)
                elif having == excluded:
                    found = walk(zero, without)
                else:
                    found = node(level, walk(zero, without), walk(one, having))
                kept[key] = found
            return found

        return walk(word, test)

    def _either(self, one: WordId, other: WordId, excluded: WordId) -> WordId:
        """Return the test that is ``excluded``, a constant, only where both of two tests are."""
        if one == excluded:
            return other
        if other == excluded:
            return one
        if self.outcome(excluded) == NO:
            return self.where(one, self.constant(YES), other)
        return self.where(one, other, self.constant(NO))

    def masked(self, mask: int, value: int) -> WordId:
        """Return the function with the outcome YES where ``word & mask == value``, else NO."""
        found = self._masked.get((mask, value))
        if found is not None:
            return found
        yes, no = self.constant(YES), self.constant(NO)
        if value & ~mask:
            return no
        for bit in range(BITS):
            if mask >> bit & 1:
                branches = (no, yes) if value >> bit & 1 else (yes, no)
                yes = self.node(BITS - 1 - bit, *branches)
        self._masked[mask, value] = yes
        return yes

    def gathered(self, word: WordId, mask: int) -> WordId:
        """Return ``word`` as a function of the bits of ``mask`` moved together at the low end.

        ``word`` must look at no other bits. Values with higher bits have the last outcome.
        """
        levels = [level for level in range(BITS) if mask >> (BITS - 1 - level) & 1]
        first = BITS - len(levels)
        moved = {level: first + place for place, level in enumerate(levels)}
        memo: dict[WordId, WordId] = {}

        def walk(at: WordId) -> WordId:
            level, zero, one = self._nodes[at]
            if level == BITS:
                return at
            found = memo.get(at)
            if found is None:
                found = memo[at] = self.node(moved[level], walk(zero), walk(one))
            return found

        found, last = walk(word), self.constant(self.at(word, mask))
        for level in reversed(range(first)):
            found = self.node(level, found, last)
        return found

    def highest(self, word: WordId) -> tuple[int, WordId, WordId]:
        """Return the highest bit that ``word`` looks at, as a mask, and its functions for 0 and 1.

        ``word`` must not be a constant.
        """
        level, zero, one = self._nodes[word]
        return 1 << (BITS - 1 - level), zero, one
