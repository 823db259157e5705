"""AF_UNIX sockets that are reached by their names, or reach others so."""

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers
from escape.attacks.rings import prepared_ring
from escape.attacks.sockets import STREAM
from escape.scene import (
    HIGH,
    IS_64_BIT,
    SECONDS,
    Foiled,
    Scene,
    msghdr,
    narrow,
)

Steps = Generator[None, None, None]
Call = Callable[..., int]

UNIX = socket.AF_UNIX
DATAGRAM, PACKET, RAW = socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW
CLOEXEC, NONBLOCK = socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK


def local_address(name: str) -> bytes:
    """Return a ``struct sockaddr_un``; an abstract name begins with a zero."""
    return struct.pack("=H", 1) + name.encode()


def local_names(scene: Scene) -> "dict[str, str]":
    """Return names for sockets, of which a path has to be short."""
    os.chdir(scene.folder)
    return {"path": "socket", "abstract": f"\0layers{os.getpid()}"}


def local_server(scene: Scene, kind: int, where: str) -> "tuple[socket.socket, str]":
    """Return a socket of another that has a name, and listens if its kind does."""
    name = local_names(scene)[where]
    server = socket.socket(UNIX, kind)
    server.bind(name)
    if kind != DATAGRAM:
        server.listen()
    server.settimeout(SECONDS)
    return server, name


def must_come(server: socket.socket, kind: int) -> None:
    """Check that a server has a connection, or a datagram."""
    try:
        if kind == DATAGRAM:
            server.recv(1)
        else:
            server.accept()[0].close()
    except socket.timeout as error:
        raise Foiled("nothing came") from error


def _reaches(
    name: str, kind: int, reach: "Callable[[Scene, bytes], object]", where: str = "path"
) -> None:
    """Register an attack that reaches a server by its name."""

    def body(scene: Scene) -> Steps:
        server, address = local_server(scene, kind, where)
        yield
        reach(scene, local_address(address))
        must_come(server, kind)

    body.__name__ = name
    attack(no_path_sockets="unix")(body)


def _connect(kind: int, family: int = 1) -> "Callable[[Scene, bytes], object]":
    def reach(scene: Scene, address: bytes) -> None:
        own = scene.call("socket", family, kind, 0)
        scene.call("connect", own, address, len(address))

    return reach


def _send_to(kind: int) -> "Callable[[Scene, bytes], object]":
    return lambda scene, address: scene.call(
        "sendto", scene.call("socket", 1, kind, 0), b"x", 1, 0, address, len(address)
    )


for _kind, _word in ((STREAM, "stream"), (PACKET, "packet"), (DATAGRAM, "datagram")):
    for _where in ("path", "abstract"):
        if _word == "datagram":
            _reaches(f"send_a_datagram_to_a_name_{_where}", _kind, _send_to(_kind), _where)
        else:
            _reaches(f"connect_a_{_word}_to_a_name_{_where}", _kind, _connect(_kind), _where)
_reaches("connect_with_flags_of_the_socket", STREAM, _connect(STREAM | CLOEXEC))
_reaches("send_by_what_is_called_raw", DATAGRAM, _send_to(RAW))
_reaches("connect_with_garbage_above_the_family", STREAM, lambda s, address: (
    _connect(STREAM, HIGH | 1)(s, address) if IS_64_BIT else narrow()))  # fmt: skip


def _pair(scene: Scene, kind: int, family: int = 1) -> int:
    numbers = (ctypes.c_int * 2)()
    scene.call("socketpair", family, kind, 0, numbers)
    return int(numbers[0])


def _pair_sends(kind: int, family: int = 1) -> "Callable[[Scene, bytes], object]":
    """A message of a pair to a name that is in memory."""

    def reach(scene: Scene, address: bytes) -> None:
        kept: "list[object]" = []
        own = _pair(scene, kind, family)
        scene.call("sendmsg", own, msghdr(address, b"x", kept), 0)

    return reach


for _where in ("path", "abstract"):
    _reaches(
        f"a_pair_of_datagrams_sends_to_a_name_{_where}", DATAGRAM, _pair_sends(DATAGRAM), _where
    )
