"""Parts that the roles of `worker.py` share: its arguments, the filter, and attempts."""

import concurrent.futures
import ctypes
import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

(DIRECTORY, POLICY, HOW), ARGUMENTS = sys.argv[1:4], sys.argv[4:]
HIGH = 1 << 32
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

Attempt = Callable[[], object]


def install() -> None:
    if HOW == "confined":
        sys.path.insert(0, DIRECTORY)
        importlib.import_module("stock." + POLICY).install()


def raw(number: int, *args: Any) -> Attempt:
    """Return a system call with all 64 bits of its arguments; NR_ names are spared."""

    def call() -> int:
        words = [x if isinstance(x, bytes) else ctypes.c_ulong(x) for x in args]
        ctypes.set_errno(0)
        result = int(LIBC.syscall(ctypes.c_long(number), *words))
        if result == -1:
            raise OSError(ctypes.get_errno(), "")
        return result

    return call


def outcome(attempt: Attempt) -> str:
    """Say "done", or the error's name."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except Exception as error:  # whatever it is, the test compares its name
        return type(error).__name__
    return "done"


def outcomes(attempts: dict[str, Attempt]) -> dict[str, str]:
    return {name: outcome(attempt) for name, attempt in attempts.items()}


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def early_thread() -> Callable[[Attempt], str]:
    """Start a thread now; what is returned tries something in it."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(int).result()
    return lambda attempt: pool.submit(outcome, attempt).result()
