"""Filters that are installed one above the other, for readers of formats that make several."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.errors import Position

Answer: TypeAlias = "tuple[str, Position]"
"""An action, as our language spells it, and the position that states it."""

NAMESPACES = {
    "cgroup": 0x02000000, "ipc": 0x08000000, "net": 0x40000000, "mnt": 0x00020000,
    "pid": 0x20000000, "user": 0x10000000, "uts": 0x04000000, "time": 0x00000080,
}  # fmt: skip
"""Common names of namespaces, and the flags of clone(2)."""
_SEVERITY = ("allow", "log", "errno", "kill_thread", "kill_process")


def severity(answer: Answer) -> int:
    """Return the rank of an answer among those of several filters; the kernel takes the highest."""
    return _SEVERITY.index(answer[0].partition("(")[0])


def severest(answers: Iterable[Answer]) -> Answer:
    """Return the kernel's choice among the answers of filters, given in installation order."""
    return max(reversed(list(answers)), key=severity)
