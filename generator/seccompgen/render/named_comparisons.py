"""The tests of a program in names: ``cmd == FIONREAD`` beside ``jeq 0x541b``.

What a test means is found out from the bytes and the facts of the ABIs: which calls come to it, and
which word it looks at. Where these would call it by different names, it has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import U32, Comparison, Op
from seccompgen.core.program import ARGS_OFFSET, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, JMP_JSET_K

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Table, Tables

_OPERATIONS = {
    JMP_JEQ_K: Op.EQ,
    JMP_JGT_K: Op.GT,
    JMP_JGE_K: Op.GE,
    JMP_JSET_K: Op.ANY_BITS,
}
MOST_CALLS = 8
"""As many calls may share a test that has a name."""


def low_argument(offset: int, abi: Abi) -> int | None:
    """Return the argument whose low word is at ``offset``; None for any other word."""
    if offset < ARGS_OFFSET:
        return None
    argument, second = divmod(offset - ARGS_OFFSET, 8)
    return argument if (second == 0) == (abi.byte_order == "little") else None


def comparison_of(instruction: Instruction, argument: int, mask: int) -> Comparison:
    """Return what a jump asks of the low word of ``argument``, which was masked by ``mask``."""
    op, value = _OPERATIONS[instruction.code], instruction.k
    if op is Op.ANY_BITS:
        return Comparison(argument, op, value & mask, U32, 32)
    if op is Op.EQ and mask != U32:
        op = Op.MASKED_EQ
    return Comparison(argument, op, value, mask, 32)


def name_test(
    test: Comparison,
    calls: Iterable[tuple[int | None, int]],
    known: Mapping[int, int],
    tables: Tables,
) -> str:
    """Return ``test`` as an expression with names, as all of ``calls`` have it; else nothing.

    ``calls`` are audit values and numbers. ``known`` are values that low words of arguments must
    have where the test is made.
    """
    texts: set[str] = set()
    for audit_arch, nr in calls:
        table = _table(audit_arch, nr, tables)
        if table is None:
            return ""
        names = [name for name, number in table.numbers.items() if number == nr]
        texts |= {tables.naming.comparison(test, name, table.abi, known) for name in names}
        if len(texts) != 1:
            return ""
    return next(iter(texts), "")


def _table(audit_arch: int | None, nr: int, tables: Tables) -> Table | None:
    table = tables.table_of(audit_arch, nr) if audit_arch is not None else None
    return table if table and nr in table.names else None
