"""One tool at work: its program for a policy, or the time until its filter is in force.

Run as a script by the Python that is to be measured, which may be the system's: so the standard
library only, Python 3.9 and newer, and little of it, for what is imported here is no longer the
tool's to pay for.

    worker.py version TOOL            prints the tool's version
    worker.py export TOOL             {name: policy} on stdin; {name: {"program"} or {"error"}}
    worker.py install TOOL SAMPLES    a policy on stdin; {"bare": [nanoseconds], "loaded": [...]}

Policies are as `tools` takes them.
"""

import gc
import importlib
import json
import mmap
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from benchmarks.tools import TOOLS, Policy
else:
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - pathlib is not loaded
    from tools import TOOLS


def version(tool: str) -> str:
    """Return the version of a tool; of python3-seccomp, which has none, that of its library."""
    if tool in {"pyseccomp", "seccompy"}:
        return str(importlib.import_module(tool).__version__)
    import ctypes  # noqa: PLC0415 - not before the tools import it, if they do

    if tool == "python3-seccomp":
        importlib.import_module("seccomp")
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(map(str, library.seccomp_version().contents))


def export(tool: str, policies: "dict[str, Policy]") -> "dict[str, dict[str, str]]":
    """Return each policy's program in hexadecimal, or what the tool said instead."""
    found = {}
    for name, policy in policies.items():
        try:
            found[name] = {"program": TOOLS[tool](policy)(policy).export().hex()}
        except Exception as error:  # whatever it is, it is the tool's answer
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found


def install(tool: str, policy: "Policy", samples: int) -> "dict[str, list[int]]":
    """Put a filter in force in ``samples`` children, one after the other, and as many again.

    The first children are forked from a bare interpreter and import what the tool takes; the
    others are forked from one that has it loaded, with ctypes, which all but one tool uses.
    """
    gc.disable()
    bare = _children(samples, lambda: TOOLS[tool](policy)(policy).install())
    importlib.import_module("ctypes")
    build = TOOLS[tool](policy)
    return {"bare": bare, "loaded": _children(samples, lambda: build(policy).install())}


def _children(samples: int, action: "Callable[[], None]") -> "list[int]":
    memory = mmap.mmap(-1, 4096)
    found = []
    for number in range(samples + 1):
        memory[:] = bytes(4096)
        pid = os.fork()
        if pid == 0:
            _child(action, memory)
        _, status = os.waitpid(pid, 0)
        nanoseconds = int.from_bytes(memory[:8], "little")
        # A child whose filter let it look saw it in force; one that was killed proved it.
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS
        if not nanoseconds or not (memory[8] or killed):
            text = memory[9:].rstrip(b"\0").decode()
            raise RuntimeError(text or f"no filter is in force; wait status {status:#x}")
        if number:  # the first may have compiled what it imported
            found.append(nanoseconds)
    return found


def _child(action: "Callable[[], None]", memory: mmap.mmap) -> "NoReturn":
    """Leave the time in ``memory``: under the filter no call may be allowed, write() neither."""
    try:
        start = time.perf_counter_ns()
        action()
        end = time.perf_counter_ns()
        memory[:8] = (end - start).to_bytes(8, "little")
        memory[8] = _is_confined()
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".encode()[:1000]
        memory[9 : 9 + len(text)] = text
    finally:
        os._exit(0)


def _is_confined() -> bool:
    try:
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - pathlib is not loaded
            return b"\nSeccomp:\t2\n" in file.read()
    except OSError:  # nobody but a filter refuses this
        return True


def main() -> None:
    """Do what the command line says."""
    task, tool, *rest = sys.argv[1:]
    if task == "version":
        print(version(tool))
    elif task == "export":
        json.dump(export(tool, json.load(sys.stdin)), sys.stdout)
    else:
        json.dump(install(tool, json.load(sys.stdin), int(rest[0])), sys.stdout)


if __name__ == "__main__":
    main()
