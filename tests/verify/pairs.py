"""Compare many random pairs of filters by both provers and, stacked, on the running kernel.

``python tests/verify/pairs.py 1000`` takes some minutes; it stops at the first that is wrong.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import filter_pairs

if __name__ == "__main__":
    pairs = int(sys.argv[1])
    counts: Counter[str] = Counter()
    for first in range(0, pairs, 50):
        counts += filter_pairs.count_in_force(range(first, min(first + 50, pairs)))
        print(", ".join(f"{n:,} {verdict}" for verdict, n in sorted(counts.items())), flush=True)
