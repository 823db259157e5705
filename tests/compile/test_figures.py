"""The costs of programs, beside the best of other compilers, on realistic policies."""

from __future__ import annotations

import math
from functools import cache

import pytest
from corpus import (
    EACH_SET,
    NAMES,
    SETS,
    Figures,
    best_peers,
    corpus,
    figures,
    our_program,
    translated,
)
from longer import long_but
from oracle import ABIS, Meaning
from seccompgen.core.objective import DEFAULT_OBJECTIVE, Objective
from strategies import assert_bitmap_holds, compiled, plain_tables

WITHOUT_BITMAP = Objective(bitmap=False)


@cache
def measured(which: str, objective: Objective) -> dict[str, Figures]:
    found = {}
    for name in sorted(best_peers().keys() & {*SETS[which]}):
        found[name] = figures(corpus()[name], our_program(name, objective))
    return found


def ratios(which: str, column: str, objective: Objective) -> dict[str, float]:
    """Return ours / best of the peers; a policy that the column does not apply to is left out."""
    ours, best = measured(which, objective), best_peers()
    found = {}
    for name in ours:
        our, their = getattr(ours[name], column), getattr(best[name], column)
        assert (our is None) == (their is None), name
        if our is not None:
            found[name] = our / their
    return found


FIGURES = {
    "length": ("length", DEFAULT_OBJECTIVE),
    "longest": ("longest", DEFAULT_OBJECTIVE),
    "conditional": ("conditional", DEFAULT_OBJECTIVE),
    "mean": ("mean", DEFAULT_OBJECTIVE),
    "mean on kernels without a bitmap": ("mean", WITHOUT_BITMAP),
}
# For each corpus and figure, what the geometric mean and the worst policy may come to.
LIMITS = {
    "ours": {
        "length": (0.56, 0.92),
        "longest": (0.63, 0.85),
        "conditional": (0.65, 0.80),
        "mean": (0.80, 0.88),
        "mean on kernels without a bitmap": (0.71, 0.80),
    },
    "production": {
        "length": (0.71, 1.0),
        "longest": (0.57, 1.0),
        "conditional": (0.68, 0.9),
        "mean": (1.0, 1.15),
        "mean on kernels without a bitmap": (0.90, 1.0),
    },
}
FEWEST = {"ours": 9, "production": 48}
"""Policies that have a figure, and that a peer can express."""
of_each_corpus = pytest.mark.parametrize("which", EACH_SET)


@pytest.mark.few(4, "compiles many programs")
@of_each_corpus
@pytest.mark.parametrize("figure", list(FIGURES))
def test_the_geometric_mean_over_all_policies(which: str, figure: str) -> None:
    found = ratios(which, *FIGURES[figure])
    assert len(found) >= FEWEST[which]
    geometric_mean = math.exp(math.fsum(map(math.log, found.values())) / len(found))
    assert geometric_mean <= LIMITS[which][figure][0]


@of_each_corpus
@pytest.mark.parametrize("figure", list(FIGURES))
def test_the_policy_that_comes_off_worst(which: str, figure: str) -> None:
    limit = LIMITS[which][figure][1]
    found = ratios(which, *FIGURES[figure])
    above = {name: round(ratio, 3) for name, ratio in found.items() if ratio > limit}
    assert not above


CONTAINERS = {"ours": "container-default", "production": "docker"}
OF_CONTAINERS = {
    "ours": {"length": 63, "longest": 12, "conditional": 9.5},
    "production": {"length": 62, "longest": 12, "conditional": 9.5},
}


@of_each_corpus
@pytest.mark.parametrize("column", ["length", "longest", "conditional"])
def test_the_default_profile_of_containers(which: str, column: str) -> None:
    found = measured(which, DEFAULT_OBJECTIVE)[CONTAINERS[which]]
    assert getattr(found, column) <= OF_CONTAINERS[which][column]


@pytest.mark.parametrize(
    "abi",
    long_but(
        [],
        sorted(plain_tables().keys() - {"x86_64"}),
        "every ABI; test_programs and test_stock try each with smaller policies",
        long=3,
    ),
)
def test_what_is_allowed_whatever_its_arguments_is_in_the_bitmap_of_every_abi(abi: str) -> None:
    cached = 0
    # One of containers and few of the others, not the same for each ABI, to keep this short.
    index = sorted(ABIS).index(abi)
    container = CONTAINERS[[*SETS][index % len(SETS)]]
    for name in sorted({container, *NAMES[index % 24 :: 24]}):
        # Nobody who wrote these thought of socketcall, where no condition on sockets can be seen.
        policy = {"multiplexed": "errno", **translated(corpus()[name]), "arches": [abi]}
        policy["syscalls"] = [{**group, "optional": True} for group in policy["syscalls"]]
        meaning = Meaning(policy, plain_tables(), abi)
        cached += assert_bitmap_holds(compiled(policy)[abi], meaning)
    assert cached > 200
