"""Filters of seccompiler drawn at random, and arguments near the values that they compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

CALLS = ("read", "ioctl", "openat", "mprotect")
ACTIONS: list[Any] = ["allow", "trap", "log", "kill_thread", "kill_process", {"errno": 9},
                      {"trace": 70}, {"allow": None}, {"errno": 70000}]  # fmt: skip
U64 = (1 << 64) - 1


def drawn_filter(draw: random.Random) -> dict[str, Any]:
    """Return a filter with two actions, under the names of either release."""
    mismatch, match = draw.sample(ACTIONS, 2)
    keys = draw.choice([("mismatch_action", "match_action"), ("default_action", "filter_action")])
    return {keys[0]: mismatch, keys[1]: match, "filter": drawn_rules(draw)}


def drawn_condition(draw: random.Random) -> dict[str, Any]:
    """Return a comparison of some argument."""
    values = [0, 1, 5, 0x80000000, 0xFFFFFFFF, 1 << 32, 0x100000005, U64]
    op = draw.choice(["eq", "ne", "lt", "le", "gt", "ge", {"masked_eq": draw.choice(values)}])
    found = {"type": draw.choice(["dword", "qword"]), "op": op, "val": draw.choice(values)}
    found |= {"index": draw.randrange(6)} | ({"comment": "why"} if draw.random() < 0.2 else {})
    return found


def drawn_rules(draw: random.Random) -> list[dict[str, Any]]:
    """Return rules for few calls, so that a call has several."""
    rules = []
    for _ in range(draw.randint(1, 7)):
        rule: dict[str, Any] = {"syscall": draw.choice(CALLS)}
        if draw.random() < 0.75:
            rule["args"] = [drawn_condition(draw) for _ in range(draw.randint(1, 3))]
        elif draw.random() < 0.3:
            rule["args"] = None
        rules.append(rule)
    return rules


def values_of(rules: Sequence[dict[str, Any]]) -> Iterator[int]:
    """Yield the values that rules compare with."""
    for rule in rules:
        for one in rule.get("args") or ():
            yield one["val"]


def arguments(draw: random.Random, values: Sequence[int]) -> tuple[int, ...]:
    """Draw arguments near the values that a policy compares with, some with other high words."""
    near = [value + d for value in values for d in (-1, 0, 1)]
    near += [value ^ 1 << draw.randrange(64) for value in values] + [0, 1, U64]
    return tuple(draw.choice(near) & U64 for _ in range(6))
