"""The shortest program that does what a given one does, by SAT, with a proof that none is shorter.

A program is sought with a given number of instructions that answers some calls (*points*) as the
given program does. If there is none, no program of that length is right, since even for these
points there is none: this is the proof of the lower bound. If there is one, z3 compares it with the
given program over all values of all words. A value that they answer differently becomes a further
point (counterexample-guided synthesis: Solar-Lezama and others, ASPLOS 2006).

The model
    An instruction loads a word, ands the accumulator with a mask, tests it (``jeq``, ``jge``,
    ``jset``; constants and masks are free), or returns. Answers are returned in one place each.
    Each place in a program is reached with one word in the accumulator, under one mask. Left out
    are tests other than ``jeq`` behind a mask, a mask on what a mask left, scratch memory,
    arithmetic, ``ja``, and the limit of 255 on jumps. No compiler in this field uses them in
    short programs.

Numbering
    Permutations of a program are one program: nodes stand in the order in which a queue takes
    them once their last parent is done (Kahn's order), true branches first. Each program has
    just one such order, so nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from pysat.solvers import Glucose42

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORD = 32
U32 = 0xFFFFFFFF


class Kind(IntEnum):
    """An instruction of the model, but for the answers."""

    LOAD = 0
    AND = 1
    EQ = 2
    GE = 3
    ANY_BITS = 4


TESTS = (Kind.EQ, Kind.GE, Kind.ANY_BITS)
FALLS = (Kind.LOAD, Kind.AND)


class Point(NamedTuple):
    """Values of the words, in the order of their offsets, and the right answer."""

    words: tuple[int, ...]
    answer: int


class Node(NamedTuple):
    """One instruction: ``k`` is its constant or mask, a load's word by its place.

    ``true`` and ``false`` are places of nodes; those from the number of nodes on are answers.
    A load and an ``and`` go on at ``true``.
    """

    kind: Kind
    k: int
    true: int
    false: int


class Undecided(Exception):  # noqa: N818 - nothing is wrong
    """The solver used up its conflicts before it knew."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A program as a graph: nodes after their parents, and the answers behind them."""

    nodes: tuple[Node, ...]
    answers: tuple[int, ...]


