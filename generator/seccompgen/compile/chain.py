"""A plain diagram, for rules that have no small one in any order of words.

Rules are tested one after the other, so the diagram is linear in their size. Shared tests are made
once: first the tests of all rules, then, within a run of rules with one answer, the commonest.
Rules that test a word under one mask come together, since they share it. A test that earlier ones
on the path imply is not removed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.compile.diagram import CompareOp, LoadedWord
from seccompgen.core.model import U32, U64, Op, comparisons
from seccompgen.core.program import SECCOMP_DATA, word_offset
from seccompgen.core.word import argument_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.compile.diagram import Diagram, NodeId
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Comparison, Origin, Predicate
    from seccompgen.core.program import ContextLayout

_HALVES = (U32, U64 ^ U32)


class _ChainRule(NamedTuple):
    """A rule: if all ``tests`` hold, go on at ``matched``."""

    tests: tuple[Comparison, ...]
    matched: NodeId
    origins: tuple[Origin, ...]

    def without(self, tests: Sequence[Comparison]) -> _ChainRule:
        return self._replace(tests=tuple(test for test in self.tests if test not in tests))


def chain(
    graph: Diagram,
    rules: Sequence[tuple[Predicate | None, NodeId, Origin]],
    otherwise: NodeId,
    abi: Abi,
    *,
    as_written: bool = False,
    layout: ContextLayout = SECCOMP_DATA,
) -> NodeId:
    """Return the diagram of ``rules``: it goes to the node of the first whose condition holds.

    ``abi`` is the program's: its kernel lays out the arguments, whichever ABI a call belongs to.
    With ``as_written`` the rules keep their order and share no tests.
    """
    cases = [
        _ChainRule(tuple(dict.fromkeys(_by_word(condition))), matched, (origin,))
        for condition, matched, origin in rules
    ]
    builder = _Chain(graph, abi, layout)
    if as_written:
        for case in reversed(cases):
            otherwise = builder.all_of(case.tests, case.matched, otherwise, case.origins)
        return otherwise
    common = [test for test in cases[0].tests if all(test in case.tests for case in cases)]
    origins = tuple(dict.fromkeys(origin for case in cases for origin in case.origins))
    node = otherwise
    stretches = [list(stretch) for _, stretch in groupby(cases, key=lambda case: case.matched)]
    for stretch in reversed(stretches):
        node = builder.stretch([case.without(common) for case in stretch], node)
    return builder.all_of(common, node, otherwise, origins)


def _by_word(condition: Predicate | None) -> Iterator[Comparison]:
    """Yield the comparisons of ``condition``, split by word where the words are independent."""
    for test in comparisons(condition):
        match test.op:
            case Op.EQ | Op.MASKED_EQ:
                mask, value = test.mask, test.value
            case Op.NO_BITS:
                mask, value = test.value, 0
            case _:
                yield test
                continue
        for half in _HALVES if test.width == 64 else _HALVES[:1]:
            if mask & half:
                part = replace(test, op=Op.MASKED_EQ, mask=mask & half, value=value & half)
                yield replace(part, width=64)


class _Chain:
    def __init__(self, graph: Diagram, abi: Abi, layout: ContextLayout) -> None:
        self._graph = graph
        self._abi = abi
        self._layout = layout

    def stretch(self, cases: Sequence[_ChainRule], otherwise: NodeId) -> NodeId:
        """Return the diagram of rules with one answer, which may be tested in any order."""
        node = otherwise
        for asked, alike in reversed(_factored(cases)):
            origins = tuple(dict.fromkeys(origin for case in alike for origin in case.origins))
            left = [case.without(asked) for case in alike]
            if any(not case.tests for case in left):
                matched = left[0].matched
            else:
                matched = self.stretch(left, node)
            node = self.all_of(asked, matched, node, origins)
        return node

    def all_of(
        self, tests: Sequence[Comparison], true: NodeId, false: NodeId, origins: Sequence[Origin]
    ) -> NodeId:
        """Return the diagram that goes on at ``true`` if all ``tests`` hold, else at ``false``."""
        for test in reversed(tests):
            true = self._comparison(test, true, false, origins)
        return true

    def _comparison(
        self, test: Comparison, true: NodeId, false: NodeId, origins: Sequence[Origin]
    ) -> NodeId:
        graph = self._graph
        match test.op:
            case Op.NE:
                op, true, false = Op.EQ, false, true
            case Op.LT:
                op, true, false = Op.GE, false, true
            case Op.LE:
                op, true, false = Op.GT, false, true
            case op:
                pass
        low, upper = (
            word_offset(word, self._abi, self._layout) for word in argument_words(test.argument)
        )
        high = upper if test.width == 64 else None
        k_low, k_high = test.value & U32, test.value >> 32
        if op is Op.GE and test.value == 0:
            return true
        mask_low, mask_high = test.mask & U32, test.mask >> 32
        if op in {Op.GT, Op.GE}:
            relation = CompareOp.GT if op is Op.GT else CompareOp.GE
            node = graph.test(LoadedWord(low, mask_low), relation, k_low, true, false, origins)
            if high is None:
                return node
            # The high words decide unless they are equal; then the low words do.
            word = LoadedWord(high, mask_high)
            node = graph.test(word, CompareOp.EQ, k_high, node, false, origins)
            return graph.test(word, CompareOp.GT, k_high, true, node, origins)
        if op is Op.ANY_BITS:
            node = graph.test(LoadedWord(low), CompareOp.ANY_BITS, k_low, true, false, origins)
            if high is None:
                return node
            return graph.test(LoadedWord(high), CompareOp.ANY_BITS, k_high, true, node, origins)
        node = graph.test(LoadedWord(low, mask_low), CompareOp.EQ, k_low, true, false, origins)
        if high is None:
            return node
        return graph.test(LoadedWord(high, mask_high), CompareOp.EQ, k_high, node, false, origins)


def _factored(cases: Sequence[_ChainRule]) -> list[tuple[tuple[Comparison, ...], list[_ChainRule]]]:
    """Divide ``cases`` into groups: the tests of each group, and its rules.

    Rules that share a test form a group with that test, the commonest first. A rule that shares
    none forms a group with all its tests.
    """
    found: list[tuple[tuple[Comparison, ...], list[_ChainRule]]] = []
    left = list(cases)
    while left:
        counts = Counter(test for case in left for test in case.tests)
        most = max(counts.values(), default=1)
        if most == 1:
            break
        test = next(test for test in counts if counts[test] == most)
        found.append(((test,), [case for case in left if test in case.tests]))
        left = [case for case in left if test not in case.tests]
    by_mask: dict[object, list[_ChainRule]] = {}
    for case in left:
        first = case.tests[0] if case.tests else None
        key = (first.argument, first.mask) if first and first.op is Op.MASKED_EQ else first
        by_mask.setdefault(key, []).append(case)
    return found + [(case.tests, [case]) for alike in by_mask.values() for case in alike]
