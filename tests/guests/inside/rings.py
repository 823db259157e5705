"""All that is tried of io_uring's filters in a guest: a plan in, a report out, both JSON.

The plan has the guest's ``abi``, its ``numbers`` of system calls by name, its ``byte_order``;
``policies`` by name, as `ring.install` takes them; ``asked``, by policy, pairs of an operation and
its fields; ``read``, with the ``sizes`` of operations' fields and pairs to read the contexts of;
``attacked``, the name of the policy that the attacks are made on, and ``installs``, modules whose
``install()`` puts in force what they are made on as well; ``packages``, what `ring_packages` takes.
"""

import functools
import importlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from guests.inside import ring_attacks, ring_dry, ring_facts, ring_packages
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
    """Return the outcomes of the attacks, under the policy that the plan names, and further ones.

    The plan's ``installs`` are modules in /trial whose ``install()`` puts one in force.
    """
    modules = [importlib.import_module(name) for name in plan["installs"]]
    first = functools.partial(install, plan["policies"][plan["attacked"]])
    installs = [first, *(module.install for module in modules)]
    return ring_attacks.outcomes({**plan, "folder": _FOLDER}, installs)


def _asked(policy: "dict[str, Any]", asked: "list[Any]", tell: Tell) -> None:
    signal.alarm(ring_facts.SECONDS)
    tell("installed", refusal(lambda: install(policy)))
    asking = ring_dry.Asking()
    tell("results", [asking.result(operation, fields) for operation, fields in asked])


def _read(tell: Tell, plan: "dict[str, Any]") -> None:
    signal.alarm(ring_facts.SECONDS)
    reading = ring_dry.Reading(plan["byte_order"], plan["read"]["sizes"])
    tell("contexts", [reading.context(*one).hex() for one in plan["read"]["contexts"]])
