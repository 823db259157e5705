"""The corpus of production policies, compiled, means what their own tools' maintainers meant."""

from __future__ import annotations

import random

import interpreter
import pytest
from corpus import ALLOW, FOREIGN, NAMES, RESOLVED, X86_64, as_argument, corpus, direct, our_program
from oracle import ABIS, U32
from strategies import argument_vectors, interesting_numbers, plain_tables

pytestmark = pytest.mark.skipif(not RESOLVED.is_file(), reason=f"no corpus at {RESOLVED}")


def test_all_of_it_is_here() -> None:
    assert len(NAMES) == 49
    assert {entry["arch"] for entry in corpus().values()} == {"x86_64"}


@pytest.mark.parametrize("name", NAMES)
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
