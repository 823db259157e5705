"""Operations that touch nothing, whatever filters permit, and what they end with.

The file descriptor is -1, so that a permitted operation fails with EBADF; others find nothing to
cancel, or do nothing by nature. What checks an entry before filters see it lets these through.
Runs in the guests: standard library only, Python 3.9 or newer.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from guests.inside.ring import (
    BUFFER_SELECT,
    FIXED_FILE,
    LINK,
    SQE128,
    SUBMIT_ALL,
    SZ_STRICT,
    Ring,
    address,
    entry,
    register,
)

CONNECT, OPENAT, OPENAT2, SOCKET = 16, 18, 28, 45
LINK_TIMEOUT, NOP128, URING_CMD128 = 15, 63, 64
LAST = 65

NEVER = {58}
"""RECV_ZC wants a queue of a network card before filters are asked."""

_NAME = ctypes.create_string_buffer(b"x")
_NOWHERE = ctypes.create_string_buffer(b"/nowhere/x")
_MESSAGE = ctypes.create_string_buffer(64)
_SOON = ctypes.create_string_buffer(struct.pack("=qq", 0, 1), 16)
_WORD = ctypes.create_string_buffer(struct.pack("=I", 1), 16)
_FUTEX_WAITED = ctypes.create_string_buffer(struct.pack("=QQII", 2, address(_WORD), 130, 0), 24)
_NO_FILE = ctypes.create_string_buffer(struct.pack("=i", -1), 4)
_HOW = ctypes.create_string_buffer(24)
_ADDRESS = ctypes.create_string_buffer(128)

_EBADF = -errno.EBADF
_ENOENT = -errno.ENOENT

_FORMS: "dict[int, tuple[dict[str, int], int]]" = {
    0: ({}, 0),
    7: ({}, _ENOENT),
    9: ({"addr": address(_MESSAGE)}, _EBADF),
    10: ({"addr": address(_MESSAGE)}, _EBADF),
    11: ({"length": 1, "addr": address(_SOON)}, -errno.ETIME),
    12: ({}, _ENOENT),
    14: ({}, _ENOENT),
    15: ({"length": 1, "addr": address(_SOON)}, _ENOENT),
    20: ({"length": 1, "addr": address(_NO_FILE)}, -errno.ENXIO),
    21: ({"addr": address(_NAME)}, _EBADF),
    25: ({"addr": 0}, 0),
    29: ({"length": 2}, _EBADF),
    30: ({"length": 1, "file_index": -1}, _EBADF),
    31: ({"fd": 1, "length": 1, "addr": address(_WORD)}, 0),
    32: ({"fd": 1, "buffer": 9}, _ENOENT),
    33: ({"length": 1, "file_index": -1}, _EBADF),
    35: ({"addr": address(_NAME), "off": address(_NAME), "length": -1}, _EBADF),
    36: ({"addr": address(_NAME)}, _EBADF),
    37: ({"addr": address(_NAME)}, _EBADF),
    38: ({"addr": address(_NAME), "off": address(_NAME)}, _EBADF),
    39: ({"addr": address(_NAME), "off": address(_NAME), "length": -1}, _EBADF),
    41: ({"addr": address(_NAME)}, _EBADF),
    42: ({"addr": address(_NAME), "addr3": address(_NOWHERE)}, _ENOENT),
    43: ({"addr": address(_NAME)}, _EBADF),
    44: ({"addr": address(_NAME), "addr3": address(_NOWHERE)}, _ENOENT),
    45: ({}, -errno.EAFNOSUPPORT),
    48: ({"addr": address(_MESSAGE)}, _EBADF),
    49: ({"flags": BUFFER_SELECT}, _EBADF),
    50: ({"fd": 0x7FFFFFFF, "length": 1, "file_index": 4}, -errno.ECHILD),
    51: ({"fd": 130, "addr": address(_WORD), "off": 2, "addr3": 1}, -errno.EAGAIN),
    52: ({"fd": 130, "addr": address(_WORD), "off": 1, "addr3": 1}, 0),
    53: ({"fd": 0, "length": 1, "addr": address(_FUTEX_WAITED)}, -errno.EAGAIN),
    54: ({"flags": FIXED_FILE}, _EBADF),
    62: ({"fd": 0}, -errno.EFAULT),
    63: ({}, 0),
}
"""By operation, where it is not an empty entry that ends with EBADF: its fields, and its end."""


def permitted(operation: int) -> int:
    """Return what a permitted operation without conditions ends with."""
    return _FORMS.get(operation, ({}, _EBADF))[1]


class Asking:
    """Rings on which operations are tried, and their entries from the fields that filters see."""

    def __init__(self) -> None:
        self._ring = Ring(4, SUBMIT_ALL)
        self._wide = Ring(4, SUBMIT_ALL | SQE128)

    def result(self, operation: int, fields: "Mapping[str, Any]") -> int:
        """Return what an operation ends with; -EACCES if it is refused."""
        entries = made(operation, fields, user_data=7)
        ring = self._wide if operation in {NOP128, URING_CMD128} else self._ring
        done = ring.submit(*entries)
        result = next(one.result for one in done if one.user_data == 7)
        if operation == LINK_TIMEOUT:
            return _of_link(next(one.result for one in done if one.user_data == 8))
        if operation in {47, 48}:  # which complete twice
            self._rest(ring)
        if operation == SOCKET and result >= 0:
            os.close(result)
        return result

    def _rest(self, ring: Ring) -> None:
        ring.submit(entry(7, user_data=8), wait=1)

    def close(self) -> None:
        self._ring.close()
        self._wide.close()


def _of_link(head: int) -> int:
    """Return what a timeout of a chain ends with, which its head tells: both may be cancelled.

    ECANCELED: the head was refused, and so it is not known whether the timeout would be.
    """
    if head == -errno.EACCES:
        return -errno.ECANCELED
    return -errno.EACCES if head == -errno.ECANCELED else _ENOENT


def made(operation: int, fields: "Mapping[str, Any]", user_data: int) -> "list[bytes]":
    """Return the entries that an operation with these fields takes; the last is its own."""
    more = {"flags": fields.get("sqe_flags", 0), "user_data": user_data}
    if operation == CONNECT:
        content = bytes.fromhex(fields.get("sockaddr", "02" + "00" * 15))
        ctypes.memset(_ADDRESS, 0xAA, 128)
        ctypes.memmove(_ADDRESS, content, len(content))
        length = fields.get("length", len(content))
        return [entry(operation, addr=address(_ADDRESS), off=length, **more)]
    if operation == OPENAT:
        flags, mode = fields.get("flags", 0), fields.get("mode", 0)
        return [entry(operation, addr=address(_NAME), length=mode, op_flags=flags, **more)]
    if operation == OPENAT2:
        how = [fields.get(name, 0) for name in ("flags", "mode", "resolve")]
        struct.pack_into("=3Q", _HOW, 0, *how)
        return [entry(operation, addr=address(_NAME), off=address(_HOW), length=24, **more)]
    if operation == SOCKET:
        family, kind, protocol = (fields.get(name, 0) for name in ("family", "type", "protocol"))
        return [entry(operation, family, off=kind, length=protocol, **more)]
    form = _FORMS.get(operation, ({}, _EBADF))[0]
    own = entry(
        operation, **{**form, "flags": form.get("flags", 0) | more["flags"], "user_data": user_data}
    )
    if operation == LINK_TIMEOUT:  # a chain whose head is refused is cancelled without a word
        return [*made(fields.get("head", 0), {"sqe_flags": LINK}, user_data=8), own]
    return [own]


_BITS = 320


def _reader(byte_order: str) -> bytes:
    """Return a program that answers the bit of its context that the user data says.

    Bits count from the lowest of the word at 0; of a filter's answer only zero or not is seen.
    """
    low = 0 if byte_order == "little" else 4
    program = [(0x20, 0, 0, low), (0x54, 0, 0, 31), (0x07, 0, 0, 0)]  # X: the bit of its word
    program += [(0x20, 0, 0, low), (0x74, 0, 0, 5)]
    for word in range(10):
        program += [(0x15, 0, 4, word), (0x20, 0, 0, 4 * word), (0x7C, 0, 0, 0)]
        program += [(0x54, 0, 0, 1), (0x16, 0, 0, 0)]
    program.append((0x06, 0, 0, 0))
    layout = ("<" if byte_order == "little" else ">") + "HBBI"
    return b"".join(struct.pack(layout, *one) for one in program)


class Reading:
    """A ring whose filters answer bit by bit what they see."""

    def __init__(self, byte_order: str, operations: "Sequence[tuple[int, int]]") -> None:
        self._order = byte_order
        self._ring = Ring(512, SUBMIT_ALL)
        for operation, pdu_size in operations:
            register(self._ring.fd, operation, _reader(byte_order), pdu_size, SZ_STRICT)

    def context(self, operation: int, fields: "Mapping[str, Any]") -> bytes:
        """Return the context of an operation, 40 bytes, the user data zero."""
        entries = [made(operation, fields, user_data=bit)[-1] for bit in range(64, _BITS)]
        done = self._ring.submit(*entries)
        words = [0] * 10
        for user_data, result, _ in done:
            if result != -errno.EACCES:
                words[user_data // 32] |= 1 << user_data % 32
            if operation == SOCKET and result >= 0:
                os.close(result)
        return struct.pack(("<" if self._order == "little" else ">") + "10I", *words)
