"""The calls that are worth trying on a policy: its values, their neighbours, and witnesses."""

from __future__ import annotations

import ast
import random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from oracle import ABIS, THROUGH, U32, U64, PlainFacts, TablesWithFacts, argument_test, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from oracle import Parameters, PolicyDict, Tables, Test

Entry: TypeAlias = "Mapping[str, Any]"
Vector: TypeAlias = tuple[int, ...]
VALUES = (
    *(0, 1, 2, 0x7FFFFFFF, 0x80000000, U32, 2**32, 2**32 + 1, 2**63 - 1, 2**63, U64 - 1, U64),
    # Pairs that share a low word or a high word.
    *(0x1234567800000005, 0x8765432100000005, 0x1234567887654321, 0x500000005),
)
EDGE_NUMBERS = (
    *(0, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xBFFFFFFF, 0xC0000000),
    *(0xFFFFFFFE, 0xFFFFFFFF),
)
STRANGE_ARCHES = (0, 0xFFFFFFFF, 0x4000003E)
"""Values that seccomp_data.arch never has; the last is libseccomp's token for x32."""


class Call(NamedTuple):
    """One call, as struct seccomp_data tells of it."""

    arch: int
    nr: int
    args: Vector

    def __str__(self) -> str:
        return f"arch={self.arch:#x} nr={self.nr:#x} args=({', '.join(map(hex, self.args))})"


def boundary_values(entry: Entry) -> set[int]:
    """Return the arguments around which the answer of one comparison may change."""
    value, mask = entry.get("value", 0), entry.get("mask", 0)
    found = {value + near for near in (-1, 0, 1)}
    found |= {value ^ 2**32, value ^ 2**63, value ^ 1, value & U32, value | U32 << 32, value >> 32}
    found |= {value & ~U32, value | U32, value & U32 | 0xDEADBEEF00000000, ~value}
    for bits in {value, mask}:
        set_bits = [bit for bit in range(64) if bits >> bit & 1]
        for bit in {*set_bits[:3], *set_bits[-3:]}:
            found |= {1 << bit, value ^ 1 << bit, value & ~(1 << bit)}
    if "mask" in entry:
        found |= {value | ~mask, value | ~mask & U32, mask, mask + 1}
    return {number & U64 for number in found} | {0, U64}


def rule_witness(
    rules: Sequence[Sequence[Entry]],
    index: int,
    rng: random.Random,
    tries: int = 200,
    most: int = U64,
) -> Vector | None:
    """Return arguments that rule ``index`` is the first of ``rules`` to match, None if unfound.

    A rule here is the list of its ``arguments`` entries; arguments are at ``most`` that.
    """
    return _witness(rules, _tests(rules), _values_by_argument(rules), index, rng, tries, most)


def _tests(rules: Sequence[Sequence[Entry]]) -> list[list[Test]]:
    return [[argument_test(entry, {}) for entry in entries] for entries in rules]


def _witness(
    rules: Sequence[Sequence[Entry]],
    tests: Sequence[Sequence[Test]],
    candidates: Mapping[int, Sequence[int]],
    index: int,
    rng: random.Random,
    tries: int = 200,
    most: int = U64,
) -> Vector | None:
    values = {}
    for argument in candidates:
        own = [entry for entry in rules[index] if entry.get("argument", 0) == argument]
        own_tests = [argument_test({**entry, "argument": 0}, {}) for entry in own]
        values[argument] = [
            v for v in candidates[argument] if v <= most and all(test([v]) for test in own_tests)
        ]
        if not values[argument]:
            return None
    for _ in range(tries):
        args = tuple(rng.choice(values[n]) if n in values else 0 for n in range(6))
        first = next((i for i, rule in enumerate(tests) if all(test(args) for test in rule)), None)
        if first == index:
            return args
    return None


def _values_by_argument(rules: Sequence[Sequence[Entry]]) -> dict[int, list[int]]:
    values: dict[int, set[int]] = {}
    for entries in rules:
        for entry in entries:
            values.setdefault(entry.get("argument", 0), set()).update(boundary_values(entry))
    return {argument: sorted(found) for argument, found in sorted(values.items())}


def argument_vectors(
    rules: Sequence[Sequence[Entry]], rng: random.Random, most: int = 500
) -> list[Vector]:
    """Return arguments on both sides of every comparison of ``rules``.

    Around a call that reaches a rule, one argument at a time takes each boundary value, so that
    a comparison is tried where the rest of its rule holds.
    """
    tests, values = _tests(rules), _values_by_argument(rules)
    always: set[Vector] = {(0,) * 6, (U64,) * 6}
    found: set[Vector] = set()
    chosen = range(len(rules)) if len(rules) <= 24 else sorted(rng.sample(range(len(rules)), 24))
    for index in chosen:
        base = _witness(rules, tests, values, index, rng)
        if base is not None:
            always.add(base)
            for argument, candidates in values.items():
                if len(candidates) > most:
                    candidates = rng.sample(candidates, most)  # noqa: PLW2901 - bounded work
                found |= {(*base[:argument], v, *base[argument + 1 :]) for v in candidates}
    for _ in range(40):
        found.add(tuple(rng.choice(values[n]) if n in values else U64 for n in range(6)))
    others = sorted(found - always)
    return sorted(always) + (others if len(others) <= most else rng.sample(others, most))


