"""Trace processes that run already, and release them unharmed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError
from seccompgen.io.console import say
from seccompgen.policy.implied import CAUGHT
from seccompgen.run import ptrace
from seccompgen.run.patience import impatient
from seccompgen.run.process import Process, require_proc
from seccompgen.run.record.recorder import Recorder, not_traceable
from seccompgen.run.record.requests import all_ignored, answered_by
from seccompgen.run.record.seen import SeenCalls
from seccompgen.run.signals import ENDING, JOB_CONTROL, ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.run.record.observations import Recording
    from seccompgen.run.record.seen import TracedProcess, Watch


_HEARD = ENDING | JOB_CONTROL
"""Signals that end the recording, or would stop this process and so all that it traces."""


def attach(pids: Sequence[int], watch: Watch) -> Recording:
    """Trace processes, and all that they start, until they end or a signal ends the recording.

    A call that a thread waits in is recorded, too. As under every tracer, the kernel restarts the
    call, or it fails with EINTR if it cannot be restarted (signal(7)). Raises OutsideError.
    """
    require_proc()
    recorder = Recorder(SeenCalls(watch, attached=True))
    heard = _HEARD - all_ignored(_HEARD)
    with answered_by(lambda came: recorder.leave() if ends(came) else None, heard), impatient():
        try:
            for pid in dict.fromkeys(pids):
                _attach(recorder, pid)
        except BaseException:
            recorder.leave()
            recorder.run()
            raise
        before = {child for pid in pids for child in Process(pid).children} - {*pids}
        children = ", ".join(map(str, sorted(before)))
        more = f"; not {children}, which it started before: name them with -p" if children else ""
        say(f"watching until Ctrl-C{more}", err=True)
        recorder.run()
    return recorder.recording()


def _attach(recorder: Recorder, pid: int) -> None:
    """Seize all threads of a process, repeatedly, until there are no new ones."""
    # It does not have our filter, so it must stop at the entry of calls, as one with its own does.
    process = recorder.seen.new_process(None, filtered=True)
    known: set[int] = set()
    while new := {*Process(pid).tids} - known:
        known |= new
        for tid in new:
            _seize(recorder, tid, process)
    seized = next(recorder.threads.of(process), None)
    if seized is None:
        raise OutsideError(f"there is no process {pid}")
    # Its first thread may have ended, and has no memory or descriptors left to look at then.
    recorder.note_program(seized)
    recorder.rings.look(seized, process)
    recorder.seen.catches |= {number for number in CAUGHT if Process(pid).catches(number)}
    recorder.seen.threads = recorder.seen.threads or len(known) > 1
    recorder.seen.processes = recorder.seen.processes or bool(Process(pid).children - {pid})


def _seize(recorder: Recorder, tid: int, process: TracedProcess) -> None:
    waits_in = Process(tid).current_call
    try:
        ptrace.seize(tid, outlives=True)
    except ProcessLookupError:
        return  # it has ended
    except OSError as error:
        if Process(tid).state in {"", "Z", "X"}:
            return  # it has ended, which is EPERM as well until it is reaped
        traced_by = int(Process(tid).status.get("TracerPid", 0))
        if error.errno == errno.EPERM and traced_by == os.getpid():
            return  # a thread of ours has just started it
        raise OutsideError(f"process {Process(tid).pid}: {not_traceable(error)}") from None
    recorder.threads.add(tid, process, waits_in)
    ptrace.interrupt(tid)
