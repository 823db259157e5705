"""Plans of functions of the arguments, and the ways to them, each found once in a thread.

A result depends on the question alone, not on what was asked before. So the programs for the ABIs
of a policy, which ask nearly the same, share them, and none shows which one came first.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from operator import and_
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seccompgen.compile.functions import Functions
from seccompgen.compile.linefacts import LineFacts
from seccompgen.compile.tree import BUDGETS, IMPOSSIBLE, SCALE, UNBOUNDED
from seccompgen.compile.word_search import WordSearches
from seccompgen.compile.words import WordDiagrams
from seccompgen.core.model import U32
from seccompgen.core.sets import Sets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from seccompgen.compile.bittrees import BitSearch
    from seccompgen.compile.diagram import NodeId
    from seccompgen.compile.functions import ArgumentFunction, Derived
    from seccompgen.compile.linefacts import Seen
    from seccompgen.compile.tree import Costs
    from seccompgen.compile.word_search import Care, Sample
    from seccompgen.compile.words import WordId
    from seccompgen.compile.wordtrees import WordTrees
    from seccompgen.core.word import Word

ALL_SAMPLES = 1 << 12
"""The weight of all samples of a function."""
_UNSEEN = 1 << 4
"""The weight of all values of a low word that no sample has."""
_UNSEEN_HIGH = 1
"""The same for a high word: what is passed there is hardly ever anything but zero."""
_ALIKE: tuple[Sample, ...] = (((0,) * 6, ALL_SAMPLES),)
"""The one sample that remains where nothing looks at the arguments."""

_MOST_SEARCHES = 1 << 12
_MOST_PARTS = 1 << 14
_MOST_NODES = 1 << 18
_UNBOUNDED = 1 << 62
"""These sets are for many programs: where one ends must not depend on those before it."""
_MOST_CELLS = 1 << 22
"""More is not kept from program to program. A cell has eight bytes, a node a hundred or two."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A function, its ``words``, and the arguments that it is taken to be asked with.

    ``samples`` are reduced to the words, and weigh ``ALL_SAMPLES`` in all.
    """

    function: ArgumentFunction
    words: tuple[Word, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A function taken apart by ``word``, whose values come as ``seen``.

    ``line`` has a place in ``below`` for each value: what is left there. ``derived`` says how that
    came about.
    """

    word: Word
    line: WordId
    seen: Seen
    derived: tuple[Derived, ...]
    below: tuple[Sampled, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """A word that may be looked at first, and the tests on it.

    ``labels[n]`` is the plan for label n of the trees. ``costs`` count from before the
    load; ``size`` is the load and the tests. ``intervals`` were searched for it, and
    ``bits``.
    """

    parts: Parts
    labels: tuple[Plan, ...]
    trees: WordTrees
    costs: Costs
    size: int
    intervals: int
    bits: tuple[BitSearch, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The plan of a function for each budget: ``ways[choice[budget]]``.

    Without ways it is the answer ``ret``, or the node ``chain`` that was made at once. ``size``
    counts its own instructions without a bound, ``below`` are the plans that these lead to.
    """

    costs: Costs
    ret: int = 0
    chain: NodeId | None = None
    ways: tuple[Alternative, ...] = ()
    choice: tuple[int, ...] = ()
    size: int = 1
    below: frozenset[Plan] = frozenset()


class _Alternatives(NamedTuple):
    """The ways of one function: where each leads, their costs, and the plans made of them.

    ``plans`` are by what was chosen for each budget, ``asked`` by the instructions that each way
    was taken to add, and what these count for.
    """

    below: tuple[frozenset[Plan], ...]
    costs: Costs
    plans: dict[bytes, Plan]
    asked: dict[tuple[tuple[int, ...], int], Plan]


class Plans:
    """Functions of the arguments and of words, and what was found out about them.

    All sets, functions, words and plans of a program must be those of one of these.
    """

    def __init__(self) -> None:
        self.words = WordDiagrams()
        self.functions = Functions(Sets(most=_UNBOUNDED), self.words)
        self._searches: dict[tuple[tuple[tuple[int, int], ...], int], WordSearches] = {}
        self._sampled: dict[tuple[ArgumentFunction, tuple[Sample, ...]], Sampled] = {}
        self._parts: dict[tuple[Sampled, Word], Parts] = {}
        self._ways: dict[tuple[Parts, WordSearches, tuple[Plan, ...], Care], Alternative] = {}
        self._alternatives: dict[tuple[Alternative, ...], _Alternatives] = {}
        self._constants: dict[Sampled, Plan] = {}

    @property
    def is_full(self) -> bool:
        """True if so much is kept that it would better be forgotten."""
        return (
            sum(map(len, self._searches.values())) > _MOST_SEARCHES
            or sum(one.cells for one in self._searches.values()) > _MOST_CELLS
            or max(len(self._parts), len(self._ways), len(self._alternatives)) > _MOST_PARTS
            or len(self.words) > _MOST_NODES
            or len(self.functions.sets.nodes) > _MOST_NODES
        )

    def searches(self, masks: tuple[tuple[int, int], ...], price: int) -> WordSearches:
        """Return the searches with ``masks`` and ``price`` as in `LineFacts`."""
        found = self._searches.get((masks, price))
        if found is None:
            found = WordSearches(LineFacts(self.words, masks, price))
            self._searches[masks, price] = found
        return found

    def sampled(self, function: ArgumentFunction, samples: Sequence[Sample]) -> Sampled:
        """Return ``function`` where arguments come as ``samples`` say."""
        words = self.functions.words(function)
        key = function, _normal(words, samples)
        found = self._sampled.get(key)
        if found is None:
            found = self._sampled[key] = Sampled(function, words, key[1])
        return found

    def parts(self, asked: Sampled, word: Word) -> Parts:
        """Return what each value of ``word`` leaves of a function."""
        found = self._parts.get((asked, word))
        if found is None:
            found = self._parts[asked, word] = self._divided(asked, word)
        return found

    def _divided(self, asked: Sampled, word: Word) -> Parts:
        line, left = self.functions.split(asked.function, word)
        values: dict[int, int] = {}
        inside: list[list[Sample]] = [[] for _ in left]
        for args, weight in asked.samples:
            value = word.of(args[word.argument])
            values[value] = values.get(value, 0) + weight
            place = self.words.at(line, value)
            assert isinstance(place, int)
            inside[place].append((args, weight))
        below = [self.sampled(rest.function, own) for rest, own in zip(left, inside, strict=True)]
        return Parts(word, line, tuple(sorted(values.items())), left, tuple(below))

    def way(
        self,
        parts: Parts,
        searches: WordSearches,
        labels: tuple[Plan, ...],
        care: Care,
    ) -> Alternative:
        """Return the best tests on the word of ``parts``, each of which has a plan in ``labels``.

        Raises TooManyError where that would make large trees.
        """
        key = parts, searches, labels, care
        found = self._ways.get(key)
        if found is None:
            found_trees = searches.best(
                parts.line,
                parts.seen,
                _UNSEEN_HIGH if parts.word.is_high else _UNSEEN,
                np.array([plan.costs for plan in labels]),
                care,
            )
            found = self._ways[key] = Alternative(parts, labels, *found_trees)
        return found

    def best(self, ways: tuple[Alternative, ...], used: AbstractSet[Plan], sharing: int) -> Plan:
        """Return the plan that goes the cheapest of ``ways`` for each budget.

        An instruction more counts for ``sharing``. What the plans ``used`` have costs nothing.
        """
        known = self._alternatives.get(ways)
        if known is None:
            below = [frozenset(way.labels).union(*[n.below for n in way.labels]) for way in ways]
            costs = np.array([way.costs for way in ways])
            known = self._alternatives[ways] = _Alternatives(tuple(below), costs, {}, {})
        new = tuple(
            [
                way.size + sum([plan.size for plan in plans - used])
                for way, plans in zip(ways, known.below, strict=True)
            ]
        )
        found = known.asked.get((new, sharing))
        if found is None:
            found = known.asked[new, sharing] = _chosen(ways, known, new, sharing)
        return found

    def constant(self, asked: Sampled) -> Plan:
        """Return the plan of a function that looks at nothing."""
        found = self._constants.get(asked)
        if found is None:
            costs = np.full(BUDGETS, SCALE, dtype=np.int64)
            costs[0] = IMPOSSIBLE
            found = self._constants[asked] = Plan(costs, asked.function.default)
        return found


def _chosen(
    ways: tuple[Alternative, ...], known: _Alternatives, new: tuple[int, ...], sharing: int
) -> Plan:
    biased = known.costs + np.array(new)[:, None] * sharing
    choice = biased.argmin(axis=0)
    key = choice.tobytes()
    found = known.plans.get(key)
    if found is None:
        last = int(choice[UNBOUNDED])
        found = known.plans[key] = Plan(
            known.costs[choice, np.arange(BUDGETS)],
            ways=ways,
            choice=tuple(choice.tolist()),
            size=ways[last].size,
            below=known.below[last],
        )
    return found


def _normal(words: tuple[Word, ...], samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return ``samples`` reduced to ``words``, ALL_SAMPLES in all."""
    if not samples:
        return ()
    if not words:
        return _ALIKE
    masks = [0] * 6
    for word in words:
        masks[word.argument] |= U32 << word.shift
    merged: dict[tuple[int, ...], int] = {}
    for args, weight in samples:
        key = tuple(map(and_, args, masks))
        merged[key] = merged.get(key, 0) + weight
    total = sum(merged.values())
    shares = ((args, weight * ALL_SAMPLES // total or 1) for args, weight in merged.items())
    return tuple(sorted(shares))


class _ThreadPlans(threading.local):
    """The plans of a thread: another one would number its sets and nodes in between."""

    plans: Plans | None = None


_of_thread = _ThreadPlans()


def shared_plans() -> Plans:
    """Return those of this thread; they are only replaced between two programs."""
    if _of_thread.plans is None or _of_thread.plans.is_full:
        _of_thread.plans = Plans()
    return _of_thread.plans
