"""The stock policies as plain dictionaries, for the oracle."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from seccompgen.core.abis import find_abi

STOCK = sorted((Path(__file__).parents[2] / "policies").glob("*.yml"))

GROUPS = Path(__file__).parents[2] / "generator" / "seccompgen" / "policy" / "groups.toml"

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
    policy["syscalls"] = rules + [in_calls(group) for group in policy.get("syscalls", [])]
    for key in ("arches", "compat_arches"):
        found = [find_abi(spelling) for spelling in policy.get(key, ())]
        policy[key] = [abi.name for abi in found if abi]
    return policy


@cache
def _groups() -> dict[str, dict[str, Any]]:
    return tomllib.loads(GROUPS.read_text())


def in_calls(group: dict[str, Any]) -> dict[str, Any]:
    """Return a group of rules with the calls of each ``@name`` in its place."""
    names: list[Any] = []
    entries = list(group.get("names_with_args", ()))

    def add(item: Any) -> None:
        if isinstance(item, dict):
            entries.extend({"name": name, "when": item["when"]} for name in item["names"])
        elif str(item).startswith("@"):
            for member in _groups()[item[1:]]["members"]:
                add(member)
        else:
            names.append(item)

    for item in group.get("names", ()):
        add(item)
    # Stock policies and their groups name no call twice.
    own = {str(item) for item in group.get("names", ())}
    own |= {entry["name"] for entry in group.get("names_with_args", ())}
    mentioned = [n for n in (*names, *(entry["name"] for entry in entries)) if str(n) not in own]
    return group | {"names": names, "names_with_args": entries, "mentioned": mentioned}
