"""Install programs: with success, and with every kind of refusal."""

import errno
import fcntl
import functools
import os
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

from guests.inside.attempts import (
    Attempt,
    EarlyThread,
    Tell,
    facts,
    in_child,
    open_status,
    outcome,
    refusal,
)

_TSYNC, _NEW_LISTENER, _TSYNC_ESRCH, _WAIT_KILLABLE_RECV = 1, 8, 16, 32
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_NEVER_AN_ACTION = 0x7FFD0000


def _instructions(*instructions: "tuple[int, int, int, int]") -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


_RETURN_ALLOW = (0x06, 0, 0, _RET_ALLOW)
_LOAD_ZERO = (0x00, 0, 0, 0)
_ALLOW = _instructions(_RETURN_ALLOW)
# Few instructions are made, so that the call that follows does not take long.
_LONGEST = _instructions(_RETURN_ALLOW, *[_LOAD_ZERO] * 4094, _RETURN_ALLOW)


def _answering(number: int, data: int) -> bytes:
    """Return a program that answers one call with an errno, or with success for 0."""
    return _instructions(
        (0x20, 0, 0, 0),  # load the number
        (0x15, 0, 1, number & 0xFFFFFFFF),  # go on if it is this one, else skip one
        (0x06, 0, 0, _RET_ERRNO | data),
        _RETURN_ALLOW,
    )


class _Trials:
    """Attempts of one thread to install: what each came to, and what is in force then."""

    def __init__(self) -> None:
        self.told: "dict[str, Any]" = {}
        self._own = open_status(threading.get_native_id())
        self._main = open_status(os.getpid())

    def __call__(self, name: str, attempt: Attempt) -> None:
        came_to = refusal(attempt)
        self.told[name] = {
            "outcome": came_to,
            "thread": facts(self._own),
            "main thread": facts(self._main),
            "works": outcome(lambda: os.stat("/")),
        }


Group = Callable[[_Trials], None]


def installs(runtime: Any, abi: str, numbers: "dict[str, int]") -> "dict[str, Any]":
    """Install programs, with success and with every kind of refusal.

    Each group of trials has a thread of its own, which the kernel confines alone; a thread costs
    less than a process. Trials that are to be refused follow one another in it, so that what a
    refusal leaves behind would show.
    """
    seccomp = numbers["seccomp"]

    def install(
        program: bytes = _ALLOW,
        flags: int = 0,
        actions: "tuple[int, ...]" = (_RET_ALLOW,),
        no_new_privs: bool = True,
        programs: "dict[str, tuple[int, bytes]] | None" = None,
    ) -> object:
        return runtime.install(
            "tried",
            programs or {abi: (seccomp, program)},
            flags=flags,
            no_new_privs=no_new_privs,
            actions=actions,
        )

    def listen(flags: int) -> str:
        descriptor = install(flags=flags)
        assert isinstance(descriptor, int)
        return f"descriptor with flags {fcntl.fcntl(descriptor, fcntl.F_GETFD)}"

    def refusals(trial: _Trials) -> None:
        trial("unknown flag", lambda: install(flags=1 << 20))
        trial("new flag alone", lambda: install(flags=_WAIT_KILLABLE_RECV))
        trial("flags apart", lambda: install(flags=_TSYNC | _NEW_LISTENER))
        trial("unknown action", lambda: install(actions=(_RET_ALLOW, _NEVER_AN_ACTION)))
        trial("empty", lambda: install(b""))
        trial("half an instruction", lambda: install(_ALLOW + bytes(4)))
        trial("too long", lambda: install(_LONGEST + _ALLOW))
        programs = {"s390": (seccomp, _ALLOW), "sheb": (seccomp, _ALLOW)}
        trial("other ABIs", lambda: install(programs=programs))
        trial("bad opcode", lambda: install(_instructions((0xFFFF, 0, 0, 0), _RETURN_ALLOW)))
        trial("no end", lambda: install(_instructions(_LOAD_ZERO)))
        trial("too many", lambda: [install(_LONGEST) for _ in range(9)])

    def listeners(trial: _Trials) -> None:
        trial("listener", lambda: listen(_NEW_LISTENER))
        trial("second listener", lambda: listen(_NEW_LISTENER))

    def new_flag(trial: _Trials) -> None:
        trial("install", lambda: listen(_NEW_LISTENER | _WAIT_KILLABLE_RECV))

    def without_ctypes(trial: _Trials) -> None:
        # The runtime has its own way to the C library where nobody has imported ctypes.
        hidden = sys.modules.pop("ctypes")

        def lean(flags: int) -> str:
            told = listen(flags) if flags else str(install())
            return told if "ctypes" not in sys.modules else "ctypes was imported"

        trial("install", lambda: lean(0))
        trial("listener", lambda: lean(_NEW_LISTENER))
        trial("unknown action", lambda: install(actions=(_NEVER_AN_ACTION,)))
        sys.modules["ctypes"] = hidden

    def inside(number: int, data: int) -> Group:
        def group(trial: _Trials) -> None:
            install(_answering(number, data), no_new_privs=False)
            trial("install", install)

        return group

    def all_threads(trial: _Trials) -> None:
        trial("install", lambda: listen(_TSYNC | _NEW_LISTENER | _TSYNC_ESRCH))

    def other_thread(trial: _Trials) -> None:
        early = EarlyThread()
        assert early.outcome(install) == "done"
        trial.told["tid"] = early.tid
        trial("tsync", lambda: install(flags=_TSYNC))
        trial("tsync_esrch", lambda: install(flags=_TSYNC | _TSYNC_ESRCH))

    def as_user(trial: _Trials) -> None:
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        trial("no capability", lambda: install(no_new_privs=False))
        trial("no new privileges", install)

    groups: "dict[str, Group]" = {
        # First, as a thread that has ended may be counted for a while after.
        "other thread": other_thread,
        "plain": lambda trial: trial("install", install),
        "capability": lambda trial: trial("install", lambda: install(no_new_privs=False)),
        "without ctypes": without_ctypes,
        "refusals": refusals,
        "listeners": listeners,
        "new flag": new_flag,
        "inside EPERM": inside(seccomp, errno.EPERM),
        "inside ENOSYS": inside(seccomp, errno.ENOSYS),
        "inside EINVAL": inside(seccomp, errno.EINVAL),
        "inside success": inside(seccomp, 0),
        "inside no prctl": inside(numbers["prctl"], errno.EPERM),
        "user": as_user,  # last, as it is the user of all threads
    }
    apart: "dict[str, Group]" = {"all threads": all_threads}
    return {
        "alone": in_child(functools.partial(_in_threads, groups)),
        "together": in_child(functools.partial(_in_threads, apart)),
    }


def _in_threads(groups: "dict[str, Group]", tell: Tell) -> None:
    def body(name: str) -> None:
        trials = _Trials()
        try:
            groups[name](trials)
        except Exception as error:
            trials.told["raised"] = f"{type(error).__name__}: {error}"
        tell(name, trials.told)

    for name in groups:
        thread = threading.Thread(target=body, args=(name,))
        thread.start()
        thread.join()
