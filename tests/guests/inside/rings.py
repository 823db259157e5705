"""All that is tried of io_uring's filters in a guest: a plan in, a report out, both JSON.

The plan has the guest's ``abi``, its ``numbers`` of system calls by name, its ``byte_order``;
``policies`` by name, as `ring.install` takes them; ``asked``, by policy, pairs of an operation and
its fields; ``read``, with the ``sizes`` of operations' fields and pairs to read the contexts of;
``attacked``, the name of the policy that the attacks are made on; ``packages``, what
`ring_packages` takes.
"""

import functools
import importlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

from guests.inside import ring_dry, ring_facts, ring_packages
from guests.inside.attempts import Tell, in_child, refusal
from guests.inside.ring import install
from guests.inside.stock import raise_loopback

PLAN = "/trial/plan.json"
_FOLDER = "/tmp/rings"


def main() -> bytes:
    """Return the report."""
    began = time.monotonic()
    with open(PLAN) as file:
        plan = json.load(file)
    system = os.uname()
    report: dict[str, Any] = {"release": system.release, "version": system.version}
    raise_loopback()
    os.mkdir(_FOLDER)
    parts: "dict[str, Callable[[], object]]" = {
        "asked": lambda: {
            name: in_child(functools.partial(_asked, plan["policies"][name], asked))
            for name, asked in plan["asked"].items()
        },
        "read": lambda: in_child(lambda tell: _read(tell, plan)),
        "facts": ring_facts.found_out,
        "packages": lambda: ring_packages.found_out(*plan["packages"]),
        "attacks": lambda: attacks(plan),
    }
    seconds = {}
    for name, part in parts.items():
        print(name, flush=True)  # the console shows it where a guest does not come to its report
        start = time.monotonic()
        report[name] = part()
        seconds[name] = round(time.monotonic() - start, 2)
    report["seconds"] = {**seconds, "all": round(time.monotonic() - began, 2)}
    return json.dumps(report).encode()


def attacks(plan: "dict[str, Any]") -> object:
    """Return the outcomes of the attacks, under the policy that the plan names.

    ``installs`` in the plan, the name of a module in /trial with a function ``install``, takes the
    place of the policy.
    """
    from guests.inside import ring_attacks

    def installed() -> None:
        install(plan["policies"][plan["attacked"]])

    chosen: "Callable[[], object]" = installed
    if plan.get("installs"):
        chosen = importlib.import_module(plan["installs"]).install
    return ring_attacks.outcomes({**plan, "folder": _FOLDER}, chosen)


def _asked(policy: "dict[str, Any]", asked: "list[Any]", tell: Tell) -> None:
    tell("installed", refusal(lambda: install(policy)))
    asking = ring_dry.Asking()
    tell("results", [asking.result(operation, fields) for operation, fields in asked])


def _read(tell: Tell, plan: "dict[str, Any]") -> None:
    reading = ring_dry.Reading(plan["byte_order"], plan["read"]["sizes"])
    tell("contexts", [reading.context(*one).hex() for one in plan["read"]["contexts"]])
