"""From functions of the arguments to decision diagrams: which word is looked at first, and how.

A function is taken apart by one of its words: what is left for each value is another function,
and a tree of tests on the word leads there. A path thus loads each word at most once (again
only behind a test under a mask, which destroys it). Functions are canonical and planned once a
program, so calls that ask the same questions share code.

Which word comes first is searched: the order of least cost, where what is equally good goes to the
one that adds the fewest instructions to what the program has already. How many orders are tried
is a matter of the `budget`. Where it is used up, rules are tested one after the other, which is
linear in their size (``chain``). The same is done where that comes out shorter by two thirds, or by
a quarter if length is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import and_
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from seccompgen.compile.assemble import assemble
from seccompgen.compile.budget import Budget
from seccompgen.compile.chain import chain
from seccompgen.compile.diagram import Diagram, LoadedWord, Relation, TestNode
from seccompgen.compile.functions import ORIGINAL, ArgumentFunction, Derived
from seccompgen.compile.tree import (
    BUDGETS,
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    EqualTest,
    Masked,
    MaskTest,
    OrderTest,
    TreeEnd,
    least_budget,
    less,
)
from seccompgen.compile.word_search import TooManyError
from seccompgen.core.model import U32, Op, comparisons
from seccompgen.core.program import word_offset
from seccompgen.core.word import Word, argument_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.compile.diagram import NodeId
    from seccompgen.compile.functions import Functions
    from seccompgen.compile.lower import Answer, Origins
    from seccompgen.compile.prices import Prices
    from seccompgen.compile.tree import Costs, Tree
    from seccompgen.compile.word_search import Sample, SharedWords
    from seccompgen.compile.wordtrees import WordTrees
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin, Rule

PlanId: TypeAlias = int

_TOTAL = 1 << 12
"""The weight of all samples of a function."""
_UNSEEN = 1 << 4
"""The weight of all values of a low word that no sample has."""
_UNSEEN_HIGH = 1
"""The same for a high word: what is passed there is hardly ever anything but zero."""


_ALIKE: tuple[Sample, ...] = (((0,) * 6, _TOTAL),)
"""The one sample that remains where nothing looks at the arguments."""


class _Key(NamedTuple):
    function: ArgumentFunction
    samples: tuple[Sample, ...]


class _Way(NamedTuple):
    """One way to take a function apart.

    ``labels[n]`` is the plan that label n of the trees stands for, ``derived[n]`` how its function
    came about. ``costs`` count from before the load; ``size`` is the load and the tests.
    """

    word: Word
    trees: WordTrees
    labels: tuple[PlanId, ...]
    derived: tuple[Derived, ...]
    costs: Costs
    size: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a function for each budget: ``ways[choice[budget]]``.

    Without ways it is the answer ``ret``, or the node ``chain`` that was made at once. ``size``
    counts its own instructions without a bound, ``below`` are the plans that these lead to.
    """

    costs: Costs
    ret: int = 0
    chain: NodeId | None = None
    ways: tuple[_Way, ...] = ()
    choice: tuple[int, ...] = ()
    size: int = 1
    below: frozenset[PlanId] = frozenset()


@dataclass(frozen=True, slots=True)
class Hints:
    """The words of the rules: masks worth trying, and the rule of each constant.

    A mask comes with what it is compared with, ``word & mask == k``. Neither changes what a
    program answers.
    """

    masks: Mapping[Word, tuple[tuple[int, int], ...]]
    constants: Mapping[Word, Mapping[int, list[Origin]]]

    @classmethod
    def of_rules(cls, rules: Sequence[Rule]) -> Hints:
        """Return what ``rules`` themselves say."""
        return cls(_masks(rules), _constants(rules))


