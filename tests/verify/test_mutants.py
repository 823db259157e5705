"""No small change to a stock filter survives: see ``mutants``.

All mutants of all stock filters take long (``make evidence`` tries them). Here are all of a short
filter's on an ABI of either byte order; `make test-long` tries those of the other short one, and of
the long ones such as lie evenly over the whole program.
"""

from __future__ import annotations

from collections import Counter

import pytest
from longer import long_but
from mutants import answered, fate, mutants
from proving import spread_out, stock_program
from seccompgen.verify import Method, Proof, prove
from stock_policies import STOCK

MOST = {
    **dict.fromkeys(("no_exec", "no_listen", "no_network", "no_path_sockets"), 1000),
    **dict.fromkeys(("compute_only", "no_escape", "sandboxed_code", "web_worker"), 200),
}
"""So many mutants of a program are tried; those of the short filters are fewer."""
CHOSEN = [
    (path.stem, abi)
    for path in STOCK
    for abi in ("ppc64", "x86_64")
    if abi == "x86_64" or path.stem.startswith("no_")
]
SOME = [("no_exec", "x86_64"), ("no_exec", "ppc64")]


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize(("name", "abi"), long_but(SOME, CHOSEN, "the other filters"))
def test_no_mutant_survives(name: str, abi: str) -> None:
    one = stock_program(name, abi)
    assert prove(one.means, one.code, Method) == Proof(tuple(Method))
    answers = answered(one.code, one.calls(400))
    fates = Counter(
        fate(one.means, one.code, mutant.code, answers)[0]
        for mutant in spread_out(mutants(one.code), MOST[one.name])
    )
    assert fates["killed"] > fates["equivalent"] + fates["refused"], fates
    assert fates["refused"], fates
