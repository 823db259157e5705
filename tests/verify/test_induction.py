"""Proofs by induction over the cases of a policy: what they decide, and that they never err."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from longer import few_and_many
from mutants import mutants
from proving import TABLES, ran
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.verify import (
    Code,
    Difference,
    Method,
    Proof,
    classes,
    kernel_objections,
    meaning,
    prove,
)
from strategies import loaded

if TYPE_CHECKING:
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.verify import Meaning

ACTIONS = ("allow", "errno(EACCES)", "kill_process")
BY_CLASSES = [Method.CLASSES]


def masks(rng: random.Random, rules: int, arguments: int, bits: int) -> ResolvedPolicy:
    """Return a policy that compares ``arguments`` of some calls under masks, rule after rule."""

    def comparison(place: int) -> dict[str, Any]:
        mask = rng.getrandbits(bits) | 1
        value = mask & rng.getrandbits(bits)
        return {"argument": place, "operation": "MaskedEqual", "mask": mask, "value": value}

    names = ("mmap", "mremap") if rng.random() < 0.5 else ("mmap",)
    groups = [
        {
            "action": rng.choice(ACTIONS),
            "names_with_args": [
                {"name": name, "arguments": [comparison(place) for place in range(arguments)]}
                for name in names
            ],
        }
        for _ in range(rules)
    ]
    document = {"arches": ["x86_64"], "default_action": "errno(EPERM)", "syscalls": groups}
    return loaded(document)


def both_sides(policy: ResolvedPolicy, *, in_order: bool) -> tuple[Meaning, Code]:
    abi = ABIS["x86_64"]
    program = compile_policy(policy, abi, TABLES, in_order=in_order)
    return meaning(policy, abi, TABLES), Code(program.instructions, abi.byte_order)


def test_dozens_of_masks_are_proved_by_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    means, code = both_sides(masks(random.Random(1), 40, 3, 32), in_order=True)
    monkeypatch.setattr(classes, "MOST_STEPS", 200_000)
    assert prove(means, code, BY_CLASSES) == Proof((Method.CLASSES,))
    monkeypatch.setattr(classes, "_MANY", 1 << 62)
    with pytest.raises(UndecidedError, match="comparisons to follow"):
        prove(means, code, BY_CLASSES)


@pytest.mark.long("proves large programs")
def test_what_it_proves_grows_with_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    class Counted(classes.Exploration):
        def compare(self, *sides: Any) -> Any:
            found = super().compare(*sides)
            steps.append(self._steps)
            return found

    monkeypatch.setattr(classes, "Exploration", Counted)
    for rules in (50, 100, 200):
        means, code = both_sides(masks(random.Random(2), rules, 2, 32), in_order=True)
        assert prove(means, code, BY_CLASSES) == Proof((Method.CLASSES,))
    assert steps[2] < 2.5 * steps[1] < 2.5**2 * steps[0]


@few_and_many(1, 60)
def test_it_proves_nothing_that_does_not_hold(
    examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it proves of a program with a field changed, z3 proves as well."""
    pytest.importorskip("z3")
    monkeypatch.setattr(classes, "_MANY", -1)
    monkeypatch.setattr(classes, "MOST_STEPS", 20_000)
    seen: Counter[str] = Counter()
    for seed in range(examples):
        rng = random.Random(seed)
        try:
            policy = masks(rng, rng.randrange(9, 13), rng.randrange(1, 4), rng.choice([8, 34]))
        except InputError:  # a rule that can never match
            continue
        means, code = both_sides(policy, in_order=True)
        for mutant in rng.sample(list(mutants(code)), 50):
            if kernel_objections(mutant.code.instructions):
                continue
            try:
                found = prove(means, mutant.code, BY_CLASSES)
            except UndecidedError:  # it does more than mask and compare, or there is much to follow
                seen["undecided"] += 1
                continue
            if isinstance(found, Difference):
                assert means.answer(found.call) != ran(mutant.code, found.call).value
            else:
                assert isinstance(prove(means, mutant.code, [Method.Z3]), Proof), mutant
            seen[type(found).__name__] += 1
    assert min(seen["Proof"], seen["Difference"]) > examples // 3, seen
