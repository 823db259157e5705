"""A time limit for calls that may wait for another process.

Reading the memory of a process may block until that process, or one that it chose, fills a page:
through a userfaultfd, or as the server of a file system. Only SIGKILL ends such a wait, so a
supervisor that waited itself would notice no other signal. Another thread waits instead, and is
abandoned if need be.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Result = TypeVar("_Result")

_SECONDS = 1.0
"""The longest wait. Swapped-out memory comes in faster, on a usable machine."""


class _Worker:
    """A thread that makes calls for another, one at a time, until `end`."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Any, OSError | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def make(self, call: Callable[[], _Result]) -> _Result:
        self._asked.put(call)
        try:
            result, error = self._done.get(timeout=_SECONDS)
        except queue.Empty:
            raise TimeoutError from None
        if error:
            raise error
        made: _Result = result
        return made

    def end(self) -> None:
        self._asked.put(None)

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        while call := self._asked.get():
            try:
                self._done.put((call(), None))
            except OSError as error:
                self._done.put((None, error))


_workers: list[_Worker] = []
"""The worker inside `impatient`; empty outside."""


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Have `patiently` give up after `_SECONDS`, within this context."""
    _workers.append(_Worker())
    try:
        yield
    finally:
        _workers.pop().end()


def patiently(call: Callable[[], _Result]) -> _Result:
    """Return the result of ``call``, or raise its OSError.

    Within `impatient`, as in supervisors, raises TimeoutError if the call takes too long.
    """
    if not _workers:
        return call()
    try:
        return _workers[-1].make(call)
    except TimeoutError:
        _workers.pop().end()
        _workers.append(_Worker())
        raise
