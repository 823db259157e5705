"""/proc's view of a process: names, memory, descriptors, and mappings.

None means that the kernel did not answer: the process is gone, or we may not look at it (another
user's, or one whose program we may not read). Source: proc(5).
"""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError
from seccompgen.run.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_STRING_MAX = 4096
"""PATH_MAX; longer strings are cut."""
_PAGE = 4096


def require_proc() -> None:
    """Raise OutsideError unless /proc belongs to our PID namespace."""
    try:
        ours = os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115 - it is a text
    except OSError:
        ours = False
    if not ours:
        raise OutsideError(
            "/proc is not mounted, or is another PID namespace's, so that it shows other "
            "processes than those here: mount it (unshare --mount-proc does)"
        )


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """A location in memory: the file mapped there (or a name such as ``[stack]``), and the offset.

    ``offset`` is in bytes into the file, or into the mapping if there is no file. ``function`` is
    the function around the location, or its caller if that has no name; empty if neither has one.
    ``within`` is the offset from that function's start.
    """

    file: str
    offset: int
    function: str = ""
    within: int = 0

    def __str__(self) -> str:
        """Render as debuggers do."""
        location = f"{self.file}+{self.offset:#x}"
        return f"{self.function}+{self.within:#x} ({location})" if self.function else location


@dataclass(frozen=True, slots=True)
class Mapping:
    """A line of /proc/PID/maps; addresses and offset are in bytes."""

    start: int
    end: int
    offset: int
    file: str
    inode: int
    executable: bool


class UnreadableError(Exception):
    """Memory could not be read, or its content is not as expected."""


