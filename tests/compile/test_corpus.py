"""The policies of the corpus, compiled, mean what their own tools' maintainers meant."""

from __future__ import annotations

import random

import interpreter
import pytest
from corpus import (
    ALLOW,
    EACH_NAME,
    FOREIGN,
    OURS,
    SETS,
    X86_64,
    as_argument,
    corpus,
    direct,
    our_program,
    ours,
)
from oracle import ABIS, U32, Meaning
from probes import argument_vectors, interesting_calls, interesting_numbers
from resolved import OPERATIONS
from stock_policies import read_policy
from strategies import assert_bitmap_holds, assert_means, compiled, plain_tables

SIZES = {"ours": 17, "production": 49}


@pytest.mark.parametrize(("which", "number"), [(name, SIZES[name]) for name in SETS])
def test_all_of_it_is_here(which: str, number: int) -> None:
    assert len(SETS[which]) == number
    assert {entry["arch"] for entry in corpus().values()} == {"x86_64"}


def test_ours_have_every_difficulty() -> None:
    """So that who has no other corpus has all that the other one is good for, and more."""
    conditions = [
        [conjunction for condition, _ in rules for conjunction in condition or ()]
        for entry in ours().values()
        for rules in entry["rules"].values()
    ]
    conjunctions = [conjunction for listed in conditions for conjunction in listed]
    atoms = [atom for conjunction in conjunctions for atom in conjunction]
    assert {op for _, op, *_ in atoms} == set(OPERATIONS)
    assert {width for *_, width in atoms} == {32, 64}
    assert {index for index, *_ in atoms} == set(range(6))
    assert any(value > U32 for _, _, value, _, _ in atoms)
    assert any(mask > U32 for _, _, _, mask, _ in atoms)
    assert max(map(len, conditions)) >= 15
    assert max(map(len, conjunctions)) >= 5
    for conjunction in conjunctions:  # several conditions on one argument: a range, and a hole
        pairs = {(index, op) for index, op, *_ in conjunction}
        if {(0, "gt"), (0, "ne")} <= pairs:
            break
    else:
        pytest.fail("no range with a hole")
    defaults = {entry["default"] for entry in ours().values()}
    assert defaults >= {ALLOW, FOREIGN, 0, 0x7FFC0000, 0x00050001, 0x00050026}
    assert max(len(entry["rules"]) for entry in ours().values()) > 250
    assert min(len(entry["rules"]) for entry in ours().values()) < 5
    assert {path.suffix for path in OURS.iterdir()} >= {".yml", ".json", ".policy", ".frequency"}


@pytest.mark.few(9, "compiles many programs")
@pytest.mark.parametrize("name", EACH_NAME)
def test_the_compiled_policy_means_what_the_corpus_says(name: str) -> None:
    entry = corpus()[name]
    code = our_program(name)
    interpreter.check(code, "little")
    rng = random.Random(0)
    answers = set()
    for nr in interesting_numbers(plain_tables(), "x86_64", ["x86_64", "x32"]):
        rules = entry["rules"].get(str(nr), [])
        conjunctions = [c for condition, _ in rules for c in condition or [[]]]
        arguments = [[as_argument(atom) for atom in c] for c in conjunctions]
        x32 = nr & 0x40000000 and nr != U32
        for args in argument_vectors(arguments, rng):
            data = interpreter.seccomp_data(nr, X86_64, args)
            value = interpreter.run(code, data, "little").value
            expected = FOREIGN if x32 else direct(entry, nr, args)
            assert value == expected, f"{name}: {nr:#x}{tuple(map(hex, args))}"
            answers.add(value)
        if rules and rules[0] == [None, ALLOW]:
            assert interpreter.constant_allow(code, nr, X86_64, "little"), (name, nr)
    for arch in (ABIS["i386"].audit_arch, 0, U32):
        data = interpreter.seccomp_data(0, arch)
        assert interpreter.run(code, data, "little").value == FOREIGN
    # Every answer that the entry can give was seen.
    reachable = {action for rules in entry["rules"].values() for _, action in rules}
    assert answers == reachable | {entry["default"], FOREIGN}


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize(
    ("name", "abis"),
    [
        ("image-converter", ["x86_64", "arm"]),
        ("mail-server", ["aarch64", "riscv64"]),
        ("plugin-host", ["x86_64", "s390x"]),
    ],
)
def test_files_mean_the_same_on_other_abis(name: str, abis: list[str]) -> None:
    """With the order of words that is theirs, and without the calls that they lack."""
    policy = {**read_policy(OURS / f"{name}.yml"), "arches": abis}
    # Ours knows groups itself; the meaning has to be told what they stand for.
    groups = [
        {key: group[key] for key in group if key != "mentioned"} for group in policy["syscalls"]
    ]
    programs = compiled({**policy, "syscalls": groups})
    assert list(programs) == abis
    meaning = Meaning(policy, plain_tables(), abis[1])
    calls = interesting_calls(policy, plain_tables(), abis[1])
    assert len(assert_means(programs[abis[1]], meaning, calls)) >= 3
    assert_bitmap_holds(programs[abis[1]], meaning)
