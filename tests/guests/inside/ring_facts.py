"""Facts about a kernel's filters of operations, beyond the answer to one, in words and numbers.

Each fact is found out in a child of its own. Standard library only, Python 3.9 or newer.
"""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from guests.inside import ring as rings
from guests.inside import ring_dry
from guests.inside.attempts import Tell, in_child, outcome
from guests.inside.ring import (
    BUFFER_SELECT,
    DENY_REST,
    HARDLINK,
    LINK,
    R_DISABLED,
    RESIZABLE,
    SUBMIT_ALL,
    SZ_STRICT,
    THIS_TASK,
    Ring,
    address,
    entry,
    no_new_privs,
    register,
)

_NOP, _POLL_ADD, _ACCEPT, _CLOSE, _MADVISE, _SHUTDOWN = 0, 6, 13, 19, 25, 34
_RECV, _PROVIDE_BUFFERS, _READ_MULTISHOT = 27, 31, 49
_ACCEPT_MULTISHOT, _RECV_MULTISHOT = 1, 2
_GROUP, _BUFFERS = 7, 8
_ALLOW = struct.pack("=HBBI", 6, 0, 0, 1)
_REFUSE = struct.pack("=HBBI", 6, 0, 0, 0)
_EXECUTED = """
import sys
sys.path[:0] = ["/trial"]
from guests.inside.ring import Ring, entry
print(Ring().one(entry(0)))
"""

SECONDS = 240
"""After them SIGALRM ends a child: guests of a busy host are slow."""

Fact = Callable[[], Any]


def found_out() -> "dict[str, Any]":
    """Return every fact by name; a fact that raised is its exception."""

    def told(fact: Fact) -> object:
        def body(tell: Tell) -> None:
            signal.alarm(SECONDS)
            tell("fact", fact())

        seen = in_child(body)
        return seen.get("fact", seen)

    return {fact.__name__[1:]: told(fact) for fact in _FACTS}


def _sizes() -> "list[int]":
    """Return the size of the fields of each operation: a size of 255 is never right."""
    no_new_privs()
    return [_asked(operation) for operation in range(ring_dry.LAST + 1)]


def _asked(operation: int) -> int:
    try:
        register(THIS_TASK, operation, _ALLOW, 255)
    except OSError as error:
        return int(error.filename2) if error.errno == errno.EMSGSIZE else -(error.errno or 0)
    return -1


def _accepted() -> "list[int]":
    """Return the codes of instructions that a program of two may begin with."""
    no_new_privs()
    ring = Ring()
    found = []
    for code in range(512):
        with contextlib.suppress(OSError):
            program = struct.pack("=HBBI", code, 0, 0, 4 if code != 0x35 else 0) + _ALLOW
            if code in {0x60, 0x61}:  # of a scratch cell that has something
                program = struct.pack("=HBBI", 2, 0, 0, 4) + program
            if code in {0x05}:
                program = struct.pack("=HBBI", code, 0, 0, 0) + _ALLOW
            register(ring.fd, _CLOSE, program, 0)
            found.append(code)
    return found


def _longest() -> "list[str]":
    """Return what programs of 4,096 and of 4,097 instructions come to, and loads at 36 to 40."""
    no_new_privs()
    ring = Ring()
    loads = [struct.pack("=HBBI", 0x20, 0, 0, offset) + _ALLOW for offset in (36, 38, 40)]
    programs = (_ALLOW * 4096, _ALLOW * 4097, b"", *loads)
    return [outcome(partial(_taken, ring, program)) for program in programs]


def _taken(ring: Ring, program: bytes) -> None:
    register(ring.fd, _CLOSE, program, 0)


def _rights() -> "list[str]":
    """Return what another user may: register for its task, then with no_new_privs, for a ring."""
    ring = Ring()
    os.setresuid(1000, 1000, 1000)
    found = [outcome(lambda: register(THIS_TASK, _CLOSE, _ALLOW, 0))]
    found.append(outcome(lambda: register(ring.fd, _CLOSE, _REFUSE, 0)))
    no_new_privs()
    found.append(outcome(lambda: register(THIS_TASK, _CLOSE, _ALLOW, 0)))
    return [*found, str(ring.one(entry(_CLOSE)))]


