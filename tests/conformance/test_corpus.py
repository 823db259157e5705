"""Policies that others run in production, against what their own tools' maintainers meant.

``resolved-x86_64.json`` gives their meaning without a format. It is read twice here: once
translated to a policy file for the compiler, once evaluated directly.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import interpreter
import pytest
from oracle import ABIS, U32, U64
from strategies import argument_vectors, compiled, interesting_numbers, plain_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

RESOLVED = Path(__file__).parents[2].parent / "shared" / "corpus" / "resolved-x86_64.json"
pytestmark = pytest.mark.skipif(not RESOLVED.is_file(), reason=f"no corpus at {RESOLVED}")

Atom = tuple[int, str, int, int, int]
Conjunction = list[Atom]
X86_64 = ABIS["x86_64"].audit_arch
FOREIGN = 0x80000000  # kill_process: the corpus says nothing about other ABIs

ACTIONS = {
    0x00000000: "kill_thread",
    0x80000000: "kill_process",
    0x7FFC0000: "log",
    0x7FFF0000: "allow",
}
OPERATIONS = {
    "eq": "Equal",
    "ne": "NotEqual",
    "lt": "LessThan",
    "le": "LessOrEqual",
    "gt": "GreaterThan",
    "ge": "GreaterOrEqual",
    "set": "BitsSet",
    "meq": "MaskedEqual",
    "in": "MaskedEqual",
}


@cache
def corpus() -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(RESOLVED.read_text())}


NAMES = sorted(corpus()) if RESOLVED.is_file() else []


def atom_holds(atom: Atom, args: Sequence[int]) -> bool:
    index, op, value, mask, width = atom
    arg = args[index] & (U32 if width == 32 else U64)
    return {
        "eq": arg == value,
        "ne": arg != value,
        "lt": arg < value,
        "le": arg <= value,
        "gt": arg > value,
        "ge": arg >= value,
        "meq": arg & mask == value,
        "set": arg & value != 0,
        "in": arg & ~value == 0,
    }[op]


def direct(entry: dict[str, Any], nr: int, args: Sequence[int]) -> int:
    """Return what the corpus says of one x86_64 call."""
    for condition, action in entry["rules"].get(str(nr), ()):
        if condition is None or any(all(atom_holds(a, args) for a in c) for c in condition):
            return int(action)
    return int(entry["default"])


def as_argument(atom: Atom) -> dict[str, Any]:
    index, op, value, mask, width = atom
    argument = {"argument": index, "operation": OPERATIONS[op], "value": value, "width": width}
    if op == "meq":
        argument["mask"] = mask
    if op == "in":
        argument |= {"mask": ~value & (U32 if width == 32 else U64), "value": 0}
    return argument


def is_hidden(later: Conjunction, earlier: Conjunction) -> bool:
    """Say whether ``earlier`` surely holds where ``later`` does, so that ``later`` is dead.

    It does if each of its atoms is one of ``later``'s, or is true of the one value to which
    ``later`` pins that argument. (There may be other ways; the corpus has none.)
    """
    pinned = {index: value for index, op, value, _, width in later if op == "eq" and width == 64}
    return all(
        atom in later
        or (atom[0] in pinned and atom_holds(atom, [pinned.get(index, 0) for index in range(6)]))
        for atom in earlier
    )


def translated(entry: dict[str, Any]) -> dict[str, Any]:
    """Write a corpus entry as a policy, without the rules that never match."""
    table = plain_tables()["x86_64"]
    names = {nr: name for name, nr in sorted(table.items(), reverse=True)}
    groups: list[dict[str, Any]] = []
    for number, rules in entry["rules"].items():
        name = names[int(number)]
        before: list[Conjunction] = []
        for condition, action in rules:
            spelled = ACTIONS.get(action) or f"errno({action & 0xFFFF})"
            arguments = []
            for conjunction in condition or [[]]:
                if not any(is_hidden(conjunction, earlier) for earlier in before):
                    before.append(conjunction)
                    arguments.append([as_argument(atom) for atom in conjunction])
            if [] in arguments:
                groups.append({"action": spelled, "names": [name]})
            elif arguments:
                listed = [{"name": name, "arguments": one} for one in arguments]
                groups.append({"action": spelled, "names_with_args": listed})
    default = entry["default"]
    return {
        "arches": ["x86_64"],
        "default_action": ACTIONS.get(default) or f"errno({default & 0xFFFF})",
        "syscalls": groups,
    }


def test_all_of_it_is_here() -> None:
    assert len(NAMES) == 49
    assert {entry["arch"] for entry in corpus().values()} == {"x86_64"}


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_policy_means_what_the_corpus_says(name: str) -> None:
    entry = corpus()[name]
    program = compiled(translated(entry))["x86_64"]
    interpreter.check(program, "little")
    rng = random.Random(0)
    answers = set()
    for nr in interesting_numbers(plain_tables(), "x86_64", ["x86_64", "x32"]):
        rules = entry["rules"].get(str(nr), [])
        conjunctions = [c for condition, _ in rules for c in condition or [[]]]
        arguments = [[as_argument(atom) for atom in c] for c in conjunctions]
        x32 = nr & 0x40000000 and nr != U32
        for args in argument_vectors(arguments, rng):
            data = interpreter.seccomp_data(nr, X86_64, args)
            value = interpreter.run(program, data, "little").value
            expected = FOREIGN if x32 else direct(entry, nr, args)
            assert value == expected, f"{name}: {nr:#x}{tuple(map(hex, args))}"
            answers.add(value)
        if rules and rules[0] == [None, 0x7FFF0000]:
            assert interpreter.constant_allow(program, nr, X86_64, "little"), (name, nr)
    for arch in (ABIS["i386"].audit_arch, 0, U32):
        data = interpreter.seccomp_data(0, arch)
        assert interpreter.run(program, data, "little").value == FOREIGN
    # Every answer that the entry can give was seen.
    reachable = {action for rules in entry["rules"].values() for _, action in rules}
    assert answers == reachable | {entry["default"], FOREIGN}
