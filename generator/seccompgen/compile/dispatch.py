"""From a number line to a tree of tests over ``seccomp_data.nr``.

The tree is balanced over the spans: every number is found in at most ``ceil(log2(spans))``
tests. That bounds the longest path and knows nothing of how often a call is made. One case is
better than halving: a single number inside an otherwise uniform range takes one equality test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.compile.diagram import Relation, Value
from seccompgen.program import NR_OFFSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.diagram import Graph, NodeId
    from seccompgen.compile.lower import Span

_NR = Value(NR_OFFSET)


def dispatch(spans: Sequence[Span], graph: Graph) -> NodeId:
    """Return the root of a tree that leads each number to its span's node."""
    if len(spans) == 1:
        return spans[0].node
    if len(spans) == 3 and spans[0].node == spans[2].node and spans[1].first == spans[1].last:
        hole = spans[1]
        return graph.test(_NR, Relation.EQ, hole.first, hole.node, spans[0].node, hole.origins)
    middle = len(spans) // 2
    below = dispatch(spans[:middle], graph)
    above = dispatch(spans[middle:], graph)
    cut = spans[middle]
    return graph.test(_NR, Relation.GE, cut.first, above, below, cut.origins)
