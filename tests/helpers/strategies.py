"""Random policies, their programs, and the check that program and oracle agree.

Every rule of a generated policy can match: a rule is kept only if a call was found that it is
the first to match. So a compiler that calls one of them dead is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import random
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import interpreter
from hypothesis import strategies as st
from oracle import ABIS, LOW_WORDS, THROUGH, U32, U64, Meaning, PlainFacts, TablesWithFacts
from probes import VALUES, Call, interesting_numbers, rule_witness
from seccompgen.core.objective import DEFAULT_OBJECTIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from oracle import PolicyDict, Tables
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables as RealTables
    from seccompgen.policy.document import Document

OPERATIONS = (
    *("Equal", "NotEqual", "GreaterThan", "LessThan", "GreaterOrEqual", "LessOrEqual"),
    *("BitsSet", "BitsNotSet", "MaskedEqual"),
)
ACTIONS = (
    *("allow", "kill_process", "kill_thread", "log", "user_notif", "trap", "trap(1)"),
    *("trap(65535)", "trace", "trace(7)", "errno", "errno(0)", "errno(13)", "errno(4095)"),
    *("errno(EACCES)", "errno(ENOSYS)", "errno(ENOTSOCK)", "errno(EDEADLOCK)"),
)


# --- which policies ----------------------------------------------------------------------------


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """Draw one entry of ``arguments``; it may well be always true, or never."""
    width = draw(st.sampled_from([64, 64, 32]))
    most = U64 if width == 64 else U32
    values = st.sampled_from([v for v in VALUES if v <= most]) | st.integers(0, most)
    operation = draw(st.sampled_from(OPERATIONS))
    entry: dict[str, Any] = {"operation": operation, "value": draw(values)}
    argument = draw(st.sampled_from([0, 0, 1, 2, 3, 4, 5]))
    if argument or draw(st.booleans()):  # both have defaults: leave them out at times
        entry["argument"] = argument
    entry["width"] = width
    if operation == "MaskedEqual":
        entry["mask"] = draw(values)
        entry["value"] &= entry["mask"]
    elif not entry["value"] and draw(st.booleans()):
        del entry["value"]
    return entry


@st.composite
def chains(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Draw the rules of one call: conditions that overlap and repeat; none is dead."""
    pool = draw(st.lists(entries(), min_size=1, max_size=5))
    rules = draw(
        st.lists(st.lists(st.sampled_from(pool), min_size=1, max_size=4), min_size=1, max_size=6)
    )
    rules = [*rules, []] if draw(st.booleans()) else rules
    return alive(rules, U64)


def alive(rules: Sequence[list[dict[str, Any]]], most: int) -> list[list[dict[str, Any]]]:
    """Leave out the rules that no call seems to reach whose arguments are at ``most`` that."""
    rng = random.Random(0)
    found: list[list[dict[str, Any]]] = []
    for rule in rules:
        if rule_witness([*found, rule], len(found), rng, most=most) is not None:
            found.append(rule)
    return found


@st.composite
def policies(draw: st.DrawFn, tables: Tables, abi: str) -> dict[str, Any]:
    """Draw a policy with a program for ``abi``; from one call to most that the ABI has."""
    siblings = sorted(set(ABIS[abi].same_kernel) & tables.keys())
    compat = draw(st.lists(st.sampled_from(siblings), unique=True)) if siblings else []
    actions = draw(st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=4, unique=True))
    some_action = st.sampled_from(actions)

    rng = random.Random(draw(st.integers(0, 2**16)))
    names = names_of_distinct_numbers(tables, [abi, *compat], rng)
    # What rules for others say of these may leave nothing to their own.
    names = [name for name in names if name not in {"socketcall", "ipc"}]
    conditional = draw(st.lists(chains(), max_size=6))[: len(names)]
    bulk = draw(st.sampled_from([0, 1, 5, 40, 150, 400]))
    rules: list[tuple[str, list[dict[str, Any]], str]] = []
    for chain in conditional:
        name = names.pop()
        most = most_on(tables, [abi, *compat], name)
        rules += [(name, rule, draw(some_action)) for rule in alive(chain, most)]
    for name in names[: max(bulk, 0 if rules else 1)]:
        value = rng.choice(VALUES) & most_on(tables, [abi, *compat], name)
        simple = {"argument": rng.randrange(6), "operation": "Equal", "value": value, "width": 64}
        rules.append((name, [simple] if rng.random() < 0.1 else [], rng.choice(actions)))
    if draw(st.booleans()):
        rules = _interleaved(rules, rng)

    policy: dict[str, Any] = {"arches": [abi], "default_action": draw(some_action)}
    if compat:
        policy["compat_arches"] = compat
    for key in ("unknown_action", "bad_arch_action"):
        if draw(st.booleans()):
            policy[key] = draw(some_action)
    if any(name in THROUGH and rule for name, rule, _ in rules):
        policy["multiplexed"] = rng.choice(actions)
    if "user_notif" in actions:
        policy["flags"] = ["new_listener"]
    policy["syscalls"] = _groups(rules)
    return policy


