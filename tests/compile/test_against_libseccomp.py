"""libseccomp's programs of the same rules answer the same, where it can express them."""

from __future__ import annotations

import random
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import interpreter
import libseccomp
import pytest
from corpus import NAMES, SETS, corpus, our_program, ours, production, translated
from longer import few_and_many, long_but
from oracle import RETURN_VALUES, U32, U64, action_value
from probes import Call, interesting_calls, rule_witness
from strategies import compiled, plain_tables

if TYPE_CHECKING:
    from resolved import Conjunction, Entry

pytestmark = pytest.mark.skipif(
    not libseccomp.is_here(), reason="needs python3-seccomp of the system, on x86_64"
)
KILL = RETURN_VALUES["kill_process"]


def answers(policy: dict[str, Any], ours: bytes) -> dict[Call, int]:
    """Run our program on every call worth trying."""
    return {
        call: answer(ours, call)
        for call in interesting_calls(policy, plain_tables(), "x86_64")
        # Numbers with bit 31 that no kernel assigns: x32's to libseccomp, to us just unknown.
        if call.nr & 0x80000000 == 0 or call.nr == U32
    }


def answer(program: bytes, call: Call) -> int:
    data = interpreter.seccomp_data(call.nr, call.arch, call.args)
    return interpreter.run(program, data, "little").value


def assert_same_answers(ours: dict[Call, int], theirs: bytes, what: object) -> int:
    """Run their program on the same calls; return how many different answers came."""
    interpreter.check(theirs, "little")
    for call, our in ours.items():
        their = answer(theirs, call)
        assert our == their, f"{call}: {our:#x}, libseccomp {their:#x}; {what}"
    return len(set(ours.values()))


# --- the corpus --------------------------------------------------------------------------------


def alternatives(conjunction: Conjunction) -> list[list[libseccomp.Comparison]]:
    """Return the rules that stand for ``conjunction``: each bit of a ``set`` takes one."""
    found: list[list[libseccomp.Comparison]] = [[]]
    for index, op, value, mask, width in conjunction:
        most = U32 if width == 32 else U64
        if op == "set":
            bits = [1 << bit for bit in range(width) if value >> bit & 1]
            ways = [("MASKED_EQ", [bit, bit]) for bit in bits]
        elif op == "in":
            ways = [("MASKED_EQ", [~value & most, 0])]
        elif op == "meq":
            ways = [("MASKED_EQ", [mask, value])]
        else:
            assert width == 64
            ways = [(op.upper(), [value])]
        found = [[*before, (index, *way)] for before in found for way in ways]
    return found


def is_expressible(entry: Entry) -> bool:
    """Say whether libseccomp takes the rules, and makes of them what they say.

    It has one comparison for an argument of a rule, of 64 bits unless masked; rules of a call have
    no order, so that one without conditions hides the others; and of alternatives with ordered
    comparisons or != it makes something else.
    """
    for rules in entry["rules"].values():
        conjunctions = [c for condition, _ in rules for c in condition or ()]
        atoms = [atom for conjunction in conjunctions for atom in conjunction]
        exact = all(op in {"eq", "meq", "set", "in"} for _, op, *_ in atoms)
        twice = any(len(c) > len({index for index, *_ in c}) for c in conjunctions)
        hidden = conjunctions and any(
            condition is None and action != entry["default"] for condition, action in rules
        )
        narrow = any(width == 32 and op not in {"meq", "set", "in"} for _, op, *_, width in atoms)
        if twice or hidden or narrow or (len(conjunctions) > 1 and not exact):
            return False
    return True


ENOUGH = {"ours": 8, "production": 49}
# Of those in production it has been seen for each.
EXPRESSIBLE = [name for name in NAMES if name in production() or is_expressible(corpus()[name])]


def rules_of(entry: dict[str, Any]) -> list[libseccomp.Rule]:
    return [
        (action, int(nr), comparisons)
        for nr, rules in entry["rules"].items()
        for condition, action in rules
        if action != entry["default"]  # it says what happens to the rest, which goes without
        for conjunction in condition or [[]]
        for comparisons in alternatives(conjunction)
    ]


def their_program(name: str, level: int) -> bytes:
    those = "ours" if name in ours() else "production"
    return their_programs(those, level)[name]


@cache
def their_programs(which: str, level: int) -> dict[str, bytes]:
    names = [name for name in SETS[which] if name in EXPRESSIBLE]
    entries = [corpus()[name] for name in names]
    policies = [(entry["default"], rules_of(entry)) for entry in entries]
    found = libseccomp.programs(policies, level=level, bad_arch=KILL)
    return dict(zip(names, found, strict=True))


