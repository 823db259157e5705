"""Connections: to reach an address, or to be reached at one that was not open before."""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.attacks.sockets import MISSING, kind_name
from escape.scene import HIGH, IS_64_BIT, SECONDS, Foiled, Scene, Unavailable, msghdr, sockaddr

Steps = Generator[None, None, None]

FAST_OPEN = 0x20000000
SCTP, MPTCP = 132, 262

# --- Making sockets ------------------------------------------------------------------------------


def _socket(family: int, kind: int) -> None:
    def body(scene: Scene) -> Steps:
        if family == 17:
            scene.privileged()
        yield
        try:
            os.close(scene.call("socket", family, kind, 0))
        except OSError as error:
            if error.errno in MISSING:
                raise Unavailable("the kernel has no sockets of that family") from error
            raise

    body.__name__ = f"make_a_socket_of_family_{family}_kind_{kind}"
    attack(web_worker="connections", compute_only="making")(body)


for _arguments in ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (10, 1), (10, 2), (16, 3), (17, 3),
                   (38, 5), (40, 1), (44, 3)):  # fmt: skip
    if _arguments != (2, 3):
        _socket(*_arguments)


def _pair(kind: int, family: int = 1, *, garbage: bool = False) -> None:
    def body(scene: Scene) -> Steps:
        if garbage and not IS_64_BIT:
            raise Unavailable("registers have no more than 32 bits")
        high = HIGH if garbage else 0
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        peer.bind(f"\0{os.getpid()}")
        kept: list[object] = []
        message = msghdr(struct.pack("=H", 1) + b"\0%d" % os.getpid(), b"x", kept)
        numbers = (ctypes.c_int * 2)()
        yield
        scene.call("socketpair", high | family, high | kind, 0, numbers)
        scene.call("sendmsg", numbers[0], message, 0)
        assert peer.recv(1) == b"x"

    body.__name__ = (
        f"a_pair_of_kind_{kind_name(kind)}_that_sends_anywhere{'_with_garbage' * garbage}"
    )
    attack(web_worker="connections", compute_only="making")(body)


