"""Families of policies that grow in one respect, each in words that every tool has.

A rule is a call's name and comparisons as `benchmarks.tools` takes them. All rules allow; the
default is EPERM. The numbers come from a seed.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.policies import Comparison

Rule: TypeAlias = "tuple[str, list[Comparison]]"

ALLOW, REFUSE = 0x7FFF0000, 0x00050001
NUMBERS = shipped_tables().tables["x86_64"].numbers
_CALLS = sorted(call for call, number in NUMBERS.items() if number < 335)
"""Calls that every release of the other tools knows."""
_OPERATIONS = {"eq": "==", "ge": ">=", "le": "<="}


@dataclass(frozen=True, slots=True)
class Family:
    """Policies of any number of rules; ``text`` says what one rule is."""

    name: str
    text: str
    rules: Callable[[int, random.Random], list[Rule]]

    def of(self, size: int) -> list[Rule]:
        """Return the policy of ``size`` rules."""
        return self.rules(size, random.Random(self.name))


def _values(size: int, draw: random.Random) -> list[Rule]:
    return [("ioctl", [(1, "eq", value, 0)]) for value in draw.sample(range(1 << 32), size)]


def _ranges(size: int, draw: random.Random) -> list[Rule]:
    ends = sorted(draw.sample(range(1 << 32), 2 * size))
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return [("ioctl", [(1, "ge", first, 0), (1, "le", last, 0)]) for first, last in pairs]


def _masks(size: int, draw: random.Random) -> list[Rule]:
    return [("ioctl", [_masked(1, draw.getrandbits(32), draw)]) for _ in range(size)]


def _flags(size: int, draw: random.Random) -> list[Rule]:
    """Eight bits of a word have given values, and another argument is small."""
    found: list[Rule] = []
    for _ in range(size):
        mask = sum(1 << bit for bit in draw.sample(range(32), 8))
        found.append(("ioctl", [_masked(1, mask, draw), (2, "eq", draw.randrange(8), 0)]))
    return found


def _masked(argument: int, mask: int, draw: random.Random) -> Comparison:
    return argument, "masked", mask, draw.getrandbits(32) & mask


def _pairs(size: int, draw: random.Random) -> list[Rule]:
    return [
        (call, [(0, "eq", draw.randrange(1 << 16), 0), (1, "eq", draw.randrange(1 << 16), 0)])
        for call in _each(size, draw)
    ]


def _conditions(size: int, draw: random.Random) -> list[Rule]:
    return [
        (call, [_masked(0, draw.getrandbits(32), draw), (1, "eq", draw.randrange(1000), 0)])
        for call in _each(size, draw)
    ]


def _each(size: int, draw: random.Random) -> list[str]:
    """Return a call for each of ``size`` rules: three rules a call, more if calls run out."""
    calls = draw.sample(_CALLS, min(len(_CALLS), -(-size // 3)))
    return sorted(calls[place % len(calls)] for place in range(size))


FAMILIES = (
    Family("values", "a value of one argument", _values),
    Family("ranges", "a range of one argument", _ranges),
    Family("masks", "a mask of random bits on one argument, and the value under it", _masks),
    Family("flags", "8 bits of one argument under a mask, and a small value of another", _flags),
    Family("pairs", "values of two arguments, three rules a call", _pairs),
    Family(
        "conditions", "a mask on one argument and a value of another, three a call", _conditions
    ),
)


def for_peers(rules: list[Rule]) -> dict[str, Any]:
    """Return a policy as `benchmarks.tools` takes it."""
    return {
        "default": REFUSE,
        "rules": [[NUMBERS[call], ALLOW, tests] for call, tests in rules],
    }


def ours(rules: list[Rule]) -> str:
    """Return a policy as a file of ours."""
    groups = [
        {"action": "allow", "names": [call], "when": " and ".join(map(_expression, tests))}
        for call, tests in rules
    ]
    head = {"arches": ["x86_64"], "default_action": "errno(1)", "syscalls": groups}
    return json.dumps(head)


def _expression(test: Comparison) -> str:
    argument, operation, a, b = test
    if operation == "masked":
        return f"u64(arg{argument}) & {a:#x} == {b:#x}"
    return f"u64(arg{argument}) {_OPERATIONS[operation]} {a:#x}"


def minijails(rules: list[Rule]) -> str | None:
    """Return a policy as a file of minijail; None if it has no word for some rule.

    Its default is to kill: it takes no errno there.
    """
    calls: dict[str, list[str]] = {}
    for call, tests in rules:
        if any(operation == "masked" for _, operation, _, _ in tests):
            return None
        own = [f"arg{arg} {_OPERATIONS[operation]} {a:#x}" for arg, operation, a, _ in tests]
        calls.setdefault(call, []).append(" && ".join(own))
    return "".join(f"{call}: {' || '.join(parts)}\n" for call, parts in calls.items())
