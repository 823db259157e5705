"""Compare many random pairs of filters by both provers and, stacked, on the running kernel.

``python tests/verify/pairs.py 1000`` takes a minute or two; it stops at the first that is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import filter_pairs

if __name__ == "__main__":
    counted = filter_pairs.count_in_force(int(sys.argv[1]))
    print(", ".join(f"{count:,} {verdict}" for verdict, count in sorted(counted.items())))
