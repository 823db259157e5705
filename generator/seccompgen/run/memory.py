"""A process's memory for who reads an interpreter's structures: all of what was asked, or nothing.

They are read without the interpreter's help, while a thread of it waits. What is not as it should
be is not guessed at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.run.process import Process


class UnreadableError(Exception):
    """Memory is not what it should be."""


class Memory:
    """The memory of a process of 64 bits that has the low byte first."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        data = self.process.memory(address, size)
        if data is None or len(data) != size:
            raise UnreadableError
        return data

    def pointer(self, address: int) -> int:
        """Return the 64 bits at ``address``."""
        return int.from_bytes(self.read(address, 8), "little")

    def string(self, address: int) -> bytes:
        """Return the bytes up to a NUL."""
        data = self.process.string(address)
        if data is None:
            raise UnreadableError
        return data
