"""A ring in the memory of a traced process: its layout, and the entries in its submission queue.

The layout is what io_uring_setup reported. A ring is mapped from its descriptor, and the inode of
the mapping says from which; or it lies where the program wanted it (IORING_SETUP_NO_MMAP).

Sources: io_uring_setup(2), include/uapi/linux/io_uring.h, io_uring/io_uring.c (io_submit_sqes).
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import U32
from seccompgen.core.ring import FAMILY, IPV4, IPV6, OPERATION_FIELDS, PORT, SQE_FLAGS
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.run.process import UnreadableError
from seccompgen.run.record.observations import SeenOperation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.ring import RingField
    from seccompgen.run.process import Process

REGISTERED_FD_ONLY = 1 << 15
_SQPOLL, _SQE128, _NO_MMAP, _NO_SQARRAY, _SQE_MIXED, _SQ_REWIND = (
    1 << n for n in (1, 10, 14, 16, 19, 20)
)
KNOWN_FLAGS = (_SQ_REWIND << 1) - 1
"""The IORING_SETUP_ flags of Linux 7.3; an unknown one may change the layout."""
RING_FILE = "anon_inode:[io_uring]"
"""/proc's name for a ring's descriptors and mappings."""
PARAMETERS_SIZE = 120
"""sizeof(struct io_uring_params)."""
_PARAMETERS = struct.Struct("=I4xI28x8IQ32xQ")
"""Of io_uring_params: sq_entries, flags, the eight offsets of sq_off, both user_addr."""
_ENTRIES_AT = 0x10000000
"""IORING_OFF_SQES: the offset of the entries in the descriptor."""
_WORD = struct.Struct("=I")
_ENTRY = struct.Struct("=BB2xiQQII32x")
"""Of io_uring_sqe: opcode, flags, fd, off, addr, len, and the operation's flags."""
_HOW = struct.Struct("=3Q")
"""``struct open_how``."""
_ADDRESS_MAX = 128
_OPENAT, _OPENAT2, _CONNECT, _SOCKET = (
    ring_numbers().operations[name].nr for name in ("OPENAT", "OPENAT2", "CONNECT", "SOCKET")
)
POINTS = frozenset({_OPENAT2, _CONNECT})
"""Operations with fields in other memory, which they must leave alone only until they are taken."""
_OF_128_BYTES = frozenset(ring_numbers().operations[name].nr for name in ("NOP128", "URING_CMD128"))
_OPEN, _OF_SOCKET = OPERATION_FIELDS["OPENAT"], OPERATION_FIELDS["SOCKET"]
_AF_INET, _AF_INET6 = 2, 10


@dataclass(slots=True)
class Ring:
    """A ring: flags, number of entries, and offsets of words in its memory.

    ``memory`` has the addresses of its words and of its entries, if the program chose them. It was
    made through ``abi``. ``inode`` is that of its file, 0 if it has none.
    Positions count entries since its beginning, modulo 2**32; ``read`` is the first that has not
    been read.
    """

    flags: int
    entries: int
    head: int
    tail: int
    mask: int
    count: int
    array: int
    memory: tuple[int, int] | None
    abi: str
    inode: int = 0
    read: int = 0

    @property
    def polled(self) -> bool:
        """True if a thread of the kernel takes the entries, without a call."""
        return bool(self.flags & _SQPOLL)

    @property
    def rewinds(self) -> bool:
        """True if each call takes the entries from the first on; head and tail are not used."""
        return bool(self.flags & _SQ_REWIND)


class Queue(NamedTuple):
    """The entries of a ring that wait: positions, and the addresses of words and entries."""

    head: int
    tail: int
    words_at: int
    entries_at: int


def ring_of(parameters: bytes, abi: str) -> Ring:
    """Return the ring that ``struct io_uring_params`` describes after io_uring_setup."""
    entries, flags, head, tail, mask, count, _, _, array, _, entries_at, words_at = (
        _PARAMETERS.unpack(parameters)
    )
    memory = (words_at, entries_at) if flags & _NO_MMAP else None
    return Ring(flags, entries, head, tail, mask, count, array, memory, abi)


def ahead(position: int, other: int) -> bool:
    """Return True if ``position`` comes after ``other``."""
    return 0 < (position - other) & U32 < 1 << 31


def queue_of(ring: Ring, process: Process, places: dict[int, tuple[int, int]]) -> Queue:
    """Return what waits in a ring; ``places`` has the addresses that are known, by inode.

    Raises UnreadableError if the ring is not in the memory of ``process``, or not as it should be.
    """
    known = places.get(ring.inode) if ring.memory is None else ring.memory
    if known:
        try:
            return _queue_at(ring, process, known)
        except UnreadableError:
            if ring.memory:
                raise
    found = places[ring.inode] = mapped(ring, process)
    return _queue_at(ring, process, found)


