"""Filters of io_uring's operations written by hand, what each means, and operations to try.

A filter is instructions, and its meaning a function in Python: neither is made from the other. The
policies of the compiler take their place, or stand beside them, in `guests.rings`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from interpreter import ABS, ALU, AND, JEQ, JGE, JGT, JMP, JSET, LD, RET, RSH, K, W, assemble
from oracle import ABIS
from ring_context import (
    ADDRESSES,
    CONNECT,
    INET,
    INET6,
    OPENAT,
    OPENAT2,
    SHORT_INET6,
    SOCKET,
    pdu_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interpreter import ByteOrder
    from ring_context import Fields, Release

    Code = list[tuple[int, int, int, int]]

NOP, READ, LAST = 0, 22, 65

_NEEDS = {49: {"sqe_flags": 0x20}, 54: {"sqe_flags": 1}}
"""READ_MULTISHOT wants provided buffers, and FIXED_FD_INSTALL a registered file."""

_PERMITTED = (*(0, 6, 11, 14, 15, 19, 23, 27),)
"""NOP, POLL_ADD, TIMEOUT, ASYNC_CANCEL, LINK_TIMEOUT, CLOSE, WRITE and RECV, without conditions."""

_WRITES = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000000
"""O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND and __O_TMPFILE."""


Programs: TypeAlias = "Callable[[str, Release], dict[int, tuple[int, bytes]]]"
"""For an ABI and a release, by operation: the size of the fields, and the program."""


@dataclass(frozen=True, slots=True)
class RingPolicy:
    """Filters by operation, in the order in which they are registered; the rest is refused.

    ``permits`` says what they mean, of an operation and its fields, on an ABI and a release.
    """

    name: str
    programs: Programs
    permits: Callable[[int, Fields, str, Release], bool]


def _assembled(filters: Callable[[ByteOrder, Release], dict[int, Code]]) -> Programs:
    def programs(abi: str, release: Release) -> dict[int, tuple[int, bytes]]:
        order = ABIS[abi].byte_order
        return {
            operation: (pdu_size(operation, release), assemble(code, order))
            for operation, code in filters(order, release).items()
        }

    return programs


def _load(offset: int) -> tuple[int, int, int, int]:
    return LD | W | ABS, 0, 0, offset


def _jump(operation: int, value: int, yes: int, no: int) -> tuple[int, int, int, int]:
    return JMP | operation | K, yes, no, value


_ALLOW, _REFUSE = (RET | K, 0, 0, 1), (RET | K, 0, 0, 0)


def _word(of: str, order: ByteOrder) -> int:
    """Return what a load of four bytes, in hexadecimal digits, gives."""
    return int.from_bytes(bytes.fromhex(of), order)


# One database, one directory, files that were registered.


def _database(order: ByteOrder) -> Code:
    """10.0.0.0/8 at port 5432, and ::1 at any port."""
    return [
        _load(16),
        _jump(JEQ, INET6, 6, 0),
        _jump(JEQ, INET, 0, 14),
        _load(20),
        _jump(JEQ, _word("15380000", order), 0, 12),
        _load(24),
        (ALU | AND | K, 0, 0, _word("ff000000", order)),
        _jump(JEQ, _word("0a000000", order), 8, 9),
        _load(24),
        _jump(JEQ, 0, 0, 7),
        _load(28),
        _jump(JEQ, 0, 0, 5),
        _load(32),
        _jump(JEQ, 0, 0, 3),
        _load(36),
        _jump(JEQ, _word("00000001", order), 0, 1),
        _ALLOW,
        _REFUSE,
    ]


def _stream(_: ByteOrder) -> Code:
    """AF_INET, SOCK_STREAM whatever its flags, and no protocol or TCP."""
    return [
        _load(16),
        _jump(JEQ, INET, 0, 6),
        _load(20),
        (ALU | AND | K, 0, 0, 0xF),
        _jump(JEQ, 1, 0, 3),
        _load(24),
        _jump(JEQ, 0, 2, 0),
        _jump(JEQ, 6, 1, 0),
        _REFUSE,
        _ALLOW,
    ]


def _beneath(order: ByteOrder) -> Code:
    """RESOLVE_BENEATH."""
    return [_load(32 if order == "little" else 36), _jump(JSET, 8, 0, 1), _ALLOW, _REFUSE]


def _registered(order: ByteOrder) -> Code:
    """IOSQE_FIXED_FILE."""
    return [_load(8), _jump(JSET, _word("00010000", order), 0, 1), _ALLOW, _REFUSE]


def _one_database(order: ByteOrder, release: Release) -> dict[int, Code]:
    connects = _database(order) if release >= ADDRESSES else [_REFUSE]
    conditional = {CONNECT: connects, SOCKET: _stream(order), OPENAT2: _beneath(order)}
    return {**{n: [_ALLOW] for n in _PERMITTED}, READ: _registered(order), **conditional}


def _shown(fields: Fields, release: Release) -> tuple[int, int, str]:
    """Return family, port and address as far as the length covers them, else 0 and ""."""
    family = int(fields["family"])
    length = int(fields.get("length", 28 if family == INET6 else 16)) & 0xFFFFFFFF
    if length < 2:
        return 0, 0, ""
    enough = {INET: 16, INET6: 24 if release >= SHORT_INET6 else 28}.get(family, 1000)
    if length < enough:
        return family, 0, ""
    return family, int(fields.get("port", 0)), str(fields["address"])


def _permits_one_database(operation: int, fields: Fields, _: str, release: Release) -> bool:
    if operation == CONNECT:
        if release < ADDRESSES:
            return False
        family, port, address = _shown(fields, release)
        if family == INET6:
            return address == "::1"
        return family == INET and port == 5432 and address.startswith("10.")
    if operation == SOCKET:
        kind = fields.get("type", 0) & 0xF
        return (fields.get("family", 0), kind) == (2, 1) and fields.get("protocol", 0) in {0, 6}
    if operation == OPENAT2:
        return bool(fields.get("resolve", 0) & 8)
    if operation == READ:
        return bool(fields.get("sqe_flags", 0) & 1)
    return operation in _PERMITTED


# Ports that are compared in order, and what only reads.


def _high_port(order: ByteOrder) -> Code:
    """Port 1030 (0x0406) or higher, of IPv4 or IPv6."""
    families = [_load(16), _jump(JEQ, INET, 1, 0)]
    if order == "big":
        return [
            *families,
            _jump(JEQ, INET6, 0, 4),
            _load(20),
            (ALU | RSH | K, 0, 0, 16),
            _jump(JGE, 1030, 0, 1),
            _ALLOW,
            _REFUSE,
        ]
    return [
        *families,
        _jump(JEQ, INET6, 0, 8),
        _load(20),
        (ALU | AND | K, 0, 0, 0xFF),
        _jump(JGT, 4, 4, 0),
        _jump(JEQ, 4, 0, 4),
        _load(20),
        (ALU | RSH | K, 0, 0, 8),
        _jump(JGE, 6, 0, 1),
        _ALLOW,
        _REFUSE,
    ]


def _reading(order: ByteOrder) -> Code:
    """No flag by which a file is changed or made."""
    return [_load(16 if order == "little" else 20), _jump(JSET, _WRITES, 1, 0), _ALLOW, _REFUSE]


def _high_ports(order: ByteOrder, release: Release) -> dict[int, Code]:
    connects = _high_port(order) if release >= ADDRESSES else [_REFUSE]
    return {CONNECT: connects, OPENAT: _reading(order), OPENAT2: _reading(order), NOP: [_ALLOW]}


def _permits_high_ports(operation: int, fields: Fields, _: str, release: Release) -> bool:
    if operation == CONNECT:
        family, port, _ = _shown(fields, release)
        return release >= ADDRESSES and family in {INET, INET6} and port >= 1030
    if operation in {OPENAT, OPENAT2}:
        flags = fields.get("flags", 0)
        if operation == OPENAT and flags & 0o10000000:  # O_PATH, which leaves no other that counts
            return True
        return not flags & _WRITES
    return operation == NOP


# Everything but one port.


def _negation(order: ByteOrder) -> Code:
    """Any port but 22, and none that is not shown."""
    return [
        _load(20),
        _jump(JEQ, 0, 2, 0),
        _jump(JEQ, _word("00160000", order), 1, 0),
        _ALLOW,
        _REFUSE,
    ]


def _all_but_a_port(order: ByteOrder, release: Release) -> dict[int, Code]:
    return {CONNECT: _negation(order) if release >= ADDRESSES else [_REFUSE]}


def _permits_all_but_a_port(operation: int, fields: Fields, _: str, release: Release) -> bool:
    if operation != CONNECT or release < ADDRESSES:
        return False
    return _shown(fields, release)[1] not in {0, 22}


ONE_DATABASE = RingPolicy("one_database", _assembled(_one_database), _permits_one_database)
POLICIES = (
    ONE_DATABASE,
    RingPolicy("high_ports", _assembled(_high_ports), _permits_high_ports),
    RingPolicy("all_but_a_port", _assembled(_all_but_a_port), _permits_all_but_a_port),
)


# Operations to try


_INET_ADDRESSES = (
    *("9.255.255.255", "10.0.0.0", "10.0.0.1", "10.1.2.3", "10.255.255.255", "11.0.0.0"),
    *("0.0.0.10", "0.0.0.0", "2.0.0.10", "127.0.0.1", "255.255.255.255", "138.0.0.1"),
)
_INET6_ADDRESSES = (
    *("::1", "::", "::2", "::100:0", "::1:0:1", "100::", "1::1", "fe80::1", "::10.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::8000:1", "::1:1"),
)
_PORTS = (
    *(0, 1, 22, 56, 1024, 1029, 1030, 1031, 1280, 1536, 5376, 5431, 5432, 5433, 5632),
    *(14357, 32768, 65535),
)
"""Round 22, 1030 and 5432; 56, 5376 and 14357 are halves of 5432, and its bytes swapped."""


def operations() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield operations and their fields: each that there is, and many of those with fields."""
    for operation in range(LAST):
        if operation not in {CONNECT, OPENAT, OPENAT2, SOCKET}:
            yield operation, _NEEDS.get(operation, {})
    yield from ((READ, {"sqe_flags": flags}) for flags in (1, 0x10, 0x11, 0x21))
    yield from ((CONNECT, fields) for fields in _connects())
    yield from _opens()
    for family, kind, protocol in itertools.product(
        (0, 1, 2, 10, 16), (0, 1, 2, 3, 15, 0x801, 0x80001, 0x80801, 0x80802), (0, 6, 17, 262)
    ):
        if not (kind == 3 and protocol):  # the rest make sockets that another protocol has
            yield SOCKET, {"family": family, "type": kind, "protocol": protocol}


