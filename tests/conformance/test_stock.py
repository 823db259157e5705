"""The stock policies, as files, mean what the oracle reads in them, on every ABI of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oracle import ABIS, Meaning
from ruamel.yaml import YAML
from seccompgen.core.abis import find_abi
from seccompgen.filters.module import read_module
from strategies import assert_bitmap_holds, assert_means, interesting_calls, plain_tables

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
GENERATED = ROOT / "generated" / "seccomp_filters"
STOCK = sorted(POLICIES.glob("*.yml"))

# The kernel's, as far as stock policies name them; the same on every ABI.
CONSTANTS = {"PROT_EXEC": 4, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


def read_policy(path: Path) -> dict[str, Any]:
    """Read a policy file; rules of what it includes come before its own."""
    policy: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    policy = policy.get("seccomp", policy)
    rules = []
    for name in policy.pop("include", ()):
        included = read_policy(path.parent / name)
        rules += included.pop("syscalls", [])
        policy = included | policy
    policy["syscalls"] = rules + policy.get("syscalls", [])
    for key in ("arches", "compat_arches"):
        found = [find_abi(spelling) for spelling in policy.get(key, ())]
        policy[key] = [abi.name for abi in found if abi]
    return policy


def test_there_are_some() -> None:
    assert STOCK


@pytest.mark.parametrize("path", STOCK, ids=[path.stem for path in STOCK])
def test_stock_policies(path: Path) -> None:
    policy = read_policy(path)
    # What is committed is what the sources give: see test_generated.
    programs = read_module(GENERATED / f"{path.stem}.py").programs
    assert set(programs) == set(policy["arches"] or ABIS.keys() & plain_tables().keys())
    for abi, program in programs.items():
        meaning = Meaning(policy, plain_tables(), abi, CONSTANTS)
        calls = interesting_calls(policy, plain_tables(), abi, CONSTANTS)
        answers = assert_means(program, meaning, calls)
        assert len(answers) >= 2
        assert_bitmap_holds(program, meaning)
