"""Hold `explain` against the running kernel on many random calls under the corpus' policies.

``python tests/filters/tell/explainer.py 10000`` takes some minutes,
and stops at the first difference.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))

import explained_calls

if __name__ == "__main__":
    counts = explained_calls.compare(int(sys.argv[1]), seed=0)
    print(", ".join(f"{n:,} {what}" for what, n in sorted(counts.items())))
