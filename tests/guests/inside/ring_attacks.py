"""Ways round a policy of a ring: each gets what it wants free, and must not under the policy.

They are attacks of `escape.attack`, for a policy that permits to set up rings, to read files that
were registered, to open what is beneath a directory, and to connect to one database, 10.0.0.0/8
port 5432 or ::1. Each says what of such a policy holds it off: the kernel's filters of operations;
the program of seccomp, which sees what is registered; install(), which must not begin where a ring
or a thread is; or a kernel without a known fault. Standard library only, Python 3.9 or newer.
"""

import contextlib
import ctypes
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from escape.attack import Outcome, tried
from escape.scene import ANOTHER_USER, ESCAPED, Foiled, Scene
from guests.inside import ring as rings
from guests.inside.ring import (
    ASYNC,
    DRAIN,
    FIXED_FILE,
    HARDLINK,
    LINK,
    NO_MMAP,
    REGISTERED_FD_ONLY,
    SKIP_SUCCESS,
    SQE128,
    SQPOLL,
    Ring,
    address,
    entry,
)

Steps = Generator[None, None, None]

FILTERS, PROGRAM, INSTALL, KERNEL = "filters", "program", "install", "kernel"
NOT_INSTALLED = "not installed"
"""The beginning of an outcome where install() refused."""

_NOP, _READV, _SENDMSG, _ACCEPT, _CONNECT, _OPENAT = 0, 1, 9, 13, 16, 18
_FILES_UPDATE, _READ, _SEND, _OPENAT2, _MSG_RING = 20, 22, 26, 28, 40
_SOCKET, _URING_CMD, _SEND_ZC, _SENDMSG_ZC = 45, 46, 47, 48
_BIND, _LISTEN, _URING_CMD128 = 56, 57, 64
_BENEATH, _IN_ROOT = 8, 16
_HERE = -100
_FASTOPEN = 0x20000000
_MULTISHOT = 1
_SETSOCKOPT = 3
_SLOTS = 2


class RingAttack(NamedTuple):
    """An attack, and what holds it off."""

    name: str
    body: "Callable[[Scene], Steps]"
    held_by: str


RING_ATTACKS: "list[RingAttack]" = []


def held_by(what: str, name: str = "") -> "Callable[[Callable[[Scene], Steps]], Any]":
    """Register an attack."""

    def register(body: "Callable[[Scene], Steps]") -> "Callable[[Scene], Steps]":
        RING_ATTACKS.append(RingAttack(name or getattr(body, "__name__", ""), body, what))
        return body

    return register


def outcomes(
    plan: "dict[str, Any]", installs: "Sequence[Callable[[], object]]"
) -> "dict[str, list[list[str]]]":
    """Return what each attack comes to free, and under what each of ``installs`` puts in force."""
    found = {}
    for one in RING_ATTACKS:
        seen: list[list[str]] = []
        for install in (None, *map(_or_not_installed, installs)):
            folder = f"{plan['folder']}/{one.name}-{len(seen)}"
            os.mkdir(folder)
            with open(f"{folder}/old", "wb") as file:
                file.write(b"content")
            scene = Scene(plan["abi"], plan["numbers"], {}, folder, own_machine=True)
            outcome: Outcome = tried(one.body, scene, install)
            seen.append([outcome.kind, outcome.detail])
        found[one.name] = seen
    return found


def _or_not_installed(install: "Callable[[], object]") -> "Callable[[], object]":
    def installs() -> None:
        try:
            install()
        except Exception as error:
            raise OSError(f"{NOT_INSTALLED}: {error!r}") from error

    return installs


# Means


def _done(ring: Ring, made: bytes) -> int:
    """Return the result of an entry; raises OSError."""
    return _or_raise(ring.one(made))


def _or_raise(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _bytes(scene: Scene, content: bytes) -> int:
    buffer = ctypes.create_string_buffer(content, len(content))
    scene.keep(buffer)
    return address(buffer)


def _path(scene: Scene, path: str) -> int:
    return _bytes(scene, path.encode() + b"\0")


def _how(scene: Scene, resolve: int) -> int:
    return _bytes(scene, struct.pack("=3Q", 0, 0, resolve))


def _must_be_old(number: int) -> None:
    if os.pread(number, 7, 0) != b"content":
        raise Foiled("it is another file")


def _inet(port: int) -> bytes:
    return struct.pack("=H", 2) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8)