def _queue_at(ring: Ring, process: Process, place: tuple[int, int]) -> Queue:
    offsets = (ring.head, ring.tail, ring.mask, ring.count)
    data = process.exactly(place[0], max(offsets) + 4)
    head, tail, mask, count = (_WORD.unpack_from(data, offset)[0] for offset in offsets)
    if (mask, count) != (ring.entries - 1, ring.entries):
        raise UnreadableError
    if not ring.rewinds and (tail - head) & U32 > ring.entries:
        raise UnreadableError
    return Queue(head, tail, *place)


def mapped(ring: Ring, process: Process) -> tuple[int, int]:
    """Return where the words and the entries of a ring are mapped; raise UnreadableError if not."""
    starts = {
        one.offset: one.start
        for one in process.mappings
        if one.inode == ring.inode and one.file.startswith(RING_FILE)
    }
    if not starts.keys() >= {0, _ENTRIES_AT}:
        raise UnreadableError
    return starts[0], starts[_ENTRIES_AT]


def waiting(
    ring: Ring, queue: Queue, process: Process, first: int, end: int
) -> Iterator[SeenOperation]:
    """Yield the operations at the positions from ``first`` up to ``end``.

    Raises UnreadableError if one of them cannot be read.
    """
    size = _ENTRY.size << bool(ring.flags & _SQE128)
    second = False
    count = (end - first) & U32
    if count > ring.entries:  # the program wrote into words that are the kernel's
        raise UnreadableError
    slots = [(first + n) & (ring.entries - 1) for n in range(count)]
    indices = slots
    if not ring.flags & _NO_SQARRAY:
        array = _rows(slots, process, queue.words_at + ring.array, _WORD.size)
        indices = [index for row in array for (index,) in [_WORD.unpack(row)]]
    # The kernel drops an entry whose index is too large.
    kept = [index for index in indices if index < ring.entries]
    for entry in _rows(kept, process, queue.entries_at, size):
        if second:  # of an operation of two entries
            second = False
            continue
        found = _operation(entry[: _ENTRY.size], process)
        second = bool(ring.flags & _SQE_MIXED) and found.opcode in _OF_128_BYTES
        yield found


def _rows(indices: Sequence[int], process: Process, at: int, size: int) -> Iterator[bytes]:
    """Yield the rows of a table at ``at`` with these indices; successive ones are read at once."""
    begin = 0
    for n in range(1, len(indices) + 1):
        if n < len(indices) and indices[n] == indices[n - 1] + 1:
            continue
        count = n - begin
        data = process.exactly(at + indices[begin] * size, count * size)
        yield from (data[k : k + size] for k in range(0, count * size, size))
        begin = n


def _operation(entry: bytes, process: Process) -> SeenOperation:
    """Return an operation with the fields that a filter of the kernel sees of it."""
    opcode, flags, fd, off, addr, length, op_flags = _ENTRY.unpack(entry)
    fields: list[tuple[RingField, int]] = []
    if opcode == _OPENAT:
        fields += zip(_OPEN, (op_flags, length, 0), strict=True)
    elif opcode == _OPENAT2:
        fields += zip(_OPEN, _HOW.unpack(process.exactly(off, _HOW.size)), strict=True)
    elif opcode == _SOCKET:
        fields += zip(_OF_SOCKET, (fd & U32, off & 0xF, length), strict=True)
    elif opcode == _CONNECT:
        fields += _address(process, addr, min(off & U32, _ADDRESS_MAX))
    fields.append((SQE_FLAGS, flags & SQE_FLAGS.bits))
    return SeenOperation(opcode, tuple(fields))


def _address(process: Process, at: int, length: int) -> Iterator[tuple[RingField, int]]:
    """Yield the fields of an address; the kernel shows one that is too short as zeros."""
    data = process.exactly(at, length) if length else b""
    family = int.from_bytes(data[:2], sys.byteorder) if length >= 2 else 0
    yield FAMILY, family
    if family in {_AF_INET, _AF_INET6}:
        field, start, end = (IPV4, 4, 8) if family == _AF_INET else (IPV6, 8, 24)
        whole = length >= (16 if family == _AF_INET else 24)
        yield PORT, int.from_bytes(data[2:4], "big") if whole else 0
        yield field, int.from_bytes(data[start:end], "big") if whole else 0
