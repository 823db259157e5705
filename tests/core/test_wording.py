"""One text for a condition on several ABIs, where its numbers have the same names on all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from known_facts import KNOWN_TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.facts import NO_FACTS
from seccompgen.core.model import U32, Action, Comparison, Op, Origin, Rule
from seccompgen.core.wording import answered, condition_text, numbers_text

HERE = Position("p.yml", 3, 5)
SOME = [ABIS[name] for name in ("x86_64", "i386", "s390x", "mips", "alpha")]


def rule(name: str, condition: Comparison | None, *abis: str) -> Rule:
    """Return a rule for ``name``, of ``abis`` only if there are any."""
    origin = Origin("rule 1", HERE)
    only = frozenset(abis) or None
    return Rule(name, condition, Action.ALLOW, HERE, origin, abis=only)


def equal(argument: int, value: int) -> Comparison:
    """Return that the low word of an argument is ``value``."""
    return Comparison(argument, Op.EQ, value, U32, 32)


def text(*rules: Rule, abis: list[str] | None = None) -> str:
    """Return what is said of ``rules``."""
    where = [ABIS[name] for name in abis] if abis else SOME
    return condition_text(rules, where, KNOWN_TABLES)


def test_numbers_of_one_name_are_one_text() -> None:
    fionread = {0x541B: ("x86_64", "i386", "s390x"), 0x467F: ("mips",), 0x4004667F: ("alpha",)}
    rules = [rule("ioctl", equal(1, value), *abis) for value, abis in fionread.items()]
    assert text(*rules) == "cmd == FIONREAD"
    flags = [
        rule("clone", Comparison(0, Op.ANY_BITS, 1 << 28), "x86_64", "alpha"),
        rule("clone", Comparison(1, Op.ANY_BITS, 1 << 28), "s390x"),
    ]
    assert text(*flags) == "flags & CLONE_NEWUSER"


def test_another_order_is_no_other_text() -> None:
    everywhere = rule("ioctl", equal(1, 0xAE80))
    here, there = rule("ioctl", equal(1, 0x5421), "x86_64"), rule("ioctl", equal(1, 0x667E), "mips")
    said = text(here, everywhere, there, abis=["x86_64", "mips"])
    assert said == "cmd in {FIONBIO, KVM_RUN}"


def test_what_reads_otherwise_on_some_abis_is_told() -> None:
    assert text(rule("socket", equal(0, 1))) == "family == AF_UNIX"
    assert text(rule("ioctl", equal(1, 0x541B))) == (
        "cmd == FIONREAD; on mips, alpha: cmd == 0x541b"
    )
    assert text(rule("clone", Comparison(0, Op.ANY_BITS, 1 << 28, U32, 32))) == (
        "flags & CLONE_NEWUSER; on s390x: newsp & 0x10000000"
    )
    rules = [rule("ioctl", equal(1, 0x541B), "x86_64"), rule("ioctl", None, "mips")]
    assert text(*rules) == "cmd == FIONREAD; on mips: always"


def test_several_rules_of_one_place_are_alternatives() -> None:
    rules = [rule("ioctl", equal(1, value)) for value in (0x541B, 0x5401)]
    assert text(*rules, abis=["x86_64"]) == "cmd in {FIONREAD, TCGETS}"
    assert text(*rules, rule("ioctl", None), abis=["x86_64"]) == ""


def test_many_readings_are_a_number() -> None:
    facts = KNOWN_TABLES.facts
    names = ("x86_64", "i386", "s390x", "mips")
    prototypes = {
        name: {
            "ioctl": replace(
                facts.prototypes[name]["ioctl"],
                parameters=tuple(
                    replace(one, name=f"{one.name}_{name}")
                    for one in facts.prototypes[name]["ioctl"].parameters
                ),
            )
        }
        for name in names
    }
    tables = replace(KNOWN_TABLES, facts=replace(facts, prototypes=prototypes))
    abis = [ABIS[name] for name in names]
    said = condition_text([rule("ioctl", equal(1, 7))], abis, tables)
    assert said == "u32(arg1) == 7"
    said = condition_text([rule("ioctl", equal(1, 7))], abis[:2], tables)
    assert said == "cmd_x86_64 == 7; on i386: cmd_i386 == 7"


@pytest.mark.parametrize("name", ["nobody_knows", "ioctl"])
def test_without_an_abi_or_facts_there_are_numbers(name: str) -> None:
    bare = replace(KNOWN_TABLES, facts=NO_FACTS)
    assert condition_text([rule(name, equal(1, 0x541B))], SOME, bare) == "u32(arg1) == 0x541b"
    assert condition_text([rule(name, None)], SOME, bare) == ""


def test_numbers_and_the_abis_of_rules() -> None:
    rules = [rule("ioctl", equal(1, 5), "mips"), rule("ioctl", equal(1, 6), "alpha")]
    assert numbers_text(rules) == "u32(arg1) == 5 or u32(arg1) == 6"
    assert [abi.name for abi in answered(rules, SOME, KNOWN_TABLES)] == ["mips", "alpha"]
    assert answered([rule("nobody_knows", None)], SOME, KNOWN_TABLES) == []
    assert answered([rule("socketcall", None)], SOME, KNOWN_TABLES) == SOME[1:4]