def _inet6(port: int, host: str) -> bytes:
    head = struct.pack("=H", 10) + struct.pack(">HI", port, 0)
    return head + socket.inet_pton(socket.AF_INET6, host) + bytes(4)


def _must_be_accepted(server: socket.socket) -> None:
    server.settimeout(10)
    server.accept()


def _opens(scene: Scene, ring: Ring, **more: int) -> int:
    """Open the file by an operation that the policy refuses, with a further property."""
    flags = more.pop("flags", 0)
    return _done(ring, entry(_OPENAT, _HERE, addr=_path(scene, scene.old), flags=flags, **more))


# Connections


@held_by(FILTERS)
def connect_to_another_port(scene: Scene) -> Steps:
    server = scene.listening()
    to = _bytes(scene, _inet(server.getsockname()[1]))
    own = socket.socket()
    yield
    _done(Ring(), entry(_CONNECT, own.fileno(), addr=to, off=16))
    _must_be_accepted(server)


@held_by(FILTERS)
def connect_to_inet_by_a_socket_of_inet6(scene: Scene) -> Steps:
    server = scene.listening()
    to = _bytes(scene, _inet6(server.getsockname()[1], "::ffff:127.0.0.1"))
    own = socket.socket(socket.AF_INET6)
    yield
    _done(Ring(), entry(_CONNECT, own.fileno(), addr=to, off=28))
    _must_be_accepted(server)


@held_by(FILTERS)
def connect_by_an_address_without_its_end(scene: Scene) -> Steps:
    """24 bytes are enough for IPv6, and too few for what kernels before 7.2.11 show."""
    server = scene.listening()
    to = _bytes(scene, _inet6(server.getsockname()[1], "::ffff:127.0.0.1"))
    own = socket.socket(socket.AF_INET6)
    yield
    _done(Ring(), entry(_CONNECT, own.fileno(), addr=to, off=24))
    _must_be_accepted(server)


@held_by(FILTERS)
def connect_to_a_name(scene: Scene) -> Steps:
    server = socket.socket(socket.AF_UNIX)
    server.bind(scene.folder + "/socket")
    server.listen()
    name = (scene.folder + "/socket").encode()
    to = _bytes(scene, struct.pack("=H", 1) + name + b"\0")
    own = socket.socket(socket.AF_UNIX)
    yield
    _done(Ring(), entry(_CONNECT, own.fileno(), addr=to, off=len(name) + 3))
    _must_be_accepted(server)


def _message(scene: Scene, to: int) -> int:
    """Return the address of a ``struct msghdr`` with a byte for that address."""
    vector = _bytes(scene, struct.pack("@PN", _bytes(scene, b"x"), 1))
    return _bytes(scene, struct.pack("@PIPNPNi", to, 16, vector, 1, 0, 0, 0).ljust(56, b"\0"))


def _sends(name: str, kind: int, operation: int, flags: int) -> None:
    """Register an attack that sends to an address, which connects where it is a fast open."""

    def body(scene: Scene) -> Steps:
        server = socket.socket(socket.AF_INET, kind)
        server.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        to = _bytes(scene, _inet(server.getsockname()[1]))
        own = socket.socket(socket.AF_INET, kind)
        if operation in (_SENDMSG, _SENDMSG_ZC):
            made = entry(
                operation, own.fileno(), addr=_message(scene, to), length=1, op_flags=flags
            )
        else:
            made = entry(
                *(operation, own.fileno()),
                off=to,
                addr=_bytes(scene, b"x"),
                length=1,
                op_flags=flags,
                file_index=16 if sys.byteorder == "little" else 16 << 16,  # addr_len
            )
        yield
        with contextlib.suppress(BlockingIOError):  # EINPROGRESS
            _done(Ring(2), made)
        if kind == socket.SOCK_STREAM:
            _must_be_accepted(server)
        else:
            server.settimeout(10)
            server.recv(1)

    held_by(FILTERS, name)(body)


for _operation, _name in (
    *((_SEND, "send"), (_SENDMSG, "sendmsg")),
    *((_SEND_ZC, "send_zc"), (_SENDMSG_ZC, "sendmsg_zc")),
):
    _sends(f"fast_open_by_{_name}", socket.SOCK_STREAM, _operation, _FASTOPEN)
    _sends(f"datagram_by_{_name}", socket.SOCK_DGRAM, _operation, 0)


