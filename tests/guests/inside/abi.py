"""Ask the runtime which ABI it runs on, also where there is less to tell it by."""

import ctypes
import os
import sys
import threading
from typing import Any

from guests.inside.attempts import Tell, in_child, outcome, refusal
from guests.inside.confined import libc

_CLONE_NEWNS = 0x20000
_MNT_DETACH = 2
_MS_PRIVATE = 0x40000
_MS_REC = 0x4000
_PER_LINUX32 = 8


def abi_told(runtime: Any, no_exec: Any) -> "dict[str, Any]":
    """Ask for the ABI, by both names that a kernel of 64 bits may have.

    First as it is, then with an interpreter that does not say what it was built for, and last
    without /proc.
    """

    def ask(tell: Tell, where: str) -> None:
        tell(f"machine{where}", os.uname().machine)
        tell(f"abi{where}", refusal(runtime.running_abi))

    def ask_as_32_bit(tell: Tell, where: str) -> None:
        # In a thread, as some kernels let no task out of this personality.
        def body() -> None:
            if libc.personality(ctypes.c_ulong(_PER_LINUX32)) != -1:
                ask(tell, f" as 32-bit{where}")

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()

    def body(tell: Tell) -> None:
        ask(tell, "")
        ask_as_32_bit(tell, "")
        build: Any = sys.implementation
        name = build._multiarch
        del build._multiarch
        ask(tell, " by its file")
        ask_as_32_bit(tell, " by its file")
        _hide_proc()
        tell("abi by nothing", refusal(runtime.running_abi))
        build._multiarch = name
        ask(tell, " without /proc")
        ask_as_32_bit(tell, " without /proc")
        tell("install without /proc", refusal(no_exec.install))
        tell("exec without /proc", outcome(lambda: os.execv("/nowhere", ["x"])))

    return in_child(body)


def _hide_proc() -> None:
    """Take /proc away from this process alone."""
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        or libc.umount2(b"/proc", _MNT_DETACH)
    ):
        raise OSError(ctypes.get_errno(), "/proc stays")
    assert not os.access("/proc/self/exe", os.F_OK)
