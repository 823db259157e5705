"""Numbers of calls that pass through memory in known ways: calls of Go and glibc on all threads.

To make a call on every thread, both store the number for a signal handler of the other threads. So
the handler's number is one of those that some code was seen to request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.scan.unknown import Why
from seccompgen.scan.values import EnteredNumber
from seccompgen.scan.ways import ImageAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seccompgen.scan.values import NumberFollower

_GO_HANDLER = "runtime.runPerThreadSyscall"
_GO_REQUEST = "syscall.runtime_doAllThreadsSyscall"
"""Both are in Go's src/runtime/os_linux.go; the second is linked under this name from syscall."""

_GO_FCNTL = frozenset(
    {"syscall.forkAndExecInChild1", "syscall.fcntl", "syscall.FcntlFlock"}
    | {"internal/syscall/unix.fcntl", "internal/syscall/unix.Fcntl"}
)

GLIBC_SETXID = frozenset(
    {"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups"}
)
"""The calls that glibc makes on all threads (INLINE_SETXID_SYSCALL in nptl/pthreadP.h).

Each function that requests one also makes it itself, so the number is found there.
"""
_LOADED = frozenset({Why.MEMORY, Why.NARROW})
_GLIBC_CALLERS = GLIBC_SETXID | {"seteuid", "setegid", "initgroups"}


def go_all_threads(follower: NumberFollower, lost: EnteredNumber) -> list[EnteredNumber] | None:
    """Return the numbers that Go's handler may get, if ``lost`` is in that handler; else None."""
    if lost.lost is None:
        return None
    graph = follower.graph
    image = graph.images[lost.lost.image]
    if not image.is_go or image.function_at(lost.lost.address) != _GO_HANDLER:
        return None
    requests = [one.address for one in image.functions if one.name == _GO_REQUEST]
    return [
        value
        for address in requests
        for value in follower.values(
            ImageAddress(lost.lost.image, address), graph.machine.go_argument
        )
    ]


def go_fcntl(
    follower: NumberFollower, lost: EnteredNumber, number_of: Callable[[str], int | None]
) -> list[EnteredNumber] | None:
    """Return the numbers in Go's variable fcntl64Syscall, if ``lost`` is a load of it; else None.

    The variable contains the number of fcntl, or of fcntl64 on 32-bit systems, initially or once
    the program runs (src/syscall/flock_linux.go and flock_linux_32bit.go). Its initial value is
    checked.
    """
    if lost.lost is None or lost.reason not in _LOADED:
        return None
    place, graph = lost.lost, follower.graph
    image = graph.images[place.image]
    if not image.is_go or image.function_at(place.address) not in _GO_FCNTL:
        return None
    numbers = {number_of("fcntl"), number_of("fcntl64")} - {None}
    for cell in graph.cells_at(place):
        code = [one for one in follower.code(cell) if one[0] == place.address]
        for event in graph.machine.events(image, code):
            word = image.read(event.value, image.abi.bits // 8)
            if int.from_bytes(word, "little") in numbers:
                return [
                    lost._replace(number=n, reason=None, lost=None)
                    for n in sorted(filter(None, numbers))
                ]
    return None


def is_glibc_request(follower: NumberFollower, lost: EnteredNumber) -> bool:
    """Return True if ``lost`` is in glibc's function that makes a call on all threads.

    Only setuid and similar functions call it, with the request in memory.
    """
    if lost.lost is None or lost.reason not in _LOADED:
        return False
    graph = follower.graph
    image = graph.images[lost.lost.image]
    for start in graph.cells_at(lost.lost):
        edges = tuple(graph.edges_to(start))
        callers = {image.function_at(edge.source.address).lstrip("_") for edge in edges}
        if callers and start not in graph.taken and callers <= _GLIBC_CALLERS:
            return True
    return False


def is_glibc_handler(follower: NumberFollower, lost: EnteredNumber) -> bool:
    """Return True if ``lost`` is in glibc's handler of SIGSETXID (nptl/nptl_setxid.c).

    The handler compares with signal 33 (SIGSETXID) and code -6 (SI_TKILL), and loads the number of
    the call from memory.
    """
    if lost.lost is None or lost.reason not in _LOADED:
        return False
    for cell in follower.graph.cells_at(lost.lost):
        compared = {
            operands.rpartition(", ")[2].lstrip("#")
            for _, _, mnemonic, operands in follower.code(cell)
            if mnemonic in {"cmp", "cmn"}
        }
        if "0x21" in compared and compared & {"-6", "0xfffffffa", "6"}:
            return True
    return False


def resolve(
    follower: NumberFollower,
    values: Iterable[EnteredNumber],
    number_of: Callable[[str], int | None],
) -> list[EnteredNumber]:
    """Return ``values``, with unknown ones replaced by known ones if an idiom explains them.

    ``number_of`` returns the number of a call by its name.
    """
    found: dict[EnteredNumber, None] = {}
    handlers: list[EnteredNumber] = []
    for value in values:
        if value.number is None:
            asked = go_all_threads(follower, value)
            if asked is None:
                asked = go_fcntl(follower, value, number_of)
            if asked is not None:
                found.update(dict.fromkeys(asked))
                continue
            if is_glibc_handler(follower, value) or is_glibc_request(follower, value):
                handlers.append(value)
                continue
        found[value] = None
    seen = {value.number for value in found}
    asked_for = {number_of(name) for name in GLIBC_SETXID} & seen - {None}
    for handler in handlers:
        for number in sorted(filter(None, asked_for)):
            echo = EnteredNumber(handler.site, number, is_echo=True)
            found[echo] = None
    return list(found)