def _sockets(name: str, family: int, kind: int, protocol: int = 0) -> None:
    def body(_: Scene) -> Steps:
        yield
        number = _done(Ring(), entry(_SOCKET, family, off=kind, length=protocol))
        if socket.socket(fileno=number).family != family:
            raise Foiled("it is of another family")

    held_by(FILTERS, name)(body)


_sockets("socket_of_inet6", 10, 1)
_sockets("socket_of_unix", 1, 1)
_sockets("socket_of_netlink", 16, 3)
_sockets("socket_of_datagrams", 2, 2)
_sockets("socket_of_datagrams_with_flags", 2, 2 | 0x80800)
_sockets("raw_socket", 2, 3, 1)


@held_by(FILTERS)
def be_reached(scene: Scene) -> Steps:
    """IORING_OP_BIND and LISTEN."""
    own = socket.socket()
    at = _bytes(scene, _inet(0))
    yield
    ring = Ring(2)
    _done(ring, entry(_BIND, own.fileno(), addr=at, off=16))
    _done(ring, entry(_LISTEN, own.fileno(), length=5))
    scene.connected(own.getsockname())


@held_by(FILTERS)
def be_reached_again_and_again(scene: Scene) -> Steps:
    """IORING_OP_ACCEPT, multishot, of a socket that listens already."""
    server = scene.listening()
    yield
    ring = Ring(2)
    done = ring.submit(entry(_ACCEPT, server.fileno(), ioprio=_MULTISHOT), wait=0)
    scene.connected(server.getsockname())
    _or_raise((done or ring.completed(1))[0].result)


@held_by(FILTERS)
def set_an_option_by_a_command(scene: Scene) -> Steps:
    """IORING_OP_URING_CMD, whose command nothing shows."""
    yield from _sets_option(scene, _URING_CMD, 0)


@held_by(FILTERS)
def set_an_option_by_a_wide_command(scene: Scene) -> Steps:
    yield from _sets_option(scene, _URING_CMD128, SQE128)


def _sets_option(scene: Scene, operation: int, flags: int) -> Steps:
    own = socket.socket()
    value = _bytes(scene, struct.pack("=i", 1))
    where = socket.SOL_SOCKET | socket.SO_KEEPALIVE << 32
    if sys.byteorder == "big":
        where = socket.SOL_SOCKET << 32 | socket.SO_KEEPALIVE
    command = _SETSOCKOPT if sys.byteorder == "little" else _SETSOCKOPT << 32
    yield
    ring = Ring(1, flags)
    made = entry(*(operation, own.fileno()), off=command, addr=where, file_index=4, addr3=value)
    _done(ring, made)
    if not own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        raise Foiled("the option is not set")


# Files


@held_by(FILTERS)
def open_by_the_elder_call(scene: Scene) -> Steps:
    """OPENAT, which has no RESOLVE_BENEATH."""
    yield
    _must_be_old(_opens(scene, Ring()))


def _resolves(name: str, resolve: int, path: "Callable[[Scene], str]") -> None:
    def body(scene: Scene) -> Steps:
        where = _path(scene, path(scene))
        how = _how(scene, resolve)
        folder = os.open(scene.folder if resolve else "/", os.O_RDONLY)
        yield
        _must_be_old(_done(Ring(), entry(_OPENAT2, folder, addr=where, off=how, length=24)))

    held_by(FILTERS, name)(body)


_resolves("open_anywhere", 0, lambda scene: scene.old)
_resolves("open_in_another_root", _IN_ROOT, lambda _: "/old")


@held_by(FILTERS)
def open_into_a_slot(scene: Scene) -> Steps:
    yield
    ring = _with_slots(scene)
    _done(ring, entry(_OPENAT, _HERE, addr=_path(scene, scene.old), file_index=1))
    _reads(ring, FIXED_FILE, 0)


@held_by(FILTERS)
def read_another_file(scene: Scene) -> Steps:
    """READ, of what was not registered."""
    number = os.open(scene.old, os.O_RDONLY)
    yield
    _reads(Ring(), 0, number)


@held_by(FILTERS)
def read_by_a_vector(scene: Scene) -> Steps:
    number = os.open(scene.old, os.O_RDONLY)
    buffer = ctypes.create_string_buffer(7)
    vector = _bytes(scene, struct.pack("@PN", address(buffer), 7))
    yield
    _done(Ring(), entry(_READV, number, addr=vector, length=1))
    _must_be_content(buffer.raw)


