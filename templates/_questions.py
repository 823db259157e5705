"""Rare questions to a filter's runtime, some of them for /proc; imported when they are asked.

That is what the kernel has besides filters, and the ABI of an interpreter whose build does not
name it. The functions of `_runtime` that ask have the documentation.

Sources: seccomp(2), elf(5), proc_pid_status(5) and the kernel's arch/riscv and kernel/sys.c.
"""

import sys

from ._runtime import (
    _GET_ACTION_AVAIL,
    _OLD_ACTIONS,
    _PR_GET_NO_NEW_PRIVS,
    _SYSTEMS,
    _Kernel,
    _refusal,
    _row,
    supported,
)

_ACTIONS = {
    "kill_process": 0x80000000,
    "kill_thread": 0x00000000,
    "trap": 0x00030000,
    "errno": 0x00050000,
    "user_notif": 0x7FC00000,
    "trace": 0x7FF00000,
    "log": 0x7FFC0000,
    "allow": 0x7FFF0000,
}

_EM_MIPS = 8
_EF_MIPS_ABI2 = 0x20  # in e_flags: n32
_PER_MASK, _PER_LINUX32 = 0xFF, 8


def _action_available(action: str) -> bool:
    if action not in _ACTIONS:
        raise ValueError(f"{action!r} is no action; these are: {', '.join(_ACTIONS)}")
    if not supported():
        return False
    number = _ACTIONS[action]
    if number in _OLD_ACTIONS:
        return True
    attempt = f"ask whether the kernel has the action {action}"
    data = number.to_bytes(4, sys.byteorder)
    failure = _Kernel(attempt).seccomp(_GET_ACTION_AVAIL, 0, data)[1]
    if not failure:
        return True
    from errno import EINVAL, EOPNOTSUPP

    # EINVAL is what a kernel says that is older than the question.
    if failure not in (EOPNOTSUPP, EINVAL):
        raise _refusal(attempt, "forbidden", failure)
    return False


def _no_new_privs() -> bool:
    kernel = _Kernel("ask whether no_new_privs is set")
    return bool(kernel.prctl("no_new_privs/ask", _PR_GET_NO_NEW_PRIVS, 0))


def _mode() -> "tuple[str, int | None]":
    attempt = "ask whether a filter is in force"
    if sys.platform not in _SYSTEMS:
        raise _refusal(attempt, "no_seccomp/system", "ENOSYS", system=sys.platform)
    path = "/proc/thread-self/status"
    told = count = b""
    try:
        with open(path, "rb") as file:
            for line in file:
                field, _, value = line.partition(b":")
                if field == b"Seccomp":
                    told = value.strip()
                elif field == b"Seccomp_filters":
                    count = value
    except OSError as error:
        if _is_foreign(error):
            raise
        raise _refusal(attempt, "no_proc", error.errno or 0, path=path) from None
    name = {b"0": "disabled", b"1": "strict", b"2": "filter"}.get(told)
    if name is None:
        raise _refusal(attempt, "no_mode", "ENOSYS", path=path)
    if not count:
        return name, None if name == "filter" else 0
    return name, int(count)


def _report_only(name: str) -> None:
    """Warn that a filter refuses nothing. Raises SeccompError as `require_log` does."""
    known = require_log(f"install report-only filter {name!r}")
    from warnings import warn

    text = f"{name} is REPORT ONLY: it refuses nothing, and the kernel logs what it would refuse"
    if not known:
        text += "; whether it does is not to be read here, in /proc/sys/kernel/seccomp"
    warn(text, RuntimeWarning, stacklevel=3)


def require_log(attempt: str) -> bool:
    """Raise SeccompError if the kernel logs no call that a filter answers log.

    It logs by its audit subsystem, and what ``actions_logged`` names. Returns whether that could be
    read.
    """
    actions = _read("/proc/sys/kernel/seccomp/actions_logged", 1024)
    if actions and b"log" not in actions.split():
        raise _refusal(attempt, "unlogged/actions", "EOPNOTSUPP")
    if actions and not _read("/proc/thread-self/loginuid", 16):
        raise _refusal(attempt, "unlogged/audit", "EOPNOTSUPP")
    if {b"audit=0", b"audit=off"}.intersection(_read("/proc/cmdline", 1 << 16).split()):
        raise _refusal(attempt, "unlogged/boot", "EOPNOTSUPP")
    return bool(actions)


def _proved_row(attempt: str, row: "list[str] | None", kind: str) -> "list[str]":
    """Return the row of `_ABIS` for the running interpreter, of which the build named ``row``.

    None stands for a build that names none, ``kind`` for its width and byte order.
    """
    import os

    machine = os.uname().machine
    header = b"" if row else _read("/proc/self/exe", 52)
    proper = header[:4] == b"\x7fELF"
    row = row or (_row_of_elf(header) if proper else None)
    if row is None:
        case = "unknown_abi" if proper else "unknown_abi/unread"
        raise _refusal(attempt, case, "ENOEXEC", kind=kind, machine=machine)
    if row[0] == "riscv32":
        _require_native_riscv32(attempt, machine)
    return row


def _row_of_elf(header: bytes) -> "list[str] | None":
    """Return the row for an executable by its first 52 bytes, None if no filter fits it."""
    bits = "64" if header[4] == 2 else "32"
    order = "le" if header[5] == 1 else "be"
    step = 1 if order == "le" else -1
    machine = int.from_bytes(header[18:20][::step], "little")
    word = hex(machine) if machine > 0xFFF else str(machine)
    if machine == _EM_MIPS and bits == "32":
        e_flags = int.from_bytes(header[36:40][::step], "little")
        word += "+n32" if e_flags & _EF_MIPS_ABI2 else ""
    return _row(word, bits + order)


def _require_native_riscv32(attempt: str, machine: str) -> None:
    """Raise SeccompError unless a riscv32 interpreter is proved to run on a kernel of 32 bits.

    A kernel of 64 bits gives filters its own audit value with the calls of 32-bit tasks
    (syscall_get_arch() in arch/riscv), so no program for riscv32 would fit. Its name is no proof
    under the personality PER_LINUX32: there a kernel of 64 bits calls itself "riscv", and
    "riscv32" since Linux 7.2 (override_architecture() in kernel/sys.c). Without that personality
    uname(2) tells the kernel's own name.
    """
    if machine != "riscv32":
        raise _refusal(attempt, "misreported_abi/other", "ENOEXEC", machine=machine)
    try:
        personality = int(_read("/proc/thread-self/personality", 16), 16)
    except ValueError:
        personality = _PER_LINUX32
    if personality & _PER_MASK == _PER_LINUX32:
        raise _refusal(attempt, "misreported_abi/doubtful", "ENOEXEC", machine=machine)


def _read(path: str, size: int) -> bytes:
    """Return the first ``size`` bytes of a file, or what there is; nothing if it cannot be read."""
    try:
        with open(path, "rb", 0) as file:
            return file.read(size)
    except OSError as error:
        if _is_foreign(error):
            raise
        return b""


def _is_foreign(error: OSError) -> bool:
    """Return whether an error that the calling function caught was raised below it in Python.

    System calls raise where they are made; anything else is an exception of a signal handler.
    """
    trace = error.__traceback__
    return trace is not None and trace.tb_next is not None


_QUESTIONS = {
    "action_available": _action_available,
    "no_new_privs": _no_new_privs,
    "mode": _mode,
    "proved_row": _proved_row,
}
