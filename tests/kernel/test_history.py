"""First releases from tables of many tags: seen, kept, corrected; and a bump's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kernel_trees import tables_from
from miniature_history import TAGS, write_trees
from plain_history import bounds
from seccompgen.core.abis import ABIS
from seccompgen.core.releases import Introduced
from seccompgen.core.tables import Table, Tables
from seccompgen.kernel.history import Conflict, advance, observe, rewrite
from seccompgen.kernel.parse import NUMBER_CANDIDATES, parse_numbers
from upstream import MINIATURE, NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def tables(tag: str, **calls: str) -> Tables:
    """Return tables of a tag; ``calls`` has the names of each ABI's."""
    return Tables(
        tag,
        {
            abi: Table(ABIS[abi], tag, {call: nr for nr, call in enumerate(names.split())}, ())
            for abi, names in calls.items()
        },
    )


def since(**calls: Mapping[str, str]) -> dict[str, dict[str, Introduced]]:
    return {
        abi: {call: Introduced.parse(cell) for call, cell in cells.items()}
        for abi, cells in calls.items()
    }


HISTORY = (
    tables("v5.10", arm="read old"),
    tables("v5.11", arm="read new"),
    tables("v5.14", arm="read new late", riscv64="read"),
    tables("v5.15", arm="read new late old", riscv64="read write"),
)
SEEN = since(
    arm={"read": "<=5.10", "old": "<=5.10", "new": "5.11", "late": "5.12-5.14"},
    riscv64={"read": "5.12-5.14", "write": "5.15"},
)


def test_tables_show_when_a_call_came() -> None:
    """The first tables say nothing of what is older; an ABI that comes later is older nowhere."""
    assert observe(HISTORY) == SEEN


def test_what_is_known_closer_stays() -> None:
    known = since(arm={"read": "<=2.6.29", "new": "5.11", "late": "5.13", "gone": "<=4.9"})
    result, conflicts = rewrite(known, HISTORY)
    assert conflicts == ()
    assert result == SEEN | since(
        arm={"read": "<=2.6.29", "old": "<=5.10", "new": "5.11", "late": "5.13", "gone": "<=4.9"}
    )


def test_a_wide_range_becomes_as_narrow_as_both_allow() -> None:
    known = since(arm={"read": "5.3-5.12", "late": "5.13-5.15", "new": "<=6.1"})
    result, conflicts = rewrite(known, HISTORY)
    assert conflicts == ()
    assert {call: str(result["arm"][call]) for call in known["arm"]} == {
        "read": "5.3-5.10",
        "late": "5.13-5.14",
        "new": "5.11",
    }


def test_the_tables_are_right_and_every_conflict_is_told() -> None:
    known = since(
        arm={"read": "5.13", "new": "<=5.10", "late": "5.15", "never": "5.11-5.12", "more": "5.16"}
    )
    result, conflicts = rewrite(known, HISTORY)
    arm = result["arm"]
    assert [str(arm[call]) for call in ("read", "new", "late")] == ["<=5.10", "5.11", "5.12-5.14"]
    assert arm["never"] == known["arm"]["never"]
    told = {(one.call, one.seen) for one in conflicts}
    assert told == {
        ("read", arm["read"]),
        ("new", arm["new"]),
        ("late", arm["late"]),
        ("never", None),
    }
    assert {one.abi for one in conflicts} == {"arm"}


def test_conflicts_are_told_in_words() -> None:
    one = Conflict("arm", "read", Introduced.parse("5.13"), Introduced.parse("<=5.10"))
    assert one.said == "known since 5.13, by the tables <=5.10, which count"
    none = Conflict("arm", "read", Introduced.parse("5.13"), None)
    assert none.said == "known since 5.13, but in no table that was read; kept"


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("v7.3.4", "v7.4", "7.4"),
        ("v7.3.4", "v7.4.2", "7.4"),
        ("v7.3", "v7.4-rc1", "7.4"),
        ("v7.3.4", "v7.6", "7.4-7.6"),
        ("v6.19", "v7.0", "7.0"),
        ("v7.3.4", "v7.3.5", "7.3"),  # put back into a stable release: its series has it
        ("v7.3.4", "v6.12", "<=6.12"),  # older than all that is known
    ],
)
def test_a_bump_adds_its_release_by_itself(before: str, after: str, new: str) -> None:
    known = since(arm={"read": "<=2.6.29"})
    was, now = tables(before, arm="read"), tables(after, arm="read fresh", csky="read")
    result = advance(known, was, now)
    assert result == since(arm={"read": "<=2.6.29", "fresh": new}, csky={"read": new})
    assert advance(result, was, now) is result


def test_without_any_history_all_is_as_old_as_the_tables() -> None:
    assert advance({}, tables("v7.4", arm="read")) == since(arm={"read": "<=7.4"})


def test_the_history_of_a_tree_is_found_in_its_files(tmp_path: Path) -> None:
    """The sources that `miniature_history` says, with files alone that numbers need."""
    trees = write_trees(tmp_path)
    read = []
    for tag in TAGS:
        paths = {path: trees / tag / path for path in NUMBER_CANDIDATES}
        files = {path: file.read_bytes() for path, file in paths.items() if file.is_file()}
        read.append(parse_numbers(tag, files))
    seen = observe(read)
    assert {abi: str(seen[abi]["cachestat"]) for abi in ("x86_64", "x32", "aarch64", "csky")} == {
        "x86_64": "6.2",
        "x32": "6.2",
        "aarch64": "6.2",
        "csky": "6.2",
    }
    assert set(map(str, seen["loongarch64"].values())) == {"6.3", "6.4"}
    assert str(seen["loongarch64"]["read"]) == "6.3"
    assert set(map(str, seen["loongarch32"].values())) == {"6.4"}
    assert str(seen["x86_64"]["mseal"]) == "6.4"
    assert str(seen["x86_64"]["read"]) == "<=6.1"


@pytest.mark.parametrize("tag", [OLD, NEW])
def test_numbers_need_no_facts(tag: str) -> None:
    paths = {path: MINIATURE / tag / path for path in NUMBER_CANDIDATES}
    files = {path: file.read_bytes() for path, file in paths.items() if file.is_file()}
    alone = parse_numbers(tag, files)
    assert alone.tables == tables_from(MINIATURE, tag).tables
    assert not alone.facts.constants


def test_plain_bounds_are_what_is_known() -> None:
    """The reading of cells that other tests trust agrees with ours."""
    for cell in ("5.11", "5.3-5.4", "<=4.9", "2.6.28-2.6.31"):
        one = Introduced.parse(cell)
        first, last = bounds(cell)
        assert ".".join(map(str, last)) == str(one.latest)
        assert ".".join(map(str, first)) == str(one.earliest or "")