@held_by(FILTERS)
def put_a_file_into_a_slot(scene: Scene) -> Steps:
    """FILES_UPDATE, then READ."""
    number = os.open(scene.old, os.O_RDONLY)
    yield
    ring = _with_slots(scene)
    _done(ring, entry(_FILES_UPDATE, addr=_bytes(scene, struct.pack("=i", number)), length=1))
    _reads(ring, FIXED_FILE, 0)


def _with_slots(scene: Scene) -> Ring:
    ring = Ring(2)
    empty = _bytes(scene, struct.pack(f"={_SLOTS}i", *[-1] * _SLOTS))
    rings.call(rings.REGISTER, ring.fd, rings.REGISTER_FILES, empty, _SLOTS)
    return ring


def _reads(ring: Ring, flags: int, number: int) -> None:
    buffer = ctypes.create_string_buffer(7)
    _done(ring, entry(_READ, number, addr=address(buffer), length=7, flags=flags))
    _must_be_content(buffer.raw)


def _must_be_content(content: bytes) -> None:
    if content != b"content":
        raise Foiled("it is other content")


@held_by(PROGRAM)
def open_as_somebody_else(scene: Scene) -> Steps:
    """IORING_REGISTER_PERSONALITY keeps root's rights, for an operation of another user."""
    scene.privileged()
    os.chmod(scene.folder, 0o711)
    os.chmod(scene.old, 0o600)
    folder = os.open(scene.folder, os.O_RDONLY)
    where, how = _path(scene, "old"), _how(scene, _BENEATH)
    yield
    ring = Ring()
    root = rings.call(rings.REGISTER, ring.fd, rings.REGISTER_PERSONALITY, 0, 0)
    os.setresuid(ANOTHER_USER, ANOTHER_USER, ANOTHER_USER)
    made = entry(_OPENAT2, folder, addr=where, off=how, length=24, personality=root)
    _must_be_old(_done(ring, made))


# Ways to submit


def _ways(name: str, flags: int) -> None:
    def body(scene: Scene) -> Steps:
        yield
        _must_be_old(_opens(scene, Ring(2), flags=flags))

    held_by(FILTERS, name)(body)


_ways("open_asynchronously", ASYNC)
_ways("open_after_all_others", DRAIN)


@held_by(FILTERS)
def open_without_a_word(scene: Scene) -> Steps:
    """CQE_SKIP_SUCCESS: it completes silently, but for a failure."""
    yield
    ring = Ring(2)
    path = scene.new
    made = entry(
        *(_OPENAT, _HERE),
        addr=_path(scene, path),
        op_flags=os.O_CREAT,
        length=0o600,
        flags=SKIP_SUCCESS,
    )
    for one in ring.submit(made, entry(_NOP, user_data=1), wait=1):
        if one.user_data == 0:
            _or_raise(one.result)
    for _ in range(1000):
        if os.path.exists(path):
            return
        ring.submit(entry(_NOP), wait=1)
    raise Foiled("no file was created")


def _chained(name: str, link: int) -> None:
    def body(scene: Scene) -> Steps:
        yield
        ring = Ring(2)
        opens = entry(_OPENAT, _HERE, addr=_path(scene, scene.old), user_data=2)
        done = {one.user_data: one.result for one in ring.submit(entry(_NOP, flags=link), opens)}
        _must_be_old(_or_raise(done[2]))

    held_by(FILTERS, name)(body)


_chained("open_in_a_chain", LINK)
_chained("open_in_a_hard_chain", HARDLINK)


@held_by(FILTERS)
def open_by_the_kernels_thread(scene: Scene) -> Steps:
    """SQPOLL: the kernel takes the entries by itself, without a system call."""
    yield
    _must_be_old(_opens(scene, Ring(2, SQPOLL)))


@held_by(FILTERS)
def open_by_a_registered_ring_of_its_own(scene: Scene) -> Steps:
    """A ring without a descriptor that is made under the policy."""
    yield
    _must_be_old(_opens(scene, Ring(1, NO_MMAP | REGISTERED_FD_ONLY)))


@held_by(FILTERS)
def open_in_a_fork(scene: Scene) -> Steps:
    yield
    scene.in_fork(lambda: _must_be_old(_opens(scene, Ring())))


@held_by(FILTERS)
def open_in_a_new_thread(scene: Scene) -> Steps:
    yield
    raised: "list[OSError]" = []

    def work() -> None:
        try:
            _must_be_old(_opens(scene, Ring()))
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@held_by(FILTERS)
def open_with_filters_that_permit(scene: Scene) -> Steps:
    """More filters, of the ring, cannot permit what others refuse."""
    yield
    ring = Ring()
    permits = struct.pack("=HBBI", 6, 0, 0, 1)
    with contextlib.suppress(OSError):  # then the filters hold alone
        rings.register(ring.fd, _OPENAT, permits, 24)
    _must_be_old(_opens(scene, ring))


