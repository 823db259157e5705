"""No small change to a stock filter survives: see ``mutants``.

All mutants of all stock filters take long (``make evidence`` tries them). Here are all
of the two short filters' on an ABI of either byte order, and of the long ones' such as lie evenly
over the whole program.
"""

from __future__ import annotations

from collections import Counter

import pytest
from mutants import answered, fate, mutants
from proving import Stock, spread_out, stock
from seccompgen.verify import Method, Proof, prove

MOST = {"no_exec": 1000, "no_network": 1000, "compute_only": 200, "web_worker": 200}
"""So many mutants of a program are tried; those of the short filters are fewer."""
CHOSEN = [
    one
    for one in stock()
    if one.abi == "x86_64" or (one.abi == "ppc64" and one.name.startswith("no_"))
]


@pytest.mark.parametrize("one", CHOSEN, ids=[f"{one.name}-{one.abi}" for one in CHOSEN])
def test_no_mutant_survives(one: Stock) -> None:
    assert prove(one.means, one.code, Method) == Proof(tuple(Method))
    answers = answered(one.code, one.calls(400))
    fates = Counter(
        fate(one.means, one.code, mutant.code, answers)[0]
        for mutant in spread_out(mutants(one.code), MOST[one.name])
    )
    assert fates["killed"] > fates["equivalent"] + fates["refused"], fates
    assert fates["refused"], fates
