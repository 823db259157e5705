"""Work for the pool's tests; workers import it by this name."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from seccompgen.core.errors import Diagnostic, InputError, Position


def square(shared: int, job: int) -> tuple[int, int]:
    """Return the answer and who found it; be slower at some, so that they overtake each other."""
    time.sleep(0.02 * (job % 3))
    return shared + job * job, os.getpid()


def refuse_odd(shared: str, job: int) -> int:
    """Raise an error with a position for odd jobs."""
    if job % 2:
        raise InputError(
            Diagnostic(f"{shared} {job} is odd", Position("file", job, 1)), "and that is no good"
        )
    return job


def die_at_three(parent: int, job: int) -> int:
    """Die without a word at job 3, unless it is the parent that does it."""
    if job == 3 and os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def long_answer(_: None, job: int) -> bytes:
    """Answer with more than fits into a pipe."""
    return bytes([job]) * (8 << 20)


def nap(marks: Path, job: int) -> None:
    """Say who has begun, then take long, but for the first job."""
    (marks / str(os.getpid())).touch()
    time.sleep(600 * min(job, 1))


def foreign_threads(shared: None, job: int) -> tuple[int, int]:
    """Return the process, and its threads, with the compiler, that Python did not start."""
    del shared, job
    import seccompgen.compile  # noqa: F401 - imports numpy

    return os.getpid(), len([*Path("/proc/self/task").iterdir()]) - threading.active_count()
