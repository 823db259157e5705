"""The end of a program's startup: the threads that a policy applies to, found by their calls.

A policy made for a program's own ``install()`` applies from that call on. The program's filter is
not put in force, since the calls that it refuses would never reach a tracer: the installing call
seems to succeed, and the policy judges instead. The policy applies to the calling thread and all
that it starts from then on; with TSYNC to all threads of the process, as in the kernel.

A call of seccomp(2) without a program marks the end of startup as well, unless it is the first
of the two calls by which ``install()`` probes the kernel. The second has a program of no
instructions.

Each thread is at a stage, which its children inherit. A thread may come to its first stop before
its parent reports it; it is held until then. Sources: seccomp(2), ptrace(2).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.settings import FilterFlag
from seccompgen.core.text import printable
from seccompgen.render.call_names import call_name
from seccompgen.run.notification import Fail, Proceed
from seccompgen.run.process import Process, may_report
from seccompgen.run.steps import InstallStep, step_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.tables import Tables
    from seccompgen.run.notification import Answer, Notification


class Stage(enum.IntEnum):
    """The progress of a thread: before its marker, after a mark, after an install."""

    STARTING = 0
    MARKED = 1
    CONFINED = 2


class Startup:
    """The stages of all traced threads.

    ``flags`` are the policy's. ``report`` receives messages for the user about a process.
    """

    def __init__(self, tables: Tables, flags: FilterFlag, report: Callable[[str], None]) -> None:
        self._tables = tables
        self._flags = flags
        self._report = report
        self._reported: set[tuple[int, str]] = set()
        self._stages: dict[int, Stage] = {}
        self._doubtful: dict[int, list[int]] = {}
        self._waiting: dict[int, int] = {}
        self._last = Stage.STARTING
        """The stage of the thread that ended last, as a child has whose killed parent it was."""
        self._passed = 0

    @property
    def passed(self) -> bool:
        """True once a thread has passed its marker."""
        return self._passed > 0

    def answer(self, asked: Notification) -> Answer | None:
        """Return the answer to a call; None if the policy has to judge it."""
        tid = asked.tid
        stage = self._stages.get(tid, Stage.STARTING)
        if stage is Stage.CONFINED:
            return None
        process = Process(tid)
        name, _ = call_name(asked.call.nr, asked.call.arch, self._tables)
        match step_of(name, asked.call.args, process):
            case InstallStep.INSTALLS:
                flags = FilterFlag(asked.call.args[1] & U32 if name == "seccomp" else 0)
                return self._installs(process, flags)
            case InstallStep.MARKS:
                self._doubtful.pop(tid, None)
                if stage is Stage.STARTING:
                    self._doubtful[tid] = self._move(process, Stage.MARKED, self._flags)
            case InstallStep.EMPTY if tid in self._doubtful:
                self._passed -= 1
                for moved in self._doubtful.pop(tid):
                    self._stages[moved] = Stage.STARTING
            case InstallStep.NONE if stage is Stage.MARKED:
                self._doubtful.pop(tid, None)
                return None
        return Proceed()

    def _installs(self, process: Process, flags: FilterFlag) -> Answer:
        self._doubtful.pop(process.tid, None)
        self._move(process, Stage.CONFINED, self._flags | flags)
        if flags & FilterFlag.NEW_LISTENER:
            # The program needs a working listener.
            self._say(process, "installs a filter with a listener, so that this is put in force as "
                      "well: what it refuses by itself is not reported")  # fmt: skip
            return Proceed()
        return Fail(0)

    def _move(self, process: Process, stage: Stage, flags: FilterFlag) -> list[int]:
        """Move a thread, or by TSYNC all of its process, to ``stage``; return those that moved."""
        self._passed += 1
        threads = process.tids
        tids = threads if flags & FilterFlag.TSYNC else [process.tid]
        moved = [tid for tid in tids if self._stages.get(tid, stage) < stage]
        self._stages |= dict.fromkeys(moved, stage)
        left = [tid for tid in threads if self._stages.get(tid) is Stage.STARTING]
        if left and stage is Stage.CONFINED:
            what = "a thread" if len(left) == 1 else f"{len(left)} threads"
            self._say(process, f"has {what} that the policy does not confine: they ran before its "
                      "filter was installed, and it has no tsync among its flags")  # fmt: skip
        return moved

    def _say(self, process: Process, text: str) -> None:
        if (process.pid, text) not in self._reported:
            self._reported.add((process.pid, text))
            self._report(f"{printable(process.name)}[{process.pid}] {text}")

    # Threads

    def begins(self, tid: int) -> None:
        """Add the command's first thread."""
        self._stages[tid] = Stage.STARTING

    def arrives(self, tid: int) -> bool:
        """Note a thread at a stop; return False if it must wait until its parent reports it."""
        if tid in self._stages:
            return True
        if not may_report(self._stages, tid):
            self._stages[tid] = self._last
            return True
        process = Process(tid)
        self._waiting[tid] = process.pid if process.pid != tid else process.parent
        return False

    def bears(self, parent: int, child: int) -> bool:
        """Note the parent of a thread; return True if the child was waiting for this."""
        self._stages[child] = self._stages.get(parent, Stage.STARTING)
        return self._waiting.pop(child, None) is not None

    def executes(self, tid: int, former: int) -> None:
        """Note that a thread executed a program, which changed its TID, ``former``, to the PID."""
        self._stages[tid] = self._stages.pop(former, self._stages.get(tid, Stage.STARTING))
        self._doubtful.pop(former, None)

    def ends(self, tid: int) -> list[int]:
        """Note the end of a thread; return those that waited for a parent that is gone."""
        stage = self._last = self._stages.pop(tid, Stage.STARTING)
        self._doubtful.pop(tid, None)
        self._waiting.pop(tid, None)
        orphans = [
            child for child, of in self._waiting.items() if of == tid or of not in self._stages
        ]
        for child in orphans:
            del self._waiting[child]
            self._stages[child] = stage
        return orphans
