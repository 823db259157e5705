"""Work that large policies take, counted exactly, whatever the machine is busy with."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from peer_rules import arg, policy_of, rule
from random_policies import random_policy
from seccompgen.compile import compile_policy
from seccompgen.compile.plans import Plans
from seccompgen.compile.words import NO, YES, WordDiagrams
from seccompgen.core.abis import ABIS
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import Code, Proof, meaning, prove
from strategies import plain_tables, programs

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Program

TABLES = shipped_tables()


def test_a_choice_is_worked_out_once() -> None:
    words = WordDiagrams()
    yes, no, a, b = map(words.constant, (YES, NO, "a", "b"))
    test = words.node(12, yes, no)
    line = words.node(5, a, words.node(9, b, a))
    first = words.where(test, line, b)
    steps = words.steps
    assert steps == 3
    assert words.where(test, line, b) == first
    assert words.steps == steps
    # Of another line, only what is new.
    words.where(test, words.node(4, a, line), b)
    assert words.steps == steps + 1


def test_a_restriction_is_worked_out_once() -> None:
    words = WordDiagrams()
    a, b = map(words.constant, "ab")
    care = words.masked(1 << 19 | 1 << 26, 1 << 19)
    line = words.node(5, a, words.node(9, b, a))
    first = words.restricted(line, care, YES)
    made = words.restrictions
    assert made > 0
    assert words.restricted(line, care, YES) == first
    assert words.restrictions == made
    # The other outcome is another question.
    assert words.restricted(line, care, NO) != first
    assert words.restrictions > made


@pytest.mark.parametrize(("seed", "most", "restrictions"), [(1, 822, 321), (2, 385, 535)])
def test_random_policies_take_no_more_work_than_they_did(
    seed: int, most: int, restrictions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Plans()
    monkeypatch.setattr(sys.modules["seccompgen.compile"], "shared_plans", lambda: shared)
    policy = random_policy(tmp_path, seed, 16, TABLES)
    abi = ABIS["x86_64"]
    program = compile_policy(policy, abi, TABLES)
    found = prove(meaning(policy, abi, TABLES), Code(program.instructions, abi.byte_order))
    assert isinstance(found, Proof)
    assert shared.words.steps <= most
    assert shared.words.restrictions <= restrictions


@pytest.mark.long("compiles many conditions")
def test_twice_as_many_calls_take_at_most_twice_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is tried with its own masks: with those of all calls, work grew with the square."""
    work = []
    for count in (6, 12):
        shared = Plans()
        monkeypatch.setattr(
            sys.modules["seccompgen.compile"], "shared_plans", lambda plans=shared: plans
        )
        programs(masks_of_two_arguments(count))
        work.append(shared.words.steps + shared.words.restrictions)
    assert work[1] < 2 * work[0]


def test_masks_with_many_combinations_are_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before their work was counted, these 20 rules took 786,000 steps, and 40 took 2,300,000."""
    shared = Plans()
    monkeypatch.setattr(sys.modules["seccompgen.compile"], "shared_plans", lambda: shared)
    draw = random.Random(0)
    cases = []
    for _ in range(20):
        mask = sum(1 << bit for bit in draw.sample(range(32), 8))
        masked = arg(1, "==", draw.getrandbits(32) & mask, mask=mask, width=32)
        cases.append([masked | {"operation": "MaskedEqual"}, arg(2, "==", draw.randrange(8))])
    made = programs(policy_of("x86_64", [rule("allow", *cases, name="ioctl")], "errno"))
    assert len(made["x86_64"].instructions) < 90
    assert shared.words.steps + shared.words.restrictions < 100_000


def masks_of_two_arguments(calls: int) -> dict[str, Any]:
    """Return a policy with three alternatives for each of so many calls, with other masks each."""
    draw = random.Random(0)

    def masked(argument: int) -> dict[str, Any]:
        mask = draw.getrandbits(16)
        value = draw.getrandbits(16) & mask
        return arg(argument, "==", value, mask=mask) | {"operation": "MaskedEqual"}

    groups = [
        rule("allow", *([masked(0), masked(1)] for _ in range(3)), name=name)
        for name in sorted(plain_tables()["x86_64"])[10 : 10 + calls]
    ]
    return policy_of("x86_64", groups, "errno")


@pytest.mark.long("compiles many programs")
def test_a_second_abi_asks_little_that_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = random_policy(tmp_path, 1, 16, TABLES)
    alone = {abi.name: _compiled(policy, abi, monkeypatch) for abi in policy.arches}
    shared = Plans()
    monkeypatch.setattr(sys.modules["seccompgen.compile"], "shared_plans", lambda: shared)
    work = []
    for abi in policy.arches:
        before = shared.words.steps + shared.words.restrictions
        assert compile_policy(policy, abi, TABLES) == alone[abi.name]
        work.append(shared.words.steps + shared.words.restrictions - before)
    assert work[0] > 10 * max(work[1:])


def _compiled(policy: ResolvedPolicy, abi: Abi, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Return the program for ``abi`` by a compiler that knows nothing yet."""
    monkeypatch.setattr(sys.modules["seccompgen.compile"], "shared_plans", Plans)
    return compile_policy(policy, abi, TABLES)
