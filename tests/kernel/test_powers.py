"""The table of what calls give: every call of every ABI is in it, once, and can be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import product

import pytest
from seccompgen.kernel.powers import RefusalEffect, powers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.conditions import Lookup
from seccompgen.policy.expressions import parse_condition
from seccompgen.policy.groups import calls_of, stock_groups


def test_every_call_has_a_line_without_a_condition() -> None:
    """A call of newer tables fails this until powers.toml says what it gives, and why."""
    always = Counter(call for line in powers().lines if not line.when for call in line.calls)
    assert {call for call, lines in always.items() if lines > 1} == set()
    calls = shipped_tables().calls
    lacking = [call for call in sorted(calls) if not powers().of(call)]
    assert lacking == []
    assert [call for call in sorted(calls) if powers().of(call)[-1].when] == []


def test_the_table_knows_no_other_calls() -> None:
    named = {call for line in powers().lines for call in line.calls}
    assert named | powers().refused.keys() <= shipped_tables().calls


def test_each_line_says_why() -> None:
    for line in powers().lines:
        assert line.reason, line.calls
        assert not line.reason.endswith("."), line.calls
        first = line.reason.split()[0].rstrip(",")
        assert first in {"is", "was", "has"} or first.endswith("s"), line.reason


def test_each_case_can_be_said_on_every_abi() -> None:
    """But where arguments are in memory, and where headers hide a constant behind a type."""
    tables = shipped_tables()
    unsaid: dict[str, set[str]] = defaultdict(set)
    for line in powers().lines:
        condition = parse_condition(line.when) if line.when else None
        for call, table in product(line.calls if condition else (), tables.tables.values()):
            if condition and call in table.numbers:
                lookup = Lookup(tables.facts, table.abi)
                if lookup.numbers(condition, call) is None:
                    unsaid[f"{call} {lookup.lacks[0].name}"].add(table.abi.name)
    of_ioctl = unsaid.pop("ioctl SIOCSPGRP")
    assert of_ioctl.isdisjoint({"x86_64", "i386", "aarch64", "arm", "riscv64", "ppc64le", "s390x"})
    assert unsaid == {"mmap prot": {"i386", "arm_oabi", "s390x", "m68k"}}


def test_what_is_gone_is_made_by_no_kernel() -> None:
    """A prototype is known of what has code: none of these has."""
    tables = shipped_tables()
    gone = {call for line in powers().lines if line.power.name == "gone" for call in line.calls}
    made = {
        (call, name)
        for name, prototypes in tables.facts.prototypes.items()
        for call in gone & prototypes.keys()
    }
    assert made == set()


def test_the_effects_of_a_refusal() -> None:
    refused = powers().refused
    assert refused["brk"].effect is RefusalEffect.CRASH
    assert refused["futex"].effect is RefusalEffect.SPIN
    assert refused["write"].effect is RefusalEffect.SILENCE


def test_a_free_number_gives_nothing() -> None:
    (line,) = powers().of("unused18")
    assert line.power.gives == ""


def test_what_must_not_be_refused_gives_nothing() -> None:
    """So whoever permits all that gives nothing has it, but for the signal of abort()."""
    found = {
        call
        for call, (effect, _) in powers().refused.items()
        if effect is not RefusalEffect.EXCESS and powers().of(call)[-1].power.gives
    }
    assert found == {"tgkill"}


@pytest.mark.parametrize(
    ("group", "kinds"), [("stdio", ""), ("io-event", ""), ("cpath", "files-write")]
)
def test_groups_promise_what_their_calls_give(group: str, kinds: str) -> None:
    """These were sorted before the table, and separately."""
    members = [one.name for one in calls_of(stock_groups()[group]) if not one.when]
    given = {powers().of(call)[-1].power for call in members}
    assert {one.name for one in given if one.gives} == set(kinds.split())


def test_calls_that_give_the_same() -> None:
    assert powers().same("iopl") == ("iopl", "ioperm")
    assert powers().same("mknod") == ("mknod", "mknodat")
