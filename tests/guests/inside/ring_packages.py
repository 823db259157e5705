"""Packages of ours that filter rings, put in force by their own install() on the guest's kernel.

Runs in the guests: standard library only, Python 3.9 or newer, any ABI.
"""

import errno
import importlib
import signal
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from guests.inside.attempts import Tell, in_child

LIES = (0, errno.EPERM, errno.ENOSYS, errno.EMSGSIZE)
"""Errno that a sandbox answers for the kernel, 0 among them, which looks like a success."""

_DISABLED = "/proc/sys/kernel/io_uring_disabled"


def found_out(package: str, names: "list[str]", in_turn: "list[str]", abi: str) -> "dict[str, Any]":
    """Return, for each of the packages below ``package``, what its install() comes to.

    As it is, and changed: with a program that refuses, or permits, whatever comes, in place of one
    with conditions; and with all else permitted. ``in_turn`` are put in force in one process.
    """
    rings = importlib.import_module(f"{package}._io_uring")
    runtime = importlib.import_module(f"{package}._runtime")
    # All is imported before: what is in force then need not permit it.
    importlib.import_module(f"{package}._explain")
    report: "dict[str, Any]" = {}
    for name in names:
        module = importlib.import_module(f"{package}.{name}")
        held = importlib.import_module(f"{package}.{name}._{abi}")
        tried = _Installs(rings, module, held)
        report[name] = {
            "refuse_rings": tried.outcome(),
            "fail": tried.outcome(without="fail"),
            "unconfined rest": tried.outcome(without="fail", rest=rings._RET_1),
            "changed": [
                [opcode, answer, tried.outcome(without="fail", changed=(opcode, program))]
                for opcode, _, conditions in held.IO_URING[1]
                for answer, program in ((0, rings._RET_0), (1, rings._RET_1))
                if len(conditions) > len(program)
            ],
        }
    report["one file"] = one_file(importlib.import_module(f"{package}.one_file"), abi)
    modules = [importlib.import_module(f"{package}.{name}") for name in in_turn]
    for name in in_turn:
        importlib.import_module(f"{package}.{name}._{abi}")
    with open(_DISABLED, "w") as file:
        file.write("2")
    report["disabled"] = [tried.outcome(), tried.outcome(without="fail")]
    with open(_DISABLED, "w") as file:
        file.write("0")
    report["ignored"] = tried.outcome(before=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    report["lied to"] = [
        [
            call,
            answer,
            tried.outcome(before=partial(_lie, runtime, abi, held.NR_SECCOMP, number, answer)),
        ]
        for call, number in enumerate(held.IO_URING[0])
        for answer in LIES
    ]
    report["in turn"] = in_child(lambda tell: _in_turn(tell, rings, modules))
    return report


def one_file(module: Any, abi: str) -> object:
    """Return whether rings are filtered by a single file, and the outcome of its trials then."""

    def body(tell: Tell) -> None:
        module.install()
        (numbers, _, trials, *_) = module._PROGRAMS[abi][2]
        tell("outcome", [module.filtered(), module._tried(numbers, trials)[0]])

    told = in_child(body)
    return told.get("outcome", told)


def _lie(runtime: Any, abi: str, nr_seccomp: int, number: int, answer: int) -> None:
    """Answer a call with an errno, from now on."""
    instructions = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | answer))
    program = b"".join(struct.pack("=HBBI", *one) for one in (*instructions, (6, 0, 0, 0x7FFF0000)))
    programs = {abi: (nr_seccomp, program)}
    runtime.install("lies", programs, flags=0, no_new_privs=True, actions=())


def _in_turn(tell: Tell, rings: Any, modules: "list[Any]") -> None:
    for module in modules:
        module.install()
        tell(module.__name__.rpartition(".")[2], rings.filtered())


class _Installs:
    """What a package's install() comes to, each time in a child."""

    def __init__(self, rings: Any, module: Any, held: Any) -> None:
        self.rings, self.module, self.held = rings, module, held

    def outcome(
        self,
        *,
        without: str = "",
        rest: bytes = b"",
        changed: "tuple[int, bytes] | None" = None,
        before: "Callable[[], object]" = int,
    ) -> object:
        """Return an error's cause and case, or whether rings are filtered, and what is seen then.

        That is the outcome of the trials on a new ring: 0 is as meant, 3 that none can be made.
        """

        def body(tell: Tell) -> None:
            before()
            numbers, operations, trials, *others = self.held.IO_URING
            if rest:
                self.rings._RET_0 = rest
            if changed is not None:
                operations = tuple(
                    (opcode, size, changed[1] if opcode == changed[0] else program)
                    for opcode, size, program in operations
                )
                self.held.IO_URING = (numbers, operations, trials, *others)
            if without:
                real = self.module._install

                def install(*words: Any, **options: Any) -> Any:
                    return real(*words, **{**options, "without": without})

                self.module._install = install
            try:
                self.module.install()
            except OSError as error:
                cause, case = getattr(error, "cause", repr(error)), getattr(error, "case", "")
                tell("outcome", f"{cause}/{case}" if case else cause)
                return
            seen = self.rings._tried(numbers, trials)
            tell("outcome", [self.rings.filtered(), seen[0]])

        told = in_child(body)
        return told.get("outcome", told)
