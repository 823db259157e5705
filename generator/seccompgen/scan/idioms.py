"""Numbers that pass through memory in ways that are known: how Go and glibc reach all threads.

Both make a call on every thread: who asks puts the number where the others, in a signal handler,
find it. The handler's number is then one that somebody was seen to ask for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.scan.unknown import Why
from seccompgen.scan.ways import ImageAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seccompgen.scan.values import EnteredNumber, NumberFollower

_GO_HANDLER = "runtime.runPerThreadSyscall"
_GO_REQUEST = "syscall.runtime_doAllThreadsSyscall"
"""Both in src/runtime/os_linux.go of Go; the second under the name that package syscall knows."""

_GO_FCNTL = frozenset(
    {"syscall.forkAndExecInChild1", "syscall.fcntl", "syscall.FcntlFlock"}
    | {"internal/syscall/unix.fcntl", "internal/syscall/unix.Fcntl"}
)

GLIBC_SETXID = frozenset(
    {"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups"}
)
"""The calls that glibc makes on all threads (INLINE_SETXID_SYSCALL in nptl/pthreadP.h).

Each function that asks for one also makes it itself, so that it is found there.
"""
_LOADED = frozenset({Why.MEMORY, Why.NARROW})
_GLIBC_CALLERS = GLIBC_SETXID | {"seteuid", "setegid", "initgroups"}


def go_all_threads(follower: NumberFollower, lost: EnteredNumber) -> list[EnteredNumber] | None:
    """Return what Go's handler may be asked to call, if ``lost`` is of that handler."""
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
    """Return the calls that Go makes by its variable fcntl64Syscall, if ``lost`` is of that.

    It has the number of fcntl, or of fcntl64 on 32-bit systems, from the start or as soon as the
    program runs (src/syscall/flock_linux.go and flock_linux_32bit.go); what it has at first is
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
    """Return True if ``lost`` is where glibc asks the other threads, then makes the call itself.

    It is a function that only setuid and its like call, with what is to be done in memory.
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
    """Return True if ``lost`` is of glibc's handler of SIGSETXID (nptl/nptl_setxid.c).

    It is a function that tells signal 33 (SIGSETXID) and code -6 (SI_TKILL) from others, and
    loads what it is to call from memory.
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
    """Return ``values`` with those that are understood put in the place of unknown ones.

    ``number_of`` says the number of a call by its name.
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
            found[handler._replace(number=number, reason=None, detail="", lost=None)] = None
    return list(found)
