"""Which words are searched by their intervals, and which by their bits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from seccompgen.compile.onword import WordSearch
from seccompgen.compile.search import THOROUGH
from seccompgen.compile.tree import BUDGETS, IMPOSSIBLE, SCALE
from seccompgen.compile.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence


def searched(tests: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the intervals of a word under (mask, value) tests, and how many were searched."""
    words = Words()
    line = words.constant(0)
    for label, (mask, value) in enumerate(tests, 1):
        line = words.where(words.masked(mask, value), words.constant(label), line)
    ends = np.full((len(tests) + 1, BUDGETS), SCALE, dtype=np.int64)
    ends[:, 0] = IMPOSSIBLE
    search = WordSearch(words, ends, SCALE, (), THOROUGH)
    search.best(line, [], 1 << 4)
    return words.runs(line), search.searched


def test_what_masks_repeat_is_not_searched_interval_by_interval() -> None:
    intervals, looked_at = searched([(0xFFF00FF0, 0x670), (0xFF0F0F00, 0x50300)])
    assert 1000 < intervals < 10_000
    assert looked_at < intervals // 20


def test_listed_values_are() -> None:
    values = random.Random(0).sample(range(1 << 32), 300)
    intervals, looked_at = searched([(0xFFFFFFFF, value) for value in values])
    assert looked_at == intervals == 601