def _stack() -> "list[int]":
    """Return results of CLOSE: refused, permitted by a later filter, and by one of the ring."""
    no_new_privs()
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    first = Ring().one(entry(_CLOSE))
    register(THIS_TASK, _CLOSE, _ALLOW, 0)
    ring = Ring()
    second = ring.one(entry(_CLOSE))
    register(ring.fd, _CLOSE, _ALLOW, 0)
    return [first, second, ring.one(entry(_CLOSE))]


def _rest() -> "list[int]":
    """Return results after DENY_REST: of what has a filter, of others, of one permitted later."""
    no_new_privs()
    register(THIS_TASK, _NOP, _ALLOW, 0, SZ_STRICT | DENY_REST)
    results = [Ring().one(entry(_NOP)), Ring().one(entry(_CLOSE))]
    register(THIS_TASK, _CLOSE, _ALLOW, 0)
    return [*results, Ring().one(entry(_CLOSE))]


def _submission() -> "list[Any]":
    """Return how many of three are taken where the second is refused, and with SUBMIT_ALL."""
    no_new_privs()
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    three = (entry(_NOP), entry(_CLOSE), entry(_NOP))
    found: list[Any] = []
    for flags, count in ((0, 2), (SUBMIT_ALL, 3)):
        ring = Ring(4, flags)
        results = [one.result for one in ring.submit(*three, wait=count)]
        found += [ring.entered, results]
    return found


def _chains() -> "list[list[int]]":
    """Return the results of chains whose last member is refused, whose first is, hard and not."""
    no_new_privs()
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    found = []
    for link in (LINK, HARDLINK):
        for first, second in ((_NOP, _CLOSE), (_CLOSE, _NOP)):
            done = Ring(2, SUBMIT_ALL).submit(
                entry(first, flags=link, user_data=1), entry(second, user_data=2)
            )
            found.append([one.result for one in sorted(done)])
    return found


def _threads() -> "list[int]":
    """Return results in a thread that ran before, and in one that started later."""
    start, given, results = threading.Event(), threading.Event(), []

    def work() -> None:
        start.set()
        given.wait()
        results.append(Ring().one(entry(_CLOSE)))

    early = threading.Thread(target=work)
    early.start()
    start.wait()
    no_new_privs()
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    given.set()
    early.join()
    late = threading.Thread(target=work)
    late.start()
    late.join()
    return results


def _forks() -> int:
    no_new_privs()
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    return _in_fork(lambda: Ring().one(entry(_CLOSE)))


def _in_fork(body: "Callable[[], int]") -> int:
    def told(tell: Tell) -> None:
        tell("result", body())

    return int(in_child(told)["result"])


def _shared() -> "list[int]":
    """Return results of a ring, and in a forked child, after its parent's next filter."""
    no_new_privs()
    register(THIS_TASK, _NOP, _ALLOW, 0)
    ring = Ring()
    ours, theirs = os.pipe()
    go, goes = os.pipe()
    if os.fork() == 0:
        os.read(go, 1)
        os.write(theirs, struct.pack("=i", Ring().one(entry(_CLOSE))))
        os._exit(0)
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    os.write(goes, b"x")
    os.wait()
    return [ring.one(entry(_CLOSE)), *struct.unpack("=i", os.read(ours, 4))]


def _after_exec(prepare: "Callable[[], None]") -> int:
    no_new_privs()
    prepare()
    register(THIS_TASK, _NOP, _REFUSE, 0)
    reader, writer = os.pipe()
    if os.fork() == 0:
        if prepare is not _nothing:
            Ring().close()
        os.dup2(writer, 1)
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        python = "/usr/bin/python3"
        os.execve(python, [python, "-Ss", "-c", _EXECUTED], environment)
    os.close(writer)
    os.wait()
    return int(os.read(reader, 100) or 1)


def _nothing() -> None:
    """Prepare nothing."""


def _exec_after_a_ring() -> int:
    """Return the result of a refused NOP after exec, of a process that has had a ring."""
    return _after_exec(lambda: Ring().close())


def _exec_without_a_ring() -> int:
    return _after_exec(_nothing)