@lru_cache(maxsize=1)  # one policy's levels come one after the other
def our_answers(name: str) -> dict[Call, int]:
    return answers(translated(corpus()[name]), our_program(name))


def test_libseccomp_can_express_enough_of_them() -> None:
    assert {which: len({*EXPRESSIBLE} & {*names}) for which, names in SETS.items()} == {
        which: number for which, number in ENOUGH.items() if which in SETS
    }


@pytest.mark.parametrize(
    "name",
    long_but([name for name in EXPRESSIBLE if name in ours()], EXPRESSIBLE, "those of ../shared"),
)
def test_realistic_policies(name: str) -> None:
    entry = corpus()[name]
    possible = {KILL, entry["default"], *(a for rules in entry["rules"].values() for _, a in rules)}
    for level in (1, 2):
        seen = assert_same_answers(our_answers(name), their_program(name, level), name)
        assert seen >= min(3, len(possible))


# --- random policies ---------------------------------------------------------------------------

VALUES = (0, 1, 5, U32, 2**32, 2**32 + 5, 2**63, U64, 0x1234567800000001, 0x12345678)
EXACT = ("Equal", "MaskedEqual")


def one_conjunction(rng: random.Random) -> list[list[dict[str, Any]]]:
    """Return one list of comparisons, each of another argument."""
    indices = rng.sample(range(6), rng.randint(1, 4))
    return [[comparison(rng, index, [*libseccomp.OPERATIONS]) for index in indices]]


def several(rng: random.Random) -> list[list[dict[str, Any]]]:
    """Return alternatives; of ordered comparisons and of != libseccomp makes something else."""
    return [
        [comparison(rng, index, EXACT) for index in rng.sample(range(6), rng.randint(1, 3))]
        for _ in range(rng.randint(2, 6))
    ]


def comparison(rng: random.Random, index: int, operations: Any) -> dict[str, Any]:
    entry = {
        "argument": index,
        "operation": rng.choice(operations),
        "value": rng.choice(VALUES),
    }
    if entry["operation"] == "MaskedEqual":
        entry["mask"] = rng.choice(
            [entry["value"] | 0xF0F0, entry["value"] | U32, 0xFF00000000000FF0]
        )
        entry["value"] &= entry["mask"]
    return entry


def random_policy(rng: random.Random) -> dict[str, Any]:
    table = plain_tables()["x86_64"]
    names = rng.sample(sorted(table), rng.choice([8, 40, 330]))
    actions = ["allow", "errno(3)", "log", "trap", "kill_thread"]
    rng.shuffle(actions)
    groups = []
    for name in names[:7]:
        alive: list[list[dict[str, Any]]] = []
        for arguments in rng.choice([one_conjunction, several])(rng):
            if rule_witness([*alive, arguments], len(alive), rng) is not None:
                alive.append(arguments)
        if alive:
            listed = [{"name": name, "arguments": arguments} for arguments in alive]
            groups.append({"action": rng.choice(actions[1:]), "names_with_args": listed})
    groups += [{"action": rng.choice(actions[1:]), "names": [name]} for name in names[7:]]
    return {"arches": ["x86_64"], "default_action": actions[0], "syscalls": groups}


def as_rules(policy: dict[str, Any]) -> list[libseccomp.Rule]:
    table = plain_tables()["x86_64"]
    rules: list[libseccomp.Rule] = []
    for group in policy["syscalls"]:
        action = action_value(group["action"], "x86_64")
        rules += [(action, table[name], []) for name in group.get("names", ())]
        for entry in group.get("names_with_args", ()):
            comparisons: list[libseccomp.Comparison] = [
                (
                    one["argument"],
                    libseccomp.OPERATIONS[one["operation"]],
                    [one["mask"], one["value"]] if "mask" in one else [one["value"]],
                )
                for one in entry["arguments"]
            ]
            rules.append((action, table[entry["name"]], comparisons))
    return rules


@pytest.mark.few(1, "compiles many programs")
@few_and_many(2, 8)
@pytest.mark.parametrize("level", [1, 2])
def test_random_policies(level: int, examples: int) -> None:
    rng = random.Random(level)
    policies = [random_policy(rng) for _ in range(examples)]
    asked = [(action_value(p["default_action"], "x86_64"), as_rules(p)) for p in policies]
    finished = different = 0
    for policy, theirs in zip(
        policies, libseccomp.programs(asked, level=level, bad_arch=KILL), strict=True
    ):
        if theirs:
            finished += 1
            ours = answers(policy, compiled(policy)["x86_64"])
            different += assert_same_answers(ours, theirs, policy)
    assert finished > 0.9 * len(policies)
    assert different > 4 * finished
