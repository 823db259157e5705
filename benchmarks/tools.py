"""The tools, as a program uses them: each builds a filter from rules, and puts it in force.

Loaded by the Python that is measured, which may be the system's: so Python 3.9 and newer, and
nothing is imported here but what an interpreter has loaded anyway.

A policy is ``{"default", "rules": [[nr, action, [[argument, operation, a, b]]]]}``: actions are
SECCOMP_RET values, all comparisons of a rule must hold, and only ``masked`` uses ``b``:
``(argument & a) == b``. For seccompgen it is ``{"directory", "module"}``, the filter it generated.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

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
    __import__(policy["module"])
    module = sys.modules[policy["module"]]

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
    module: Any = __import__(name)
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
