"""Both sides of a user notification: who asks, in a thread or a process, and who answers."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import running_kernel as kernel
from running_kernel import ALLOW, NEW_LISTENER, NR_GETPPID, USER_NOTIF, on_call
from runtime_template import install, notification, runtime

if TYPE_CHECKING:
    from collections.abc import Callable

ASK = on_call(NR_GETPPID, USER_NOTIF)


def getppid(*args: int) -> tuple[int, int]:
    return kernel.syscall(NR_GETPPID, *args)


def conversation(worker: Callable[[], object], supervise: Callable[[Any], object]) -> Any:
    """Return what the two sides return; the worker is a thread that a filter makes ask."""

    def child() -> object:
        listeners: list[int] = []
        results: list[object] = []
        installed = threading.Event()

        def body() -> None:
            listeners.append(install(ASK, NEW_LISTENER, actions=(USER_NOTIF, ALLOW)))
            installed.set()
            results.append(worker())

        thread = threading.Thread(target=body)
        thread.start()
        installed.wait()
        with notification.Listener(listeners[0]) as listener:
            told = supervise(listener)
        thread.join()
        return told, results[0]

    outcome = kernel.run(child)
    assert outcome.error is None
    return outcome.value


def cause(attempt: Callable[[], object]) -> object:
    """Return the cause and errno of the SeccompError that an attempt raises."""
    try:
        return attempt()
    except runtime.SeccompError as error:
        return [error.cause, error.errno_name]


def confined(worker: Callable[[], object]) -> tuple[socket.socket, int]:
    """Fork a worker that hands its listener over; return where, and its PID."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            listener = install(ASK, NEW_LISTENER, actions=(USER_NOTIF, ALLOW))
            notification.send_listener(theirs, listener)
            closed = not os.path.exists(f"/proc/self/fd/{listener}")  # noqa: PTH110 - quick
            if not closed:
                os._exit(9)
            worker()
            os._exit(0)
        finally:
            os._exit(1)
    theirs.close()
    return ours, pid
