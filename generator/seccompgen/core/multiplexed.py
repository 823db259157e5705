"""Calls whose first argument selects another call: ``socketcall`` and ``ipc``.

Sources: include/uapi/linux/{net,ipc}.h; ``sys_ipc`` in ipc/syscall.c, which reads 16 bits.
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
"""The calls that each can make, in the order of their numbers."""

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
    """Return the multiplexed call that can also make ``call``: its name, the number and a mask.

    None if there is none. On ABIs that have the multiplexed call, it makes ``call`` if ``first
    argument & mask == number``.
    """
    return _ENTRANCES.get(call)


def is_multiplexed(name: str) -> bool:
    """Return True if the first argument of the call ``name`` selects another call."""
    return name in _STANDS_FOR


def stands_for(name: str, numbers: Iterable[int]) -> list[str]:
    """Return the calls that ``name`` makes with ``numbers``; an unknown number remains a number."""
    known = _STANDS_FOR[name]
    return sorted({known.get(number & _READ[name], str(number)) for number in numbers})
