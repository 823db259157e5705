"""The table that a call comes through, and the answers that a program can give."""

from __future__ import annotations

import pytest
from seccompgen.core.abis import ABIS, X32_SYSCALL_BIT
from seccompgen.core.model import U32
from seccompgen.core.program import RET_K, Instruction, actions_of
from seccompgen.kernel.shipped import shipped_tables

TABLES = shipped_tables()
X86_64 = ABIS["x86_64"].audit_arch
ARM = ABIS["arm"].audit_arch


@pytest.mark.parametrize(
    ("audit_arch", "nr", "abi"),
    [
        (X86_64, 0, "x86_64"),
        (X86_64, X32_SYSCALL_BIT, "x32"),
        (X86_64, X32_SYSCALL_BIT | 0x3FFF, "x32"),
        (X86_64, 0x80000000, "x86_64"),
        (X86_64, U32, "x86_64"),  # -1, which no ABI has, whatever its bits
        (ABIS["i386"].audit_arch, X32_SYSCALL_BIT, "i386"),
        (ARM, 0x900000, "arm"),
        (ABIS["sparc64"].audit_arch, 1, None),  # without filters
        (0, 1, None),
        (None, 1, None),
    ],
)
def test_a_call_comes_through_one_table(audit_arch: int | None, nr: int, abi: str | None) -> None:
    table = TABLES.table_of(audit_arch, nr)
    assert (table and table.abi.name) == abi


def test_abis_without_filters_are_under_no_audit_value() -> None:
    """arm's old ABI shares that of the new one, but no filter sees a call of it."""
    assert [table.abi.name for table in TABLES.under(ARM)] == ["arm"]
    assert [table.abi.name for table in TABLES.under(X86_64)] == ["x86_64", "x32"]


def test_actions_are_constants_without_their_data() -> None:
    returns = [0x7FFF0000, 0x50001, 0x50002, 0x80000000]
    program = [Instruction(RET_K, 0, 0, ret) for ret in returns]
    others = [Instruction(0x16, 0, 0, 0x30000), Instruction(0x15, 0, 0, 0x7FFC0000)]
    assert actions_of([*program, *others]) == (0x50000, 0x7FFF0000, 0x80000000)
