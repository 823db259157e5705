"""Import all filters below a directory, and see the kernel refuse what they forbid.

It runs with every Python that generated code is for, so with 3.9, and without seccompgen.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import pkgutil
import socket
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def imported(package: str) -> int:
    """Import a package whole; return how many modules it has."""
    found = importlib.import_module(package)
    names = [one.name for one in pkgutil.walk_packages(found.__path__, package + ".")]
    for name in names:
        importlib.import_module(name)
    return len(names)


def refused(name: str, attempt: Callable[[], None], number: int) -> bool:
    """Return True if a child that installs a filter is refused, in all its threads."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if _refused(name, attempt, number) else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _refused(name: str, attempt: Callable[[], None], number: int) -> bool:
    """Try before and after ``install``, here and in a thread that was there before."""
    filter_module = importlib.import_module("seccomp_filters." + name)
    begin = threading.Event()
    answers: list[int] = []

    def try_it() -> None:
        begin.wait()
        answers.append(_errno(attempt))

    thread = threading.Thread(target=try_it)
    thread.start()
    before = _errno(attempt)
    filter_module.install()
    answers.append(_errno(attempt))
    begin.set()
    thread.join()
    return before != number and answers == [number, number]


def _errno(attempt: Callable[[], None]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or 0
    return 0


def exec_nothing() -> None:
    """Execute an empty name, for which the kernel has another error than the filter."""
    os.execv("", ["true"])  # noqa: S606, S607


def open_socket() -> None:
    """Open a socket of the Internet."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def main() -> None:
    """Print what was seen, as JSON."""
    sys.path.insert(0, sys.argv[1])
    seen = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "modules": imported("seccomp_filters"),
        "no_exec": refused("no_exec", exec_nothing, errno.EACCES),
        "no_network": refused("no_network", open_socket, errno.EACCES),
    }
    for name in sys.argv[2:]:
        importlib.import_module(name)
    # Importing an extension that is not made for it takes the global lock back.
    seen["lock"] = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(json.dumps(seen))


main()
