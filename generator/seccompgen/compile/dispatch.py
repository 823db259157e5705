"""From a number line to a tree of tests over ``seccomp_data.nr``, and from there to a diagram."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from seccompgen.compile.diagram import CompareOp, LoadedWord
from seccompgen.compile.prices import depth_price
from seccompgen.compile.ranges import divided
from seccompgen.compile.search import search
from seccompgen.compile.tree import (
    BUDGETS,
    SCALE,
    Item,
    TreeEnd,
)
from seccompgen.compile.weights import TOTAL
from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.model import U32
from seccompgen.core.program import NR_OFFSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.arguments import Arguments
    from seccompgen.compile.diagram import Diagram, NodeId
    from seccompgen.compile.lower import Answer, NumberRange
    from seccompgen.compile.plans import Plan
    from seccompgen.compile.prices import Prices
    from seccompgen.compile.tree import Tree

_NR = LoadedWord(NR_OFFSET)
_BEFORE = 3
"""Instructions on every path before the first test of a number."""
_LENGTHS = [round(math.log(budget + _BEFORE) * 4096) / 4096 for budget in range(BUDGETS)]
"""The logarithm of each budget's longest path; rounded, as its last bit depends on the machine."""


class _X32(NamedTuple):
    """The answers for numbers with bit 30: ``foreign`` for x32 calls, ``unknown`` for -1."""

    foreign: Answer
    unknown: Answer


_Target: TypeAlias = "Plan | _X32"
"""The targets of the tree on the number."""


def dispatch(
    spans: Sequence[NumberRange],
    plans: Sequence[Plan],
    weights: Sequence[int],
    arguments: Arguments,
    graph: Diagram,
    prices: Prices,
) -> NodeId:
    """Return the root of a tree that leads each number to the plan of its span.

    ``plans`` and ``weights`` belong to ``spans``. The longest path is as long as makes the whole
    cheapest by ``prices``.
    """
    labels = {plan: label for label, plan in enumerate(dict.fromkeys(plans))}
    ends = np.array([plan.costs for plan in labels])
    items = [
        Item(span.first, span.last, labels[plan], weight)
        for span, plan, weight in zip(spans, plans, weights, strict=True)
    ]
    targets: list[_Target] = list(labels)
    if _is_foreign_by_bit(spans, items):
        items = _x32_last(items, len(targets))
        targets.append(_X32(spans[-4].answer, spans[-1].answer))
        # Calls that end in the answer for foreign ones need no bound on their path.
        ends = np.vstack([ends, np.full(BUDGETS, 2 * SCALE, dtype=np.int64)])
    price = round(prices.number_test / len(spans) * SCALE * TOTAL)
    found = search(items, ends, price)
    depth = depth_price(prices, spans) * SCALE * TOTAL
    budget = min(range(BUDGETS), key=lambda b: int(found.costs[b]) + depth * _LENGTHS[b])
    return _Builder(targets, arguments, graph).build(found.tree(budget), spans)


def _is_foreign_by_bit(spans: Sequence[NumberRange], items: Sequence[Item]) -> bool:
    """Return True if bit 30 marks x32 calls, and all of them are foreign.

    Beyond the table, numbers without the bit then have one answer, whatever bit 31 is; numbers with
    it have another, except -1.
    """
    bit = X32_SYSCALL_BIT
    if len(items) < 5 or [item.first for item in items[-4:]] != [bit, 2 * bit, 3 * bit, U32]:
        return False
    native, x32, above, higher, last = (item.label for item in items[-5:])
    constant = not any(span.answer.function.rules for span in spans[-4:])
    return constant and (native, x32, native) == (above, higher, last)


def _x32_last(items: Sequence[Item], label: int) -> list[Item]:
    """Return ``items`` with the numbers that have bit 30 at the end, under ``label``.

    Two tests then suffice where the plain order would need three.
    """
    *rest, native, x32, above, higher, last = items
    weight = x32.weight + higher.weight + last.weight
    return [
        *rest,
        native._replace(weight=native.weight + above.weight),
        Item(X32_SYSCALL_BIT, U32, label, weight, X32_SYSCALL_BIT),
    ]


class _Builder:
    def __init__(self, targets: Sequence[_Target], arguments: Arguments, graph: Diagram) -> None:
        self._targets = targets
        self._arguments = arguments
        self._graph = graph

    def build(self, tree: Tree, spans: Sequence[NumberRange]) -> NodeId:
        """Return the diagram of ``tree``, which the numbers of ``spans`` reach."""
        if isinstance(tree, TreeEnd):
            target = self._targets[tree.label]
            if isinstance(target, _X32):
                return self._x32(target)
            node = self._arguments.build(target, tree.budget)
            for span in spans:
                self._arguments.credit(target, tree.budget, span.answer)
            return node
        relation, k, true, false, _ = tree
        yes: list[NumberRange] = []
        no: list[NumberRange] = []
        for span in spans:
            some, others = divided(((span.first, span.last),), relation, k)
            yes += [span] * bool(some)
            no += [span] * bool(others)
        asked = {CompareOp.GE: yes[:1], CompareOp.EQ: yes}.get(relation) or min(yes, no, key=len)
        origins = dict.fromkeys(origin for span in asked for origin in span.answer.origins)
        branches = self.build(true, yes), self.build(false, no)
        return self._graph.test(_NR, relation, k, *branches, origins)

    def _x32(self, target: _X32) -> NodeId:
        unknown, foreign = (
            self._graph.leaf(answer.function.default, answer.origins)
            for answer in (target.unknown, target.foreign)
        )
        source = target.unknown.origins
        return self._graph.test(_NR, CompareOp.EQ, U32, unknown, foreign, source)
