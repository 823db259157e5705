"""Write a system call with names: ``socket(AF_INET6, SOCK_STREAM) on x86_64``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import ActionKind, kind_of_ret
from seccompgen.core.spelling import number
from seccompgen.core.styled import Style
from seccompgen.render.listing import ret_action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Table, Tables
    from seccompgen.verify import Difference

_STYLES = {
    ActionKind.ALLOW: Style.GREEN,
    ActionKind.LOG: Style.GREEN,
    ActionKind.TRACE: Style.CYAN,
    ActionKind.USER_NOTIF: Style.CYAN,
    ActionKind.ERRNO: Style.YELLOW,
    ActionKind.TRAP: Style.YELLOW,
}
"""The colours of answers; every other one ends a thread or a process."""


def call_text(nr: int, audit_arch: int, args: Sequence[int], tables: Tables, shown: int = 0) -> str:
    """Return the call by name, with arguments up to the last nonzero one, but at least ``shown``.

    A number that the tables do not name is written ``nr 0x1d6``.
    """
    name, table = call_name(nr, audit_arch, tables)
    last = max((n for n, value in enumerate(args, 1) if value), default=0)
    written = ", ".join(
        argument_text(name, n, args, table, tables) for n in range(max(shown, last))
    )
    where = table.abi.name if table else f"the unknown architecture {audit_arch:#010x}"
    return f"{name}({written}) on {where}"


def answer_texts(left: int, right: int, abi: Abi) -> tuple[str, str]:
    """Return two answers as a policy spells them; as numbers if the spellings are equal."""
    texts = ret_action(left, abi), ret_action(right, abi)
    return (f"{left:#010x}", f"{right:#010x}") if texts[0] == texts[1] else texts


def difference_text(
    found: Difference, names: tuple[str, str], abi: Abi, tables: Tables, shown: int = 0
) -> str:
    """Return ``found`` as one line, its two sides called by ``names``.

    At least ``shown`` arguments are shown; ``abi`` decides the names of errno numbers.
    """
    call = found.call
    left, right = answer_texts(found.left, found.right, abi)
    text = call_text(call.nr, call.arch, call.args, tables, shown)
    pointer = f" from {call.instruction_pointer:#x}" if call.instruction_pointer else ""
    return f"{text}{pointer}: {names[0]} says {left}, {names[1]} says {right}"


def answer_style(ret: int) -> Style:
    """Return the colour of an answer, a SECCOMP_RET value."""
    return _STYLES.get(kind_of_ret(ret), Style.RED)


def call_name(nr: int, audit_arch: int, tables: Tables) -> tuple[str, Table | None]:
    """Return the name of a call, or ``nr 0x1d6`` without one, and the table of its ABI.

    The ABI is that through which the call is made; None if no ABI has ``audit_arch``.
    """
    table = tables.table_of(audit_arch, nr)
    name = table.names.get(nr) if table else None
    return name or f"nr {number(nr)}", table


def argument_text(
    call: str, argument: int, args: Sequence[int], table: Table | None, tables: Tables
) -> str:
    """Return an argument of a call, with names if it has any: ``O_RDONLY|O_CLOEXEC``, ``0x7f``.

    ``table`` is that of the call's ABI, None if the ABI is unknown.
    """
    if table is None:
        return number(args[argument])
    return tables.naming.value(call, argument, args, table.abi)