def most_on(tables: Tables, abis: Sequence[str], name: str) -> int:
    """Return the largest argument that counts on any of ``abis`` that has the call."""
    return U32 if {abi for abi in abis if name in tables[abi]} <= LOW_WORDS else U64


def names_of_distinct_numbers(tables: Tables, abis: Sequence[str], rng: random.Random) -> list[str]:
    """Return names in random order; of aliases on any of ``abis`` only one, lest it hide others."""
    names = sorted({name for abi in abis for name in tables[abi]})
    rng.shuffle(names)
    seen: set[tuple[str, int]] = set()
    result = []
    for name in names:
        places = {(abi, tables[abi][name]) for abi in abis if name in tables[abi]}
        if not places & seen:
            seen |= places
            result.append(name)
    return result


def _interleaved(
    rules: Sequence[tuple[str, Any, str]], rng: random.Random
) -> list[tuple[str, Any, str]]:
    """Mix the rules of different calls; those of one call keep their order."""
    waiting: dict[str, list[tuple[str, Any, str]]] = {}
    for rule in rules:
        waiting.setdefault(rule[0], []).append(rule)
    order = [name for name, _, _ in rules]
    rng.shuffle(order)
    return [waiting[name].pop(0) for name in order]


def _groups(rules: Iterable[tuple[str, list[dict[str, Any]], str]]) -> list[dict[str, Any]]:
    """Write rules as groups: neighbours with one action share one, if their names differ."""
    groups: list[dict[str, Any]] = []
    names: set[str] = set()
    for name, arguments, action in rules:
        if not groups or groups[-1]["action"] != action or name in names:
            groups.append({"action": action})
            names = set()
        names.add(name)
        if arguments:
            entry = {"name": name, "arguments": arguments}
            groups[-1].setdefault("names_with_args", []).append(entry)
        else:
            groups[-1].setdefault("names", []).append(name)
    return groups


# --- the programs ------------------------------------------------------------------------------


@cache
def plain_tables() -> dict[str, dict[str, int]]:
    """Return the shipped tables of every ABI with seccomp filters, as plain dictionaries."""
    tables = _shipped().tables
    return {name: dict(t.numbers) for name, t in tables.items() if t.has_filters}


@cache
def plain_tables_with_facts() -> TablesWithFacts:
    """Return the shipped tables with what the same kernel says of constants and arguments."""
    shipped = _with_facts()
    has = {name: table for name, table in shipped.tables.items() if table.has_filters}
    found = TablesWithFacts({name: dict(table.numbers) for name, table in has.items()})
    constants: dict[str, dict[str, int]] = {name: {} for name in has}
    for constant in shipped.facts.constants.values():
        for name, table in has.items():
            value = constant.on(table.abi)
            if value is not None:
                constants[name][constant.name] = value
    parameters = {
        name: {
            call: tuple((one.name, one.bits) for one in prototype.parameters)
            for call in table.numbers
            if (prototype := shipped.facts.prototype(call, table.abi))
        }
        for name, table in has.items()
    }
    found.facts = PlainFacts(constants, parameters)
    return found


@cache
def _with_facts() -> RealTables:
    from seccompgen.pipeline.build import shipped_tables

    return shipped_tables()


@cache
def _shipped() -> RealTables:
    """Return the tables without facts, so that a comparison without a width is of 64 bits."""
    from seccompgen.core.facts import NO_FACTS

    return dataclasses.replace(_with_facts(), facts=NO_FACTS)


