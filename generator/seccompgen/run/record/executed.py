"""The programs that traced processes executed, and the libraries that these had mapped."""

from __future__ import annotations

import os

from seccompgen.run.process import Process
from seccompgen.run.record.observations import Program


class Executed:
    """Programs by path, in the order in which they were executed."""

    def __init__(self) -> None:
        self._libraries: dict[str, dict[str, None]] = {}

    @property
    def programs(self) -> tuple[Program, ...]:
        """All that was executed so far."""
        return tuple(Program(path, tuple(those)) for path, those in self._libraries.items())

    def has(self, tid: int) -> None:
        """Note the program of a thread, and what else it has mapped to run it.

        A program has all its libraries where it ends, so that is when to call this, too.
        """
        try:
            path = os.readlink(f"/proc/{tid}/exe")  # noqa: PTH115 - a magic link
        except OSError:
            return  # gone already
        libraries = self._libraries.setdefault(path, {})
        for one in Process(tid).mappings:
            if one.executable and one.file.startswith(os.sep) and one.file != path:
                libraries[one.file] = None
