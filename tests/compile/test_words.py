"""The choice between searching a word by intervals and by bits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from seccompgen.compile.budget import Steps
from seccompgen.compile.linefacts import LineFacts
from seccompgen.compile.search import THOROUGH, WORD, Search
from seccompgen.compile.tree import BUDGETS, IMPOSSIBLE, SCALE, UNBOUNDED, Item, count_tests
from seccompgen.compile.word_search import Care, WordSearch
from seccompgen.compile.words import NO, YES, WordDiagrams
from seccompgen.compile.wordtrees import IntervalTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.wordtrees import WordTrees


def searched(tests: Sequence[tuple[int, int]]) -> tuple[int, WordTrees]:
    """Return the intervals of a word under (mask, value) tests, and the best trees for them."""
    words = WordDiagrams()
    line = words.constant(0)
    for label, (mask, value) in enumerate(tests, 1):
        line = words.where(words.masked(mask, value), words.constant(label), line)
    ends = np.full((len(tests) + 1, BUDGETS), SCALE, dtype=np.int64)
    ends[:, 0] = IMPOSSIBLE
    search = WordSearch(LineFacts(words, (), SCALE), ends, Care(bits=True), Steps(100_000))
    found = search.best(line, (), 1 << 4)
    assert found is not None
    return words.runs(line), found.cheapest


def test_what_masks_repeat_is_not_searched_interval_by_interval() -> None:
    intervals, trees = searched([(0xFFF00FF0, 0x670), (0xFF0F0F00, 0x50300)])
    assert 1000 < intervals < 10_000
    assert not isinstance(trees, IntervalTree)


def test_listed_values_are() -> None:
    values = random.Random(0).sample(range(1 << 32), 300)
    intervals, trees = searched([(0xFFFFFFFF, value) for value in values])
    assert intervals == 601
    assert isinstance(trees, IntervalTree)


def test_equally_heavy_numbers_are_taken_with_the_commonest_label_last() -> None:
    labels = {1: 3, 2: 1, 5: 1, 9: 1, 14: 2, 15: 1}
    items = [Item(number, number, label, 1) for number, label in labels.items()]
    gaps = [(0, 0), (3, 4), (6, 8), (10, 13), (16, (1 << 32) - 1)]
    items = sorted([*items, *(Item(*gap, 0, 1) for gap in gaps)], key=lambda item: item.first)
    ends = np.full((4, BUDGETS), SCALE, dtype=np.int64)
    ends[:, 0] = IMPOSSIBLE
    price = 5000 * SCALE
    tests = [
        count_tests(Search(items, ends, price, effort).tree(UNBOUNDED))
        for effort in (WORD, THOROUGH)
    ]
    assert tests == [6, 7]


def test_masks_without_a_pattern_are_tested_one_after_the_other() -> None:
    rng = random.Random(12)
    masks = [rng.getrandbits(32) for _ in range(12)]
    tests = [(mask, rng.getrandbits(32) & mask) for mask in masks]
    words = WordDiagrams()
    line = words.constant(0)
    for test in tests:
        line = words.where(words.masked(*test), words.constant(1), line)
    ends = np.full((2, BUDGETS), SCALE, dtype=np.int64)
    ends[:, 0] = IMPOSSIBLE
    search = WordSearch(LineFacts(words, tests, SCALE), ends, Care(bits=True), Steps(100_000))
    found = search.best(line, (), 1 << 4)
    assert found is not None
    trees = found.cheapest
    # The first finds the word loaded.
    assert trees.tests() == count_tests(trees.tree(UNBOUNDED)) == 3 * 12 - 1
    assert trees.tests(1) == count_tests(trees.tree(UNBOUNDED, 1), 1) == 3 * 12


def test_the_only_outcome_where_a_test_holds() -> None:
    rng = random.Random(5)
    found = set()
    for _ in range(300):
        words = WordDiagrams()
        line, test = words.constant(0), words.constant(NO)
        for label in range(3):
            mask, other = rng.randrange(16), rng.randrange(16)
            cube = words.masked(mask, rng.randrange(16) & mask)
            line = words.where(cube, words.constant(label), line)
            if label < 2:
                held = words.masked(other, rng.randrange(16) & other)
                test = words.where(held, words.constant(YES), test)
        there = {words.at(line, n) for n in range(16) if words.at(test, n) == YES}
        only = there.pop() if len(there) == 1 else None
        assert words.outcome_where(test, line, Steps(1_000)) == only
        found.add(only)
    assert found == {0, 1, 2, None}
