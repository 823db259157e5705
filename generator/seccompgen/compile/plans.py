"""Plans of functions of the arguments, and alternatives for them, cached per thread.

A result depends on its inputs alone, not on earlier ones. So the programs for the ABIs of a policy,
which need nearly the same plans, can share them, whatever their order.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from operator import and_
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seccompgen.compile.budget import Results
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

    from seccompgen.compile.budget import Steps
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
"""The same for a high word: values other than zero are rare there."""
_ALIKE: tuple[Sample, ...] = (((0,) * 6, ALL_SAMPLES),)
"""The one sample of a function that looks at no argument."""

_MOST_SEARCHES = 1 << 12
_MOST_PARTS = 1 << 14
_MOST_NODES = 1 << 18
_UNBOUNDED = 1 << 62
"""No limit on sets: many programs share them, so a limit would depend on earlier ones."""
_MOST_CELLS = 1 << 22
"""Above these limits plans are dropped before the next program. A cell has 8 bytes, a node 100

to 200."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A function, its ``words``, and the sample arguments that its plan is optimized for.

    ``samples`` are reduced to the words, and weigh ``ALL_SAMPLES`` in all.
    """

    function: ArgumentFunction
    words: tuple[Word, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A function taken apart by ``word``, whose values come as ``seen``.

    ``line`` maps each value to an index into ``below``, the functions that remain. ``derived`` has
    their sources.
    """

    word: Word
    line: WordId
    seen: Seen
    derived: tuple[Derived, ...]
    below: tuple[Sampled, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """A word that may be looked at first, and the tests on it.

    ``labels[n]`` is the plan for label n of the trees. ``costs`` include the load; ``size`` is the
    number of instructions, load and tests.
    """

    parts: Parts
    labels: tuple[Plan, ...]
    trees: WordTrees
    costs: Costs
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The plan of a function for each budget: ``ways[choice[budget]]``.

    Without ways it is the answer ``ret``, or the finished node ``chain``. ``size`` counts its own
    instructions, if their paths have no bound; ``below`` are the plans that these lead to.
    """

    costs: Costs
    ret: int = 0
    chain: NodeId | None = None
    ways: tuple[Alternative, ...] = ()
    choice: tuple[int, ...] = ()
    size: int = 1
    below: frozenset[Plan] = frozenset()


class _Alternatives(NamedTuple):
    """The ways of one function: the plans below each, their costs, and the plans made of them.

    ``plans`` has the choices for all budgets as its key; ``asked`` has the instructions that each
    way adds, and the price of one.
    """

    below: tuple[frozenset[Plan], ...]
    costs: Costs
    plans: dict[bytes, Plan]
    asked: dict[tuple[tuple[int, ...], int], Plan]


class Plans:
    """Functions of the arguments and of words, with all cached results about them.

    A program must take all its sets, functions, words and plans from one instance.
    """

    def __init__(self) -> None:
        self.words = WordDiagrams()
        self.functions = Functions(Sets(most=_UNBOUNDED), self.words)
        self._searches: dict[tuple[tuple[tuple[int, int], ...], int], WordSearches] = {}
        self._sampled: dict[tuple[ArgumentFunction, tuple[Sample, ...]], Sampled] = {}
        self._parts: Results[tuple[Sampled, Word], Parts] = Results()
        self._ways: Results[tuple[Parts, WordSearches, tuple[Plan, ...], Care], Alternative] = (
            Results()
        )
        self._alternatives: dict[tuple[Alternative, ...], _Alternatives] = {}
        self._constants: dict[Sampled, Plan] = {}

    @property
    def is_full(self) -> bool:
        """True if so much is cached that the next program should begin with new plans."""
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
        """Return ``function`` with ``samples``, reduced to its words."""
        words = self.functions.words(function)
        key = function, _normal(words, samples)
        found = self._sampled.get(key)
        if found is None:
            found = self._sampled[key] = Sampled(function, words, key[1])
        return found

    def parts(self, asked: Sampled, word: Word, steps: Steps) -> Parts:
        """Return a function taken apart by ``word``."""
        return self._parts.of((asked, word), steps, lambda own: self._divided(asked, word, own))

    def _divided(self, asked: Sampled, word: Word, steps: Steps) -> Parts:
        line, left = self.functions.split(asked.function, word, steps)
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
        steps: Steps,
    ) -> Alternative:
        """Return the best tests on the word of ``parts``; ``labels`` has a plan for each part.

        Raises TooManyError if the trees would be large.
        """

        def make(own: Steps) -> Alternative:
            rest = _UNSEEN_HIGH if parts.word.is_high else _UNSEEN
            ends = np.array([plan.costs for plan in labels])
            trees = searches.best(parts.line, parts.seen, rest, ends, care, own)
            return Alternative(parts, labels, *trees)

        return self._ways.of((parts, searches, labels, care), steps, make)

    def best(self, ways: tuple[Alternative, ...], used: AbstractSet[Plan], sharing: int) -> Plan:
        """Return the plan that takes the cheapest of ``ways`` for each budget.

        Each added instruction costs ``sharing``; those of the plans ``used`` are there already.
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
        """Return the plan of a function that tests no argument: its constant answer."""
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
    """Return ``samples`` reduced to ``words``, with a total weight of ALL_SAMPLES."""
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
    """The plans of a thread; sharing them with others would mix the numbers of sets and nodes."""

    plans: Plans | None = None


_of_thread = _ThreadPlans()


def shared_plans() -> Plans:
    """Return the plans of this thread; call once per program, since full plans are replaced."""
    if _of_thread.plans is None or _of_thread.plans.is_full:
        _of_thread.plans = Plans()
    return _of_thread.plans