class Process:
    """A thread and its process, read when asked for; `status` and `mappings` are cached."""

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self._directory = Path(f"/proc/{tid}")
        self._keeps_waiting = False

    @cached_property
    def status(self) -> dict[str, str]:
        """The fields of /proc/TID/status; empty if there is none."""
        parts = (line.partition(":") for line in self._lines("status"))
        return {key: value.strip() for key, _, value in parts}

    @property
    def pid(self) -> int:
        """The PID of the process, which is the TID of its first thread."""
        return int(self.status.get("Tgid", self.tid))

    @property
    def own_tid(self) -> int:
        """The TID as the thread itself sees it, in its innermost PID namespace."""
        return int(self.status.get("NSpid", str(self.tid)).split()[-1])

    @property
    def name(self) -> str:
        """The thread's name, up to 15 bytes."""
        return self.status.get("Name", "?")

    @property
    def state(self) -> str:
        """The letter of the thread's state in proc(5); empty if the thread is gone."""
        return self.status.get("State", "")[:1]

    @property
    def has_memory(self) -> bool:
        """True unless the process has ended, or was killed while it was stopped."""
        return "VmSize" in self.status

    @property
    def threads(self) -> int:
        """The number of threads of the process."""
        return int(self.status.get("Threads", 1))

    @property
    def tids(self) -> list[int]:
        """The TIDs of the process's threads; none if it is gone."""
        try:
            return [int(name) for name in os.listdir(self._directory / "task")]  # noqa: PTH208 - names
        except OSError:
            return []

    @property
    def parent(self) -> int:
        """The PID of this process's parent; 0 if this process is gone."""
        return int(self.status.get("PPid", 0))

    @property
    def starter(self) -> int | None:
        """The TID of the thread that started this process; None if that is gone.

        It is the number that the starting thread itself sees.
        """
        parent = Process(self.parent)
        for tid in parent.tids:
            if str(self.pid) in parent._children_of(tid):
                return Process(tid).own_tid
        return None

    def catches(self, number: int) -> bool:
        """Return True if the process has a handler for the signal."""
        return self._in_set("SigCgt", number)

    def handles(self, number: int) -> bool:
        """Return True if the signal is caught, blocked or ignored."""
        return self.catches(number) or self.defies(number)

    def defies(self, number: int) -> bool:
        """Return True if the thread blocks the signal, or its process ignores it."""
        return self._in_set("SigBlk", number) or self._in_set("SigIgn", number)

    def ignores(self, number: int) -> bool:
        """Return True if the process ignores the signal."""
        return self._in_set("SigIgn", number)

    def is_pending(self, number: int) -> bool:
        """Return True if the signal is pending for the process or this thread."""
        return self._in_set("ShdPnd", number) or self._in_set("SigPnd", number)

    def send(self, number: int) -> None:
        """Send the thread a signal; do nothing if the thread is gone."""
        ctypes.CDLL(None).tgkill(self.pid, self.tid, int(number))

    def end_by_sigsys(self) -> None:
        """End the process with SIGSYS to this thread if that is fatal, else with SIGKILL."""
        self.send(signal.SIGKILL if self.handles(signal.SIGSYS) else signal.SIGSYS)

    def _in_set(self, key: str, number: int) -> bool:
        return bool(int(self.status.get(key, "0"), 16) >> (number - 1) & 1)

    @property
    def children(self) -> set[int]:
        """The PIDs of the process's living children."""
        return {int(word) for tid in self.tids for word in self._children_of(tid)}

    def _children_of(self, tid: int) -> list[str]:
        return " ".join(self._lines(f"task/{tid}/children")).split()

    @property
    def current_call(self) -> tuple[int, ...]:
        """Number and arguments of the call that the thread waits in; empty if it waits in none."""
        words = " ".join(self._lines("syscall")).split()
        if len(words) < 7 or words[0].startswith("-"):
            return ()
        return int(words[0]), *(int(word, 16) for word in words[1:7])

    @property
    def stack_pointer(self) -> int:
        """The stack pointer while the thread waits in a call; 0 if unknown."""
        return self._waits_at(-2)

    @property
    def instruction_pointer(self) -> int:
        """The address after the call instruction that the thread waits in; 0 if unknown."""
        return self._waits_at(-1)

    def _waits_at(self, word: int) -> int:
        words = " ".join(self._lines("syscall")).split()
        return int(words[word], 16) if len(words) > 2 else 0

    def memory(self, address: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes at ``address``: fewer if fewer are mapped, None on an error.

        After a read that took too long, no memory of the process is read again.
        """
        if self._keeps_waiting:
            return None
        try:
            return patiently(lambda: self._read(size, address))
        except TimeoutError:
            self._keeps_waiting = True
            return None
        except OSError:
            return None

    def _read(self, size: int, address: int) -> bytes | None:
        with (self._directory / "mem").open("rb", buffering=0) as file:
            try:
                return os.pread(file.fileno(), size, address)
            except (OverflowError, ValueError):  # not an address
                return None

    def exactly(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes; raise UnreadableError if some cannot be read."""
        data = self.memory(address, size)
        if data is None or len(data) != size:
            raise UnreadableError
        return data

    def pointer(self, address: int) -> int:
        """Return the 64-bit little-endian word at ``address``; raise as `exactly` does."""
        return int.from_bytes(self.exactly(address, 8), "little")

    def string(self, address: int, limit: int = _STRING_MAX) -> bytes | None:
        """Return the bytes at ``address`` up to a NUL, at most ``limit``; None if unreadable."""
        found = b""
        while len(found) < limit:
            # A read across the end of a mapping may fail as a whole, so never cross a page.
            size = min(_PAGE - (address + len(found)) % _PAGE, limit - len(found))
            data = self.memory(address + len(found), size)
            if not data:
                return found or None
            head, end, _ = data.partition(b"\0")
            found += head
            if end:
                break
        return found

    def descriptor(self, number: int) -> str | None:
        """Return /proc's name for a descriptor's target: a path, or such as ``socket:[123]``."""
        return self._link(f"fd/{number}")

    @property
    def directory(self) -> str | None:
        """The working directory."""
        return self._link("cwd")

    @property
    def executable(self) -> str | None:
        """The path of the program that runs."""
        return self._link("exe")

    @property
    def bits(self) -> int | None:
        """The width of the program that runs, 32 or 64, by its ELF header; None if unknown."""
        try:
            with (self._directory / "exe").open("rb", buffering=0) as file:
                header = file.read(5)
        except OSError:
            return None
        return {b"\x7fELF\x01": 32, b"\x7fELF\x02": 64}.get(header)

    @cached_property
    def mappings(self) -> tuple[Mapping, ...]:
        """The mappings, in the order of addresses."""
        return tuple(map(_mapping, self._lines("maps")))

    def mapping(self, address: int) -> Mapping | None:
        """Return the mapping that contains ``address``, None if there is none."""
        return next((one for one in self.mappings if one.start <= address < one.end), None)

    def _lines(self, name: str) -> list[str]:
        """Return the lines of a file below /proc/TID; none if it cannot be read.

        In names that a process chose, the kernel escapes newlines, but not the other characters
        that `str.splitlines` or text mode treats as ends of lines.
        """
        try:
            data = (self._directory / name).read_bytes()
        except OSError:
            return []
        return os.fsdecode(data).removesuffix("\n").split("\n") if data else []

    def _link(self, name: str) -> str | None:
        try:
            return str((self._directory / name).readlink())
        except OSError:
            return None


def may_report(tids: Collection[int], child: int) -> bool:
    """Return True if one of the traced threads ``tids`` may yet report that it started ``child``.

    A thread that is killed in between reports nothing. With CLONE_PARENT it starts a sibling.
    """
    process = Process(child)
    if process.pid != child:
        return process.pid in tids
    parent = process.parent
    return parent in tids or any(Process(tid).parent == parent for tid in tids)


def processes_traced_by(pid: int) -> Iterator[Process]:
    """Yield the processes whose first threads are traced by process ``pid``."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names
        if name.isdecimal():
            process = Process(int(name))
            if process.status.get("TracerPid") == str(pid):
                yield process


def _mapping(line: str) -> Mapping:
    span, permissions, offset, _, inode, *file = line.split(maxsplit=5)
    start, end = (int(word, 16) for word in span.split("-"))
    name = file[0] if file else ""
    return Mapping(start, end, int(offset, 16), name, int(inode), "x" in permissions)