def _expression_entries(
    text: str, constants: Mapping[str, int], parameters: Parameters
) -> list[Entry]:
    """Return the numbers in a ``when:`` as comparisons, of every argument it mentions."""
    nodes = list(ast.walk(ast.parse(" ".join(text.split()), mode="eval")))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    numbers = {node.value for node in nodes if isinstance(node, ast.Constant)}
    numbers |= {constants[name] for name in names & constants.keys()}
    indices = {int(name[3:]) for name in names if name[:3] == "arg" and name[3:].isdecimal()}
    indices |= {index for index, (name, _) in enumerate(parameters) if name in names}
    return [
        {"argument": index, "operation": "Equal", "value": number & U64}
        for index in sorted(indices)
        for number in sorted(number for number in numbers if isinstance(number, int))
    ]


def rules_by_number(
    policy: PolicyDict,
    table: Mapping[str, int],
    constants: Mapping[str, int],
    parameters: Mapping[str, Parameters] | None = None,
) -> dict[int, list[list[Entry]]]:
    """Return, for each number that has rules, the ``arguments`` of each of them in order."""
    found: dict[int, list[list[Entry]]] = {}
    for group in policy["syscalls"]:
        listed: list[tuple[Any, Entry]] = [(name, {}) for name in group.get("names", ())]
        listed += [(entry["name"], entry) for entry in group.get("names_with_args", ())]
        for name, entry in listed:
            through = THROUGH.get(name)
            if through and through[0] in table:
                number = {"operation": "Equal", "value": through[1], "width": 32}
                found.setdefault(table[through[0]], []).append([number])
            if name not in table and not isinstance(name, int):
                continue
            own = (parameters or {}).get(name, ())
            whens = [place["when"] for place in (group, entry) if "when" in place]
            parts = [one for when in whens for one in _expression_entries(when, constants, own)]
            arguments = [_numeric(one, constants, own) for one in entry.get("arguments", ())]
            # The parts of an expression need not hold together: try each for itself.
            rules = found.setdefault(name & U32 if isinstance(name, int) else table[name], [])
            rules += [[one, *arguments] for one in parts] or [arguments]
    return found


def _numeric(entry: Entry, constants: Mapping[str, int], parameters: Parameters) -> Entry:
    """Return ``entry`` in numbers; a constant that there is not is 0."""
    argument = entry.get("argument", 0)
    if isinstance(argument, str):
        names = [name for name, _ in parameters]
        argument = names.index(argument) if argument in names else int(argument[3:] or 0)
    found = {**entry, "argument": argument}
    for key in ("value", "mask"):
        if key in entry:
            try:
                found[key] = number_of(entry[key], constants)
            except KeyError:
                found[key] = 0
    return found


def interesting_numbers(tables: Tables, abi: str, answered: Iterable[str]) -> list[int]:
    """Return every number next to one that some table of the kernel names, and the edges."""
    numbers = set(EDGE_NUMBERS)
    for other in answered:
        numbers |= {nr + near & U32 for nr in tables[other].values() for near in (-1, 0, 1)}
    for other in {abi, *ABIS[abi].same_kernel} & tables.keys():
        for nr in (min(tables[other].values()), max(tables[other].values())):
            numbers |= {nr + near & U32 for near in (-1, 0, 1)}
        if other.startswith("mips"):
            numbers |= {3999, 4000, 4999, 5000, 5999, 6000, 6999}
    return sorted(numbers)


def interesting_calls(
    policy: PolicyDict, tables: Tables, abi: str, constants: Mapping[str, int] | None = None
) -> Iterator[Call]:
    """Yield the calls on which a wrong program for ``abi`` would most likely show."""
    facts: PlainFacts = getattr(tables, "facts", TablesWithFacts.facts)
    rng = random.Random(0)
    answered = sorted({abi, *policy.get("compat_arches", ())} & {abi, *ABIS[abi].same_kernel})
    numbers = interesting_numbers(tables, abi, answered)
    vectors: dict[int, list[Vector]] = {}
    for other in answered:
        known = {**facts.constants.get(other, {}), **(constants or {})}
        parameters = facts.parameters.get(other, {})
        for nr, rules in rules_by_number(policy, tables[other], known, parameters).items():
            vectors.setdefault(nr, [(0,) * 6]).extend(
                argument_vectors(rules, rng) if any(rules) else [(U64,) * 6]
            )
    own = {ABIS[other].audit_arch for other in answered}
    some = rng.sample(numbers, min(12, len(numbers)))
    for arch in sorted(own | {facts.audit_arch for facts in ABIS.values()} | {*STRANGE_ARCHES}):
        for nr in numbers if arch in own else [*EDGE_NUMBERS, *some]:
            for args in vectors.get(nr, [(0,) * 6]) if arch in own else [(0,) * 6]:
                yield Call(arch, nr, args)
