"""From functions of the arguments to decision diagrams: the order of words, the tests on each.

A function is taken apart by one of its words: each value of the word leaves another function,
and a tree of tests on the word leads there. A path thus loads each word at most once (again
only behind a test under a mask, which destroys it). Functions are canonical and planned once per
program, so calls with the same conditions share code.

The order of words with the least cost is searched for; of equal orders, the one that adds the
fewest instructions to the program wins. The `budget` limits how many orders are tried. Once it is
used up before any order is found, rules are tested one after the other, which is linear in their
size (``chain``); an order that was found is kept, even if another could not be tried. The same is
done if the chain is about two thirds shorter, or a quarter shorter if length is what counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from seccompgen.compile.assemble import assemble
from seccompgen.compile.budget import Budget
from seccompgen.compile.chain import chain
from seccompgen.compile.diagram import Diagram, LoadedWord, TestNode
from seccompgen.compile.functions import ORIGINAL
from seccompgen.compile.plans import ALL_SAMPLES, Plan
from seccompgen.compile.tree import (
    BUDGETS,
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    TreeEnd,
    least_budget,
    less,
)
from seccompgen.compile.word_search import TooManyError
from seccompgen.compile.words import TooWideError
from seccompgen.core.model import comparisons
from seccompgen.core.program import word_offset
from seccompgen.core.word import argument_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.compile.diagram import NodeId
    from seccompgen.compile.lower import Answer, Masks, Origins
    from seccompgen.compile.plans import Alternative, Plans, Sampled
    from seccompgen.compile.prices import Prices
    from seccompgen.compile.tree import Tree
    from seccompgen.compile.word_search import Sample
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin, Rule
    from seccompgen.core.word import Word


Constants: TypeAlias = "Mapping[Word, Mapping[int, list[Origin]]]"
"""For each word and number, the rules that compare the two."""

_FEW_CASES = 8
"""A call with up to so many rules is planned even if rules are to be tested in their order."""


class Arguments:
    """The plans of all functions of one program.

    ``constants`` attribute tests to rules.
    """

    def __init__(
        self,
        plans: Plans,
        graph: Diagram,
        abi: Abi,
        prices: Prices,
        constants: Constants,
        *,
        in_order: bool = False,
    ) -> None:
        self._plans = plans
        self._graph = graph
        self._abi = abi
        self._price = round(prices.word_test * SCALE * ALL_SAMPLES)
        self._short = prices.short
        self._sharing = round(prices.sharing * SCALE)
        self._masks: Masks = {}
        self._of_bits: set[Word] = set()
        """The words that are compared under several masks."""
        self._constants = constants
        self._known: dict[Sampled, Plan] = {}
        self._used: set[Plan] = set()
        self._budget = Budget()
        self._all_in_order = in_order
        self.in_order: list[Origin] = []
        """The first rule of each call whose rules are tested in order for want of a better plan."""
        self._built: dict[tuple[Plan, int], tuple[NodeId, list[NodeId], list[TreeEnd]]] = {}

    def plans(self, asked: Sequence[tuple[Answer, Sequence[Sample]]]) -> list[Plan]:
        """Return the plan for each answer, optimized for its samples.

        The simplest are planned first, so that larger plans lead to them where they can. Programs
        are shorter than if planned in the order of numbers, and plans are equal on every ABI.
        """
        self._of_bits = _asked_for_bits(answer for answer, _ in asked)
        rank = self._plans.functions.rank
        order = sorted(range(len(asked)), key=lambda place: rank(asked[place][0].function))
        found = {place: self._plan_of(*asked[place]) for place in order}
        return [found[place] for place in range(len(asked))]

    def _plan_of(self, answer: Answer, samples: Sequence[Sample]) -> Plan:
        asked = self._plans.sampled(answer.function, samples)
        self._masks = answer.masks
        self._budget.begin_call(len(answer.cases))
        try:
            if self._all_in_order and len(answer.cases) > _FEW_CASES:
                raise TooManyError
            plan = self._plan(asked)
        except TooManyError:
            if answer.cases:
                self.in_order.append(answer.cases[0][2])
                return self._chain(answer)
            self._budget.begin_call(len(answer.function.rules), stubborn=True)
            plan = self._plan(asked)
        new = {plan, *plan.below} - self._used
        if answer.cases and sum(one.size for one in new) > self._longest(answer):
            return self._chain(answer)
        self._used |= new
        return plan

    # --- planning ---------------------------------------------------------------------------

    def _longest(self, answer: Answer) -> int:
        """Return the length above which it is better to test the rules one after the other."""
        if self._short or self._budget.hasty:
            alone = Diagram()
            length = len(assemble(alone, self._chained(alone, answer))[0])
            return length if self._budget.hasty else length * 4 // 3
        return 6 * sum(1 for case in answer.cases for _ in comparisons(case[0])) + 16

    def _chained(self, graph: Diagram, answer: Answer) -> NodeId:
        cases = [
            (condition, graph.leaf(ret, (origin,)), origin)
            for condition, ret, origin in answer.cases
        ]
        otherwise = graph.leaf(answer.function.default, answer.default_origins)
        return chain(graph, cases, otherwise, self._abi, as_written=self._all_in_order)

    def _chain(self, answer: Answer) -> Plan:
        node = self._chained(self._graph, answer)
        costs = np.full(BUDGETS, IMPOSSIBLE, dtype=np.int64)
        costs[UNBOUNDED] = 2 * len(answer.cases) * SCALE
        return Plan(costs, chain=node)

    def _plan(self, asked: Sampled) -> Plan:
        found = self._known.get(asked)
        if found is None:
            found = self._known[asked] = self._planned(asked)
        return found

    def _planned(self, asked: Sampled) -> Plan:
        if not asked.words:
            return self._plans.constant(asked)
        tried = self._budget.words_to_try(asked.words, len(asked.function.rules))
        ways: list[Alternative] = []
        for place, word in enumerate(asked.words):
            if ways and (place >= tried or self._budget.is_spent):
                break
            try:
                ways.append(self._way(asked, word))
            except TooWideError:
                continue
            except TooManyError:
                if not ways:
                    raise  # another word is likely to be as much work
        if not ways:
            raise TooManyError
        return self._plans.best(tuple(ways), self._used, self._sharing)

    def _way(self, asked: Sampled, word: Word) -> Alternative:
        parts = self._plans.parts(asked, word)
        labels = tuple([self._plan(part) for part in parts.below])
        masks = self._masks.get(word, ())
        searches = self._plans.searches(masks, self._price)
        care = self._budget.care(bits=len(masks) > 1 or word in self._of_bits)
        try:
            way = self._plans.way(parts, searches, labels, care)
        except TooManyError as error:
            self._budget.charge_work(error.work)
            raise
        self._budget.charge_work(way.work)
        self._budget.charge_search(way.intervals, way.bits)
        return way

    # --- building ---------------------------------------------------------------------------

    def build(self, plan: Plan, budget: int) -> NodeId:
        """Return the diagram of ``plan`` with at most ``budget`` instructions on any path."""
        return self._make(plan, budget)[0]

    def _make(self, plan: Plan, budget: int) -> tuple[NodeId, list[NodeId], list[TreeEnd]]:
        """Return the diagram, the tests on the plan's own word, and the ends of these tests."""
        budget = least_budget(plan.costs, budget)
        found = self._built.get((plan, budget))
        if found is None:
            found = self._built[plan, budget] = self._made(plan, budget)
        return found

    def _made(self, plan: Plan, budget: int) -> tuple[NodeId, list[NodeId], list[TreeEnd]]:
        if plan.chain is not None:
            return plan.chain, [], []
        if not plan.ways:
            return self._graph.leaf(plan.ret, ()), [], []
        way = plan.ways[plan.choice[budget]]
        offset = word_offset(way.parts.word, self._abi)
        tests: list[NodeId] = []
        ends: list[TreeEnd] = []

        def make(tree: Tree) -> NodeId:
            if isinstance(tree, TreeEnd):
                ends.append(tree)
                return self.build(way.labels[tree.label], tree.budget)
            branches = make(tree.true), make(tree.false)
            word = LoadedWord(offset, tree.mask)
            node = self._graph.test(word, tree.relation, tree.k, *branches, ())
            if node not in branches:
                tests.append(node)
            return node

        root = make(way.trees.tree(less(budget, 1)))
        return root, tests, list(dict.fromkeys(ends))

    def credit(self, plan: Plan, budget: int, answer: Answer) -> None:
        """Record on every node of the plan the parts of the policy that asked for it."""
        seen: set[tuple[Plan, int, tuple[Origins, ...], Origins]] = set()
        stack = [(plan, budget, answer.rule_origins, answer.default_origins)]
        while stack:
            plan, budget, rules, default = stack.pop()
            budget = least_budget(plan.costs, budget)
            if plan.chain is not None or (plan, budget, rules, default) in seen:
                continue
            seen.add((plan, budget, rules, default))
            root, tests, ends = self._make(plan, budget)
            if not plan.ways:
                self._graph.credit(root, default)
                continue
            way = plan.ways[plan.choice[budget]]
            all_rules = dict.fromkeys(_together(rules))
            for test in tests:
                self._graph.credit(test, self._who_asked(way.parts.word, test, all_rules))
            for end in ends:
                derived = way.parts.derived[end.label]
                rest = tuple(_together(rules[i] for i in sources) for sources in derived.rules)
                left = _together(default if i == ORIGINAL else rules[i] for i in derived.default)
                stack.append((way.labels[end.label], end.budget, rest, left))

    def _who_asked(self, word: Word, number: NodeId, rules: dict[Origin, None]) -> Iterable[Origin]:
        """Return the ``rules`` that compare ``word`` with the test's constant; if none, all."""
        node = self._graph.nodes[number]
        assert isinstance(node, TestNode)
        there = self._constants.get(word, {})
        found = [o for k in (node.k, node.k - 1) for o in there.get(k, ()) if o in rules]
        return found or rules


def constants_of(rules: Iterable[Rule]) -> dict[Word, dict[int, list[Origin]]]:
    """Return, for each word and number, the ``rules`` that compare the two."""
    found: dict[Word, dict[int, list[Origin]]] = {}
    for rule in rules:
        for test in comparisons(rule.condition):
            for word in argument_words(test.argument):
                own = found.setdefault(word, {})
                own.setdefault(word.of(test.value), []).append(rule.origin)
    return found


def _asked_for_bits(answers: Iterable[Answer]) -> set[Word]:
    """Return the words compared under several masks; the mask of a narrow type does not count."""
    masks: dict[Word, set[tuple[int, int]]] = {}
    for answer in answers:
        for word, own in answer.masks.items():
            masks.setdefault(word, set()).update(test for test in own if test[0] & test[0] + 1)
    return {word for word, own in masks.items() if len(own) > 1}


def _together(parts: Iterable[Origins]) -> Origins:
    return tuple(dict.fromkeys(origin for part in parts for origin in part))