_pair(socket.SOCK_DGRAM)
_pair(socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
_pair(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
_pair(socket.SOCK_DGRAM, garbage=True)
_pair(socket.SOCK_RAW)  # which AF_UNIX takes for SOCK_DGRAM


# --- Connecting ----------------------------------------------------------------------------------


def _connects(name: str, connect: "Callable[[Scene, socket.socket, int], object]") -> None:
    """Register an attack that has a fresh TCP socket connect."""

    def body(scene: Scene) -> Steps:
        server = scene.listening()
        server.settimeout(SECONDS)
        port = server.getsockname()[1]
        own = socket.socket()
        yield
        connect(scene, own, port)
        try:
            server.accept()
        except socket.timeout as error:
            raise Foiled("nobody came") from error

    body.__name__ = name
    attack(web_worker="connections", compute_only="names")(body)


def _message(scene: Scene, number: int, port: int, flags: int) -> int:
    kept: list[object] = []
    scene.keep(kept)
    message = msghdr(sockaddr(port), b"x", kept)
    return scene.call("sendmsg", number, message, flags)


def _messages(scene: Scene, number: int, port: int, flags: int) -> int:
    kept: list[object] = []
    scene.keep(kept)
    message = msghdr(sockaddr(port), b"x", kept)
    return scene.call("sendmmsg", number, message + bytes(8), 1, flags)


def _send_to(scene: Scene, number: int, port: int, flags: int) -> int:
    return scene.call("sendto", number, b"x", 1, flags, sockaddr(port), 16)


def _wide(value: int) -> int:
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    return HIGH | value


_connects("connect", lambda s, own, port: own.connect(("127.0.0.1", port)))
_connects("connect_by_number", lambda s, own, port: s.call(
    "connect", own.fileno(), sockaddr(port), 16))  # fmt: skip
_connects("connect_by_socketcall", lambda s, own, port: s.call(
    "socketcall", 3, struct.pack("@3L", own.fileno(), _kept(s, sockaddr(port)), 16)))  # fmt: skip
_connects("fast_open_by_socketcall_and_sendto", lambda s, own, port: s.call(
    "socketcall", 11, struct.pack("@6L", own.fileno(), _kept(s, b"x"), 1, FAST_OPEN,
                                  _kept(s, sockaddr(port)), 16)))  # fmt: skip
_connects(
    "fast_open_by_socketcall_and_sendmsg",
    lambda s, own, port: s.call(
        "socketcall", 16, struct.pack("@3L", own.fileno(), _kept_message(s, port), FAST_OPEN)
    ),
)
_connects(
    "fast_open_by_socketcall_and_sendmmsg",
    lambda s, own, port: s.call(
        "socketcall", 20, struct.pack("@4L", own.fileno(), _kept_message(s, port), 1, FAST_OPEN)
    ),
)
_connects("fast_open_by_sendto", lambda s, own, port: _send_to(s, own.fileno(), port, FAST_OPEN))
_connects("fast_open_by_sendto_with_garbage_above", lambda s, own, port: _send_to(
    s, own.fileno(), port, _wide(FAST_OPEN)))  # fmt: skip
_connects("fast_open_by_sendmsg", lambda s, own, port: _message(s, own.fileno(), port, FAST_OPEN))
_connects("fast_open_by_sendmsg_with_garbage_above", lambda s, own, port: _message(
    s, own.fileno(), port, _wide(FAST_OPEN)))  # fmt: skip
_connects("fast_open_by_sendmsg_with_other_flags", lambda s, own, port: _message(
    s, own.fileno(), port, FAST_OPEN | 0x4000))  # fmt: skip
_connects("fast_open_by_sendmmsg", lambda s, own, port: _messages(s, own.fileno(), port, FAST_OPEN))
_connects("fast_open_by_an_option", lambda s, own, port: _by_option(own, port))


def _by_option(own: socket.socket, port: int) -> None:
    own.setsockopt(6, 30, 1)  # TCP_FASTOPEN_CONNECT
    own.connect(("127.0.0.1", port))
    own.send(b"x")


def _kept_message(scene: Scene, port: int) -> int:
    kept: list[object] = []
    scene.keep(kept)
    return _kept(scene, msghdr(sockaddr(port), b"x", kept) + bytes(8))


def _kept(scene: Scene, content: bytes) -> int:
    buffer = ctypes.create_string_buffer(content, len(content))
    scene.keep(buffer)
    return ctypes.addressof(buffer)


@attack(web_worker="connections", compute_only="names")
def connect_the_listening_socket(scene: Scene) -> Steps:
    """Shut down, it is a fresh socket that anything can become of."""
    server, own = scene.listening(), scene.listening()
    yield
    own.shutdown(socket.SHUT_RDWR)
    own.connect(server.getsockname())


@attack(web_worker="connections", compute_only="names")
def fast_open_by_the_listening_socket(scene: Scene) -> Steps:
    server, own = scene.listening(), scene.listening()
    address = server.getsockname()
    yield
    own.shutdown(socket.SHUT_RDWR)
    own.sendto(b"x", FAST_OPEN, address)


@attack(web_worker="connections", compute_only="names", abis=("x86_64",))
def connect_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    server = scene.listening()
    own = socket.socket()
    address = scene.low(sockaddr(server.getsockname()[1]))
    yield
    call("connect", own.fileno(), address, 16)


@attack(web_worker="connections", compute_only="names", abis=("i386",))
def connect_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    server = scene.listening()
    own = socket.socket()
    address = scene.low(sockaddr(server.getsockname()[1]))
    yield
    call("connect", own.fileno(), address, 16)


@by_numbers(web_worker="connections", compute_only="names")
def connect_a_socket(scene: Scene, call: "Callable[..., int]") -> Steps:
    server = scene.listening()
    own = socket.socket()
    address = scene.low(sockaddr(server.getsockname()[1]))
    yield
    call("connect", own.fileno(), address, 16)


@attack(web_worker="connections", compute_only="names")
def connect_to_a_unix_socket(scene: Scene) -> Steps:
    path = scene.folder + "/socket"
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    own = socket.socket(socket.AF_UNIX)
    yield
    own.connect(path)


@attack(web_worker="connections", compute_only="names")
def connect_a_datagram_socket(scene: Scene) -> Steps:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield
    own.connect(("127.0.0.1", 9))


@attack(web_worker="connections", compute_only="names")
def send_a_datagram_to(scene: Scene) -> Steps:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = peer.getsockname()
    yield
    own.sendto(b"x", address)


# --- Being reached -------------------------------------------------------------------------------


@attack(web_worker="connections", compute_only="names")
def bind(scene: Scene) -> Steps:
    own = socket.socket()
    yield
    own.bind(("127.0.0.1", 0))


@attack(web_worker="connections", compute_only="names")
def bind_by_socketcall(scene: Scene) -> Steps:
    own = socket.socket()
    words = struct.pack("@3L", own.fileno(), _kept(scene, sockaddr(0)), 16)
    yield
    scene.call("socketcall", 2, words)


@attack(web_worker="connections", compute_only="names")
def bind_the_listening_socket_anew(scene: Scene) -> Steps:
    own = socket.socket()
    own.listen()
    yield
    own.shutdown(socket.SHUT_RDWR)
    own.bind(("127.0.0.1", 0))


def _must_listen(scene: Scene, own: socket.socket) -> None:
    """Check that a socket listens; C libraries might ask by socketcall(2), which is refused."""
    found, asked = ctypes.create_string_buffer(4), (socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    scene.call("getsockopt", own.fileno(), *asked, found, struct.pack("=I", 4))
    if not any(found.raw):
        raise Foiled("it does not listen")


def _must_be_reached(scene: Scene, own: socket.socket, before: int = 0) -> None:
    """Check that a socket listens, at another port than before."""
    _must_listen(scene, own)
    port = own.getsockname()[1]
    if not port or port == before:
        raise Foiled("it listens at no port but that of before")


def _listens(name: str, family: int, listen: "Callable[[Scene, socket.socket], object]") -> None:
    """Register an attack that has a socket without an address listen: the kernel chooses one."""

    def body(scene: Scene) -> Steps:
        try:
            own = socket.socket(family)
        except OSError as error:
            raise Unavailable("the kernel has no sockets of that family") from error
        yield
        listen(scene, own)
        _must_be_reached(scene, own)

    body.__name__ = name
    attack(compute_only="making", no_listen="listening")(body)


_listens("listen", socket.AF_INET, lambda s, own: own.listen())
_listens("listen_by_ipv6", socket.AF_INET6, lambda s, own: own.listen())
_listens("listen_by_number", socket.AF_INET, lambda s, own: s.call("listen", own.fileno(), 5))
_listens(
    "listen_with_garbage_above",
    socket.AF_INET,
    lambda s, own: s.call("listen", _wide(own.fileno()), _wide(5)),
)
_listens(
    "listen_by_socketcall",
    socket.AF_INET,
    lambda s, own: s.call("socketcall", 4, struct.pack("@2L", own.fileno(), 5)),
)


@attack(compute_only="making", no_listen="listening")
def listen_by_multipath_tcp(scene: Scene) -> Steps:
    try:
        own = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
    except OSError as error:
        raise Unavailable(f"the kernel has no MPTCP: {error.strerror}") from error
    yield
    own.listen()
    _must_be_reached(scene, own)


@attack(compute_only="making", no_listen="listening")
def listen_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    own = socket.socket()
    yield
    in_thread(own.listen)
    _must_be_reached(scene, own)


@attack(compute_only="making", no_listen="listening", abis=("x86_64",))
def listen_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    own = socket.socket()
    yield
    call("listen", own.fileno(), 5)
    _must_be_reached(scene, own)


@attack(compute_only="making", no_listen="listening")
def listen_anew_at_another_port(scene: Scene) -> Steps:
    """Shut down, a socket whose port the kernel chose gives it back; listening, it gets another."""
    own = socket.socket()
    own.listen()
    before = own.getsockname()[1]
    yield
    for _ in range(10):
        try:
            own.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            break  # it was, and has not listened since
        own.listen()
        if own.getsockname()[1] != before:
            break
    _must_be_reached(scene, own, before)


@attack(web_worker="connections", compute_only="making", no_listen="listening")
def listen_at_another_port_than_it_was_bound_to(scene: Scene) -> Steps:
    """The kernel keeps the port of a socket that was bound to one, whatever becomes of it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    own = socket.socket()
    own.bind(("127.0.0.1", port))
    own.listen()
    yield
    own.shutdown(socket.SHUT_RDWR)
    own.listen()
    if own.getsockname()[1] == port:
        raise Unavailable("the kernel keeps the port")
    _must_be_reached(scene, own, port)


@attack(web_worker="connections", compute_only="making", no_listen="listening")
def listen_with_what_was_accepted(scene: Scene) -> Steps:
    """An accepted socket that has ended; the kernel wants it disconnected by connect(2) first."""
    server = scene.listening()
    client = scene.connected(server.getsockname())
    accepted, _ = server.accept()
    yield
    client.close()
    accepted.shutdown(socket.SHUT_RDWR)
    try:
        accepted.listen()
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel lets no accepted socket listen") from error
        raise
    _must_be_reached(scene, accepted)


@attack(web_worker="connections", compute_only="making")
def listen_with_a_pair(scene: Scene) -> Steps:
    yield
    own, _ = socket.socketpair()
    try:
        own.listen()
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel lets no socket of a pair listen") from error
        raise
    _must_listen(scene, own)


@attack(web_worker="connections", compute_only="names")
def another_protocol_above(scene: Scene) -> Steps:
    server = scene.listening()
    client = scene.connected(server.getsockname())
    yield
    try:
        client.setsockopt(6, 31, b"tls")  # TCP_ULP
    except OSError as error:
        if error.errno in (errno.ENOPROTOOPT, errno.ENOENT):
            raise Unavailable(f"not with this kernel: {error.strerror}") from error
        raise


def _option(
    name: str,
    level: int,
    option: int,
    value: "int | bytes",
    kind: int = socket.SOCK_STREAM,
) -> None:
    """Register an option that would change what a socket can do."""

    def body(scene: Scene) -> Steps:
        own = socket.socket(socket.AF_INET, kind)
        yield
        try:
            own.setsockopt(level, option, value)
        except OSError as error:
            if error.errno in (errno.ENOPROTOOPT, errno.EINVAL, errno.ENOENT):
                raise Unavailable(f"not with this kernel: {error.strerror}") from error
            raise

    body.__name__ = name
    attack(web_worker="connections", compute_only="names")(body)


_option("fast_open_of_a_server", 6, 23, 5)
_option("fast_open_of_a_client", 6, 30, 1)
_option("another_congestion_control", 6, 13, b"reno")
_option("repair", 6, 19, 1)
_option("another_device", socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
_option("another_mark", socket.SOL_SOCKET, socket.SO_MARK, 1)
_option("from_any_address", 0, 19, 1)  # IP_TRANSPARENT
_option("a_group", 0, 35, struct.pack("=4s4si", b"\xe0\0\0\1", bytes(4), 1), socket.SOCK_DGRAM)
_option("many_for_a_port", socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


# --- Outside -------------------------------------------------------------------------------------
@outside(web_worker="listening")
def listen_without_a_port(scene: Scene) -> Steps:
    own = socket.socket()
    yield
    own.listen()
    _must_be_reached(scene, own)


@outside(web_worker="listening")
def listen_anew_after_a_shutdown(scene: Scene) -> Steps:
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    own.listen()
    before = own.getsockname()[1]
    yield
    for _ in range(10):
        own.shutdown(socket.SHUT_RDWR)
        own.listen()
        if own.getsockname()[1] != before:
            break
    _must_be_reached(scene, own, before)


@outside(web_worker="descriptors")
def send_by_a_datagram_socket_that_it_has(scene: Scene) -> Steps:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield
    _message(scene, own.fileno(), peer.getsockname()[1], 0)
    assert peer.recv(1) == b"x"
    assert own.getsockname()[1]


@outside(web_worker="descriptors")
def use_what_another_passes(scene: Scene) -> Steps:
    here, there = socket.socketpair()
    server = scene.listening()

    def serve() -> None:
        there.recv(1)
        with scene.connected(server.getsockname()) as connection:
            socket.send_fds(there, [b"x"], [connection.fileno()])
        there.recv(1)

    scene.neighbour(serve)
    yield
    here.sendall(b"x")
    _, (number,), _, _ = socket.recv_fds(here, 1, 1)
    os.write(number, b"x")
