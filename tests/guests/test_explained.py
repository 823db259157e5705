"""The explanations that guests are asked about, on the plans of three ABIs, without a guest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guests.explained import explained
from guests.plan import Plan, _runs
from guests.policies import policies
from guests.programs import ABIS, Trial

MANY = 8


def planned(abi: str) -> Plan:
    found = [one for one in policies(ABIS) if abi in one["arches"]][:MANY]
    trials = tuple(Trial(f"policy {n}", one, b"") for n, one in enumerate(found))
    runs = tuple(run for n, one in enumerate(found) for run in _runs(abi, n, one, careful=False))
    return Plan(abi, trials, frozenset(), runs, (), ())


@pytest.mark.few(1, "makes what guests are asked")
@pytest.mark.parametrize("abi", ["x86_64", "s390x", "mips64el", "ppc64le"])
def test_explanations_are_the_answers_that_a_kernel_is_held_to(abi: str) -> None:
    assert list(explained(planned(abi))) == []


def test_another_explanation_is_noticed() -> None:
    plan = planned("s390x")
    run = plan.runs[0]
    call = replace(run.calls[0], answer=run.calls[0].answer ^ 1)
    wrong = replace(plan, runs=(replace(run, calls=(call,)),))
    assert len(list(explained(wrong))) == 1
    assert not list(explained(replace(wrong, wrong=frozenset({run.filter}))))
