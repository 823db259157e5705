"""Attempts in children and threads: what each came to, and which filters are in force then."""

import errno
import gc
import json
import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import Any

Attempt = Callable[[], object]
Tell = Callable[[str, object], None]

ERRNO_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}  # it has a second one
_SECONDS = 30
"""After them SIGALRM ends a child that hangs."""
_FACTS = ("NoNewPrivs", "Seccomp", "Seccomp_filters")


def in_child(body: "Callable[[Tell], object]") -> "dict[str, Any]":
    """Return what a child told that ran ``body``, and how it "ended"."""
    # Not a pipe: with each message the parent would run.
    memory = os.memfd_create("told")
    pid = os.fork()
    if pid == 0:

        def tell(name: str, value: object) -> None:
            os.write(memory, json.dumps([name, value]).encode() + b"\n")

        code = 1
        try:
            gc.disable()  # it would touch, and so copy, all of the parent's memory
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(_SECONDS)
            body(tell)
            code = 0
        except BaseException as error:
            tell("raised", f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    os.lseek(memory, 0, os.SEEK_SET)
    with open(memory, "rb") as file:
        told = dict(json.loads(line) for line in file)
    told["ended"] = ended(status)
    return told


def ended(status: int) -> str:
    """Say "signal N" or "exit N"."""
    return f"signal {status & 127}" if status & 127 else f"exit {status >> 8}"


def outcome(attempt: Attempt) -> str:
    """Say "done", the name of the errno, that of the exception, or what the attempt says."""
    try:
        result = attempt()
    except OSError as error:
        return ERRNO_NAMES.get(error.errno or 0, type(error).__name__)
    except Exception as error:
        return type(error).__name__
    return result if isinstance(result, str) else "done"


def refusal(attempt: Attempt) -> "str | list[str]":
    """Return "done" or what the attempt says, else the errno's name and the text of the error."""
    try:
        result = attempt()
    except OSError as error:
        name = ERRNO_NAMES.get(error.errno or 0, "no errno")
        return [name, f"{type(error).__name__}: {error}"]
    return result if isinstance(result, str) else "done"


def facts(status: int) -> "dict[str, str]":
    """Return what an open /proc/.../status says of filters now."""
    lines = (line.partition(":") for line in os.pread(status, 8192, 0).decode().splitlines())
    return {name: value.strip() for name, _, value in lines if name in _FACTS}


def open_status(tid: int) -> int:
    return os.open(f"/proc/self/task/{tid}/status", os.O_RDONLY)


class EarlyThread:
    """A thread that starts now, to try something later."""

    def __init__(self) -> None:
        self._given, self._done = threading.Lock(), threading.Lock()
        self._given.acquire()
        self._done.acquire()
        self._attempt: Attempt = int
        self._outcome = ""
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        assert thread.native_id is not None
        self.tid = thread.native_id

    def outcome(self, attempt: Attempt) -> str:
        self._attempt = attempt
        self._given.release()
        self._done.acquire()
        return self._outcome

    def _work(self) -> None:
        while True:
            self._given.acquire()
            self._outcome = outcome(self._attempt)
            self._done.release()
