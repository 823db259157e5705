"""Crashes: to have the kernel write a file of a process that ends by a signal, or start a program.

The file is to come into the current directory; where the machine is ours to change, a program is
to be started as well. core(5) has the rules.
"""

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import struct
from collections.abc import Callable, Generator

from escape.attack import attack, outside
from escape.scene import Foiled, Scene, Unavailable

Steps = Generator[None, None, None]

CORE = resource.RLIMIT_CORE
PR_SET_DUMPABLE = 4
CONTENT = b"chosen by whoever crashes"
KERNEL = "/proc/sys/kernel/"


def _settings(**values: str) -> "dict[str, str]":
    """Set some of the kernel's; return what they were."""
    before = {}
    for name, value in values.items():
        with open(KERNEL + name) as was:
            before[name] = was.read()
        with open(KERNEL + name, "w") as file:
            file.write(value)
    return before


def _to_a_file(scene: Scene) -> "Callable[[], None]":
    """Have a crash put CONTENT into a file of the folder, in place of another; return the check."""
    with open(KERNEL + "core_pattern") as file:
        pattern = file.read().strip()
    if not pattern or pattern[0] in "|@" or "/" in pattern:
        raise Unavailable(f"core files do not come into the current directory, but: {pattern!r}")
    os.chdir(scene.folder)
    with open("core", "wb") as other:
        other.write(b"content")
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory[: len(CONTENT)] = CONTENT
    scene.keep(memory)

    def must_be_there() -> None:
        for name in os.listdir(scene.folder):
            with open(f"{scene.folder}/{name}", "rb") as file:
                if CONTENT in file.read():
                    return
        raise Foiled("no core file came")

    return must_be_there


def _to_a_program(scene: Scene) -> "Callable[[], None]":
    """Have a crash start a program, which makes the file "new"; return the check."""
    if not scene.own_machine:
        raise Unavailable("core_pattern is the whole machine's")
    with open(f"{scene.folder}/program", "w") as program:
        program.write(f"echo ran >{scene.new}\n")
    # So that a process has not ended before the program has.
    before = _settings(core_pattern=f"|/bin/sh {program.name}", core_pipe_limit="1")

    def must_have_run() -> None:
        _settings(**before)
        if not os.path.exists(scene.new):
            raise Foiled("no program was started")

    return must_have_run


_DUMPS = {"": _to_a_file, "_into_a_program": _to_a_program}


def _hard_limit() -> int:
    hard = resource.getrlimit(CORE)[1]
    if 0 <= hard < 1 << 20:
        raise Unavailable(f"core files are limited to {hard} bytes")
    return hard


def _prepare(scene: Scene, dumps: "Callable[[Scene], Callable[[], None]]") -> "Callable[[], None]":
    """Have this process dump if it crashes, and go on in a child; return what makes it crash."""
    try:
        with open("/proc/self/coredump_filter", "w") as chosen:
            chosen.write("2")  # what is anonymous and shared, so that there is little to write
    except OSError as error:
        raise Unavailable(f"the kernel dumps nothing: {error.strerror}") from error
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    unreadable = scene.memory(protection=0)
    scene.goes_on_in_a_child(dumps(scene))

    def crash() -> None:
        ctypes.string_at(unreadable, 1)
        raise Foiled("it lives on")

    return crash


def _undone(name: str, undo: "Callable[[Scene, int], object]", *, limited: bool) -> None:
    """Register attacks on what keeps crashes from doing harm: a limit of 1, or PR_SET_DUMPABLE."""

    def register(where: str, dumps: "Callable[[Scene], Callable[[], None]]") -> None:
        def body(scene: Scene) -> Steps:
            hard = _hard_limit()
            crash = _prepare(scene, dumps)
            if not limited:
                resource.setrlimit(CORE, (hard, hard))
                scene.call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
            yield
            with contextlib.suppress(PermissionError):
                undo(scene, hard)
            crash()

        body.__name__ = name + where
        attack(compute_only="kernel", web_worker="kernel")(body)

    for where, dumps in _DUMPS.items():
        register(where, dumps)


def _limit(form: str, hard: int) -> bytes:
    """Return a ``struct rlimit``; RLIM_INFINITY is -1 here, and all bits there."""
    value = hard & (1 << 4 * struct.calcsize(form)) - 1
    return struct.pack(form, value, value)


_undone("crash_once_the_limit_is_raised", lambda s, hard: s.call(
    "prlimit64", 0, CORE, _limit("=2Q", hard), 0), limited=True)  # fmt: skip
_undone("crash_once_the_limit_is_raised_by_the_old_call", lambda s, hard: s.call(
    "setrlimit", CORE, _limit("@2L", hard)), limited=True)  # fmt: skip
_undone("crash_once_dumpable_again", lambda s, hard: s.call(
    "prctl", PR_SET_DUMPABLE, 1, 0, 0, 0), limited=False)  # fmt: skip


@attack(compute_only="kernel", web_worker="kernel", abis=("x86_64",))
def crash_once_the_limit_is_raised_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    limit = scene.low(_limit("=2I", _hard_limit()))
    crash = _prepare(scene, _to_a_file)
    yield
    call("setrlimit", CORE, limit)
    crash()


# --- Outside -------------------------------------------------------------------------------------


@outside(compute_only="crashes", web_worker="crashes")
def crash_into_a_file(scene: Scene) -> Steps:
    hard = _hard_limit()
    crash = _prepare(scene, _to_a_file)
    resource.setrlimit(CORE, (hard, hard))
    yield
    crash()


@outside(
    compute_only="crashes",
    web_worker="crashes",
    no_network="helpers",
    no_exec="kernel",
    no_path_sockets="crashes",
    no_escape="crashes",
    sandboxed_code="crashes",
)
def crash_into_a_program(scene: Scene) -> Steps:
    """A limit of 0 is for files alone."""
    crash = _prepare(scene, _to_a_program)
    resource.setrlimit(CORE, (0, 0))
    yield
    crash()