def compiled(policy: PolicyDict, objective: Objective = DEFAULT_OBJECTIVE) -> dict[str, bytes]:
    """Check ``policy`` as a file's and compile it; return the program for each ABI."""
    return {name: p.to_bytes() for name, p in programs(policy, objective).items()}


def programs(
    policy: PolicyDict, objective: Objective = DEFAULT_OBJECTIVE
) -> dict[str, CompiledProgram]:
    """Do as ``compiled``, with all that the compiler knows of each program."""
    return _programs(loaded(policy), objective)


def loaded(policy: PolicyDict) -> ResolvedPolicy:
    """Return ``policy`` as the checks of files leave it, by tables without facts."""
    return _loaded(json.dumps(policy))


def tables_with_facts() -> RealTables:
    """Return the shipped tables."""
    return _with_facts()


def loaded_file(path: Path) -> ResolvedPolicy:
    """Return the policy at ``path``, by all facts."""
    return _read(path, _with_facts())


def compiled_file(path: Path, objective: Objective = DEFAULT_OBJECTIVE) -> dict[str, bytes]:
    """Load and compile the policy at ``path``, by all facts; return the program for each ABI."""
    policy = loaded_file(path)
    return {name: p.to_bytes() for name, p in _programs(policy, objective).items()}


# Tests go through the corpus again with other objectives.
@lru_cache(maxsize=128)
def _loaded(text: str) -> ResolvedPolicy:
    return _read(document(json.loads(text)), _shipped())


def document(data: dict[str, Any]) -> Document:
    """Return what reading a file with ``data`` gives, which would take as long as to compile it.

    That files say the same is tried by tests/api/test_values.py, on random policies as well.
    """
    from seccompgen.core.errors import Position
    from seccompgen.policy.document import Document

    def places(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
        yield path
        if isinstance(value, dict | list):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            for key, part in parts:
                yield from places(part, (*path, key))

    positions = {path: Position("policy", path=path) for path in places(data, ())}
    return Document("policy", data, positions, positions)


def _read(source: Path | Document, tables: RealTables) -> ResolvedPolicy:
    from seccompgen.formats import load_policy

    return load_policy(source, tables)[0]


def _programs(policy: ResolvedPolicy, objective: Objective) -> dict[str, CompiledProgram]:
    from seccompgen.compile import compile_policy

    tables = _shipped()
    return {abi.name: compile_policy(policy, abi, tables, objective) for abi in policy.arches}


def assert_means(
    program: bytes, meaning: Meaning, calls: Iterable[Call], what: object = ""
) -> set[int]:
    """Assert that ``program`` is one the kernel takes, and answers each call as ``meaning`` does.

    Return the answers that were seen.
    """
    byte_order = ABIS[meaning.abi].byte_order
    interpreter.check(program, byte_order)
    seen = set()
    for call in calls:
        data = interpreter.seccomp_data(call.nr, call.arch, call.args, 0xABCDEF, byte_order)
        result = interpreter.run(program, data, byte_order)
        expected = meaning.decide(*call)
        assert result.value == expected, (
            f"{meaning.abi}: {call}: program says {result.value:#x}, "
            f"policy {expected:#x} {what}; path {result.path}"
        )
        seen.add(expected)
    return seen


def assert_bitmap_holds(program: bytes, meaning: Meaning) -> int:
    """Assert that the kernel's bitmap has every call allowed whatever its arguments.

    "Whatever" is read off the rules: those before the first without conditions all allow, as
    does that one, or the default where there is none. Return how many calls that were.
    """
    byte_order = ABIS[meaning.abi].byte_order
    count = 0
    for abi in sorted(meaning.answered):
        arch = ABIS[abi].audit_arch
        numbers = interesting_numbers(meaning.tables, abi, [abi])
        for nr in numbers:
            if meaning.abi_of_call(arch, nr) == abi and _always_allowed(meaning, abi, nr):
                count += 1
                assert interpreter.constant_allow(program, nr, arch, byte_order), (
                    f"{meaning.abi}: arch={arch:#x} nr={nr:#x} is allowed whatever its "
                    "arguments, but the kernel would run the filter"
                )
    return count


def _always_allowed(meaning: Meaning, abi: str, nr: int) -> bool:
    if nr not in meaning.named[abi]:
        return bool(meaning.unknown == "allow")
    for rule in meaning.named[abi][nr]:
        if rule.action != "allow":
            return False
        if not rule.tests:
            return True
    return bool(meaning.default == "allow")
