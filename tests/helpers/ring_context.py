"""The 40 bytes that a filter of an io_uring operation sees, made of the operation's fields.

Written from include/uapi/linux/io_uring/bpf_filter.h, fcntl.h of the architectures, and what
kernels of several releases answered. It shares no code with seccompgen. ``interpreter.run`` takes
the bytes as it takes a struct seccomp_data.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interpreter import ByteOrder

Fields: TypeAlias = "Mapping[str, Any]"
Release: TypeAlias = tuple[int, int, int]

SIZE = 40
CONNECT, OPENAT, OPENAT2, SOCKET = 16, 18, 28, 45
CONTEXT_OPERATIONS = frozenset({CONNECT, OPENAT, OPENAT2, SOCKET})
"""The operations that have fields."""
INET, INET6 = 2, 10

FILTERS: Release = (7, 0, 0)
"""The first release with filters."""
ADDRESSES: Release = (7, 2, 0)
"""The first that shows the address of a CONNECT."""
SHORT_INET6: Release = (7, 2, 11)
"""The first that shows IPv6 addresses without a scope, of 24 to 27 bytes."""
PLAIN_TYPE: Release = (7, 3, 4)
"""The first known to show a socket's type without SOCK_CLOEXEC and SOCK_NONBLOCK."""
EMPTY_PATH: Release = (7, 2, 0)
"""The first that knows O_EMPTYPATH."""

ASYNC = 0x10
KERNELS_OWN = 0x12
"""Bits of the flags of an entry that the kernel sets by itself."""

_CREAT, _TRUNC, _PATH, _TMPFILE, _CLOEXEC = 1 << 6, 1 << 9, 1 << 21, 1 << 22, 1 << 19
_KNOWN = 0x007FFFC3  # O_ACCMODE, and O_CREAT to __O_TMPFILE
_EMPTYPATH = 1 << 26
_TYPE = 0xF

_BITS = {"O_DIRECTORY": 16, "O_NOFOLLOW": 17, "O_LARGEFILE": 15}
_OTHER_BITS = {
    "aarch64": {"O_DIRECTORY": 14, "O_NOFOLLOW": 15, "O_LARGEFILE": 17},
    "arm": {"O_DIRECTORY": 14, "O_NOFOLLOW": 15, "O_LARGEFILE": 17},
    "ppc64le": {"O_DIRECTORY": 14, "O_NOFOLLOW": 15, "O_LARGEFILE": 16},
}


def release(version: str) -> Release:
    """Return the release of a kernel by its version, such as ``7.2.13-1`` or ``7.3~rc7-1~exp1``.

    A candidate comes before the release: ``(7, 3, -1)``.
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(~rc)?", version)
    assert found, version
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), -1 if candidate else int(patch or 0)


def open_flag(name: str, abi: str) -> int:
    """Return a flag of open(2) whose bit differs between architectures."""
    return 1 << _OTHER_BITS.get(abi, _BITS)[name]


def pdu_size(operation: int, of: Release) -> int:
    """Return the size of the fields, as the kernel says it."""
    if operation == CONNECT:
        return 24 if of >= ADDRESSES else 0
    return {OPENAT: 24, OPENAT2: 24, SOCKET: 12}.get(operation, 0)


def sockaddr(fields: Fields, byte_order: ByteOrder) -> bytes:
    """Return the address that a CONNECT names: its ``family``, ``port`` and ``address``."""
    family = int(fields["family"])
    port = struct.pack(">H", fields.get("port", 0))
    start = family.to_bytes(2, byte_order)
    address = ipaddress.ip_address(fields.get("address", "::" if family == INET6 else "0.0.0.0"))
    if family == INET6:
        return start + port + b"\xab\xcd\xef\x01" + address.packed + bytes(4)
    if family == INET:
        return start + port + address.packed + bytes(8)
    return start + b"/tmp/x".ljust(14, b"\0")


def context(
    operation: int,
    fields: Fields,
    abi: str,
    byte_order: ByteOrder,
    of: Release,
    user_data: int = 0,
) -> bytes:
    """Return the ``struct io_uring_bpf_ctx`` of an operation with these fields.

    A CONNECT has ``family``, ``port``, ``address``, and ``length`` if not all of it; an OPENAT
    ``flags`` and ``mode``; an OPENAT2 ``resolve`` besides; a SOCKET ``family``, ``type`` and
    ``protocol``. Any may have ``sqe_flags``. What is not given is 0.
    """
    order = "<" if byte_order == "little" else ">"
    flags = int(fields.get("sqe_flags", 0))
    size = pdu_size(operation, of)
    own = bytes(24)
    if operation == CONNECT and size:
        own = _connect(fields, byte_order, of)
    elif operation in {OPENAT, OPENAT2}:
        how = [int(fields.get(name, 0)) for name in ("flags", "mode", "resolve")]
        if operation == OPENAT:
            how = [*_normalised(how[0] & 0xFFFFFFFF, how[1], abi, of), 0]
        if not how[0] & _PATH:
            how[0] |= open_flag("O_LARGEFILE", abi)
        if how[0] & (_CREAT | _TRUNC | _TMPFILE):
            flags |= ASYNC
        own = struct.pack(order + "3Q", *how)
    elif operation == SOCKET:
        words = [int(fields.get(name, 0)) & 0xFFFFFFFF for name in ("family", "type", "protocol")]
        if of >= PLAIN_TYPE:
            words[1] &= _TYPE
        own = struct.pack(order + "3I", *words).ljust(24, b"\0")
    return struct.pack(order + "QBBB5x", user_data, operation, flags, size) + own


def _connect(fields: Fields, byte_order: ByteOrder, of: Release) -> bytes:
    """Return the 24 bytes of a CONNECT: what its length covers."""
    address = sockaddr(fields, byte_order)
    length = int(fields.get("length", len(address))) & 0xFFFFFFFF
    if length < 2:
        return bytes(24)
    family = address[:2]
    wide = bytes(2) + family if byte_order == "big" else family + bytes(2)
    shown = b""
    if fields["family"] == INET and length >= 16:
        shown = address[2:4] + bytes(2) + address[4:8]
    elif fields["family"] == INET6 and length >= (24 if of >= SHORT_INET6 else 28):
        shown = address[2:4] + bytes(2) + address[8:24]
    return (wide + shown).ljust(24, b"\0")


def _normalised(flags: int, mode: int, abi: str, of: Release) -> tuple[int, int]:
    """Return what open(2) and openat(2) make of flags and mode."""
    flags &= _KNOWN | (_EMPTYPATH if of >= EMPTY_PATH else 0)
    if flags & _PATH:
        flags &= _PATH | _CLOEXEC | open_flag("O_DIRECTORY", abi) | open_flag("O_NOFOLLOW", abi)
    return flags, mode & 0o7777 if flags & (_CREAT | _TMPFILE) else 0
