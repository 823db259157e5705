"""Make all attacks: ``python -m escape.run``, a plan on stdin, the outcomes on stdout, both JSON.

The plan has the process's "abi", its "numbers" of system calls by name, "foreign" ones by ABI and
name, a "directory" with the package "confining" of stock filters, and an empty "folder" to work in.
"own_machine" is true in a guest, where an attack may change what all processes share. "attacks" and
"policies" are the names of those to make, and to make them on; policies of "others", which promise
nothing, have all of them made on them. The outcomes are by policy ("" is without a filter) and
attack; each is a kind and a detail. In a process of its own, because forks of the small process
that this is cost little. Standard library only, Python 3.9 or newer.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Optional

from escape import attacks
from escape.attack import ATTACKS, Attack, tried
from escape.scene import Scene


def outcomes(
    plan: "dict[str, Any]", installs: "dict[str, Callable[[], object]]"
) -> "dict[str, dict[str, tuple[str, str]]]":
    """Make the attacks under each of the filters that ``installs`` puts in force, and free."""
    attacks.load()
    told: dict[str, dict[str, tuple[str, str]]] = {"": {}, **{policy: {} for policy in installs}}
    for one in ATTACKS:
        policies = [
            name for name in installs if name in one.against or name in plan.get("others", ())
        ]
        if not policies or one.name not in plan["attacks"]:
            continue
        told[""][one.name] = _outcome(one, plan, None)
        for policy in policies:
            told[policy][one.name] = _outcome(one, plan, installs[policy])
    return told


def _outcome(
    one: Attack, plan: "dict[str, Any]", install: "Optional[Callable[[], object]]"
) -> "tuple[str, str]":
    folder = f"{plan['folder']}/{one.name}"
    os.mkdir(folder)
    with open(f"{folder}/old", "wb") as file:
        file.write(b"content")
    abi, numbers, foreign, own = (plan[k] for k in ("abi", "numbers", "foreign", "own_machine"))
    scene = Scene(abi, numbers, foreign, folder, own_machine=own)
    found = tried(one.body, scene, install)
    for name in os.listdir(folder):
        if os.path.isdir(f"{folder}/{name}"):
            os.rmdir(f"{folder}/{name}")
        else:
            os.unlink(f"{folder}/{name}")
    os.rmdir(folder)
    return found.kind, found.detail


def main() -> None:
    plan = json.load(sys.stdin)
    sys.path.insert(0, plan["directory"])
    installs = {
        policy: importlib.import_module(f"confining.{policy}").install
        for policy in plan["policies"]
    }
    for policy, install in installs.items():
        assert callable(install)
        # What it would import, before an attack becomes a user who may not read it.
        importlib.import_module(f"confining.{policy}._{plan['abi']}")
    json.dump(outcomes(plan, installs), sys.stdout)


if __name__ == "__main__":
    main()
