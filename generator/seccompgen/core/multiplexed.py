"""Calls that make several others, by a number in the first argument: ``socketcall``, ``ipc``.

Sources: include/uapi/linux/{net,ipc}.h; ``sys_ipc`` in ipc/syscall.c, which looks at 16 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterable

MULTIPLEXED = {
    "socketcall": (
        "socket bind connect listen accept getsockname getpeername socketpair send recv sendto "
        "recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
    ),
    "ipc": ("semop semget semctl semtimedop msgsnd msgrcv msgget msgctl shmat shmdt shmget shmctl"),
}
"""The calls that each makes, in the order of their numbers."""

_NUMBERS = {"socketcall": range(1, 21), "ipc": (*range(1, 5), *range(11, 15), *range(21, 25))}
_READ = {"socketcall": U32, "ipc": 0xFFFF}
_STANDS_FOR = {
    name: dict(zip(_NUMBERS[name], names.split(), strict=True))
    for name, names in MULTIPLEXED.items()
}


_ENTRANCES = {
    call: (name, number, _READ[name])
    for name, calls in _STANDS_FOR.items()
    for number, call in calls.items()
}


def entrance(call: str) -> tuple[str, int, int] | None:
    """Return the call through which ``call`` can be made, too: its name, the number and its mask.

    None if it can only be made itself. On ABIs that have the other call, it is made if ``first
    argument & mask == number``.
    """
    return _ENTRANCES.get(call)


def is_multiplexed(name: str) -> bool:
    """Return True if the first argument of a call says what it does."""
    return name in _STANDS_FOR


def stands_for(name: str, numbers: Iterable[int]) -> list[str]:
    """Return the calls that such a call makes; an unknown number as it is."""
    known = _STANDS_FOR[name]
    return sorted({known.get(number & _READ[name], str(number)) for number in numbers})
