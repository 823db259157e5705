"""Programs do not show what the same process has compiled before, though they share its plans."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from corpus import ours, translated
from random_policies import random_policy
from seccompgen.compile import ProgramBuilder, compile_policy, plans
from seccompgen.compile.plans import Plans
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.model import Origin
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.filters.find.lift import lift
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import Code
from strategies import loaded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Instruction

TABLES = shipped_tables()
ABI_NAMES = ("x86_64", "aarch64")


def policy_of(name: str) -> ResolvedPolicy:
    return loaded({**translated(ours()[name]), "arches": list(ABI_NAMES)})


def made(name: str, abi_name: str) -> list[Sequence[Instruction]]:
    """Return the program of a policy, and what is made of that when it is taken apart."""
    abi = ABIS[abi_name]
    program = compile_policy(policy_of(name), abi, TABLES).instructions
    builder = ProgramBuilder(abi, (), DEFAULT_OBJECTIVE)
    origin = Origin("code", Position("code"))
    lifted = lift(Code(program, abi.byte_order), [abi], builder.functions, TABLES, origin)
    otherwise = lifted.otherwise, origin
    again = builder.compilation(lifted.lines, otherwise, origin, lifted.constants).program
    return [program, again.instructions]


@pytest.mark.long("compiles many programs")
def test_programs_are_the_same_after_any_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of these share parts: what is planned first decides on the best way of another."""
    jobs = [("vm-gpu", "x86_64"), ("vm-net", "x86_64"), ("vm-net", "aarch64")]
    compiler = sys.modules["seccompgen.compile"]
    monkeypatch.setattr(compiler, "shared_plans", Plans)
    alone = {job: made(*job) for job in jobs}
    shared = Plans()
    monkeypatch.setattr(compiler, "shared_plans", lambda: shared)
    for job in (*reversed(jobs), jobs[1]):
        assert made(*job) == alone[job], job


ONE, TWO, FIVE = (
    {"argument": argument, "operation": "Equal", "value": value}
    for argument, value in ((0, 1), (1, 2), (2, 5))
)


@pytest.mark.parametrize(
    ("larger", "smaller", "length"),
    [
        ([[ONE], [TWO]], [[ONE]], 18),
        ([[ONE, TWO]], [[TWO]], 18),
        ([[ONE], [TWO], [FIVE]], [[TWO]], 22),
        ([[ONE, TWO]], [[TWO], [FIVE]], 24),
    ],
)
@pytest.mark.parametrize("calls", [("read", "write"), ("write", "read")])
def test_a_call_leads_into_a_simpler_one_whatever_their_numbers(
    calls: tuple[str, str], larger: list[Any], smaller: list[Any], length: int
) -> None:
    """By the order of the numbers one of the two programs was up to four instructions longer."""
    named = [
        {"name": call, "arguments": rule}
        for call, rules in zip(calls, (larger, smaller), strict=True)
        for rule in rules
    ]
    allowed = {"action": "allow", "names_with_args": named}
    policy = {"arches": ["x86_64"], "default_action": "errno", "syscalls": [allowed]}
    program = compile_policy(loaded(policy), ABIS["x86_64"], TABLES)
    assert len(program.instructions) == length


@pytest.mark.long("compiles many programs")
def test_abis_search_no_word_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls have other numbers there, and come in another order."""
    monkeypatch.setattr(plans._of_thread, "plans", Plans())
    compile_policy(policy_of("vm-gpu"), ABIS["x86_64"], TABLES)
    searched = sum(map(len, plans.shared_plans()._searches.values()))
    assert searched > 10
    compile_policy(policy_of("vm-gpu"), ABIS["aarch64"], TABLES)
    assert sum(map(len, plans.shared_plans()._searches.values())) == searched


def test_equal_functions_have_their_rules_in_one_order(tmp_path: Path) -> None:
    """Whichever of their sets came first, and so has the lower number."""
    policy = random_policy(tmp_path, 0, 16, TABLES)
    boxes = [rule.condition for rule in policy.rules if rule.condition is not None]
    assert len(boxes) >= 10
    orders = []
    for listed in (boxes, boxes[::-1]):
        functions = Plans().functions
        numbers = {id(one): functions.sets.box(one) for one in listed}
        rules = [(numbers[id(one)], 0) for one in boxes]
        derived = functions.derive(rules, 1)
        orders.append(derived.rules)
    assert orders[0] == orders[1]
    assert orders[0] != tuple(sorted(orders[0]))


def test_large_tables_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans._of_thread, "plans", Plans())
    before = plans.shared_plans()
    compile_policy(policy_of("vm-net"), ABIS["x86_64"], TABLES)
    assert plans.shared_plans() is before
    cells = sum(one.cells for one in before._searches.values())
    assert cells > 100
    monkeypatch.setattr(plans, "_MOST_CELLS", cells)
    assert plans.shared_plans() is before
    monkeypatch.setattr(plans, "_MOST_CELLS", cells - 1)
    assert plans.shared_plans() is not before


def test_each_thread_has_plans_of_its_own() -> None:
    """Two threads that shared them gave one number to two sets, now and then."""
    with ThreadPoolExecutor(1) as pool:
        theirs = [pool.submit(plans.shared_plans).result() for _ in range(2)]
    assert theirs[0] is theirs[1]
    assert theirs[0] is not plans.shared_plans()
