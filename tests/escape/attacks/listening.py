"""Connections that are taken: sockets that listen, and what accepts."""

import os
import socket
import struct
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers
from escape.attacks.local_sockets import CLOEXEC, PACKET, UNIX, local_names, local_server
from escape.attacks.rings import prepared_ring
from escape.attacks.sockets import STREAM
from escape.scene import (
    HIGH,
    IS_64_BIT,
    Scene,
    Unavailable,
    narrow,
)

Steps = Generator[None, None, None]
Call = Callable[..., int]


@attack(no_listen="listening")
def listen_at_a_path(scene: Scene) -> Steps:
    own = socket.socket(UNIX)
    own.bind(local_names(scene)["path"])
    yield
    own.listen()


@attack(no_listen="listening")
def listen_at_an_abstract_name_for_packets(scene: Scene) -> Steps:
    own = socket.socket(UNIX, PACKET)
    own.bind(local_names(scene)["abstract"])
    yield
    own.listen()


@attack(no_listen="listening")
def serve_the_host_of_a_virtual_machine(scene: Scene) -> Steps:
    try:
        own = socket.socket(40, STREAM)
        own.bind((0xFFFFFFFF, 0xFFFFFFFF))  # VMADDR_CID_ANY, VMADDR_PORT_ANY
    except OSError as error:
        raise Unavailable(f"the kernel has no vsock: {error.strerror}") from error
    yield
    own.listen()


@by_numbers(no_listen="listening")
def have_a_socket_listen(scene: Scene, call: Call) -> Steps:
    own = socket.socket()
    yield
    call("listen", own.fileno(), 5)


@attack(no_listen="listening")
def listen_by_a_ring(scene: Scene) -> Steps:
    """IORING_OP_LISTEN (Linux 6.11)."""
    own = socket.socket()
    number, ring = prepared_ring(scene)
    ring.put(57, own.fileno(), 0, 0, 5, 0)
    yield
    scene.call("io_uring_enter", number, 1, 1, 1, 0, 0)
    ring.must_do()


def _accepts(name: str, accept: "Callable[[Scene, int], int]") -> None:
    """Register an attack that accepts where it listens already."""

    def body(scene: Scene) -> Steps:
        server = scene.listening()
        client = scene.connected(server.getsockname())
        client.sendall(b"x")
        yield
        number = accept(scene, server.fileno())
        assert os.read(number, 1) == b"x"

    body.__name__ = name
    attack(no_listen="accepting")(body)


_accepts("accept", lambda s, n: s.call("accept", n, 0, 0))
_accepts("accept4", lambda s, n: s.call("accept4", n, 0, 0, CLOEXEC))
_accepts("accept_with_garbage_above", lambda s, n: s.call("accept4", HIGH | n, 0, 0, HIGH)
         if IS_64_BIT else narrow())  # fmt: skip
_accepts("accept_by_socketcall", lambda s, n: s.call(
    "socketcall", 5, struct.pack("@3L", n, 0, 0)))  # fmt: skip
_accepts("accept4_by_socketcall", lambda s, n: s.call(
    "socketcall", 18, struct.pack("@4L", n, 0, 0, 0)))  # fmt: skip


@attack(no_listen="accepting", abis=("x86_64",))
def accept_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    server = scene.listening()
    scene.keep(scene.connected(server.getsockname()))
    yield
    call("accept4", server.fileno(), 0, 0, 0)


@by_numbers(no_listen="accepting")
def accept_a_connection(scene: Scene, call: Call) -> Steps:
    server = scene.listening()
    scene.keep(scene.connected(server.getsockname()))
    yield
    call("accept4", server.fileno(), 0, 0, 0)


@attack(no_listen="accepting")
def accept_at_a_path(scene: Scene) -> Steps:
    server, name = local_server(scene, STREAM, "path")
    client = socket.socket(UNIX)
    client.connect(name)
    yield
    server.accept()


@attack(no_listen="accepting")
def accept_by_a_ring(scene: Scene) -> Steps:
    """IORING_OP_ACCEPT (Linux 5.5)."""
    server = scene.listening()
    scene.keep(scene.connected(server.getsockname()))
    number, ring = prepared_ring(scene)
    ring.put(13, server.fileno(), 0, 0, 0, 0)
    yield
    scene.call("io_uring_enter", number, 1, 1, 1, 0, 0)
    os.close(ring.must_do())
