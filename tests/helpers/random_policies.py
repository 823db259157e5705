"""Policies drawn at random from a seed: every operation, many values, rules that overlap."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

_OPERATIONS = ("Equal", "NotEqual", "GreaterThan", "LessThan", "BitsSet", "BitsNotSet")
_ACTIONS = ("allow", "errno(1)", "errno(13)", "log", "trap", "kill_process")


def random_policy(directory: Path, seed: int, rules: int, tables: Tables) -> ResolvedPolicy:
    """Return a policy of at most ``rules`` rules for three ABIs, without those that are dead."""
    draw = random.Random(seed)
    abis = ("x86_64", "aarch64", "s390x")
    known = set.intersection(*(set(tables.tables[abi].numbers) for abi in abis))
    names = draw.sample(sorted(known), rules // 2)
    groups = [_group(draw, draw.choice(names)) for _ in range(rules)]
    path = directory / f"random{seed}.yml"
    while True:
        arches = f"arches: [{', '.join(abis)}]"
        head = [arches, "default_action: errno", "multiplexed: trap", "syscalls:"]
        path.write_text("\n".join([*head, *groups, ""]))
        try:
            return load_policy(path, tables)[0]
        except InputError as error:
            dead = {one.position.line - 5 for one in error.diagnostics if one.position}
            assert dead
            groups = [group for i, group in enumerate(groups) if i not in dead]


def _group(draw: random.Random, name: str) -> str:
    tests = [_test(draw, argument) for argument in draw.sample(range(6), draw.randint(1, 2))]
    entry = f"{{name: {name}, arguments: [{', '.join(tests)}]}}"
    return f"- {{action: {draw.choice(_ACTIONS)}, names_with_args: [{entry}]}}"


def _test(draw: random.Random, argument: int) -> str:
    operation = draw.choice([*_OPERATIONS, "MaskedEqual"])
    value = draw.choice(
        [draw.randrange(16), 1 << draw.randrange(32), draw.getrandbits(32), draw.getrandbits(64)]
    )
    more = ", width: 64"
    if operation == "MaskedEqual":
        mask = draw.getrandbits(draw.choice([8, 32, 64]))
        value, more = value & mask, f", mask: {mask}, width: 64"
    elif value < 1 << 32:
        more = f", width: {draw.choice([32, 64])}"
    return f"{{argument: {argument}, operation: {operation}, value: {value}{more}}}"
