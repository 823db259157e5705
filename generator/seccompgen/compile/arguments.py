"""From functions of the arguments to decision diagrams: the order of words, the tests on each.

A function is taken apart by one of its words: each value of the word leaves another function,
and a tree of tests on the word leads there. A path thus loads each word at most once (again
only behind a test under a mask, which destroys it). Functions are canonical and planned once per
program, so calls with the same conditions share code.

The straightforward program comes first: a call's rules tested one after the other (``chain``). Then
the order of words with the least cost is searched for; of equal orders, the one that adds the
fewest instructions to the program wins. The `budget` limits the search; an order that was found is
kept, even if another could not be tried. What was found takes the place of the straightforward
program, unless that is clearly better by the measure of the objective (`prices`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from seccompgen.compile.assemble import assemble
from seccompgen.compile.bounds import executed, longest_path, words_of
from seccompgen.compile.budget import Budget, TooManyError
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
from seccompgen.compile.word_search import Care
from seccompgen.core.model import comparisons
from seccompgen.core.program import RET_K, SECCOMP_DATA, word_offset
from seccompgen.core.word import argument_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.compile.diagram import NodeId
    from seccompgen.compile.lower import Answer, Masks, Origins
    from seccompgen.compile.plans import Alternative, Parts, Plans, Sampled
    from seccompgen.compile.prices import Measure, Prices
    from seccompgen.compile.tree import Tree
    from seccompgen.compile.word_search import Sample
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin, Predicate
    from seccompgen.core.program import ContextLayout
    from seccompgen.core.word import Word


Constants: TypeAlias = "Mapping[Word, Mapping[int, list[Origin]]]"
"""For each word and number, the rules that compare the two."""

_FEW_CASES = 8
"""A call with up to so many rules is planned even if rules are to be tested in their order."""
_MOST_SAMPLES = 64
"""So many sample arguments are run through a straightforward program."""
_CLEARLY = 1.1
"""A plan is clearly worse than the straightforward program if its measure is so many times that."""


class _Plain(NamedTuple):
    """A program for one call: instructions executed in the mean, in all, and on a longest path."""

    executed: float
    length: int
    longest: int


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
        thorough: bool = True,
        layout: ContextLayout = SECCOMP_DATA,
    ) -> None:
        self._plans = plans
        self._graph = graph
        self._abi = abi
        self._layout = layout
        self._price = round(prices.word_test * SCALE * ALL_SAMPLES)
        self._sharing = round(prices.sharing * SCALE)
        self._masks: Masks = {}
        self._of_bits: set[Word] = set()
        """The words that are compared under several masks."""
        self._constants = constants
        self._known: dict[Sampled, Plan] = {}
        self._used: set[Plan] = set()
        self._budget = Budget(thorough=thorough)
        self._longest = math.inf
        """The length above which no plan of the call is better than its straightforward one."""
        self._all_in_order = in_order
        self.in_order: list[Origin] = []
        """The first rule of each call whose rules are tested in order for want of a better plan."""
        self._built: dict[tuple[Plan, int], tuple[NodeId, list[NodeId], list[TreeEnd]]] = {}

    def plans(self, asked: Sequence[tuple[Answer, Sequence[Sample], Measure]]) -> list[Plan]:
        """Return the plan for each answer, optimized for its samples and chosen by its measure.

        The simplest are planned first, so that larger plans lead to them where they can. Programs
        are shorter than if planned in the order of numbers, and plans are equal on every ABI.
        """
        self._of_bits = _asked_for_bits(answer for answer, _, _ in asked)
        rank = self._plans.functions.rank
        order = sorted(range(len(asked)), key=lambda place: rank(asked[place][0].function))
        sampled = [self._plans.sampled(answer.function, samples) for answer, samples, _ in asked]
        plain = {
            place: self._straightforward(asked[place][0], sampled[place])
            for place in order
            if asked[place][0].cases
        }
        depths = sorted({sampled[place]: one.longest for place, one in plain.items()}.values())
        found = {}
        for place in order:
            answer, _, measure = asked[place]
            if place in plain:
                # The program's longest path is shorter only if those of all as deep are.
                as_deep = len(depths) - bisect_left(depths, plain[place].longest)
                measure = measure._replace(depth=measure.depth / as_deep)
            found[place] = self._plan_of(answer, sampled[place], plain.get(place), measure)
        return [found[place] for place in range(len(asked))]

    def _plan_of(
        self, answer: Answer, asked: Sampled, plain: _Plain | None, measure: Measure
    ) -> Plan:
        self._masks = answer.masks
        if plain is None:
            return self._used_from_now_on(self._only_plan(asked))
        self._longest = measure.most(*plain)
        self._budget.begin_call(plain.length)
        try:
            if self._all_in_order and len(answer.cases) > _FEW_CASES:
                raise TooManyError
            plan = self._plan(asked)
        except TooManyError:
            self.in_order.append(answer.cases[0][2])
            return self._chain(answer)
        if self._is_better(plan, asked, plain, measure):
            return self._used_from_now_on(plan)
        return self._chain(answer)

    def _is_better(self, plan: Plan, asked: Sampled, plain: _Plain, measure: Measure) -> bool:
        """Return True unless the straightforward program is clearly better.

        Instructions that the calls of a program come to share are not known here.
        """
        length = sum(one.size for one in self._new(plan) if one.ways)
        most = measure.of(*plain) * _CLEARLY
        if measure.of(plan.costs[UNBOUNDED] / SCALE, length, plain.longest) <= most:
            return True  # costs are executed instructions, and a price for each test
        ran = self._ran(self._graph, self.build(plan, UNBOUNDED), asked)
        return measure.of(ran.executed, min(length, ran.length), ran.longest) <= most

    def _only_plan(self, asked: Sampled) -> Plan:
        """Return the plan of a function without a straightforward program."""
        self._longest = math.inf
        self._budget.begin_call(len(asked.function.rules))
        try:
            return self._plan(asked)
        except TooManyError:
            self._budget.begin_call(len(asked.function.rules), stubborn=True)
            return self._plan(asked)

    def _new(self, plan: Plan) -> set[Plan]:
        return {plan, *plan.below} - self._used

    def _used_from_now_on(self, plan: Plan) -> Plan:
        self._used |= self._new(plan)
        return plan

    # --- the straightforward program ----------------------------------------------------------

    def _straightforward(self, answer: Answer, asked: Sampled) -> _Plain:
        """Return what the straightforward program of a call executes, and its length."""
        alone = Diagram()
        return self._ran(alone, self._chained(alone, answer), asked)

    def _ran(self, graph: Diagram, root: NodeId, asked: Sampled) -> _Plain:
        """Return what the diagram at ``root`` executes for samples; answers have no length."""
        instructions, _ = assemble(graph, root)
        samples = asked.samples[:: len(asked.samples) // _MOST_SAMPLES + 1]
        total = sum(weight for _, weight in samples)
        ran = sum(
            weight * executed(instructions, words_of(args, self._abi, self._layout))
            for args, weight in samples
        )
        length = sum(one.code != RET_K for one in instructions)
        return _Plain(ran / max(total, 1), length, longest_path(instructions))

    def _chained(self, graph: Diagram, answer: Answer) -> NodeId:
        cases = [
            (condition, graph.leaf(ret, (origin,)), origin)
            for condition, ret, origin in answer.cases
        ]
        otherwise = graph.leaf(answer.function.default, answer.default_origins)
        return chain(
            graph,
            cases,
            otherwise,
            self._abi,
            as_written=self._all_in_order,
            layout=self._layout,
        )

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
        tried = self._budget.words_to_try(len(asked.words), len(asked.function.rules))
        ways: list[Alternative] = []
        for place, word in enumerate(asked.words):
            if ways and (place >= tried or self._budget.is_spent):
                break
            parts = self._parts(asked, word)
            if parts is None:
                continue
            try:
                ways.append(self._way(parts))
            except TooManyError:
                if not ways:
                    raise  # another word is likely to be as much work
        if not ways:
            raise TooManyError
        return self._plans.best(tuple(ways), self._used, self._sharing)

    def _parts(self, asked: Sampled, word: Word) -> Parts | None:
        """Return ``asked`` taken apart by ``word``; None if that takes long, or leaves too many.

        Different functions begin at different places, so a plan has as many instructions.
        """
        try:
            with self._budget.attempt() as steps:
                parts = self._plans.parts(asked, word, steps)
        except TooManyError:
            return None
        return parts if len(parts.below) <= self._longest else None

    def _way(self, parts: Parts) -> Alternative:
        labels = tuple([self._plan(part) for part in parts.below])
        masks = self._masks.get(parts.word, ())
        searches = self._plans.searches(masks, self._price)
        thorough = self._budget.is_thorough
        bits = thorough and (len(masks) > 1 or parts.word in self._of_bits)
        care = Care(not thorough, self._budget.is_stubborn, bits)
        with self._budget.attempt() as steps:
            return self._plans.way(parts, searches, labels, care, steps)

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
        offset = word_offset(way.parts.word, self._abi, self._layout)
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


def constants_of(
    rules: Iterable[tuple[Predicate | None, Origin]],
) -> dict[Word, dict[int, list[Origin]]]:
    """Return, for each word and number, the ``rules`` that compare the two."""
    found: dict[Word, dict[int, list[Origin]]] = {}
    for condition, origin in rules:
        for test in comparisons(condition):
            for word in argument_words(test.argument):
                own = found.setdefault(word, {})
                own.setdefault(word.of(test.value), []).append(origin)
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