# Rings, and messages between them


@held_by(FILTERS)
def message_by_an_operation(_: Scene) -> Steps:
    yield
    ring = Ring(2)
    done = ring.submit(entry(_MSG_RING, ring.fd, off=77, length=5, user_data=1), wait=1)
    _or_raise(min(one.result for one in done))
    _must_have_a_message([*done, *ring.completed(0)])


@held_by(PROGRAM)
def message_by_registering(scene: Scene) -> Steps:
    """IORING_REGISTER_SEND_MSG_RING: without a ring to send by, and no filter asked."""
    yield
    ring = Ring(2)
    made = _bytes(scene, entry(_MSG_RING, ring.fd, off=77, length=5))
    rings.call(rings.REGISTER, rings.THIS_TASK, rings.REGISTER_SEND_MSG_RING, made, 1)
    _must_have_a_message(ring.completed(1))


def _must_have_a_message(done: "list[rings.Done]") -> None:
    if not any((one.user_data, one.result) == (77, 5) for one in done):
        raise Foiled("no message came")


@held_by(INSTALL)
def open_by_a_ring_that_it_has(scene: Scene) -> Steps:
    ring = Ring()
    yield
    _must_be_old(_opens(scene, ring))


@held_by(INSTALL)
def open_by_a_ring_without_a_descriptor(scene: Scene) -> Steps:
    """A ring of which only the memory is left, and the kernel's thread that looks at it."""
    ring = Ring(2, SQPOLL)
    _done(ring, entry(_NOP))  # so that the thread is awake, and stays so for a minute
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and "io_uring" in _target(number):
            os.close(number)
    scene.keep(ring)
    made = entry(_OPENAT, _HERE, addr=_path(scene, scene.old))
    yield
    _must_be_old(_done(ring, made))


def _target(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


@held_by(INSTALL)
def open_by_a_registered_ring(scene: Scene) -> Steps:
    """A ring without a descriptor and without a mapping: NO_MMAP and REGISTERED_FD_ONLY."""
    ring = Ring(1, NO_MMAP | REGISTERED_FD_ONLY)
    made = entry(_OPENAT, _HERE, addr=_path(scene, scene.old))
    yield
    _must_be_old(_done(ring, made))


@held_by(INSTALL)
def open_in_a_thread_that_was_there(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    yield
    in_thread(lambda: _must_be_old(_opens(scene, Ring())))


@held_by(PROGRAM)
def open_by_the_ring_of_another(scene: Scene) -> Steps:
    """pidfd_getfd(2) fetches the descriptor of a ring that no filter is on."""
    numbers, tells = os.pipe()

    def sit() -> None:
        import time

        ring = Ring()
        os.write(tells, struct.pack("=i", ring.fd) + ring.params)
        time.sleep(60)

    neighbour = scene.neighbour(sit)
    told = os.read(numbers, 124)
    (number,) = struct.unpack("=i", told[:4])
    pidfd = os.pidfd_open(neighbour.pid)
    yield
    fetched = scene.call("pidfd_getfd", pidfd, number, 0)
    _must_be_old(_opens(scene, Ring.mapped(fetched, told[4:])))


_PYTHON = "/usr/bin/python3"
_EXECUTED = """
import sys
sys.path[:0] = {path!r}
from guests.inside import ring_attacks
ring_attacks.executed({old!r})
"""


@held_by(KERNEL)
def open_after_exec(scene: Scene) -> Steps:
    """Up to 7.1.7 a thread that ever set up a ring loses its filters as it executes a program."""
    script = _EXECUTED.format(path=sys.path, old=scene.old)
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    yield
    Ring().close()

    def executes() -> None:
        Ring().close()
        os.execve(_PYTHON, [_PYTHON, "-Ss", "-c", script], environment)

    scene.in_fork(executes)


def executed(old: str) -> None:
    """Open a file by a ring: what a program does that an attack executes."""
    try:
        path = ctypes.create_string_buffer(old.encode() + b"\0")
        _must_be_old(_done(Ring(), entry(_OPENAT, _HERE, addr=address(path))))
    except OSError as error:
        os._exit(error.errno or 254)
    os._exit(ESCAPED)
