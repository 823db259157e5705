"""Numbers that pass through memory in known ways: those of Go, glibc, libcap and libseccomp.

To make a call on every thread, Go and glibc store the number for a signal handler of the others. So
the handler's number is one of those that some code was seen to request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.scan.processor import EffectKind
from seccompgen.scan.unknown import Why
from seccompgen.scan.values import EnteredNumber
from seccompgen.scan.ways import ImageAddress, Pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seccompgen.scan.values import NumberFollower

_GO_HANDLER = "runtime.runPerThreadSyscall"
_GO_REQUEST = "syscall.runtime_doAllThreadsSyscall"
"""Both are in Go's src/runtime/os_linux.go; the second is linked under this name from syscall."""

_GO_FCNTL = frozenset(
    {"syscall.forkAndExecInChild1", "syscall.fcntl", "syscall.FcntlFlock"}
    | {"internal/syscall/unix.fcntl", "internal/syscall/unix.Fcntl"}
    | {f"golang.org/x/sys/unix.{name}" for name in ("fcntl", "FcntlInt", "FcntlFlock")}
)

GLIBC_SETXID = frozenset(
    {"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups"}
)
"""The calls that glibc makes on all threads (INLINE_SETXID_SYSCALL in nptl/pthreadP.h).

Each function that requests one also makes it itself, so the number is found there.
"""
_FIRST_ADDRESS = 0x1000
"""No kernel has calls of so large a number, and no library data at a smaller address."""
_LIBCAP = re.compile(r"libcap\.so(\.|$)")
_LIBSECCOMP = re.compile(r"libseccomp\.so(\.|$)")
_SECCOMP = b"seccomp\0"
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
    the program runs (src/syscall/flock_linux.go and flock_linux_32bit.go, and unix/fcntl.go and
    fcntl_linux_32bit.go of golang.org/x/sys). Its initial value is checked.
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


def is_glibc_request(
    follower: NumberFollower, lost: EnteredNumber, set_ids: frozenset[int]
) -> bool:
    """Return True if ``lost`` is in glibc's function that makes a call on all threads.

    Only setuid and similar functions call it, with the request in memory. Without names they are
    known by the calls that they make themselves, whose numbers are ``set_ids`` and no others.
    """
    if lost.lost is None or lost.reason not in _LOADED:
        return False
    graph = follower.graph
    image = graph.images[lost.lost.image]
    for start in graph.cells_at(lost.lost):
        edges = tuple(graph.edges_to(start))
        if not edges or start in graph.taken:
            continue
        callers = {image.function_at(edge.source.address).lstrip("_") for edge in edges}
        if callers <= _GLIBC_CALLERS:
            return True
        cells = {cell for edge in edges for cell in graph.cells_at(edge.source)}
        if all(_enters_with(follower, cell, set_ids) for cell in cells):
            return True
    return False


def _enters_with(follower: NumberFollower, cell: ImageAddress, numbers: frozenset[int]) -> bool:
    """Return True if the function at ``cell`` enters the kernel, and only with ``numbers``."""
    entrances = follower.graph.cells[cell].entrances
    places = [ImageAddress(cell.image, address) for address, _ in entrances]
    found = {one.number for place in places for one in follower.numbers(place)}
    return bool(found) and found <= numbers


def musl_set_id(
    follower: NumberFollower, lost: EnteredNumber, set_ids: frozenset[int]
) -> list[EnteredNumber] | None:
    """Return the numbers that musl's do_setxid() gets, if ``lost`` is in it; else None.

    It loads the number from a structure, in which its only user, __setxid(), stored what it got as
    its first argument (src/unistd/setxid.c). All callers of that must give one of ``set_ids``.
    """
    if lost.lost is None or lost.reason not in _LOADED:
        return None
    graph, image = follower.graph, lost.lost.image
    for cell in graph.cells_at(lost.lost):
        start = _entry(follower, cell, lost.lost.address)
        makers = [
            ImageAddress(image, _entry(follower, user, event.address))
            for user, facts in graph.cells.items()
            if user.image == image and (user == cell or start in facts.takes)
            for event in graph.machine.events(graph.images[image], follower.code(user))
            if event.kind is EffectKind.REFERENCE and event.value == start
        ]
        if len(makers) == 1 and start not in graph.known[image].analysis.taken:
            found = follower.values(makers[0], graph.machine.arguments[0])
            if found and {one.number for one in found} <= set_ids:
                return found
    return None


def _entry(follower: NumberFollower, cell: ImageAddress, address: int) -> int:
    """Return the start of the straight code of ``cell`` that runs on into ``address``.

    Without symbols, several small functions may be one cell.
    """
    start, stopped = cell.address, True
    for instruction in follower.code(cell):
        if instruction[0] > address:
            break
        if stopped and not follower.graph.machine.is_padding(instruction):
            start, stopped = instruction[0], False
        stopped = stopped or follower.graph.machine.stops(instruction)
    return start


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


