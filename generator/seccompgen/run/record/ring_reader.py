"""Read what traced threads give to their rings, at the calls that hand it to the kernel.

At the entry of io_uring_enter the entries that wait in the ring are read from the thread's memory;
at its exit the ring's head must have moved over entries that were read, and these must be as they
were. So what the kernel takes without a call, or another thread changes meanwhile, is found out,
and so is a ring that is not the one that it seems. A ring is known by the inode of its descriptor,
which each has for itself since Linux 5.13: it stays known when its descriptor is duplicated,
inherited or passed on.

The entries of a ring with SQPOLL are taken without a call. They stay where they are until the ring
comes round, so they are read at every stop of the process that made it, and counted.

Sources: io_uring_enter(2), io_uring_register(2).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64
from seccompgen.core.ring import RING_CALLS
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.run.process import Process, UnreadableError
from seccompgen.run.record.ring_memory import (
    KNOWN_FLAGS,
    PARAMETERS_SIZE,
    POINTS,
    REGISTERED_FD_ONLY,
    RING_FILE,
    ahead,
    mapped,
    queue_of,
    ring_of,
    waiting,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.run.record.observations import SeenOperation
    from seccompgen.run.record.ring_memory import Queue, Ring
    from seccompgen.run.record.seen import TracedProcess

_SETUP, _ENTER, _REGISTER = RING_CALLS
_BY_INDEX = 1 << 4
"""IORING_ENTER_REGISTERED_RING: the ring is given by its index."""
_OPCODE = (1 << 31) - 1
_RING_FDS, _UNREGISTER_RING_FDS, _RESIZE_RINGS = (
    ring_numbers().register[name].nr for name in ("RING_FDS", "UNREGISTER_RING_FDS", "RESIZE_RINGS")
)
_UPDATE = struct.Struct("=I4xQ")
"""``struct io_uring_rsrc_update``: offset, and data, here a descriptor."""
_MOST_REGISTERED = 16
_LEAST_ERROR = U64 - 4095
_POLLED = "a ring has SQPOLL, so that a thread of the kernel takes its operations"
_LOST = f"{_POLLED}: there were more between two calls than the ring keeps"
_UNMAPPED = f"{_POLLED}: it was unmapped, or its process ended, before they were read"
_POINTED = f"{_POLLED}: what CONNECT and OPENAT2 point to may have changed before it was read"
_STRANGE = "a ring that was made before the recording, or by a process that is not recorded"
_LIKE_OTHERS = "several rings look the same to /proc: record on Linux 5.13 or newer"
_UNREADABLE = (
    "the memory of a ring could not be read: it is not mapped where it is used, its process "
    "forbids it (PR_SET_DUMPABLE), or the kernel is older than Linux 6.10"
)
_TAKEN = "the kernel took operations from a ring that were not in it when the call began"
_CHANGED = "operations were changed while the kernel took them"
_ELSEWHERE = "the kernel took operations from another ring than the one that was read"
_RESIZED = "a ring was resized"


@dataclass(slots=True)
class RingCall:
    """A call about a ring that a thread is making.

    For io_uring_enter ``queue`` is what waited in ``ring``, and ``given`` the operations there.
    """

    name: str
    abi: str
    args: Sequence[int]
    process: TracedProcess
    ring: Ring | None = None
    queue: Queue | None = None
    given: list[SeenOperation] = field(default_factory=list)


class RingReader:
    """The rings of all traced processes, by inode, and by thread and index if registered.

    ``all_calls`` is False if some calls are not stopped at.
    """

    def __init__(self, *, all_calls: bool = True) -> None:
        self._all_calls = all_calls
        self._rings: dict[int, Ring] = {}
        self._registered: dict[int, dict[int, Ring | None]] = {}

    def begins(
        self,
        tid: int,
        name: str,
        abi: str,
        args: Sequence[int],
        process: TracedProcess,
        *,
        counts: bool,
    ) -> RingCall:
        """Read what a thread hands to the kernel by a call; return the call, to follow its end.

        Operations are added to the process's uses if it ``counts``.
        """
        call = RingCall(name, abi, args, process)
        if name == _REGISTER and counts:
            process.rings.registered.add(args[1] & _OPCODE)
        if name == _ENTER and args[1] & U32:
            ring = self._named(tid, args)
            call.ring = ring
            if ring and not ring.polled:
                self._read(tid, call, ring, counts=counts)
        return call

    def _read(self, tid: int, call: RingCall, ring: Ring, *, counts: bool) -> None:
        process, memory = call.process, Process(tid)
        try:
            queue = queue_of(ring, memory, process.ring_places)
            if ring.rewinds:
                queue = queue._replace(head=0, tail=min(call.args[1] & U32, ring.entries))
            elif ahead(queue.head, ring.read):
                process.rings.miss(_TAKEN)
            call.given += waiting(ring, queue, memory, queue.head, queue.tail)
        except UnreadableError:
            process.rings.miss(_UNREADABLE)
            return
        call.queue = queue
        if ahead(queue.tail, ring.read):
            ring.read = queue.tail
        for one in call.given if counts else ():
            process.rings.add(call.abi, one)

    def polls(self, tid: int, process: TracedProcess, *, counts: bool) -> None:
        """Read what a process has put since its last stop into rings that need no call."""
        for ring in [*process.polled]:
            memory = Process(tid)
            try:
                queue = queue_of(ring, memory, process.ring_places)
                count = (queue.tail - ring.read) & U32
                first = queue.tail - min(count, ring.entries)
                given = list(waiting(ring, queue, memory, first, queue.tail))
            except UnreadableError:
                self._unreadable(ring, process, memory)
                continue
            # Entries that are filled already, but not yet given, may be in the place of read ones.
            if count > ring.entries // 2:
                process.rings.miss(_LOST)
            ring.read = queue.tail
            for one in given if counts else ():
                process.rings.add(ring.abi, one)
                if one.opcode in POINTS:
                    process.rings.miss(_POINTED)

    def _unreadable(self, ring: Ring, process: TracedProcess, memory: Process) -> None:
        """Note what it means that a ring cannot be read."""
        if not memory.has_memory:
            return  # killed while it was stopped: its end says so
        if not memory.mappings:
            process.rings.miss(_UNREADABLE)
            return
        known = process.ring_places.pop(ring.inode, None) or ring.memory
        try:
            is_mapped = bool(ring.memory or mapped(ring, memory))
        except UnreadableError:
            is_mapped = False
        if known and is_mapped:
            process.rings.miss(_UNREADABLE)
        elif known:  # all was read at the call that unmapped it
            process.polled.remove(ring)
            if not self._all_calls:
                process.rings.miss(_UNMAPPED)

    def ends(self, tid: int, call: RingCall, result: int) -> None:
        """Note what came of a call, with its ``result`` in 64 bits."""
        failed = result >= _LEAST_ERROR
        if call.name == _ENTER:
            self._entered(tid, call, 0 if failed else result, failed=failed)
        elif not failed and call.name == _SETUP:
            self._made(tid, call, result)
        elif not failed:
            self._registers(tid, call, result)

    def _entered(self, tid: int, call: RingCall, taken: int, *, failed: bool) -> None:
        ring, uses = call.ring, call.process.rings
        if ring is None:
            if not failed and self._named(tid, call.args) is None:
                uses.miss(_STRANGE)
            return
        if call.queue is None:  # it is polled, or was not read
            return
        begin = call.queue.head
        try:
            now = queue_of(ring, Process(tid), call.process.ring_places)
            end = (begin + taken) & U32 if ring.rewinds else now.head
            if taken > (end - begin) & U32:
                uses.miss(_ELSEWHERE)
            if ahead(end, call.queue.tail if ring.rewinds else ring.read):
                uses.miss(_TAKEN)
            last = call.queue.tail if ahead(end, call.queue.tail) else end
            again = list(waiting(ring, now, Process(tid), begin, last))
        except UnreadableError:
            uses.miss(_UNREADABLE)
            return
        if again != call.given[: len(again)]:
            uses.miss(_CHANGED)

    def _made(self, tid: int, call: RingCall, result: int) -> None:
        uses = call.process.rings
        uses.made += 1
        data = Process(tid).memory(call.args[1], PARAMETERS_SIZE)
        if data is None or len(data) != PARAMETERS_SIZE:
            uses.miss(_UNREADABLE)
            return
        ring = ring_of(data, call.abi)
        if ring.polled:
            call.process.polled.append(ring)
        if ring.flags & ~KNOWN_FLAGS:
            uses.miss(f"a ring has flags that Linux 7.3 does not know: {ring.flags:#x}")
        if ring.flags & REGISTERED_FD_ONLY:
            self._registered.setdefault(tid, {})[result] = ring
            return
        inode = _inode(tid, result)
        if inode is None or inode in self._rings:
            uses.miss(_LIKE_OTHERS if inode else _UNREADABLE)
            return
        ring.inode = inode
        self._rings[inode] = ring

    def _registers(self, tid: int, call: RingCall, result: int) -> None:
        opcode = call.args[1] & _OPCODE
        if opcode == _RESIZE_RINGS:
            call.process.rings.miss(_RESIZED)
        if opcode not in {_RING_FDS, _UNREGISTER_RING_FDS}:
            return
        own = self._registered.setdefault(tid, {})
        count = min(result, _MOST_REGISTERED)
        data = Process(tid).memory(call.args[2], count * _UPDATE.size) or b""
        for index, descriptor in _UPDATE.iter_unpack(data[: len(data) // 16 * 16]):
            inode = _inode(tid, descriptor & U32) if opcode == _RING_FDS else None
            own[index] = self._rings.get(inode) if inode else None

    def _named(self, tid: int, args: Sequence[int]) -> Ring | None:
        """Return the ring that a thread enters, None if it is not known."""
        descriptor = args[0] & U32
        if args[3] & _BY_INDEX:
            return self._registered.get(tid, {}).get(descriptor)
        inode = _inode(tid, descriptor)
        return self._rings.get(inode) if inode else None

    def executes(self, tid: int, process: TracedProcess) -> None:
        """Forget what a thread had before it executed a program; look for rings that it kept."""
        self.forget(tid)
        process.ring_places.clear()
        process.polled.clear()
        self.look(tid, process)

    def look(self, tid: int, process: TracedProcess) -> None:
        """Look for rings of a process that are not known."""
        try:
            descriptors = [int(one.name) for one in Path(f"/proc/{tid}/fd").iterdir()]
        except OSError:
            return  # gone already
        inodes = {_inode(tid, one) for one in descriptors}
        inodes |= {one.inode for one in Process(tid).mappings if one.file.startswith(RING_FILE)}
        if inodes - {None, *self._rings}:
            process.rings.miss(_STRANGE)
        if any(one and one in self._rings and self._rings[one].polled for one in inodes):
            process.rings.miss(_UNMAPPED)

    def killed(self, process: TracedProcess) -> None:
        """Note that a process was killed, without a stop before."""
        if process.polled:
            process.rings.miss(_UNMAPPED)

    def forget(self, tid: int) -> None:
        """Forget the registered rings of a thread that has ended."""
        self._registered.pop(tid, None)


def _inode(tid: int, descriptor: int) -> int | None:
    """Return the inode of a ring's descriptor; None if it is of something else."""
    path = f"/proc/{tid}/fd/{descriptor}"
    try:
        if os.readlink(path) != RING_FILE:  # noqa: PTH115 - a magic link
            return None
        return os.stat(path).st_ino  # noqa: PTH116
    except OSError:
        return None