class Arguments:
    """The plans of all functions of one program."""

    def __init__(
        self,
        functions: Functions,
        words: SharedWords,
        graph: Diagram,
        abi: Abi,
        prices: Prices,
        hints: Hints,
    ) -> None:
        self._functions = functions
        self._words = words.words
        self._shared = words
        self._graph = graph
        self._abi = abi
        self._price = round(prices.word_test * SCALE * _TOTAL)
        self._short = prices.short
        self._sharing = round(prices.sharing * SCALE)
        self._masks = hints.masks
        self._constants = hints.constants
        self._plans: list[_Plan] = []
        self._known: dict[_Key, PlanId] = {}
        self._used: set[PlanId] = set()
        self._budget = Budget()
        self._built: dict[tuple[PlanId, int], tuple[NodeId, list[NodeId], list[TreeEnd]]] = {}

    def plan(self, answer: Answer, samples: Sequence[Sample]) -> PlanId:
        """Return the plan for ``answer`` where arguments come as ``samples`` say."""
        self._budget.begin_call()
        try:
            number = self._plan(answer.function, samples)
        except TooManyError:
            if answer.cases:
                return self._chain(answer)
            self._budget.begin_call(stubborn=True)
            number = self._plan(answer.function, samples)
        below = self._plans[number].below
        size = sum(self._plans[n].size for n in {number, *below} - self._used)
        if answer.cases and size > self._longest(answer):
            return self._chain(answer)
        self._used |= {number} | below
        return number

    def costs(self, number: PlanId) -> Costs:
        """Return what a unit of weight costs from the load on, for each budget."""
        return self._plans[number].costs

    # --- planning ---------------------------------------------------------------------------

    def _longest(self, answer: Answer) -> int:
        """Return the length from which on rules are better tested one after the other."""
        if self._short:
            alone = Diagram()
            return len(assemble(alone, self._chained(alone, answer))[0]) * 4 // 3
        return 6 * sum(1 for case in answer.cases for _ in comparisons(case[0])) + 16

    def _chained(self, graph: Diagram, answer: Answer) -> NodeId:
        cases = [
            (condition, graph.leaf(ret, (origin,)), origin)
            for condition, ret, origin in answer.cases
        ]
        otherwise = graph.leaf(answer.function.default, answer.default_origins)
        return chain(graph, cases, otherwise, self._abi)

    def _chain(self, answer: Answer) -> PlanId:
        node = self._chained(self._graph, answer)
        costs = np.full(BUDGETS, IMPOSSIBLE, dtype=np.int64)
        costs[UNBOUNDED] = 2 * len(answer.cases) * SCALE
        self._plans.append(_Plan(costs, chain=node))
        return len(self._plans) - 1

    def _plan(self, function: ArgumentFunction, samples: Sequence[Sample]) -> PlanId:
        words = self._functions.words(function)
        key = _Key(function, _normal(words, samples))
        found = self._known.get(key)
        if found is not None:
            return found
        if words:
            words = self._budget.words_to_try(words, len(function.rules))
            plan = self._best([self._way(function, word, key.samples) for word in words])
        else:
            costs = np.full(BUDGETS, SCALE, dtype=np.int64)
            costs[0] = IMPOSSIBLE
            plan = _Plan(costs, function.default)
        self._plans.append(plan)
        number = self._known[key] = len(self._plans) - 1
        return number

    def _best(self, ways: Sequence[_Way]) -> _Plan:
        below = [
            frozenset(way.labels).union(*(self._plans[n].below for n in way.labels)) for way in ways
        ]
        new = [
            way.size + sum(self._plans[n].size for n in plans - self._used)
            for way, plans in zip(ways, below, strict=True)
        ]
        costs = np.array([way.costs for way in ways])
        biased = costs + np.array(new)[:, None] * self._sharing
        choice = np.argmin(biased, axis=0)
        last = int(choice[UNBOUNDED])
        return _Plan(
            costs[choice, np.arange(BUDGETS)],
            ways=tuple(ways),
            choice=tuple(map(int, choice)),
            size=ways[last].size,
            below=below[last],
        )

    def _way(self, function: ArgumentFunction, word: Word, samples: Sequence[Sample]) -> _Way:
        line, left = self._functions.split(function, word)
        values: dict[int, int] = {}
        inside: list[list[Sample]] = [[] for _ in left]
        for args, weight in samples:
            value = word.of(args[word.argument])
            values[value] = values.get(value, 0) + weight
            place = self._words.at(line, value)
            assert isinstance(place, int)
            inside[place].append((args, weight))
        labels = [self._plan(rest.function, own) for rest, own in zip(left, inside, strict=True)]
        # Several orders of words, and other programs, may have asked for the same.
        found = self._shared.searches(self._masks.get(word, ()), self._price).best(
            line,
            tuple(sorted(values.items())),
            _UNSEEN_HIGH if word.is_high else _UNSEEN,
            np.array([self._plans[plan].costs for plan in labels]),
            rough=self._budget.is_rough,
            stubborn=self._budget.stubborn,
        )
        self._budget.charge_search(found.intervals)
        return _Way(word, found.trees, tuple(labels), left, found.costs, found.size)

    # --- building ---------------------------------------------------------------------------

    def build(self, number: PlanId, budget: int) -> NodeId:
        """Return the diagram of the plan with at most ``budget`` instructions on any path."""
        return self._make(number, budget)[0]

    def _make(self, number: PlanId, budget: int) -> tuple[NodeId, list[NodeId], list[TreeEnd]]:
        """Return the diagram, the tests on the plan's own word, and where these end."""
        plan = self._plans[number]
        budget = least_budget(plan.costs, budget)
        found = self._built.get((number, budget))
        if found is None:
            found = self._built[number, budget] = self._made(plan, budget)
        return found

    def _made(self, plan: _Plan, budget: int) -> tuple[NodeId, list[NodeId], list[TreeEnd]]:
        if plan.chain is not None:
            return plan.chain, [], []
        if not plan.ways:
            return self._graph.leaf(plan.ret, ()), [], []
        way = plan.ways[plan.choice[budget]]
        offset = word_offset(way.word, self._abi)
        word = LoadedWord(offset)
        tests: list[NodeId] = []
        ends: list[TreeEnd] = []

        def test(value: LoadedWord, relation: Relation, k: int, true: Tree, false: Tree) -> NodeId:
            branches = make(true), make(false)
            node = self._graph.test(value, relation, k, *branches, ())
            if node not in branches:
                tests.append(node)
            return node

        def make(tree: Tree) -> NodeId:
            match tree:
                case TreeEnd(label, left):
                    ends.append(tree)
                    return self.build(way.labels[label], left)
                case OrderTest(k, below, above):
                    return test(word, Relation.GE, k, above, below)
                case EqualTest(k, equal, rest):
                    return test(word, Relation.EQ, k, equal, rest)
                case Masked(mask, k, equal, rest):
                    return test(LoadedWord(offset, mask), Relation.EQ, k, equal, rest)
                case MaskTest(mask, some, none):
                    return test(word, Relation.ANY_BITS, mask, some, none)

        root = make(way.trees.tree(less(budget, 1)))
        return root, tests, list(dict.fromkeys(ends))

    def credit(self, number: PlanId, budget: int, answer: Answer) -> None:
        """Note on every node of the plan which parts of the policy asked for it there."""
        seen: set[tuple[PlanId, int, tuple[Origins, ...], Origins]] = set()
        stack = [(number, budget, answer.rule_origins, answer.default_origins)]
        while stack:
            number, budget, rules, default = stack.pop()
            plan = self._plans[number]
            budget = least_budget(plan.costs, budget)
            if plan.chain is not None or (number, budget, rules, default) in seen:
                continue
            seen.add((number, budget, rules, default))
            root, tests, ends = self._make(number, budget)
            if not plan.ways:
                self._graph.credit(root, default)
                continue
            way = plan.ways[plan.choice[budget]]
            all_rules = dict.fromkeys(_together(rules))
            for test in tests:
                self._graph.credit(test, self._who_asked(way.word, test, all_rules))
            for end in ends:
                derived = way.derived[end.label]
                rest = tuple(_together(rules[i] for i in sources) for sources in derived.rules)
                left = _together(default if i == ORIGINAL else rules[i] for i in derived.default)
                stack.append((way.labels[end.label], end.budget, rest, left))

    def _who_asked(self, word: Word, number: NodeId, rules: dict[Origin, None]) -> Iterable[Origin]:
        """Return those of ``rules`` that have the constant of a test of ``word``, else all."""
        node = self._graph.nodes[number]
        assert isinstance(node, TestNode)
        there = self._constants.get(word, {})
        found = [o for k in (node.k, node.k - 1) for o in there.get(k, ()) if o in rules]
        return found or rules


