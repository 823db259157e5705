"""The stock policies as plain dictionaries, for the oracle."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from seccompgen.core.abis import find_abi

if TYPE_CHECKING:
    from collections.abc import Iterator

STOCK = sorted((Path(__file__).parents[2] / "policies").glob("*.yml"))

_SOURCES = Path(__file__).parents[2] / "generator" / "seccompgen"
GROUPS = _SOURCES / "policy" / "groups.toml"
POWERS = _SOURCES / "kernel" / "powers.toml"

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
    read = tomllib.loads(GROUPS.read_text())
    return {name: {"members": [*_members(one)]} for name, one in read.items()}


@cache
def _lines() -> list[tuple[str, list[str], str]]:
    """Return the lines of the table of what calls give: kind, calls, condition."""
    return [
        (kind, names.split(), when)
        for kind, one in tomllib.loads(POWERS.read_text())["powers"].items()
        for names, _, when in (key.partition(" if ") for key in one["calls"])
    ]


def _members(group: dict[str, Any]) -> Iterator[Any]:
    """Yield the members of a group, those in their place that the table has."""
    for item in group.get("members", ()):
        if str(item).startswith("="):
            yield from next(calls for _, calls, when in _lines() if not when and item[1:] in calls)
        else:
            yield item
    for kind, calls, when in _lines():
        for call in calls if kind in group.get("kinds", ()) else ():
            others = [c for k, names, c in _lines() if c and k != kind and call in names]
            condition = when or " and ".join(f"not ({other})" for other in others)
            if call not in group.get("without", ()):
                yield {"names": [call], "when": condition} if condition else call


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
