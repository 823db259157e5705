"""Realistic policies, and what programs for them cost.

Some are of our own writing, in ``data/policies``; others are run in production by others, and lie
beside the checkout or are not there. A policy's meaning without a format is used twice here: once
translated to a policy file for the compiler, once evaluated directly. ``best-peers-x86_64.json``
of each folder has the best figure of other compilers.
"""

from __future__ import annotations

import hashlib
import json
import random
from functools import cache, lru_cache
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

import interpreter
from longer import long_but
from once_a_run import once_a_run
from oracle import ABIS, U32, U64
from probes import argument_vectors
from resolved import OPERATIONS, Atom, Conjunction, Entry, read
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from strategies import plain_tables, programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram

OURS = Path(__file__).parents[1] / "data" / "policies"
SHARED = Path(__file__).parents[3] / "shared" / "corpus"
X86_64 = ABIS["x86_64"].audit_arch
ALLOW = interpreter.RET_ALLOW
FOREIGN = 0x80000000  # kill_process: the corpus says nothing about other ABIs

ACTIONS = {
    0x00000000: "kill_thread",
    0x80000000: "kill_process",
    0x7FFC0000: "log",
    0x7FFF0000: "allow",
}


NO_POLICIES = {"constants.json", "best-peers-x86_64.json"}
"""Files beside our policies that are none."""


@cache
def ours() -> dict[str, Entry]:
    """Return the policies of our own writing, by name."""
    files = [path for pattern in ("*.yml", "*.json", "*.policy") for path in OURS.glob(pattern)]
    wanted = [path for path in files if path.name not in NO_POLICIES]
    return {path.stem: read(path) for path in sorted(wanted)}


@cache
def production() -> dict[str, Entry]:
    """Return the policies that others run in production, by name; none where they are not."""
    file = SHARED / "resolved-x86_64.json"
    if not file.is_file():
        return {}
    return {entry["name"]: entry for entry in json.loads(file.read_text())}


@cache
def corpus() -> dict[str, Entry]:
    """Return all policies that there are, by name."""
    assert not ours().keys() & production().keys()
    return ours() | production()


NAMES = sorted(corpus())
SETS = {"ours": sorted(ours())} | ({"production": sorted(production())} if production() else {})
"""The names of each corpus that is here, for what is said of all of one's policies."""

_FEW = {"docker", "systemd-service"}
"""Policies that others run and that are unlike each other and ours."""

EACH_NAME = long_but(
    [*ours(), *(name for name in NAMES if name in _FEW)], NAMES, "the other policies of ../shared"
)
"""The names of all policies, for a test that is parametrized by them."""

EACH_SET = long_but(["ours"], SETS, "all policies of ../shared")
"""The names of each corpus, for what is measured over all of one's policies."""


SAMPLES = [
    path
    for path in (OURS / "network-sandbox.yml", SHARED / "go-seccomp-bpf" / "seccomp.yml")
    if path.is_file()
]
"""Policies that refuse the network and plain clones: ours, and go-seccomp-bpf's own sample."""


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


def direct(entry: Entry, nr: int, args: Sequence[int]) -> int:
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


def translated(entry: Entry) -> dict[str, Any]:
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


def our_compiled(name: str, objective: Objective = DEFAULT_OBJECTIVE) -> CompiledProgram:
    """Return what the compiler makes of an entry, for x86_64; many files of tests look at it."""
    digest = hashlib.sha256(repr(objective).encode()).hexdigest()
    return once_a_run(
        f"corpus-{name}-{digest}",
        lambda: programs(translated(corpus()[name]), objective)["x86_64"],
    )


@cache
def our_program(name: str, objective: Objective = DEFAULT_OBJECTIVE) -> bytes:
    """Return the bytes of `our_compiled`."""
    return our_compiled(name, objective).to_bytes()


class Figures(NamedTuple):
    """The cost of a program for x86_64: executed instructions, but for ``length``.

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


class _Tried(NamedTuple):
    """The arguments that a call is tried with: those of each conjunction, and those around them."""

    conditional: bool
    satisfied: list[list[int]]
    around: list[tuple[int, ...]]


@lru_cache(maxsize=32)  # one policy is measured under many objectives
def _tried(rules: str) -> list[_Tried]:
    """Return by number the arguments to try, for the rules of an entry as JSON."""
    rng = random.Random(0)
    found = []
    by_number = json.loads(rules)
    for nr in range(601):
        conjunctions = [c for condition, _ in by_number.get(str(nr), []) for c in condition or [[]]]
        arguments = [[as_argument(atom) for atom in c] for c in conjunctions]
        satisfied = [satisfying(c) for c in conjunctions]
        found.append(_Tried(any(conjunctions), satisfied, argument_vectors(arguments, rng)))
    return found


def figures(entry: Entry, program: bytes) -> Figures:
    """Measure ``program``, which is for ``entry``, by running it."""
    always, sometimes = [], []
    longest = 0
    for nr, (conditional, satisfied, around) in enumerate(_tried(json.dumps(entry["rules"]))):
        vectors: list[Sequence[int]] = [*satisfied, *around]
        for args in vectors:
            longest = max(longest, executed(program, nr, args))
        allowed: list[Sequence[int]] = [
            args for args in satisfied if direct(entry, nr, args) == ALLOW
        ]
        if not allowed:  # what the default allows has no conjunction of its own: one vector
            allowed = [args for args in vectors if direct(entry, nr, args) == ALLOW][:1]
        if conditional and allowed:
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
    """Return, for each policy, the best figure that any of the peers reached in each column."""
    best: dict[str, Any] = {}
    for folder in (OURS, SHARED):
        file = folder / "best-peers-x86_64.json"
        best |= json.loads(file.read_text()) if file.is_file() else {}
    return {
        name: Figures(**{column: best and best[0] for column, best in columns.items()})
        for name, columns in best.items()
    }
