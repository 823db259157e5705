"""Policies that others run in production, and what programs for them cost.

``resolved-x86_64.json`` gives their meaning without a format. It is read twice here: once
translated to a policy file for the compiler, once evaluated directly. ``best-peers-x86_64.json``
has the best figure of eight other compilers for each.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

import interpreter
from oracle import ABIS, U32, U64
from seccompgen.objective import DEFAULT_OBJECTIVE
from strategies import argument_vectors, compiled, plain_tables

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from seccompgen.objective import Objective

SHARED = Path(__file__).parents[2] / "shared"
RESOLVED = SHARED / "corpus" / "resolved-x86_64.json"
Atom = tuple[int, str, int, int, int]
Conjunction = list[Atom]
X86_64 = ABIS["x86_64"].audit_arch
ALLOW = interpreter.RET_ALLOW
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


@cache
def our_program(name: str, objective: Objective = DEFAULT_OBJECTIVE) -> bytes:
    """Return what the compiler makes of an entry, for x86_64; several tests look at it."""
    return compiled(translated(corpus()[name]), objective)["x86_64"]


class Figures(NamedTuple):
    """What a program for x86_64 costs: executed instructions, but for ``length``.

    ``mean`` is over all allowed calls, each counted once: those that are allowed for some
    arguments only with the mean over one vector of arguments for each of their alternatives;
    ``conditional`` is over these calls alone, None where there are none.
    """

    length: int
    longest: int
    mean: float
    conditional: float | None


def satisfying(conjunction: Conjunction) -> list[int]:
    """Return arguments for which every atom of ``conjunction`` holds."""
    args = [0] * 6
    for index, _, value, mask, width in conjunction:
        most = U32 if width == 32 else U64
        candidates = [value, value - 1, value + 1, 0, value & mask, value | ~mask & most, most]
        candidates += [args[index] | value, args[index] & value, args[index] | value & -value]
        atoms = [atom for atom in conjunction if atom[0] == index]
        args[index] = next(
            c & most
            for c in [args[index], *candidates]
            if all(atom_holds(atom, [c & most] * 6) for atom in atoms)
        )
    return args


def executed(program: bytes, nr: int, args: Sequence[int]) -> int:
    data = interpreter.seccomp_data(nr, X86_64, args)
    return interpreter.run(program, data, "little").executed


def figures(entry: dict[str, Any], program: bytes, rng: random.Random) -> Figures:
    """Measure ``program``, which is for ``entry``, by running it."""
    always, sometimes = [], []
    longest = 0
    for nr in range(601):
        rules = entry["rules"].get(str(nr), [])
        conjunctions = [c for condition, _ in rules for c in condition or [[]]]
        arguments = [[as_argument(atom) for atom in c] for c in conjunctions]
        satisfied = [satisfying(c) for c in conjunctions]
        vectors: list[Sequence[int]] = [*satisfied, *argument_vectors(arguments, rng)]
        for args in vectors:
            longest = max(longest, executed(program, nr, args))
        allowed: list[Sequence[int]] = [
            args for args in satisfied if direct(entry, nr, args) == ALLOW
        ]
        if not allowed:  # what the default allows has no conjunction of its own: one vector
            allowed = [args for args in vectors if direct(entry, nr, args) == ALLOW][:1]
        if any(conjunctions) and allowed:
            sometimes.append(mean(executed(program, nr, args) for args in allowed))
        elif direct(entry, nr, [0] * 6) == ALLOW:
            always.append(executed(program, nr, [0] * 6))
    return Figures(
        len(program) // 8,
        longest,
        mean([*always, *sometimes]),
        mean(sometimes) if sometimes else None,
    )


@cache
def best_peers() -> dict[str, Figures]:
    """Return, for each policy, the best figure that any of eight peers reached in each column."""
    text = (SHARED / "corpus" / "best-peers-x86_64.json").read_text()
    return {
        name: Figures(**{column: best and best[0] for column, best in columns.items()})
        for name, columns in json.loads(text).items()
    }
