"""Rules in a short form, for policies that other compilers get wrong."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from oracle import ABIS, RETURN_VALUES
from probes import Call, boundary_values
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HELPERS = Path(__file__).parents[1] / "helpers"
LITTLE_AND_BIG = ["x86_64", "s390x"]

# It takes no arguments, so the kernel looks at none of them; a filter does.
CALL = "getppid"
ALLOW = RETURN_VALUES["allow"]
ERRNO = RETURN_VALUES["errno"]

Entry: TypeAlias = dict[str, Any]
Group: TypeAlias = dict[str, Any]
HIGH = 2**32
OPERATIONS = {
    "==": "Equal",
    "!=": "NotEqual",
    ">": "GreaterThan",
    "<": "LessThan",
    ">=": "GreaterOrEqual",
    "<=": "LessOrEqual",
    "&": "BitsSet",
    "!&": "BitsNotSet",
}


def arg(argument: int, operation: str, value: int, **more: int) -> Entry:
    entry = {"argument": argument, "operation": OPERATIONS[operation], "value": value}
    return {**entry, **more}


def rule(action: str, *alternatives: list[Entry], name: str = CALL) -> Group:
    """Return a rule for ``name`` where one of ``alternatives`` holds, each a list to be ANDed."""
    listed = [{"name": name, "arguments": arguments} for arguments in alternatives]
    return {"action": action, "names_with_args": listed}


def plain(action: str, *names: str) -> Group:
    return {"action": action, "names": [*names]}


def policy_of(abi: str, groups: Iterable[Group], default: str = "allow") -> dict[str, Any]:
    return {"arches": [abi], "default_action": default, "syscalls": [*groups]}


def calls_of(abi: str, vectors: Iterable[Sequence[int]], name: str = CALL) -> list[Call]:
    nr = plain_tables()[abi][name]
    return [Call(ABIS[abi].audit_arch, nr, (*args, *[0] * (6 - len(args)))) for args in vectors]


def grid(groups: Iterable[Group], most: int = 4000) -> list[tuple[int, ...]]:
    """Return the arguments that combine every value at which a comparison may turn."""
    values: list[set[int]] = [set() for _ in range(6)]
    for group in groups:
        for one in group.get("names_with_args", ()):
            for entry in one["arguments"]:
                values[entry["argument"]] |= boundary_values(entry)
    axes = [sorted(found) or [0] for found in values]
    if math.prod(map(len, axes)) <= most:
        return [*itertools.product(*axes)]
    rng = random.Random(0)
    return [tuple(map(rng.choice, axes)) for _ in range(most)]
