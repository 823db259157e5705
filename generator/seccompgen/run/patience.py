"""Calls that may wait for another process, given up after a moment.

Who touches the memory of a process may have to wait for that or for one that it chose: where a page
is a userfaultfd's to fill, or a file system's that a process serves. Only SIGKILL ends such a wait,
so a supervisor that waited itself would hear of no signal. Another thread waits
instead, and is left behind if need be.
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
"""Memory that is swapped out comes in less, on a machine that can be worked with."""


class _Worker:
    """A thread that makes calls for another, one at a time, until it is asked for none."""

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
"""The worker of `impatient`, once it was asked for."""


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Have `patiently` give up from here on."""
    _workers.append(_Worker())
    try:
        yield
    finally:
        _workers.pop().end()


def patiently(call: Callable[[], _Result]) -> _Result:
    """Return what ``call`` returns. Raises what it raises, which may be OSError.

    For a supervisor, which is `impatient`, it raises TimeoutError where that takes too long.
    """
    if not _workers:
        return call()
    try:
        return _workers[-1].make(call)
    except TimeoutError:
        _workers.pop().end()
        _workers.append(_Worker())
        raise