_reaches("a_pair_of_raw_sends_to_a_name", DATAGRAM, _pair_sends(RAW))
_reaches("a_pair_that_is_closed_on_exec_sends_to_a_name", DATAGRAM, _pair_sends(DATAGRAM | CLOEXEC))
_reaches("a_pair_with_both_flags_sends_to_a_name", DATAGRAM, _pair_sends(
    DATAGRAM | CLOEXEC | NONBLOCK))  # fmt: skip
_reaches("a_pair_with_garbage_above_sends_to_a_name", DATAGRAM, lambda s, address: (
    _pair_sends(HIGH | DATAGRAM, HIGH | 1)(s, address) if IS_64_BIT else narrow()))  # fmt: skip


def _pair_connects(scene: Scene, address: bytes, *, apart: bool) -> None:
    own = _pair(scene, DATAGRAM)
    if apart:
        scene.call("connect", own, bytes(16), 16)  # AF_UNSPEC
    scene.call("connect", own, address, len(address))
    os.write(own, b"x")


_reaches("a_pair_connects_to_a_name", DATAGRAM, lambda s, address: _pair_connects(
    s, address, apart=False))  # fmt: skip
_reaches("a_pair_is_taken_apart_and_connects", DATAGRAM, lambda s, address: _pair_connects(
    s, address, apart=True))  # fmt: skip


def _many(scene: Scene, address: bytes) -> None:
    kept: "list[object]" = []
    own = _pair(scene, DATAGRAM)
    scene.call("sendmmsg", own, msghdr(address, b"x", kept) + bytes(8), 1, 0)


_reaches("a_pair_sends_many_to_names", DATAGRAM, _many)


def _by_socketcall(scene: Scene, address: bytes) -> None:
    own = scene.call("socketcall", 1, struct.pack("@3L", 1, STREAM, 0))
    scene.call("connect", own, address, len(address))


def _pair_by_socketcall(scene: Scene, address: bytes) -> None:
    numbers, kept = (ctypes.c_int * 2)(), []  # type: ignore[var-annotated]
    words = struct.pack("@4L", 1, DATAGRAM, 0, ctypes.addressof(numbers))
    scene.call("socketcall", 8, words)
    scene.call("sendmsg", numbers[0], msghdr(address, b"x", kept), 0)


_reaches("connect_to_a_name_by_socketcall", STREAM, _by_socketcall)
_reaches("a_pair_by_socketcall_sends_to_a_name", DATAGRAM, _pair_by_socketcall)


@attack(no_path_sockets="unix")
def reach_a_name_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    server, address = local_server(scene, STREAM, "path")
    yield
    in_thread(lambda: _connect(STREAM)(scene, local_address(address)))
    must_come(server, STREAM)


@attack(no_path_sockets="unix", abis=("x86_64",))
def reach_a_name_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    server, name = local_server(scene, STREAM, "path")
    address = scene.low(local_address(name))
    yield
    call("connect", call("socket", 1, STREAM, 0), address, len(local_address(name)))
    must_come(server, STREAM)


@by_numbers(no_path_sockets="unix")
def reach_a_name(scene: Scene, call: Call) -> Steps:
    server, name = local_server(scene, STREAM, "path")
    address = scene.low(local_address(name))
    yield
    call("connect", call("socket", 1, STREAM, 0), address, len(local_address(name)))
    must_come(server, STREAM)


@attack(no_path_sockets="unix")
def be_reached_at_a_name(scene: Scene) -> Steps:
    path = local_names(scene)["path"]
    yield
    own = socket.socket(UNIX)
    own.bind(path)
    own.listen()


@attack(no_path_sockets="unix")
def be_sent_to_at_a_name(scene: Scene) -> Steps:
    """One of a pair of datagram sockets takes a name, and what others send there."""
    path = local_names(scene)["path"]
    yield
    own, _ = socket.socketpair(UNIX, DATAGRAM)
    own.bind(path)


@attack(no_path_sockets="unix")
def a_local_socket_by_a_ring(scene: Scene) -> Steps:
    """IORING_OP_SOCKET (Linux 5.19)."""
    number, ring = prepared_ring(scene)
    ring.put(45, 1, STREAM, 0, 0, 0)
    yield
    scene.call("io_uring_enter", number, 1, 1, 1, 0, 0)
    os.close(ring.must_do())
