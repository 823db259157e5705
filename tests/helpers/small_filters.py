"""Random pairs of small policies, and every call of a small domain that could tell them apart."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHES = ("x86_64", "aarch64")
CALLS = ("read", "socket", "fcntl", "prctl", "mmap", "open")
"""Calls of which aarch64 lacks one."""
VALUES = (0, 1, 2, 3, 16, 2**32, 2**32 + 1)
_CONDITIONS = (
    *("arg0 == 1", "arg0 != 2", "arg0 & 1", "not arg0 & 2", "arg0 & 3 == 2", "arg1 >= 2"),
    *("arg0 in {1, 3}", "arg0 not in {0, 2}", "arg1 < 3 and arg0 == 2", "u64(arg0) == 1"),
    *("arg0 == 1 or arg1 == 1", "u32(arg1) == 16", "1 < arg1 <= 16"),
)
_ACTIONS = ("allow", "log", "errno", "errno(ENOSYS)", "trap", "kill_process", "trace(7)")


def pair(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two policies of which the second is the first with a few edits, or none of it."""
    rng = random.Random(seed)
    before = policy(rng)
    if rng.random() < 0.3:
        return before, policy(rng)
    after = {**before, "syscalls": [dict(group) for group in before["syscalls"]]}
    for _ in range(rng.randint(1, 3)):
        edit = rng.randrange(6)
        groups = after["syscalls"]
        if edit == 0:
            after["default_action"] = rng.choice(_ACTIONS)
        elif edit == 1:
            after["unknown_action"] = rng.choice(_ACTIONS)
        elif edit == 2:
            after["bad_arch_action"] = rng.choice(_ACTIONS)
        elif edit == 3 and len(groups) > 1:
            groups.pop(rng.randrange(len(groups)))
        elif edit == 4:
            groups.insert(rng.randrange(len(groups) + 1), _group(rng))
        else:
            groups[rng.randrange(len(groups))]["action"] = rng.choice(_ACTIONS)
    return before, after


def policy(rng: random.Random) -> dict[str, Any]:
    """Return a policy of a few rules for a few calls."""
    made: dict[str, Any] = {
        "arches": list(ARCHES),
        "default_action": rng.choice(_ACTIONS),
        "syscalls": [_group(rng) for _ in range(rng.randint(1, 5))],
    }
    if rng.random() < 0.5:
        made["compat_arches"] = [rng.choice(["i386", "x32"])]
    return made


def _group(rng: random.Random) -> dict[str, Any]:
    names = rng.sample(CALLS, rng.randint(1, 3))
    group: dict[str, Any] = {"action": rng.choice(_ACTIONS), "names": names}
    if rng.random() < 0.7:
        group["when"] = rng.choice(_CONDITIONS)
    return group


def calls(abi: str, tables: oracle.Tables) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield (arch, nr, args) of calls by name, and of numbers and ABIs that none has."""
    facts = oracle.ABIS[abi]
    beside = [name for name in facts.same_kernel if name in tables]
    for other in (abi, *beside):
        arch = oracle.ABIS[other].audit_arch
        of_interest = {tables[other][name] for name in CALLS if name in tables[other]}
        numbers = of_interest | set(sorted(tables[other].values())[::16])
        numbers |= {max(tables[other].values()) + 1, 0xFFFFFFFF}
        for nr in sorted(numbers):
            pairs = itertools.product(VALUES, VALUES) if nr in of_interest else [(0, 0), (3, 2)]
            for a, b in pairs:
                yield arch, nr, (a, b, 0, 0, 0, 0)
    for arch in (0, 0x40000028, 0x80000016):
        yield arch, 0, (0,) * 6
        yield arch, 41, (1, 1, 0, 0, 0, 0)
