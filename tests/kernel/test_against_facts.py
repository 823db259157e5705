"""Every table, against the facts of arches.json read in the most naive way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.pipeline.build import shipped_tables
from upstream import NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seccompgen.core.tables import Tables

ALL_SINCE_LONG = set(ABIS) - {"loongarch32", "s390", "ia64"}


def naive_table(root: Path, fact: dict[str, Any]) -> dict[str, int]:
    numbers = {}
    for line in (root / fact["source_v7.3"]).read_text().splitlines():
        fields = line.split("#")[0].split()
        if fields and (fact["tbl_abis"] == ["*"] or fields[1] in fact["tbl_abis"]):
            numbers[fields[2]] = int(fields[0]) + fact["nr_base"]
    for edit in fact["post_edits"]:
        match edit:
            case {"op": "define", "name": name, "nr": nr}:
                numbers[name] = nr
            case {"op": "alias", "name": name, "of": other}:
                numbers[name] = numbers[other]
            case {"op": "undef", "name": name}:
                numbers.pop(name, None)
            case _:
                raise AssertionError(edit)
    return numbers


def test_new_world(
    tables_of: Callable[[str], Tables], facts: list[dict[str, Any]], kernel_tree: Path
) -> None:
    tables = tables_of(NEW)
    wanted = {
        fact["abi"]: naive_table(kernel_tree / NEW, fact)
        for fact in facts
        if fact["present"]["v7.3"] and fact["abi"] != "arm_on_arm64"
    }
    assert {name: dict(table.numbers) for name, table in tables.tables.items()} == wanted


def test_old_world_where_it_had_tables(
    tables_of: Callable[[str], Tables], facts: list[dict[str, Any]], kernel_tree: Path
) -> None:
    """Those of the architectures without one are in test_against_gcc."""
    tables = tables_of(OLD).tables
    there = [fact for fact in facts if (kernel_tree / OLD / fact["source_v7.3"]).is_file()]
    assert len(there) == 26
    for fact in there:
        numbers = dict(tables[fact["abi"]].numbers)
        assert numbers == naive_table(kernel_tree / OLD, fact), fact["abi"]


def test_which_abis_a_tag_has(tables_of: Callable[[str], Tables]) -> None:
    new, old = tables_of(NEW).tables, tables_of(OLD).tables
    assert set(new) == ALL_SINCE_LONG | {"loongarch32"}
    assert set(old) == ALL_SINCE_LONG | {"s390", "ia64"}
    assert list(new) == [name for name in ABIS if name in new]
    assert (len(new), sum(table.has_filters for table in new.values())) == (35, 27)


def test_what_is_shipped_has_the_same_numbers(tables_of: Callable[[str], Tables]) -> None:
    """A call may be renamed in a later tag, or come; no number goes to another."""
    shipped = shipped_tables().tables
    for name, table in tables_of(NEW).tables.items():
        assert table.numbers.items() <= shipped[name].numbers.items(), name


def test_arm_compat_is_a_smaller_view_of_arm(
    tables_of: Callable[[str], Tables], facts: list[dict[str, Any]], kernel_tree: Path
) -> None:
    (fact,) = (fact for fact in facts if fact["abi"] == "arm_on_arm64")
    arm = tables_of(NEW).tables["arm"].numbers
    assert naive_table(kernel_tree / NEW, fact).items() < arm.items()


def test_abis_are_described_as_in_the_facts(facts: list[dict[str, Any]]) -> None:
    for fact in facts:
        abi = ABIS[fact["abi"].replace("arm_on_arm64", "arm")]
        assert abi.audit_arch_name == fact["audit_arch"]
        assert abi.audit_arch == fact["audit_arch_value"]
        assert (abi.bits, abi.byte_order) == (fact["word_bits"], fact["endian"])


def test_names_by_number_and_order(tables_of: Callable[[str], Tables]) -> None:
    for tag in (NEW, OLD):
        for table in tables_of(tag).tables.values():
            pairs = [(nr, name) for name, nr in table.numbers.items()]
            assert pairs == sorted(pairs)
            assert all(0 <= nr < 1 << 32 for nr, _ in pairs)
            inputs = [file.path for file in table.inputs]
            assert inputs == sorted(set(inputs))


def test_inputs_are_the_files_used(tables_of: Callable[[str], Tables]) -> None:
    def inputs(tag: str, abi: str) -> set[str]:
        audit = {"include/uapi/linux/audit.h", "include/uapi/linux/elf-em.h"}
        paths = {file.path for file in tables_of(tag).tables[abi].inputs}
        assert audit <= paths
        return paths - audit

    header = "arch/{}/include/uapi/asm/unistd.h"
    assert inputs(NEW, "x32") == {header.format("x86"), "arch/x86/entry/syscalls/syscall_64.tbl"}
    assert inputs(OLD, "aarch64") == {
        header.format("arm64"),
        "include/uapi/asm-generic/unistd.h",
    }
    assert inputs(NEW, "aarch64") == {
        header.format("arm64"),
        "arch/arm64/include/uapi/asm/Kbuild",
        "arch/arm64/kernel/Makefile.syscalls",
        "scripts/Makefile.asm-headers",
        "scripts/syscall.tbl",
    }
    assert inputs(NEW, "mips64n32") == {
        header.format("mips"),
        "arch/mips/include/uapi/asm/sgidefs.h",
        "arch/mips/kernel/syscalls/syscall_n32.tbl",
    }


def test_old_world_agrees_with_the_new_one(tables_of: Callable[[str], Tables]) -> None:
    """No number ever changes its meaning; only names of calls that are gone may vanish."""
    old, new = tables_of(OLD).tables, tables_of(NEW).tables
    gone: dict[str, set[str]] = {}
    for name in old.keys() & new.keys():
        before, after = old[name].numbers, new[name].numbers
        assert {call: after.get(call, nr) for call, nr in before.items()} == before
        for call in before.keys() - after.keys():
            gone.setdefault(call, set()).add(name)
    assert gone == {}
