"""The table of holes and the calls that reach them: each rule can be read, on every ABI."""

from __future__ import annotations

import re
from itertools import chain

from seccompgen.kernel.shields import find_shield, shield_names, shields, user_namespace
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.conditions import Lookup
from seccompgen.policy.expressions import parse_condition

RULES = (*user_namespace(), *(rule for one in shields() for rule in one.refuse))


def test_each_hole_is_there_once_with_its_source() -> None:
    holes = list(chain.from_iterable(one.holes.items() for one in shields()))
    years = {int(cve[4:8]) for cve, _ in holes if re.fullmatch("CVE-[0-9]{4}-[0-9]{4,}", cve)}
    assert len(holes) == len(dict(holes)) >= 20
    assert years == set(range(2016, 2027))
    assert all(source.strip() == source != "" for _, source in holes)


def test_holes_are_in_order_the_newest_first() -> None:
    for one in shields():
        numbers = [tuple(map(int, cve.split("-")[1:])) for cve in one.holes]
        assert numbers == sorted(numbers, reverse=True), one.name
        assert one.capability in {"", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"}
        assert one.title[-1] not in ".:", one.name


def test_a_shield_is_found_by_its_name_and_by_each_cve() -> None:
    found = {name: find_shield(name) for name in shield_names()}
    assert None not in found.values()
    for one in shields():
        assert {name for name, each in found.items() if each == one} == {one.name, *one.holes}
    assert find_shield("CVE-2026-1") is None


def test_each_rule_can_be_said_on_every_abi_that_has_its_call() -> None:
    tables = shipped_tables()
    unsaid = set()
    for rule in RULES:
        call, _, when = rule.partition(" when ")
        assert call in tables.calls, rule
        condition = parse_condition(when) if when else None
        for table in tables.tables.values():
            if condition and call in table.numbers:
                lookup = Lookup(tables.facts, table.abi)
                if lookup.numbers(condition, call) is None:
                    unsaid.add((rule, table.abi.name))
    assert unsaid == set()