class Synthesis:
    """The search for a program of ``size`` instructions and one for each of ``answers``.

    It looks at ``words`` words. Bits of constants are variables, so all constants are tried.
    """

    def __init__(self, size: int, words: int, answers: Sequence[int]) -> None:
        self._size = size
        self._words = words
        self._answers = tuple(answers)
        self._count = 0
        self._solver = Glucose42()
        self._points: list[list[int]] = []
        self._values: list[list[int]] = [[] for _ in range(words)]
        self._over: dict[tuple[int, int, int], int] = {}
        self._kind = [self._new(len(Kind)) for _ in range(size)]
        self._word = [self._new(words) for _ in range(size)]
        self._k = [self._new(WORD) for _ in range(size)]
        self._kept = [self._new(WORD) for _ in range(size)]
        self._plain = self._new(size)
        self._true = [self._targets(i) for i in range(size)]
        self._false = [self._targets(i) for i in range(size)]
        self._structure()

    def add(self, point: Point) -> None:
        """Ask that ``point`` is answered rightly."""
        size, everything = self._size, self._size + len(self._answers)
        reached, holds = self._new(everything), self._new(size)
        self._points.append(holds)
        self._clause(reached[0])
        for place, answer in enumerate(self._answers):
            if answer != point.answer:
                self._clause(-reached[size + place])
        for i in range(size):
            for j in self._true[i]:
                self._clause(-reached[i], -self._true[i][j], -holds[i], reached[j])
                self._clause(-reached[i], -self._false[i][j], holds[i], reached[j])
            for kind in FALLS:
                self._clause(-self._kind[i][kind], holds[i])
            for w, value in enumerate(point.words):
                self._test(i, w, value, holds[i])

    def solve(self, conflicts: int) -> Shape | None:
        """Return a program that answers all points rightly; None if there is none.

        Raises Undecided after so many ``conflicts``.
        """
        self._solver.conf_budget(conflicts)
        satisfiable = self._solver.solve_limited()
        if satisfiable is None:
            raise Undecided
        if not satisfiable:
            return None
        model = set(self._solver.get_model())
        nodes = []
        for i in range(self._size):
            kind = next(kind for kind in Kind if self._kind[i][kind] in model)
            true = next(j for j, name in self._true[i].items() if name in model)
            false = next((j for j, name in self._false[i].items() if name in model), true)
            bits = sum(1 << b for b in range(WORD) if self._k[i][b] in model)
            word = next(w for w in range(self._words) if self._word[i][w] in model)
            if kind is Kind.LOAD:
                bits = word
            if kind is Kind.EQ:
                bits &= sum(1 << b for b in range(WORD) if self._kept[i][b] in model)
            if kind is Kind.GE:
                over = [v for v in self._values[word] if self._over[i, word, v] in model]
                bits = min(over, default=U32)
            nodes.append(Node(kind, bits, true, false))
        return Shape(tuple(nodes), self._answers)

    def close(self) -> None:
        """Give the solver's memory back."""
        self._solver.delete()

    # --- the encoding -----------------------------------------------------------------------

    def _structure(self) -> None:
        size = self._size
        for i in range(size):
            kind = self._kind[i]
            self._exactly_one(kind)
            self._exactly_one(self._word[i])
            self._exactly_one(self._true[i].values())
            self._at_most_one(self._false[i].values())
            for test in TESTS:
                self._clause(-kind[test], *self._false[i].values())
            for j in self._true[i]:
                self._clause(-self._true[i][j], -self._false[i][j])
                for falls in FALLS:
                    self._clause(-kind[falls], -self._false[i][j])
                    if j >= size:
                        self._clause(-kind[falls], -self._true[i][j])
            for only in (Kind.GE, Kind.ANY_BITS, Kind.AND):
                self._clause(-kind[only], self._plain[i])
            for bit in range(WORD):
                self._clause(-self._plain[i], self._kept[i][bit])
        self._clause(self._kind[0][Kind.LOAD])
        for i in range(size):
            for j in range(i + 1, size):
                self._edge(i, j)
        # Only one load or mask can fall into an instruction.
        for j in range(1, size):
            for i, other in combinations(range(j), 2):
                for one, two in ((a, b) for a in FALLS for b in FALLS):
                    self._clause(
                        -self._true[i][j],
                        -self._true[other][j],
                        -self._kind[i][one],
                        -self._kind[other][two],
                    )
        self._order()

    def _edge(self, i: int, j: int) -> None:
        """Carry what the accumulator holds from node ``i`` to node ``j``."""
        load, mask = self._kind[i][Kind.LOAD], self._kind[i][Kind.AND]
        fresh = self._kind[j][Kind.LOAD]
        for edge in (self._true[i][j], self._false[i][j]):
            # A load's own word is the one it loads; where it is entered, any will do.
            for w in range(self._words):
                self._clause(-edge, fresh, -self._word[i][w], self._word[j][w])
            self._clause(-edge, -load, self._plain[j], fresh)
            self._clause(-edge, load, mask, fresh, -self._plain[i], self._plain[j])
            self._clause(-edge, -mask, fresh, -self._plain[j])
            self._clause(-edge, load, mask, fresh, self._plain[i], -self._plain[j])
            for bit in range(WORD):
                kept, here = self._kept[j][bit], self._kept[i][bit]
                self._clause(-edge, -mask, fresh, -kept, self._k[i][bit])
                self._clause(-edge, -mask, fresh, kept, -self._k[i][bit])
                self._clause(-edge, load, mask, fresh, -kept, here)
                self._clause(-edge, load, mask, fresh, kept, -here)
        # Loading what is thrown away at once is of no use.
        self._clause(-self._true[i][j], -load, -fresh)
        self._clause(-self._true[i][j], -mask, -fresh)

    def _order(self) -> None:
        size = self._size
        last: list[list[int]] = [[]]
        for j in range(1, size):
            here = self._new(j)
            parents = [(self._true[i][j], self._false[i][j]) for i in range(j)]
            self._exactly_one(here)
            for i in range(j):
                self._clause(-here[i], *parents[i])
                for later in range(i + 1, j):
                    self._clause(-here[i], -parents[later][0])
                    self._clause(-here[i], -parents[later][1])
            last.append(here)
        for j in range(1, size - 1):
            for i in range(j):
                self._clause(-last[j][i], *last[j + 1][i:])
                self._clause(-last[j][i], -last[j + 1][i], self._true[i][j])

    def _test(self, i: int, w: int, value: int, holds: int) -> None:
        kind, word, k = self._kind[i], self._word[i][w], self._k[i]
        some = []
        for bit in range(WORD):
            if value >> bit & 1:
                some.append(k[bit])
                self._clause(-kind[Kind.ANY_BITS], -word, -k[bit], holds)
        self._clause(-kind[Kind.ANY_BITS], -word, -holds, *some)
        over = self._threshold(i, w, value)
        self._clause(-kind[Kind.GE], -word, -over, holds)
        self._clause(-kind[Kind.GE], -word, over, -holds)
        differs = self._new(WORD)
        for bit in range(WORD):
            same = k[bit] if value >> bit & 1 else -k[bit]
            kept = self._kept[i][bit]
            self._clause(-kind[Kind.EQ], -word, -holds, -kept, same)
            self._clause(-differs[bit], kept)
            self._clause(-differs[bit], -same)
        self._clause(-kind[Kind.EQ], -word, holds, *differs)

    def _threshold(self, i: int, w: int, value: int) -> int:
        """Return the name of ``value >= k``, which holds for larger values too."""
        known = self._over.get((i, w, value))
        if known is not None:
            return known
        name = self._over[i, w, value] = self._new(1)[0]
        if value == U32:
            self._clause(name)
        if i == 0 or value not in self._values[w]:
            self._values[w] = sorted({*self._values[w], value})
        for other in self._values[w]:
            there = self._over.get((i, w, other))
            if there is not None and other < value:
                self._clause(-there, name)
            if there is not None and other > value:
                self._clause(-name, there)
        return name

    def _targets(self, i: int) -> dict[int, int]:
        """Return a variable for each place behind node ``i``."""
        places = range(i + 1, self._size + len(self._answers))
        return dict(zip(places, self._new(len(places)), strict=True))

    def _new(self, count: int) -> list[int]:
        first = self._count + 1
        self._count += count
        return list(range(first, self._count + 1))

    def _clause(self, *literals: int) -> None:
        self._solver.add_clause(literals)

    def _exactly_one(self, names: Iterable[int]) -> None:
        names = list(names)
        self._clause(*names)
        self._at_most_one(names)

    def _at_most_one(self, names: Iterable[int]) -> None:
        for one, other in combinations(list(names), 2):
            self._clause(-one, -other)
