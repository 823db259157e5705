"""What programs cost, beside the best of eight other compilers, on policies run in production."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest
from corpus import NAMES, RESOLVED, Figures, best_peers, corpus, figures, our_program, translated
from oracle import ABIS, Meaning
from seccompgen.objective import DEFAULT_OBJECTIVE, Objective
from strategies import assert_bitmap_holds, compiled, plain_tables

pytestmark = pytest.mark.skipif(not RESOLVED.is_file(), reason=f"no corpus at {RESOLVED}")

WITHOUT_BITMAP = Objective(bitmap=False)


@cache
def measured(objective: Objective) -> dict[str, Figures]:
    found = {}
    for name in NAMES:
        found[name] = figures(corpus()[name], our_program(name, objective), random.Random(0))
    return found


def ratios(column: str, objective: Objective) -> dict[str, float]:
    """Return ours / best of the peers; a policy that the column does not apply to is left out."""
    ours, best = measured(objective), best_peers()
    found = {}
    for name in NAMES:
        our, their = getattr(ours[name], column), getattr(best[name], column)
        assert (our is None) == (their is None), name
        if our is not None:
            found[name] = our / their
    return found


GEOMETRIC_MEANS = {
    "length": ("length", DEFAULT_OBJECTIVE, 0.71),
    "longest": ("longest", DEFAULT_OBJECTIVE, 0.57),
    "conditional": ("conditional", DEFAULT_OBJECTIVE, 0.68),
    "mean": ("mean", DEFAULT_OBJECTIVE, 1.0),
    "mean on kernels without a bitmap": ("mean", WITHOUT_BITMAP, 0.90),
}
WORST = {
    "length": ("length", DEFAULT_OBJECTIVE, 1.0),
    "longest": ("longest", DEFAULT_OBJECTIVE, 1.0),
    "conditional": ("conditional", DEFAULT_OBJECTIVE, 0.9),
    "mean": ("mean", DEFAULT_OBJECTIVE, 1.15),
    "mean on kernels without a bitmap": ("mean", WITHOUT_BITMAP, 1.0),
}


@pytest.mark.parametrize(
    ("column", "objective", "limit"), GEOMETRIC_MEANS.values(), ids=GEOMETRIC_MEANS
)
def test_the_geometric_mean_over_all_policies(
    column: str, objective: Objective, limit: float
) -> None:
    found = ratios(column, objective)
    assert len(found) >= 48
    geometric_mean = math.exp(math.fsum(map(math.log, found.values())) / len(found))
    assert geometric_mean <= limit


@pytest.mark.parametrize(("column", "objective", "limit"), WORST.values(), ids=WORST)
def test_the_policy_that_comes_off_worst(column: str, objective: Objective, limit: float) -> None:
    found = ratios(column, objective)
    above = {name: round(ratio, 3) for name, ratio in found.items() if ratio > limit}
    assert not above


@pytest.mark.parametrize(
    ("column", "limit"), [("length", 62), ("longest", 12), ("conditional", 9.5)]
)
def test_dockers_default_profile(column: str, limit: float) -> None:
    assert getattr(measured(DEFAULT_OBJECTIVE)["docker"], column) <= limit


@pytest.mark.parametrize("abi", sorted(plain_tables().keys() - {"x86_64"}))
def test_what_is_allowed_whatever_its_arguments_is_in_the_bitmap_of_every_abi(abi: str) -> None:
    cached = 0
    # Docker's and two of the others, not the same two for each ABI, to keep this short.
    for name in sorted({"docker", *NAMES[sorted(ABIS).index(abi) % 24 :: 24]}):
        policy = {**translated(corpus()[name]), "arches": [abi]}
        policy["syscalls"] = [{**group, "optional": True} for group in policy["syscalls"]]
        meaning = Meaning(policy, plain_tables(), abi)
        cached += assert_bitmap_holds(compiled(policy)[abi], meaning)
    assert cached > 200