def libcap_calls(follower: NumberFollower, lost: EnteredNumber) -> list[EnteredNumber] | None:
    """Return the numbers that libcap hands to its wrappers of syscall(), if ``lost`` is in one.

    It calls them through pointers, so that a program may put libpsx's in their place (struct
    syscaller_s in libcap/cap_proc.c). Only libcap has these pointers, so the numbers are among the
    first arguments of its calls by pointer, if all of these are constants. The initialiser's, of
    a function that libcap lacks, is none of them.
    """
    if lost.lost is None or lost.reason is not Why.POINTER:
        return None
    graph, number = follower.graph, lost.lost.image
    image = graph.images[number]
    if not _LIBCAP.match(image.path.rpartition("/")[2]):
        return None
    facts = graph.cells.get(lost.lost)
    if not facts or facts.imports != ("syscall",) or facts.goes or facts.entrances:
        return None
    found: dict[EnteredNumber, None] = {}
    for cell in graph.cells:
        if cell.image != number or cell.address in image.roots:
            continue
        for source, way in graph.read(cell).ways:
            if isinstance(way, Pointer):
                place = ImageAddress(number, source)
                found.update(dict.fromkeys(follower.values(place, graph.machine.arguments[0])))
    if any(one.number is None for one in found):
        return None
    # Others hand on an address, as register_tm_clones() does.
    return [one for one in found if (one.number or 0) < _FIRST_ADDRESS]


def libseccomp_calls(
    follower: NumberFollower, lost: EnteredNumber, number_of: Callable[[str], int | None]
) -> list[EnteredNumber] | None:
    """Return the number of seccomp if ``lost`` is what libseccomp found under that name; else None.

    sys_chk_seccomp_syscall() looks "seccomp" up in the library's own table of the ABI that it was
    built for, tries the number, and keeps it in a variable that is -1 at first (src/system.c). So
    the text is checked, and of a variable that the function that looks up uses it, and its -1.
    """
    number = number_of("seccomp")
    if lost.lost is None or number is None:
        return None
    image = follower.graph.images[lost.lost.image]
    if not _LIBSECCOMP.match(image.path.rpartition("/")[2]):
        return None
    if lost.reason is Why.RETURNED:
        is_known = _looks_seccomp_up(follower, lost.lost)
    else:
        is_known = lost.reason in _LOADED and any(
            image.read(variable, 4) == b"\xff" * 4 and _is_kept(follower, lost.lost.image, variable)
            for variable in _words_of(follower, lost.lost)
        )
    return [lost._replace(number=number, reason=None, lost=None)] if is_known else None


def _looks_seccomp_up(follower: NumberFollower, call: ImageAddress) -> bool:
    """Return True if the second argument of ``call`` is always the text "seccomp"."""
    image = follower.graph.images[call.image]
    names = follower.values(call, follower.graph.machine.arguments[1])
    return bool(names) and all(
        one.number is not None and image.read(one.number, len(_SECCOMP)) == _SECCOMP
        for one in names
    )


def _words_of(follower: NumberFollower, place: ImageAddress) -> set[int]:
    """Return the addresses of the words that the instruction at ``place`` reads or writes."""
    graph = follower.graph
    return {
        event.value
        for cell in graph.cells_at(place)
        for event in graph.machine.events(graph.images[place.image], follower.code(cell))
        if event.address == place.address and event.kind is EffectKind.LOAD
    }


def _is_kept(follower: NumberFollower, number: int, variable: int) -> bool:
    """Return True if a function that looks "seccomp" up also uses ``variable``."""
    graph, image = follower.graph, follower.graph.images[number]
    for cell in graph.cells:
        if cell.image != number:
            continue
        events = list(graph.machine.events(image, follower.code(cell)))
        if not any(one.kind is EffectKind.LOAD and one.value == variable for one in events):
            continue
        calls = (one.address for one in events if one.kind is EffectKind.CALL)
        if any(_looks_seccomp_up(follower, ImageAddress(number, call)) for call in calls):
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
    set_ids = frozenset(filter(None, map(number_of, GLIBC_SETXID)))
    for value in values:
        if value.number is None:
            asked = go_all_threads(follower, value)
            if asked is None:
                asked = go_fcntl(follower, value, number_of)
            if asked is None:
                asked = libcap_calls(follower, value)
            if asked is None:
                asked = musl_set_id(follower, value, set_ids)
            if asked is None:
                asked = libseccomp_calls(follower, value, number_of)
            if asked is not None:
                found.update(dict.fromkeys(asked))
                continue
            if is_glibc_handler(follower, value) or is_glibc_request(follower, value, set_ids):
                handlers.append(value)
                continue
        found[value] = None
    seen = {value.number for value in found}
    asked_for = set_ids & seen
    for handler in handlers:
        for number in sorted(asked_for):
            echo = EnteredNumber(handler.site, number, is_echo=True)
            found[echo] = None
    return list(found)
