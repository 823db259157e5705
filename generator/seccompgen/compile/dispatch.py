"""From a number line to a tree of tests over ``seccomp_data.nr``, and from there to a diagram."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from seccompgen.compile.diagram import Relation, Value
from seccompgen.compile.search import line_search
from seccompgen.compile.tree import (
    BUDGETS,
    SCALE,
    Bits,
    Cut,
    End,
    Hole,
    Item,
    Masked,
    some_with,
    some_without,
)
from seccompgen.compile.weights import TOTAL
from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.model import U32
from seccompgen.core.program import NR_OFFSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.arguments import Arguments, PlanId
    from seccompgen.compile.diagram import Graph, NodeId
    from seccompgen.compile.lower import Span
    from seccompgen.compile.prices import Prices
    from seccompgen.compile.tree import Tree

_NR = Value(NR_OFFSET)
_BEFORE = 3
"""Instructions on every path before the first test of a number."""
_LENGTHS = [round(math.log(budget + _BEFORE) * 4096) / 4096 for budget in range(BUDGETS)]
"""The logarithm of the longest path; rounded, since the last bit of it depends on the machine."""


def dispatch(
    spans: Sequence[Span],
    plans: Sequence[PlanId],
    weights: Sequence[int],
    arguments: Arguments,
    graph: Graph,
    prices: Prices,
) -> NodeId:
    """Return the root of a tree that leads each number to the plan of its span.

    ``plans`` and ``weights`` belong to ``spans``. The longest path gets the length at which one
    instruction less would cost more than ``prices`` allow.
    """
    labels = {plan: label for label, plan in enumerate(dict.fromkeys(plans))}
    ends = np.array([arguments.costs(plan) for plan in labels])
    items = [
        Item(span.first, span.last, labels[plan], weight)
        for span, plan, weight in zip(spans, plans, weights, strict=True)
    ]
    plain = not any(span.answer.function.rules for span in spans[-4:])
    foreign = _x32_by_bit(items, len(labels)) if plain else None
    if foreign:
        items = foreign
        # Calls that end in the answer for foreign ones need no bound on their path.
        ends = np.vstack([ends, np.full(BUDGETS, 2 * SCALE, dtype=np.int64)])
    price = round(prices.number_test / len(spans) * SCALE * TOTAL)
    search = line_search(items, ends, price)
    looks = any(span.answer.function.rules for span in spans)
    depth = (prices.depth if looks else prices.plain_depth) * SCALE * TOTAL
    budget = min(range(BUDGETS), key=lambda b: int(search.costs[b]) + depth * _LENGTHS[b])
    builder = _Builder(list(labels), arguments, graph)
    return builder.build(search.tree(budget), list(spans))


def _x32_by_bit(items: Sequence[Item], label: int) -> list[Item] | None:
    """Let bit 30 tell x32 calls apart, where they are all foreign; None where they are not.

    Numbers without the bit have one answer beyond the table, on either side of bit 31; those
    with it have another, but for -1. With the numbers with the bit behind all others, two
    tests do where the plain order would need three. ``label`` is for these.
    """
    bit = X32_SYSCALL_BIT
    if len(items) < 5 or [item.first for item in items[-4:]] != [bit, 2 * bit, 3 * bit, U32]:
        return None
    *rest, native, x32, above, higher, last = items
    if (native.label, x32.label, native.label) != (above.label, higher.label, last.label):
        return None
    return [
        *rest,
        native._replace(weight=native.weight + above.weight),
        Item(bit, U32, label, x32.weight + higher.weight + last.weight, bit),
    ]


class _Builder:
    def __init__(self, plans: Sequence[PlanId], arguments: Arguments, graph: Graph) -> None:
        self._plans = plans
        self._arguments = arguments
        self._graph = graph

    def build(self, tree: Tree, spans: Sequence[Span]) -> NodeId:
        """Return the diagram of ``tree``, to which the numbers of ``spans`` come."""
        match tree:
            case End(label, budget) if label < len(self._plans):
                plan = self._plans[label]
                node = self._arguments.build(plan, budget)
                for span in spans:
                    self._arguments.credit(plan, budget, span.answer)
                return node
            case End():
                last = spans[-1]
                unknown = self._graph.leaf(last.answer.function.default, last.answer.origins)
                others = [span for span in spans if span.answer.function != last.answer.function]
                ret, origins = others[0].answer.function.default, others[0].answer.origins
                foreign = self._graph.leaf(ret, origins)
                source = last.answer.origins
                return self._graph.test(_NR, Relation.EQ, U32, unknown, foreign, source)
            case Cut(k, below, above):
                yes = [span for span in spans if span.last >= k]
                no = [span for span in spans if span.first < k]
                return self._test(Relation.GE, k, (above, yes), (below, no), yes[:1])
            case Hole(k, equal, rest):
                yes = [span for span in spans if span.first == k == span.last]
                no = [span for span in spans if span not in yes]
                return self._test(Relation.EQ, k, (equal, yes), (rest, no), yes)
            case Bits(mask, some, none):
                yes = [span for span in spans if some_with(span.first, span.last, mask)]
                no = [span for span in spans if some_without(span.first, span.last, mask)]
                fewer = min(yes, no, key=len)
                return self._test(Relation.ANY_BITS, mask, (some, yes), (none, no), fewer)
            case Masked():
                raise AssertionError("numbers are not tested under a mask")

    def _test(
        self,
        relation: Relation,
        k: int,
        true: tuple[Tree, list[Span]],
        false: tuple[Tree, list[Span]],
        asked: Sequence[Span],
    ) -> NodeId:
        origins = dict.fromkeys(origin for span in asked for origin in span.answer.origins)
        return self._graph.test(_NR, relation, k, self.build(*true), self.build(*false), origins)
