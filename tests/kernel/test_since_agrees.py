"""The shipped history against the facts that it began with, and the tables of tags at hand."""

from __future__ import annotations

import pytest
from kernel_trees import tables_from
from plain_history import SHARED, bounds, numbers, plain_since
from seccompgen.kernel.shipped import SHIPPED, load_tables, shipped_tables
from upstream import NEW, OLD, REAL, on_real_files

ADDED = {
    "s390": {"getxattrat", "listxattrat", "removexattrat", "setxattrat"},
    "csky": {"sync_file_range"},
    "hexagon": {"sync_file_range"},
}
"""Calls that the facts have not, and our history has; ia64, which they lack, besides."""

PUT_BACK = {
    OLD: {
        ("loongarch64", "fstat"): "6.11",
        ("loongarch64", "newfstatat"): "6.11",
        ("csky", "sync_file_range2"): "6.10",
        ("hexagon", "sync_file_range2"): "6.10",
        ("sh", "sync_file_range2"): "6.10",
        ("sheb", "sync_file_range2"): "6.10",
    },
    NEW: {},
}
"""Calls that a stable release has though mainline's of its number has not: docs/tables.md."""

DROPPED = {OLD: {("parisc64", "_llseek")}, NEW: {("parisc64", "_llseek")}}
"""Calls that an ABI had before and has no more."""


def test_every_call_of_the_pin_has_its_first_release() -> None:
    tables, known = shipped_tables(), shipped_tables().since
    release = numbers(".".join(tables.tag.removeprefix("v").split(".")[:2]))
    for abi, table in tables.tables.items():
        plain = plain_since()[abi]
        for call in table.numbers:
            assert bounds(plain[call])[1] <= release, (abi, call)
            assert str(known.of(abi, call)) == plain[call]


def test_what_is_read_at_once_is_what_is_read_with_checks() -> None:
    assert load_tables(SHIPPED).facts.since == shipped_tables().facts.since


@pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/kernel/since.csv")
def test_the_facts_are_all_there() -> None:
    facts = plain_since(SHARED)
    ours = plain_since()
    for abi, calls in ours.items():
        known = facts.get(abi, {})
        assert {call: cell for call, cell in calls.items() if call in known} == known
        more = calls.keys() - known.keys()
        assert abi == "ia64" or more == ADDED.get(abi, set()), abi
    assert len(facts["x86_64"]) > 350


@on_real_files
@pytest.mark.parametrize("tag", [OLD, NEW])
def test_the_history_agrees_with_the_tables_of_a_tag(tag: str) -> None:
    """No table has a call too early but where it was put back, none lacks one that is older."""
    release = numbers(".".join(tag.removeprefix("v").split(".")[:2]))
    early, lost, seen = {}, set(), 0
    for abi, table in tables_from(REAL, tag).tables.items():
        plain = plain_since()[abi]
        seen += len(table.numbers)
        for call in table.numbers:
            assert call in plain, (abi, call)
            if bounds(plain[call])[0] > release:
                early[abi, call] = plain[call]
        lost |= {
            (abi, call)
            for call, cell in plain.items()
            if bounds(cell)[1] <= release and call not in table.numbers
        }
    assert seen > 13_000
    assert early == PUT_BACK[tag]
    assert lost - _renamed() == DROPPED[tag]


def _renamed() -> set[tuple[str, str]]:
    """Return the old name of call 84 where the kernel gave it another."""
    return {("csky", "sync_file_range"), ("hexagon", "sync_file_range")}
