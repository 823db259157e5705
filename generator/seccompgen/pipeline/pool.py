"""Spread calls over processes: the same results in the same order for any number of processes.

concurrent.futures is not used: its workers share one pipe, of which the parent holds both ends, so
if a worker is killed while it writes a result, the parent waits for the rest for ever. Here every
worker has a pipe of its own, which ends with the worker.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from seccompgen.core.errors import OutsideError, SeccompgenError
from seccompgen.pipeline.numpy_threads import forgo_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

START_UP = 0.3
"""Seconds that starting processes costs; less work than that is faster without them."""

_LONGER = 3
"""The first job takes this many times as long as the next ones, not counting the start."""

_NEW_OBJECTS = 300_000
"""New objects during a job until garbage in cycles is collected.

Compiling keeps most of its objects; collecting every 700 takes a tenth of the time.
"""

_LEARNING = -1
"""A job's index while the worker starts up."""

_S = TypeVar("_S")
_J = TypeVar("_J")
_R = TypeVar("_R")


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    count = getattr(os, "process_cpu_count", None)  # Python 3.13
    return (count() or 1) if count else len(os.sched_getaffinity(0))


def spread(
    work: Callable[[_S, _J], _R], shared: _S, jobs: Sequence[_J], workers: int
) -> Generator[_R | SeccompgenError]:
    """Yield ``work(shared, job)``, or the SeccompgenError that it raised, for each job in turn.

    Begins in this process, and continues in up to ``workers`` others if the time of the first jobs
    shows that this is faster; then all values must be picklable and the main module importable.
    Close the iterator to end the workers. Raises OutsideError if a worker dies.
    """
    # CPU time, not the clock: if other programs keep the CPUs busy, more processes help less.
    started = time.process_time()
    first = each = 0.0
    for done, job in enumerate(jobs):
        left = len(jobs) - done
        ahead = each * left
        useful = min(workers, left, 1 + int(ahead / START_UP))
        if ahead - ahead / useful > START_UP and sys.executable:
            yield from _in_processes(work, shared, jobs[done:], useful)
            return
        yield _attempt(work, shared, job)
        spent = time.process_time() - started
        if done == 0:
            # The first job imports what all jobs need, and computes much that later ones reuse.
            first = spent
            each = max(0.0, first - START_UP) / _LONGER
        else:
            each = (spent - first) / done


def _attempt(work: Callable[[_S, _J], _R], shared: _S, job: _J) -> _R | SeccompgenError:
    try:
        with collecting_rarely():
            return work(shared, job)
    except SeccompgenError as error:
        return error


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """Collect garbage in cycles only after many new objects, in the block or decorated function."""
    often = gc.get_threshold()
    gc.set_threshold(often[0] and _NEW_OBJECTS, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)


def _in_processes(
    work: Callable[[_S, _J], _R], shared: _S, jobs: Sequence[_J], workers: int
) -> Iterator[_R | SeccompgenError]:
    team: dict[Connection[Any, Any], BaseProcess] = {}
    try:
        _hire(team, workers)
        task = pickle.dumps((work, shared))
        for connection in team:
            with contextlib.suppress(ConnectionError):  # a dead worker shows when its pipe is read
                connection.send_bytes(task)
        results: dict[int, _R | SeccompgenError] = {}
        yielded = 0
        for index, result in _unordered(team, jobs):
            results[index] = result
            while yielded in results:
                yield results.pop(yielded)
                yielded += 1
        # No process came up: if none may be created, the jobs run here and only take longer.
        for job in jobs[yielded:]:
            yield _attempt(work, shared, job)
    finally:
        for process in team.values():
            process.kill()
        for connection, process in team.items():
            process.join()
            connection.close()


def _hire(team: dict[Connection[Any, Any], BaseProcess], workers: int) -> None:
    """Add up to ``workers`` processes to ``team``, as many as the system permits.

    They are spawned, not forked: a copy of this process would hold its file locks, and the locks
    that its threads hold at that moment.
    """
    from multiprocessing import get_context, resource_tracker  # noqa: PLC0415 - few runs need it

    context = get_context("spawn")
    with contextlib.suppress(OSError), warnings.catch_warnings():
        # If no process comes up, the tracker does not either, and Python warns about that.
        warnings.simplefilter("ignore")
        # Started inside the block below, the tracker would unblock the signal.
        resource_tracker.ensure_running()
        with _interrupts_held():
            for _ in range(workers):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there,), daemon=True)
                process.start()
                there.close()
                team[here] = process


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Defer Ctrl-C until the end of the block, and for ever in processes that start in it.

    A terminal sends the signal to workers as well. The parent ends them; a traceback from the
    middle of their start-up, or about it, would help nobody.
    """
    held: list[int] = []
    # Workers inherit the mask. It applies to this thread only, and a library may have others.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Only the main thread may set a handler, and only a handler of Python's can be restored.
    handler = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread() and handler is not None
    try:
        if in_main:
            signal.signal(signal.SIGINT, lambda number, _: held.append(number))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def _unordered(
    team: Mapping[Connection[Any, Any], BaseProcess], jobs: Sequence[Any]
) -> Iterator[tuple[int, Any]]:
    """Yield (index of the job, result) as results arrive; nothing if no process came up."""
    from multiprocessing.connection import wait  # noqa: PLC0415

    at = dict.fromkeys(team, _LEARNING)
    waiting = iter(range(len(jobs)))
    while at:
        ready = wait(list(at))
        for connection in [one for one in at if one in ready]:
            index = at.pop(connection)
            try:
                result = connection.recv()
            except (EOFError, OSError):
                if index == _LEARNING:
                    continue
                raise OutsideError(
                    "a compiling process died: was it killed, is memory short? Nothing was "
                    "written; run it again, or on one CPU: taskset -c 0 seccompgen ..."
                ) from None
            following = next(waiting, None)
            if following is not None:
                with contextlib.suppress(ConnectionError):
                    connection.send(jobs[following])
                at[connection] = following
            if index != _LEARNING:
                yield index, result


def _serve(connection: Connection[Any, Any]) -> None:
    """Run a worker: receive the task, confirm it, then run jobs until the parent ends."""
    gc.set_threshold(_NEW_OBJECTS)
    forgo_threads()
    # The pipe shows the parent's end as well, but only between two jobs, and a job may be long.
    threading.Thread(target=_follow_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        work, shared = connection.recv()
        connection.send(None)
        while True:
            job = connection.recv()
            connection.send(_attempt(work, shared, job))


def _follow_parent() -> None:
    from multiprocessing import parent_process  # noqa: PLC0415

    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