def _normal(words: tuple[Word, ...], samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return ``samples`` reduced to ``words``, _TOTAL in all."""
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
    return tuple(sorted((args, weight * _TOTAL // total or 1) for args, weight in merged.items()))


def _constants(rules: Iterable[Rule]) -> dict[Word, dict[int, list[Origin]]]:
    """Return which of ``rules`` compare a word with a number."""
    found: dict[Word, dict[int, list[Origin]]] = {}
    for rule in rules:
        for test in comparisons(rule.condition):
            for word in argument_words(test.argument):
                own = found.setdefault(word, {})
                own.setdefault(word.of(test.value), []).append(rule.origin)
    return found


def _together(parts: Iterable[Origins]) -> Origins:
    return tuple(dict.fromkeys(origin for part in parts for origin in part))


def _masks(rules: Iterable[Rule]) -> dict[Word, tuple[tuple[int, int], ...]]:
    """Return the masks that ``rules`` use on each word, (mask, k) for ``word & mask == k``."""
    found: dict[Word, dict[tuple[int, int], None]] = {}
    for rule in rules:
        for test in comparisons(rule.condition):
            match test.op:
                case Op.ANY_BITS | Op.NO_BITS:
                    mask, k = test.value, 0
                case Op.MASKED_EQ | Op.NE:
                    mask, k = test.mask, test.value
                case _:
                    continue
            for word in argument_words(test.argument):
                if word.of(mask) not in (0, U32):
                    found.setdefault(word, {})[word.of(mask), word.of(k)] = None
    return {word: tuple(masks) for word, masks in found.items()}
