"""Policies written and read back mean the same, whatever the names, conditions and texts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.core.abis import ABIS, Abi
from seccompgen.core.errors import InputError
from seccompgen.core.model import (
    U32,
    U64,
    Action,
    ActionKind,
    All,
    Comparison,
    Op,
    Predicate,
    condition_for,
)
from seccompgen.core.multiplexed import entrance
from seccompgen.core.sets import EVERYTHING, NOTHING, Box, Sets
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.allowlist_text import Allowed, write_policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.model import ResolvedPolicy

TABLES = shipped_tables()
X86_64, AARCH64, I386 = (ABIS[name] for name in ("x86_64", "aarch64", "i386"))
EPERM = Action(ActionKind.ERRNO, errno_name="EPERM")


def comparisons(width: int, most: int) -> st.SearchStrategy[Comparison]:
    """Return tests that some argument passes and some fails, so that no rule is dead for itself."""
    numbers = st.integers(1, most - 1)
    return st.builds(
        lambda argument, op, value: Comparison(
            argument, op, value, value if op is Op.MASKED_EQ else U64, width
        ),
        st.integers(0, 5),
        st.sampled_from(list(Op)),
        numbers,
    )


TESTS = st.one_of(comparisons(64, U64), comparisons(32, U32))
CONDITIONS: st.SearchStrategy[Predicate] = st.one_of(
    TESTS, st.lists(TESTS, min_size=1, max_size=3).map(lambda tests: All(tuple(tests)))
)
BOTH = set(TABLES.tables["x86_64"].numbers) & set(TABLES.tables["i386"].numbers)
NAMES = sorted(name for name in BOTH if not entrance(name))
ONE = st.builds(
    Allowed,
    st.sampled_from([*NAMES, "arch_prctl", "socketcall"]),
    st.lists(CONDITIONS, max_size=2).map(tuple),
    st.text(max_size=40),
)
CALLS = st.fixed_dictionaries(
    {X86_64: st.lists(ONE, min_size=1, max_size=6), I386: st.lists(ONE, max_size=6)}
)


def read_back(text: str) -> tuple[ResolvedPolicy, tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "written.yml"
        path.write_text(text)
        policy, notes = load_policy(path, TABLES)
    return policy, tuple(map(str, notes))


@given(CALLS, st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_is_written_reads_back(
    calls: dict[Abi, list[Allowed]], description: str, heading: str
) -> None:
    text = write_policy(description, calls, EPERM, TABLES, heading)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "written.yml"
        path.write_text(text)
        try:
            policy, _ = load_policy(path, TABLES)
        except InputError as error:
            # Random conditions may exclude or cover each other; that is all that may be wrong.
            assert all("can never match" in str(one) for one in error.diagnostics), text
            return
    sets = Sets()
    for abi, own in calls.items():
        numbers = TABLES.tables[abi.name].numbers
        asked = [one for one in (*calls[X86_64], *calls[I386]) if one.name in numbers]
        always = {one.name for one in asked if not one.conditions}
        wanted: dict[str, list[Box]] = {name: [EVERYTHING] for name in always}
        for one in own:
            if one.name not in always:
                wanted.setdefault(one.name, []).extend(boxes_of(sets, one.conditions, abi))
        found: dict[str, list[Box]] = {}
        for rule in policy.rules:
            assert rule.action == Action(ActionKind.ALLOW)
            if rule.applies_to(abi) and rule.name in numbers:
                boxes = found.setdefault(rule.name, [])
                boxes += boxes_of(sets, (rule.condition,), abi)
        # By its names, a condition of one ABI counts on the other, where that asks for none.
        assert wanted.keys() <= found.keys() <= {one.name for one in asked}, text
        for name, boxes in wanted.items():
            assert not left(sets, boxes, found[name]), text
            assert not left(sets, found[name], boxes), text
    assert policy.arches == tuple(calls)
    assert policy.default_action == EPERM


def boxes_of(sets: Sets, conditions: Iterable[Predicate | None], abi: Abi) -> list[Box]:
    """Return the arguments for which one of ``conditions`` holds on ``abi``."""
    return [sets.box(condition_for(one, abi.argument_bits)) for one in conditions]


def left(sets: Sets, boxes: list[Box], cuts: list[Box]) -> list[Box]:
    """Return what is in ``boxes`` and in none of ``cuts``."""
    boxes = [box for box in boxes if NOTHING not in box]
    for cut in cuts:
        boxes = [piece for box in boxes for piece in sets.without(box, cut)]
    return boxes


def test_a_written_policy_reads_well() -> None:
    family = Comparison(0, Op.EQ, 1, width=32)
    text = write_policy(
        "What a worker needs.\nNo more.",
        {X86_64: [Allowed("write"), Allowed("open", comment="old\nlibc"),
                  Allowed("socket", (family, All((Comparison(0, Op.EQ, 2, width=32),
                                                  Comparison(1, Op.MASKED_EQ, 1, 0xF))))),
                  Allowed("write")],
         AARCH64: [Allowed("openat")]},
        EPERM,
        TABLES,
        heading="derived by a tool",
    )  # fmt: skip
    assert text == (
        "# derived by a tool\n"
        "\n"
        "description: |\n"
        "  What a worker needs.\n"
        "  No more.\n"
        "\n"
        "arches: [x86_64, aarch64]\n"
        "default_action: errno(EPERM)\n"
        "flags: [tsync]\n"
        "syscalls:\n"
        "- action: allow\n"
        "  names:\n"
        "  - openat\n"
        "  - write\n"
        "- action: allow\n"
        "  names_with_args:\n"
        "  - name: socket\n"
        "    when: family == AF_UNIX or family == AF_INET and type & 0xf == SOCK_STREAM\n"
        "- action: allow\n"
        "  optional: true # not on all of these ABIs\n"
        "  names:\n"
        "  - open # old libc\n"
    )
    assert read_back(text)[1] == ()  # no notes: what only some ABIs have is marked so


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ({}, "needs an ABI"),
        ({X86_64: []}, "needs an ABI"),
        ({AARCH64: [Allowed("open"), Allowed("read")]}, "no ABI of the policy has open"),
    ],
)
def test_what_makes_no_policy_is_refused(calls: dict[Abi, list[Allowed]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_policy("x", calls, EPERM, TABLES)


def test_conditions_that_differ_are_each_for_their_abis() -> None:
    mips, alpha = ABIS["mips"], ABIS["alpha"]

    def request(*values: int) -> Allowed:
        return Allowed("ioctl", tuple(Comparison(1, Op.EQ, one, width=32) for one in values))

    same = {X86_64: [request(0x541B)], mips: [request(0x467F)], alpha: [request(0x4004667F)]}
    text = write_policy("", same, EPERM, TABLES)
    assert "- name: ioctl\n    when: cmd == FIONREAD\n" in text
    assert "arches: [x86_64, mips, alpha]\n" in text
    # One more on two of them, and an ABI that needs none.
    some = {**same, X86_64: [request(0x541B, 0x5401)], AARCH64: [Allowed("read")]}
    text = write_policy("", some, EPERM, TABLES)
    assert (
        "- action: allow\n"
        "  arches: [x86_64]\n"
        "  names_with_args:\n"
        "  - name: ioctl\n"
        "    when: cmd in {FIONREAD, TCGETS}\n"
        "- action: allow\n"
        "  arches: [mips, alpha]\n"
        "  names_with_args:\n"
        "  - name: ioctl\n"
        "    when: cmd == FIONREAD\n"
    ) in text
    policy, notes = read_back(text)
    assert notes == ()
    asked = {
        abi.name: {
            str(rule.condition)
            for rule in policy.rules
            if rule.name == "ioctl" and rule.applies_to(abi)
        }
        for abi in some
    }
    assert asked == {
        "x86_64": {"u32(arg1) == 0x541b", "u32(arg1) == 0x5401"},
        "mips": {"u32(arg1) == 0x467f"},
        "alpha": {"u32(arg1) == 0x4004667f"},
        "aarch64": set(),
    }


def test_a_name_that_an_abi_lacks_is_for_the_others_only() -> None:
    protection = Allowed("mmap", (Comparison(2, Op.NO_BITS, 4),))
    calls = {X86_64: [protection], I386: [Allowed("read")]}
    text = write_policy("", calls, EPERM, TABLES)  # i386 has all arguments of mmap in memory
    assert "  arches: [x86_64]\n  names_with_args:\n  - name: mmap\n" in text
    assert "when: not prot & PROT_EXEC\n" in text
    calls = {X86_64: [Allowed("mprotect", protection.conditions)], I386: [Allowed("read")]}
    assert "  arches:" not in write_policy("", calls, EPERM, TABLES)