def _connects() -> Iterator[dict[str, Any]]:
    for address, port in itertools.product(_INET_ADDRESSES, _PORTS):
        yield {"family": INET, "port": port, "address": address}
    for address, port in itertools.product(_INET6_ADDRESSES, (0, 22, 1030, 5432)):
        yield {"family": INET6, "port": port, "address": address}
    for length in (0, 1, 2, 8, 15, 16, 17, 28, 128, 1 << 32 | 16):
        yield {"family": INET, "port": 5432, "address": "10.1.2.3", "length": length}
    for length in (0, 1, 2, 16, 23, 24, 27, 28, 29, 128):
        yield {"family": INET6, "port": 5432, "address": "::1", "length": length}
    yield from ({"family": family, "length": 16} for family in (0, 1, 16, 40, 44, 0x0A00, 0x0200))


def _opens() -> Iterator[tuple[int, dict[str, Any]]]:
    for bit in range(32):
        yield OPENAT, {"flags": 1 << bit, "mode": 0o7777}
    for flags in (0, 3, 0x7FFFFFFF & ~(1 << 21), 1 << 21 | 0o101, 0o241, 1 << 22 | 1 << 16 | 2):
        yield OPENAT, {"flags": flags, "mode": 0o100644}
    for bit in (0, 1, 6, 8, 9, 10, 15, 16, 21, 22, 24, 31, 32, 63):
        yield OPENAT2, {"flags": 1 << bit, "mode": 0o644, "resolve": 8}
    for bit in (0, 1, 2, 3, 4, 5, 8, 16, 24, 27, 32, 35, 59, 63):
        yield OPENAT2, {"resolve": 1 << bit}
    for resolve in (0, 8 | 16, 0x3F, 8 | 1 << 63):
        yield OPENAT2, {"resolve": resolve}
