"""The stock policies as plain dictionaries, for the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from seccompgen.core.abis import find_abi

STOCK = sorted((Path(__file__).parents[2] / "policies").glob("*.yml"))

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