def _armed() -> "list[int]":
    """Return the results of a poll for all times that was armed before its filter, and after."""
    no_new_privs()
    reader, writer = os.pipe()
    ring = Ring(2)
    poll = entry(_POLL_ADD, reader, length=1, op_flags=_poll_in(), user_data=1)
    ring.submit(poll, wait=0)
    register(ring.fd, _POLL_ADD, _REFUSE, 0)
    os.write(writer, b"x")
    return [ring.completed(1)[0].result, ring.one(poll)]


def _multishot() -> "list[list[int]]":
    """Return results of ACCEPT, RECV and READ for all times, armed before their filter, and after.

    A first result counts as 0 where there is one: it is a new descriptor, or a number of bytes.
    """
    no_new_privs()
    ring = Ring(8)
    buffers = ctypes.create_string_buffer(_BUFFERS * 64)
    provided = entry(_PROVIDE_BUFFERS, _BUFFERS, addr=address(buffers), length=64, buffer=_GROUP)
    ring.one(provided)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        own, other = socket.socketpair()
        reader, writer = os.pipe()
        client = socket.socket()
        chosen: "dict[str, int]" = {"flags": BUFFER_SELECT, "buffer": _GROUP}
        trials: "list[tuple[bytes, Callable[[], object]]]" = [
            (
                entry(_ACCEPT, server.fileno(), ioprio=_ACCEPT_MULTISHOT),
                partial(client.connect, server.getsockname()),
            ),
            (
                entry(_RECV, own.fileno(), ioprio=_RECV_MULTISHOT, **chosen),
                partial(other.send, b"x"),
            ),
            (
                entry(_READ_MULTISHOT, reader, off=(1 << 64) - 1, **chosen),
                partial(os.write, writer, b"x"),
            ),
        ]
        for made, _ in trials:
            ring.submit(made, wait=0)
        for made, _ in trials:
            register(ring.fd, made[0], _REFUSE, 0)
        found = []
        for made, happens in trials:
            happens()
            found.append([min(ring.completed(1)[0].result, 0), ring.one(made)])
    return found


def _poll_in() -> int:
    return 1 if struct.pack("=H", 1) == b"\1\0" else 1 << 16


def _disabled() -> int:
    """Return the result of a ring that got its filter before it was enabled."""
    no_new_privs()
    ring = Ring(1, R_DISABLED)
    register(ring.fd, _CLOSE, _REFUSE, 0)
    rings.call(rings.REGISTER, ring.fd, rings.REGISTER_ENABLE_RINGS, 0, 0)
    return ring.one(entry(_CLOSE))


def _resized() -> "list[int]":
    """Return results of CLOSE before and after its ring is resized, and of another one's filter.

    The task has the first filter, and the ring the second, for NOP, which is permitted at first.
    """
    no_new_privs()
    register(THIS_TASK, _CLOSE, _REFUSE, 0)
    ring = Ring(1, RESIZABLE)
    results = [ring.one(entry(_CLOSE)), ring.one(entry(_NOP))]
    register(ring.fd, _NOP, _REFUSE, 0)
    for entries in (8, 2):
        ring.resize(entries)
        results += [ring.one(entry(_CLOSE)), ring.one(entry(_NOP)), ring.one(entry(_SHUTDOWN))]
    return results


def _unknown() -> int:
    """Return the result of an operation beyond the kernel's, all others refused."""
    no_new_privs()
    register(THIS_TASK, _NOP, _REFUSE, 0, SZ_STRICT | DENY_REST)
    return Ring().one(entry(ring_dry.LAST))


def _harmless() -> "dict[str, list[int]]":
    """Return what each operation of `ring_dry` ends with, free and with all refused."""
    free = _each()
    no_new_privs()
    register(THIS_TASK, _NOP, _REFUSE, 0, SZ_STRICT | DENY_REST)
    return {"free": free, "refused": _each()}


def _each() -> "list[int]":
    asking = ring_dry.Asking()
    results = [asking.result(operation, {}) for operation in range(ring_dry.LAST)]
    asking.close()
    return results


_FACTS: "tuple[Fact, ...]" = (
    *(_sizes, _accepted, _longest, _rights, _stack, _rest, _submission, _chains, _threads),
    *(_forks, _shared, _exec_after_a_ring, _exec_without_a_ring, _armed, _multishot, _disabled),
    *(_resized, _unknown, _harmless),
)
