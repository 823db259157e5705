"""Tables with a few calls, prototypes and constants, and policies read beside them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from oracle import PlainFacts, TablesWithFacts
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.facts import Constant, Facts, Parameter, Prototype
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import Rule
    from seccompgen.core.problems import Problem, RuleCode

NAMES = ("x86_64", "s390x", "i386", "arm")


def prototype(*parameters: tuple[str, int | None]) -> Prototype:
    return Prototype("sys_x", tuple(Parameter(name, "t", bits) for name, bits in parameters))


READ = prototype(("fd", 32), ("buf", 64), ("count", 64))
CLONE = prototype(("flags", 32), ("newsp", 64))
PROTOTYPES = {
    name: {
        "read": READ,
        "fchmod": prototype(("fd", 32), ("mode", 16)),
        "fchown": prototype(("fd", 32), ("user", 8), ("group", None)),
        "clone": prototype(("newsp", 64), ("flags", 32)) if name == "s390x" else CLONE,
        "mmap": prototype(("arg", 64)) if name in {"i386", "s390x"} else READ,
        "socket": prototype(("family", 32), ("type", 32), ("protocol", 32)),
    }
    for name in NAMES
}
CONSTANTS = [
    Constant("ONE", 1),
    Constant("HERE", -100),
    Constant("BITS", 0x12, {"s390x": 0x21}),
    Constant("WIDE", 0x1_0000_0001),
    Constant("LACKING", 3, {"i386": None, "arm": None}),
    Constant("SIZED", None, reason="its type is not public"),
]
FACTS = Facts({one.name: one for one in CONSTANTS}, PROTOTYPES)
TABLES = dataclasses.replace(shipped_tables(), facts=FACTS)
PLAIN = TablesWithFacts(
    {name: dict(table.numbers) for name, table in TABLES.tables.items() if table.has_filters}
)
PLAIN.facts = PlainFacts(
    {
        name: {one.name: value for one in CONSTANTS if (value := one.on(ABIS[name])) is not None}
        for name in NAMES
    },
    {
        name: {
            call: tuple((parameter.name, parameter.bits) for parameter in one.parameters)
            for call, one in found.items()
        }
        for name, found in PROTOTYPES.items()
    },
)


def group(when: str, *names: str | int, **more: Any) -> dict[str, Any]:
    return {"action": "allow", "names": list(names), "when": when, **more}


def entry(name: str, **argument: Any) -> dict[str, Any]:
    return {"action": "allow", "names_with_args": [{"name": name, "arguments": [argument]}]}


def load(
    directory: Path, *groups: dict[str, Any], arches: tuple[str, ...] = NAMES, **more: Any
) -> tuple[tuple[Rule, ...], list[Diagnostic]]:
    policy = {"default_action": "errno", "arches": list(arches), "syscalls": groups, **more}
    path = directory / "p.json"
    path.write_text(json.dumps(policy))
    found, notes = load_policy(path, TABLES)
    return found.rules, list(notes)


def problems(
    directory: Path, *groups: dict[str, Any], **more: Any
) -> list[tuple[Problem | RuleCode, str]]:
    with pytest.raises(InputError) as caught:
        load(directory, *groups, **more)
    return [(one.kind, one.message) for one in caught.value.diagnostics if one.kind]
