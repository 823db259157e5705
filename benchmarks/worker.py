"""One tool at work: its program for a policy, or the time until its filter is in force.

Run as a script by the Python that is to be measured, which may be the system's: so the standard
library only, Python 3.9 and newer, and little of it, for what is imported here is no longer the
tool's to pay for.

    worker.py version TOOL            prints the tool's version
    worker.py export TOOL             {name: policy} on stdin; {name: {"program"} or {"error"}}
    worker.py install TOOL SAMPLES    a policy on stdin; {"bare": [nanoseconds], "loaded": [...]}

A policy is ``{"default", "rules": [[nr, action, [[argument, operation, a, b]]]]}``: actions are
SECCOMP_RET values, all comparisons of a rule must hold, and only ``masked`` uses ``b``:
``(argument & a) == b``. For seccompgen it is ``{"directory", "module"}``, the filter it generated.
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
    from typing import Any, NoReturn, Protocol

    class Built(Protocol):
        """A filter that is built, but not in force."""

        def export(self) -> bytes:
            """Return it as an array of ``struct sock_filter``."""

        def install(self) -> None:
            """Put it in force."""

    Policy = dict[str, Any]
    Build = Callable[[Policy], Built]


OPERATIONS = ("", "ne", "lt", "le", "eq", "ge", "gt", "masked")
"""As enum scmp_compare of seccomp.h numbers them."""
OPTIMIZE = 8
"""SCMP_FLTATR_CTL_OPTIMIZE."""


def seccompgen(policy: "Policy") -> "Build":
    """Load a module that seccompgen generated."""
    sys.path.insert(0, policy["directory"])
    module = importlib.import_module(policy["module"])

    class Filter:
        def export(self) -> bytes:
            raise NotImplementedError("seccompgen's programs come from its command line")

        def install(self) -> None:
            module.install()

    return lambda _: Filter()


def libseccomp(_: "Policy", level: int) -> "Build":
    """Load the C library itself; it optimises at ``level`` 1 or 2."""
    import ctypes  # noqa: PLC0415 - it is the tool's to pay for

    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]

    class Comparison(ctypes.Structure):
        """``struct scmp_arg_cmp``."""

        _fields_ = (
            ("arg", ctypes.c_uint),
            ("op", ctypes.c_int),
            ("a", ctypes.c_uint64),
            ("b", ctypes.c_uint64),
        )

    add = library.seccomp_rule_add_array
    add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

    def check(result: int) -> None:
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    class Filter:
        def __init__(self, policy: "Policy") -> None:
            self._context = library.seccomp_init(policy["default"])
            check(library.seccomp_attr_set(self._context, OPTIMIZE, level))
            for nr, action, comparisons in policy["rules"]:
                array = (Comparison * len(comparisons))(
                    *[Comparison(arg, OPERATIONS.index(op), a, b) for arg, op, a, b in comparisons]
                )
                check(add(self._context, action, nr, len(comparisons), array))

        def export(self) -> bytes:
            with open(os.memfd_create("bpf"), "w+b") as file:  # noqa: PTH123 - a descriptor
                check(library.seccomp_export_bpf(self._context, file.fileno()))
                file.seek(0)
                return file.read()

        def install(self) -> None:
            check(library.seccomp_load(self._context))

    return Filter


def binding(_: "Policy", name: str) -> "Build":
    """Load libseccomp's own Python binding, or pyseccomp, which has the same interface."""
    module = importlib.import_module(name)
    operations = {
        "ne": module.NE,
        "lt": module.LT,
        "le": module.LE,
        "eq": module.EQ,
        "ge": module.GE,
        "gt": module.GT,
        "masked": module.MASKED_EQ,
    }

    class Filter:
        def __init__(self, policy: "Policy") -> None:
            self._filter = module.SyscallFilter(policy["default"])
            for nr, action, comparisons in policy["rules"]:
                args = [module.Arg(arg, operations[op], a, b) for arg, op, a, b in comparisons]
                self._filter.add_rule(action, nr, *args)

        def export(self) -> bytes:
            with open(os.memfd_create("bpf"), "w+b") as file:  # noqa: PTH123 - a descriptor
                self._filter.export_bpf(file)
                file.seek(0)
                return file.read()

        def install(self) -> None:
            self._filter.load()

    return Filter


def seccompy(_: "Policy") -> "Build":
    """Load seccompy."""
    from seccompy import ArgCmp, CmpOp, Filter  # noqa: PLC0415 - it is the tool's to pay for

    def comparison(arg: int, op: str, a: int, b: int) -> ArgCmp:
        if op == "masked":
            return ArgCmp(arg, CmpOp.MASKED_EQ, b, a)
        return ArgCmp(arg, CmpOp[op.upper()], a)

    class Wrapped:
        def __init__(self, policy: "Policy") -> None:
            self._filter = new = Filter(policy["default"])
            simple = {
                0x80000000: new.kill,
                0x00000000: new.kill_thread,
                0x7FFC0000: new.log,
                0x7FFF0000: new.allow,
            }
            for nr, action, comparisons in policy["rules"]:
                args = [comparison(*one) for one in comparisons]
                if action in simple:
                    simple[action](nr, args=args)
                elif action & ~0xFFFF == 0x00050000:
                    new.errno(nr, action & 0xFFFF, args=args)
                else:
                    raise ValueError(f"action {action:#x}")

        def export(self) -> bytes:
            return bytes(self._filter.program)

        def install(self) -> None:
            self._filter.load()

    return Wrapped


TOOLS: "dict[str, Callable[[Policy], Build]]" = {
    "seccompgen": seccompgen,
    "libseccomp-O1": lambda policy: libseccomp(policy, 1),
    "libseccomp-O2": lambda policy: libseccomp(policy, 2),
    "python3-seccomp": lambda policy: binding(policy, "seccomp"),
    "pyseccomp": lambda policy: binding(policy, "pyseccomp"),
    "seccompy": seccompy,
}


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
