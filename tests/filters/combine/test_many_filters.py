"""Dozens of filters are combined at a cost in proportion, and answer as all of them together."""

from __future__ import annotations

import cProfile
import random
from typing import Any

import pytest
from combining import TABLES, Drawn, calls_to_try, combined, in_words, ran
from oracle import action_value
from proving import meaning_of
from seccompgen.compile import ProgramBuilder
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.model import Origin
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.filters.find.lift import lift
from seccompgen.verify import Operation, Stack

ABI = "x86_64"


def part(number: int) -> dict[str, Any]:
    """Return one of many policies: alike but for a few calls, values and errnos."""
    rng = random.Random(number % 25)  # so that some are equal
    few = rng.sample(["read", "openat", "socket", "mmap", "clone"], 3)
    asked = f"u32(arg1) == {rng.randint(1, 4)} or u32(arg0) > {rng.randint(5, 7)}"
    return {
        "arches": [ABI],
        "default_action": f"errno({rng.randint(1, 3)})",
        "syscalls": [
            {"action": "allow", "names": few},
            {"action": f"errno({rng.randint(1, 3)})", "names": ["ioctl"], "when": asked},
            {"action": rng.choice(["allow", "log", "trap"]), "names": ["ioctl", "prctl"]},
        ],
    }


@pytest.mark.parametrize("operation", Operation)
def test_many_answer_as_all_of_them_together(operation: Operation) -> None:
    parts = [Drawn(ABI, part(number)) for number in range(30)]
    refusal = "errno(9)"
    subtracting = operation is Operation.SUBTRACT
    program = combined(operation, parts, refusal if subtracting else None)[ABI].to_bytes()
    calls = calls_to_try(parts, 40)
    seen = set()
    for call, *answers in zip(calls, *(one.answers(calls) for one in parts), strict=True):
        expected = in_words(operation, answers, action_value(refusal, ABI))
        assert ran(program, call, ABI) == expected, (call, answers)
        seen.add(expected)
    assert len(seen) > 2


def test_four_times_as_many_take_four_times_the_work() -> None:
    work = {}
    for count in (6, 24):
        parts = tuple(meaning_of(part(number), ABI) for number in range(count))
        stack = Stack(Operation.INTERSECT, parts)
        functions = ProgramBuilder(ABIS[ABI], (), DEFAULT_OBJECTIVE).functions
        profile = cProfile.Profile()
        profile.runcall(lift, stack, [ABIS[ABI]], functions, TABLES, Origin("", Position("")))
        work[count] = sum(one.callcount for one in profile.getstats())
    assert work[24] <= 5 * work[6]
