"""The search for a tree on a line, against the plainest that there is."""

from __future__ import annotations

import random
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.patterns import Patterns
from seccompgen.compile.search import Search, search
from seccompgen.compile.shapes import Found, ItemShape, Shapes, between, members, only
from seccompgen.compile.tree import (
    BUDGETS,
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    Item,
    Tree,
    TreeEnd,
    less,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER = 2
"""What follows every end: so many instructions."""
PRICE = 3 * SCALE
ITEMS = 24


def line(weights: Sequence[int]) -> list[Item]:
    """Return intervals of two numbers, each with a label of its own: cuts are all that helps."""
    return [Item(2 * n, 2 * n + 1, n, weight) for n, weight in enumerate(weights)]


def answers() -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    ends = np.full((ITEMS, BUDGETS), ANSWER * SCALE, dtype=np.int64)
    ends[:, :ANSWER] = IMPOSSIBLE
    return ends


def least_cost(weights: Sequence[int], budget: int) -> int:
    """Return what the best tree of cuts costs, each of which is tried."""

    @cache
    def least(first: int, stop: int, left: int) -> int:
        weight = sum(weights[first:stop]) * SCALE
        if stop - first == 1:
            return ANSWER * weight if left >= ANSWER else IMPOSSIBLE
        if left == 0:
            return IMPOSSIBLE
        rest = less(left, 1)
        both = (least(first, cut, rest) + least(cut, stop, rest) for cut in range(first + 1, stop))
        return min(min(both) + weight + PRICE, IMPOSSIBLE)

    return least(0, len(weights), budget)


def executed(tree: Tree, weights: Sequence[int], depth: int = 0) -> tuple[int, int]:
    """Return what a tree costs, and its longest path, with the answer."""
    if isinstance(tree, TreeEnd):
        return (depth + ANSWER) * weights[tree.label] * SCALE, depth + ANSWER
    assert tree.relation is CompareOp.GE
    one, other = (executed(part, weights, depth + 1) for part in (tree.false, tree.true))
    return one[0] + other[0] + PRICE, max(one[1], other[1])


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize(
    ("weights", "deep"),
    [
        (random.Random(1).choices(range(1, 9), k=ITEMS), False),
        ([1] * ITEMS, False),
        ([1 << n for n in range(ITEMS)], True),
        ([1 << abs(n - ITEMS // 2) * 2 for n in range(ITEMS)], True),
    ],
    ids=["like weights", "equal weights", "each twice the one before", "heavy ends"],
)
def test_it_is_the_best_for_every_budget(weights: list[int], deep: bool) -> None:
    found = search(line(weights), answers(), PRICE)
    assert isinstance(found, Search)
    for budget in range(BUDGETS):
        least = least_cost(weights, budget)
        assert found.costs[budget] == least
        if least < IMPOSSIBLE:
            cost, longest = executed(found.tree(budget), weights)
            assert cost == least
            assert longest <= budget or budget == UNBOUNDED
    # Trees of some lines are deeper than the tables that are tried first.
    assert int(found.costs[20] > found.costs[UNBOUNDED]) == deep


def test_ranges_are_tried_for_small_trees_where_a_part_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A range that contains one without a small tree is not tried."""
    monkeypatch.setattr(sys.modules["seccompgen.compile.patterns"], "_STEPS", 1_000_000)
    rng = random.Random(5)
    for holes in (0, 4):
        firsts = sorted(rng.sample(range(64), ITEMS))
        items = [Item(first, first, rng.randrange(2), 1) for first in firsts]
        shapes = Shapes([ItemShape(item.first, item.last, item.label) for item in items])
        taken = rng.sample(range(ITEMS), holes)
        patterns = Patterns(items, taken, PRICE, 3)
        small = 0
        for first in range(ITEMS):
            for stop in range(first + 2, min(first + 12, ITEMS) + 1):
                for t in range(holes + 1):
                    left = between(first, stop)
                    for hole in taken[:t]:
                        left &= ~only(hole)
                    labels = [items[place].label for place in members(left)]
                    changes = sum(a != b for a, b in pairwise(labels))
                    ends_alike = items[first].label == items[stop - 1].label
                    if len(set(labels)) < 2 or not (holes or ends_alike):
                        continue
                    found = patterns.at(stop - first, first, t)
                    wanted = shapes.short(left, min(3, (changes + 1) // 2)).trees
                    small += bool(wanted)
                    assert all(tree in (found.trees if found else ()) for tree in wanted)
        assert small > 20


def test_a_mask_that_no_number_of_a_label_has_takes_the_label_whole() -> None:
    """0 has no bit of its own, so its own mask is that one, and must not leave 0 behind."""
    labels = {0: 2, 1: 0, 6: 2, 7: 1, 9: 0, 10: 1}
    shapes = Shapes([ItemShape(number, number, label) for number, label in labels.items()])
    tests, trees, _ = shapes.short(between(0, len(labels)), 2)
    assert tests == 2
    assert any(tree[:2] == (CompareOp.ANY_BITS, ~6 & 0xFFFFFFFF) for tree in trees)


def test_numbers_that_alternate_take_steps_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers without a bit of a mask of scattered bits: without a limit they took 23,000."""
    mask, most = 0xA6883765, 2048
    free = [number for number in range(156) if not number & mask]
    ends = sorted({0, most + 1} | {end for number in free for end in (number, number + 1)})
    items = [
        Item(first, stop - 1, 1 if first <= most and first & mask else 2, 1)
        for first, stop in pairwise([*ends, 1 << 32])
    ]
    singles = [i for i, item in enumerate(items) if item.first == item.last]
    assert all(one.label != other.label for one, other in pairwise(items))
    steps: list[int] = []
    ask = Shapes.short

    def short(shapes: Shapes, left: int, most: int) -> Found:
        found = ask(shapes, left, most)
        steps.append(found.steps)
        return found

    monkeypatch.setattr(Shapes, "short", short)
    Patterns(items, singles[:12], PRICE, 3)
    assert 5_000 < sum(steps) < 12_000
