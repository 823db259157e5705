"""Put a finished seccomp filter in force: the only part of a generated filter that runs.

A generated module holds a program for each ABI and hands them to `install`. `supported`,
`action_available`, `no_new_privs` and `mode` answer what a program may ask before and after.

This module stands alone: the standard library only, Python 3.9 and newer, under any package name.
Importing it loads nothing that a bare interpreter has not loaded already; for the same reason it
has no ``from __future__`` import, which loads a module.

Sources: seccomp(2), prctl(2), elf(5), proc_pid_status(5) and the kernel's kernel/seccomp.c.
"""

import os
import sys

__all__ = (
    "SeccompError",
    "action_available",
    "install",
    "mode",
    "no_new_privs",
    "running_abi",
    "supported",
)

# Raised with every change of what generated modules call; they are refused beside another.
FORMAT = 1

_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_TSYNC = 1
_NEW_LISTENER = 8
_TSYNC_ESRCH = 16
_WAIT_KILLABLE_RECV = 32
_PER_MASK = 0xFF
_PER_LINUX32 = 8

_INSTRUCTION_SIZE = 8  # sizeof(struct sock_filter)
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

# On every ABI; to import errno for the one that success passes by would cost more than all else.
_EFAULT = 14

# The last CPython whose _ctypes was read, and tried, for what `_lean_libc` does with it.
_NEWEST_LEAN = (3, 14)

_FLAG_NAMES = {
    1: "tsync (Linux 3.17)",
    2: "log (Linux 4.14)",
    4: "spec_allow (Linux 4.17)",
    8: "new_listener (Linux 5.0)",
    16: "tsync_esrch (Linux 5.7)",
    32: "wait_killable_recv (Linux 5.19)",
}
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
# kill_thread, trap, errno, trace, allow: as old as filters, and older than the question.
_OLD_ACTIONS = (0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000)
_ACTION_NAMES = {
    0x80000000: "kill_process (Linux 4.14)",
    0x7FFC0000: "log (Linux 4.14)",
    0x7FC00000: "user_notif (Linux 5.0)",
}

# ABI: its number of seccomp(2), as libc's syscall() takes it.
_NUMBERS = {
    "aarch64": 277,
    "alpha": 514,
    "arm": 383,
    "csky": 277,
    "i386": 354,
    "loongarch32": 277,
    "loongarch64": 277,
    "m68k": 380,
    "mips": 4352,
    "mips64": 5312,
    "mips64el": 5312,
    "mips64n32": 6316,
    "mips64n32el": 6316,
    "mipsel": 4352,
    "parisc": 338,
    "parisc64": 338,
    "ppc": 358,
    "ppc64": 358,
    "ppc64le": 358,
    "riscv32": 277,
    "riscv64": 277,
    "s390": 348,
    "s390x": 348,
    "sh": 372,
    "sheb": 372,
    "x32": 0x4000013D,
    "x86_64": 317,
    "xtensa": 337,
}

# (e_machine, bits, byte order) of an executable: its ABI, where Linux has seccomp filters.
# An order that is missing here has no programs: big-endian arm, say, shares the audit value of
# the other order but not the layout of the arguments.
_ELF_ABIS = {
    (3, 32, "little"): "i386",
    (4, 32, "big"): "m68k",
    (8, 32, "big"): "mips",
    (8, 32, "little"): "mipsel",
    (8, 64, "big"): "mips64",
    (8, 64, "little"): "mips64el",
    (15, 32, "big"): "parisc",
    (15, 64, "big"): "parisc64",
    (20, 32, "big"): "ppc",
    (21, 64, "big"): "ppc64",
    (21, 64, "little"): "ppc64le",
    (22, 32, "big"): "s390",
    (22, 64, "big"): "s390x",
    (40, 32, "little"): "arm",
    (42, 32, "little"): "sh",
    (42, 32, "big"): "sheb",
    (62, 32, "little"): "x32",
    (62, 64, "little"): "x86_64",
    (94, 32, "little"): "xtensa",
    (183, 64, "little"): "aarch64",
    (243, 32, "little"): "riscv32",
    (243, 64, "little"): "riscv64",
    (252, 32, "little"): "csky",
    (258, 32, "little"): "loongarch32",
    (258, 64, "little"): "loongarch64",
    (0x9026, 64, "little"): "alpha",
}
# The ABIs above of which MIPS has a second kind, told apart by EF_MIPS_ABI2 in e_flags.
_N32_ABIS = {"mips": "mips64n32", "mipsel": "mips64n32el"}
_EF_MIPS_ABI2 = 0x20

# `uname -m`: e_machine of every executable that such a kernel may run.
_UNAME_MACHINES = {
    "aarch64": (183, 40),
    "alpha": (0x9026,),
    "armv5tel": (40,),
    "armv6l": (40,),
    "armv7l": (40,),
    "armv8l": (40,),
    "csky": (252,),
    "i386": (3,),
    "i486": (3,),
    "i586": (3,),
    "i686": (3,),
    "loongarch32": (258,),
    "loongarch64": (258,),
    "m68k": (4,),
    "mips": (8,),
    "mips64": (8,),
    "parisc": (15,),
    "parisc64": (15,),
    "ppc": (20,),
    "ppc64": (20, 21),
    "ppc64le": (20, 21),
    "riscv32": (243,),
    "riscv64": (243,),
    "s390": (22,),
    "s390x": (22,),
    "sh2": (42,),
    "sh2a": (42,),
    "sh3": (42,),
    "sh4": (42,),
    "sh4a": (42,),
    "x86_64": (62, 3),
    "xtensa": (94,),
}


class SeccompError(OSError):
    """No filter was put in force, or a question has no answer.

    ``errno`` and ``errno_name`` say what the kernel said, or would have. ``cause`` is one word of
    those in docs/runtime.md, for programs; ``tried``, ``reason`` and ``remedy`` are for people:
    what was tried, what was in the way, and what to do. The text of the error is all three.
    """

    cause: str = ""
    tried: str = ""
    reason: str = ""
    remedy: str = ""

    @property
    def errno_name(self) -> str:
        """The name of ``errno``, such as ``"EINVAL"``; in digits if it has none."""
        import errno

        # This one has a second name, which is not the kernel's.
        names = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
        return names.get(self.errno or 0, str(self.errno))


def install(
    name: str,
    programs: dict[str, tuple[int, bytes]],
    *,
    flags: int,
    no_new_privs: bool,
    actions: tuple[int, ...],
) -> int:
    """Put the program for the running interpreter's ABI in force, for good.

    ``name`` is the policy's, for messages. ``programs`` maps an ABI to the number of seccomp(2)
    there, as libc's syscall() takes it, and to an array of ``struct sock_filter`` in that ABI's
    byte order. ``flags`` are SECCOMP_FILTER_FLAG_*. ``actions`` are the SECCOMP_RET_* values
    that the program can return, without data.

    The calling thread is confined, and the threads and processes it starts from then on; with
    TSYNC every thread of the process. Returns the listener's file descriptor (close-on-exec)
    where ``flags`` has NEW_LISTENER, and -1 otherwise.

    Raises SeccompError, with no filter in force, where anything at all is in the way. What can
    be found out beforehand is, so that then nothing has changed; but no_new_privs, once set,
    stays set if the kernel refuses the program itself (EACCES, EBUSY, EINVAL, ENOMEM, ESRCH).
    """
    attempt = (f"install filter {name!r}", f"filter {name!r} is not in force")
    abi = running_abi()
    if abi not in programs:
        wide = "" if sys.maxsize > 2**32 else ", or run an interpreter of 64 bits"
        raise _refusal(
            attempt,
            "wrong_abi",
            "ENOEXEC",
            f"this interpreter is {abi}, and the programs are for {', '.join(sorted(programs))}",
            f"add {abi} to the policy's arches and generate the filter again{wide}",
        )
    number, program = programs[abi]
    length, rest = divmod(len(program), _INSTRUCTION_SIZE)
    # The kernel reads the length as 16 bits: one that wraps would be another, shorter program.
    if rest or not 0 < length <= _MAX_INSTRUCTIONS:
        raise _refusal(
            attempt,
            "no_program",
            "EINVAL",
            f"{len(program)} bytes are not a program of 1 to {_MAX_INSTRUCTIONS} instructions",
            "generate the filter again",
        )
    _check_combination(attempt, flags)

    kernel = _Kernel(attempt, number)
    _check_flags(kernel, attempt, flags)
    for action in actions:
        failure = kernel.action_errno(action)
        if failure:
            raise _refusal(
                attempt,
                "lacks_action",
                failure,
                f"the kernel does not grant the action {_ACTION_NAMES.get(action, hex(action))} "
                f"({os.strerror(failure)})",
                "use a newer kernel, or another action in the policy",
            )
    fprog = kernel.fprog(length, program)
    if no_new_privs:
        failure = kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)[1]
        if failure:
            raise _refusal(
                attempt,
                "no_new_privs",
                failure,
                f"no_new_privs cannot be set ({os.strerror(failure)})",
                "let the sandbox around this process permit prctl(PR_SET_NO_NEW_PRIVS)",
            )

    # From a success on, every system call is the filter's to judge: nothing may be left to do.
    result, failure = kernel.seccomp(_SET_MODE_FILTER, flags, fprog)
    if flags & _NEW_LISTENER:
        if result >= 0:
            return result
    elif result == 0:
        return -1
    raise _explain(attempt, result, failure, length)


def supported() -> bool:
    """Return whether the kernel takes seccomp filters from this interpreter, as far as it says.

    A sandbox around this process can answer like a kernel that has none. Raises SeccompError
    where something answers as no kernel does, or the question cannot be asked.
    """
    attempt = _asking("whether the kernel takes filters")
    return _takes_filters(attempt, _Kernel(attempt, _NUMBERS[running_abi()]))


def action_available(action: str) -> bool:
    """Return whether filters may return ``action``, by the name it has in policies.

    These are kill_process, kill_thread, trap, errno, user_notif, trace, log and allow.

    Raises ValueError for another name, and SeccompError as `supported` does.
    """
    if action not in _ACTIONS:
        raise ValueError(f"{action!r} is no action; these are: {', '.join(_ACTIONS)}")
    attempt = _asking(f"whether the kernel has the action {action}")
    kernel = _Kernel(attempt, _NUMBERS[running_abi()])
    if not _takes_filters(attempt, kernel):
        return False
    failure = kernel.action_errno(_ACTIONS[action])
    if not failure:
        return True
    import errno

    # EINVAL is what a kernel says that is older than the question.
    if failure not in (errno.EOPNOTSUPP, errno.EINVAL):
        raise _forbidden(attempt, failure)
    return False


def no_new_privs() -> bool:
    """Return whether the calling thread has no_new_privs set, which it then has for good.

    Raises SeccompError if prctl(2) does not say so.
    """
    attempt = _asking("whether no_new_privs is set")
    value, failure = _Kernel(attempt, 0).prctl(_PR_GET_NO_NEW_PRIVS, 0)
    if failure:
        raise _refusal(
            attempt,
            "no_new_privs",
            failure,
            f"prctl(PR_GET_NO_NEW_PRIVS) fails ({os.strerror(failure)})",
            "use Linux 3.5 or newer, or let the sandbox around this process permit the call",
        )
    return bool(value)


def mode() -> "tuple[str, int | None]":
    """Return the calling thread's seccomp mode, and how many filters are in force for it.

    The mode is "disabled", "strict" or "filter". The number is None where the mode is "filter"
    and the kernel does not tell, which is before Linux 5.9. Both count what was in force when the
    program started, such as a container's filter. What another thread has may be different.

    The answer is /proc/thread-self/status. Raises SeccompError if that cannot be read, also where
    the filter in force is what forbids it, or does not say.
    """
    attempt = _asking("whether a filter is in force")
    path = "/proc/thread-self/status"
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise _refusal(
            attempt,
            "no_proc",
            error.errno or 0,
            f"{path} cannot be read ({error.strerror})",
            "mount /proc, and let filters permit to open it",
        ) from None
    fields = dict(line.split(b":", 1) for line in lines if b":" in line)
    name = {b"0": "disabled", b"1": "strict", b"2": "filter"}.get(
        fields.get(b"Seccomp", b"").strip()
    )
    if name is None:
        raise _refusal(
            attempt,
            "no_mode",
            "ENOSYS",
            f"{path} does not tell the seccomp mode",
            "use a kernel that is built with CONFIG_SECCOMP, and a /proc that is the kernel's",
        )
    count = fields.get(b"Seccomp_filters")
    if count is None:
        return name, None if name == "filter" else 0
    return name, int(count)


def running_abi() -> str:
    """Return the ABI of the running interpreter by its canonical name, such as ``"x86_64"``.

    It is what the interpreter was built for, whatever `uname` says about the kernel. Raises
    SeccompError (ENOEXEC) if Linux has no seccomp filters for it, or if it cannot be told.
    """
    machine = os.uname().machine
    header = _read("/proc/self/exe", 52)
    bits = 64 if sys.maxsize > 2**32 else 32
    if header[:4] == b"\x7fELF":
        abi = _abi_of_elf(header)
        remedy = "run one of an ABI that Linux has filters for"
    else:
        abi = _abi_of_uname(machine, bits, sys.byteorder)
        remedy = "mount /proc, which tells its ABI exactly"
    attempt = ("tell the ABI of this interpreter", "no filter is in force")
    if abi is None:
        raise _refusal(
            attempt,
            "unknown_abi",
            "ENOEXEC",
            f"none is known to fit this interpreter, a {bits}-bit "
            f"{sys.byteorder}-endian program with a kernel for {machine}",
            remedy,
        )
    if abi == "riscv32":
        _require_native_riscv32(attempt, machine)
    return abi


def _read(path: str, size: int) -> bytes:
    """Return the first ``size`` bytes of a file, or what there is; nothing if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _abi_of_elf(header: bytes) -> "str | None":
    """Return the ABI of an executable by its first 52 bytes, None if no filter fits it."""
    bits = 64 if header[4] == 2 else 32
    order = "little" if header[5] == 1 else "big"
    abi = _ELF_ABIS.get((_number(header, 18, 2, order), bits, order))
    if abi in _N32_ABIS and _number(header, 36, 4, order) & _EF_MIPS_ABI2:
        return _N32_ABIS[abi]
    return abi


def _number(data: bytes, offset: int, size: int, order: str) -> int:
    return int.from_bytes(data[offset : offset + size], "little" if order == "little" else "big")


def _abi_of_uname(machine: str, bits: int, order: str) -> "str | None":
    """Return the one ABI of these that a ``machine`` kernel runs, None if there is not one."""
    served = _UNAME_MACHINES.get(machine, ())
    fits = [abi for key, abi in _ELF_ABIS.items() if key[0] in served and key[1:] == (bits, order)]
    return fits[0] if len(fits) == 1 and fits[0] not in _N32_ABIS else None


def _require_native_riscv32(attempt: "tuple[str, str]", machine: str) -> None:
    """Raise SeccompError unless a riscv32 interpreter is proved to run on a kernel of 32 bits.

    A kernel of 64 bits gives filters its own audit value with the calls of 32-bit tasks
    (syscall_get_arch() in arch/riscv), so no program for riscv32 would fit. Its name is no proof
    under the personality PER_LINUX32: there a kernel of 64 bits calls itself "riscv", and
    "riscv32" since Linux 7.2 (override_architecture() in kernel/sys.c). Without that personality
    uname(2) tells the kernel's own name.
    """
    if machine != "riscv32":
        raise _refusal(
            attempt,
            "misreported_abi",
            "ENOEXEC",
            f"a {machine} kernel shows the calls of a riscv32 interpreter to filters as its own",
            f"run an interpreter built for {machine}",
        )
    personality = _personality()
    if personality is None or personality & _PER_MASK == _PER_LINUX32:
        raise _refusal(
            attempt,
            "misreported_abi",
            "ENOEXEC",
            "this kernel may be one of 64 bits that calls itself riscv32, and would show the calls "
            "of a riscv32 interpreter to filters as its own",
            "mount /proc, and run the interpreter without the personality linux32",
        )


def _personality() -> "int | None":
    """Return the calling thread's personality(2), None if it cannot be told."""
    try:
        return int(_read("/proc/thread-self/personality", 16), 16)
    except ValueError:
        return None


class _Kernel:
    """The system calls that installing takes, through libc."""

    def __init__(self, attempt: "tuple[str, str]", number: int) -> None:
        try:
            # Where ctypes is loaded, to take its types is quicker than to make some.
            lean = "ctypes" not in sys.modules and sys.version_info[:2] <= _NEWEST_LEAN
            parts = _lean_libc() if lean and sys.implementation.name == "cpython" else _libc()
        except (ImportError, OSError) as error:
            raise _refusal(
                attempt,
                "no_ctypes",
                "ENOSYS",
                f"this Python cannot call the C library ({error})",
                "use one that is built with ctypes and linked dynamically",
            ) from error
        self._alignment, self._get_errno, c_int, c_long, c_char_p, syscall, prctl = parts
        # Both functions are variadic: argtypes names the fixed parameters only, so that libffi
        # passes the others as variadic ones, which some ABIs keep elsewhere.
        syscall.argtypes = (c_long,)
        syscall.restype = c_long
        prctl.argtypes = (c_int,)
        prctl.restype = c_int
        self._syscall = syscall
        self._prctl = prctl
        self._long = c_long
        self._char_p = c_char_p
        self._number = number

    def fprog(self, length: int, program: bytes) -> bytes:
        """Return a ``struct sock_fprog`` that refers to ``program`` itself, and does not keep it.

        It is an unsigned short, and a pointer where its alignment puts it.
        """
        pointer = self._char_p(program)
        padding = bytes(self._alignment(pointer) - 2)
        return length.to_bytes(2, sys.byteorder) + padding + bytes(pointer)

    def seccomp(self, operation: int, flags: int, argument: object) -> "tuple[int, int]":
        """Call the kernel; return the result, and errno where that is -1 (0 elsewhere).

        ``argument`` is what the third argument of seccomp(2) points to: bytes, or an array of
        ctypes where the kernel writes; None is a null pointer.
        """
        long = self._long
        result = self._syscall(self._number, long(operation), long(flags), argument)
        return result, self._get_errno() if result == -1 else 0

    def probe(self, flags: int) -> "tuple[int, int]":
        """Set filter mode without a program: fails with EFAULT where ``flags`` are understood."""
        return self.seccomp(_SET_MODE_FILTER, flags, None)

    def action_errno(self, action: int) -> int:
        """Return 0 if the kernel has the action, and the error of the question if not."""
        if action in _OLD_ACTIONS:
            return 0
        return self.seccomp(_GET_ACTION_AVAIL, 0, action.to_bytes(4, sys.byteorder))[1]

    def prctl(self, option: int, value: int) -> "tuple[int, int]":
        """Change or ask about the calling thread; return the result, and errno where that is -1."""
        long = self._long
        result = self._prctl(option, long(value), long(0), long(0), long(0))
        return result, self._get_errno() if result == -1 else 0


def _libc() -> "tuple":  # type: ignore[type-arg] # Any would have to be imported
    """Return what `_Kernel` needs: functions and types of ctypes, syscall() and prctl()."""
    import ctypes

    # PyDLL keeps the GIL: to take it back would be a system call under the filter.
    libc = ctypes.PyDLL(None, use_errno=True)
    return (
        ctypes.alignment,
        ctypes.get_errno,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_char_p,
        libc.syscall,
        libc.prctl,
    )


def _lean_libc() -> "tuple":  # type: ignore[type-arg] # as above
    """Return the same from the extension module that ctypes is made of.

    That loads in a fifth of the time. docs/runtime.md says why this is sound, and where.
    """
    import _ctypes

    class Int(_ctypes._SimpleCData):  # type: ignore[type-arg] # no parameter before Python 3.12
        _type_ = "i"

    class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    class CharP(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "z"

    class Function(_ctypes.CFuncPtr):
        # As in PyDLL(None, use_errno=True).
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI | _ctypes.FUNCFLAG_USE_ERRNO

    handle = _ctypes.dlopen(None, _ctypes.RTLD_LOCAL)  # type: ignore[arg-type] # its stub lacks None
    syscall, prctl = (Function(_ctypes.dlsym(handle, name)) for name in ("syscall", "prctl"))
    return _ctypes.alignment, _ctypes.get_errno, Int, Long, CharP, syscall, prctl


def _check_combination(attempt: "tuple[str, str]", flags: int) -> None:
    """Raise SeccompError for flags that no kernel takes together, and those not known here."""
    bits = (1 << shift for shift in range(flags.bit_length()))
    unknown = [hex(bit) for bit in bits if flags & bit and bit not in _FLAG_NAMES]
    if flags < 0 or unknown:
        raise _refusal(
            attempt,
            "unknown_flag",
            "EINVAL",
            f"{', '.join(unknown) or flags} is no filter flag that this runtime knows",
            "generate the filter and the runtime beside it by one seccompgen",
        )
    if flags & _TSYNC and flags & _NEW_LISTENER and not flags & _TSYNC_ESRCH:
        raise _refusal(
            attempt,
            "conflicting_flags",
            "EINVAL",
            "tsync and new_listener do not go together, as the kernel can return only one of a "
            "thread and a descriptor",
            "give the policy tsync_esrch as well",
        )
    if flags & _WAIT_KILLABLE_RECV and not flags & _NEW_LISTENER:
        raise _refusal(
            attempt,
            "conflicting_flags",
            "EINVAL",
            "wait_killable_recv says how a listener waits, and there is none",
            "give the policy new_listener as well",
        )


def _takes_filters(attempt: "tuple[str, str]", kernel: _Kernel) -> bool:
    try:
        _check_flags(kernel, attempt, 0)
    except SeccompError as error:
        if error.cause not in ("no_seccomp", "no_filters"):
            raise
        return False
    return True


def _check_flags(kernel: _Kernel, attempt: "tuple[str, str]", flags: int) -> None:
    """Raise SeccompError unless the kernel has filters and takes ``flags``."""
    result, failure = kernel.probe(flags)
    if failure == _EFAULT:
        return
    import errno

    if result != -1:
        raise _refusal(
            attempt,
            "pretended",
            "EPROTO",
            "something around this process answers seccomp(2) as done without doing it",
            "run outside that sandbox, tracer or emulator",
        )
    if failure == errno.ENOSYS:
        raise _refusal(
            attempt,
            "no_seccomp",
            failure,
            "the kernel, or a sandbox around this process, has no seccomp(2)",
            "use Linux 3.17 or newer built with CONFIG_SECCOMP_FILTER, and permit the call",
        )
    if failure != errno.EINVAL:
        raise _forbidden(attempt, failure)
    if kernel.probe(0)[1] != _EFAULT:
        raise _refusal(
            attempt,
            "no_filters",
            failure,
            "the kernel has no seccomp filters",
            "use one that is built with CONFIG_SECCOMP_FILTER",
        )
    missing = []
    for bit, name in _FLAG_NAMES.items():
        needed = _NEW_LISTENER if bit == _WAIT_KILLABLE_RECV else 0
        if flags & bit and kernel.probe(bit | needed)[1] != _EFAULT:
            missing.append(name)
    if missing:
        raise _refusal(
            attempt,
            "lacks_flag",
            failure,
            f"the kernel lacks the filter flags {', '.join(missing)}",
            "use a newer kernel, or take them out of the policy's flags",
        )
    raise _refusal(
        attempt,
        "flags_apart",
        failure,
        f"the kernel takes each of the filter flags but not all of them together ({flags:#x})",
        "take some of them out of the policy's flags",
    )


def _explain(attempt: "tuple[str, str]", result: int, failure: int, length: int) -> SeccompError:
    """Return the error for a filter that the kernel refused with ``result`` and errno."""
    import errno

    if result > 0:
        return _refusal(
            attempt,
            "diverging_thread",
            "ESRCH",
            f"thread {result} of this process has a filter of its own, so that not all threads "
            "can be confined together",
            "install the filter before that thread installs one, or before it starts",
        )
    if failure == errno.ESRCH:
        return _refusal(
            attempt,
            "diverging_thread",
            failure,
            "a thread of this process has a filter of its own, so that not all threads can be "
            "confined together",
            "install the filter before any other thread installs one",
        )
    if failure == errno.EACCES:
        return _refusal(
            attempt,
            "no_privilege",
            failure,
            "without no_new_privs the kernel wants the capability CAP_SYS_ADMIN",
            "say `no_new_privs: true` in the policy, or run with that capability",
        )
    if failure == errno.EBUSY:
        return _refusal(
            attempt,
            "second_listener",
            failure,
            "an earlier filter of this process has a listener, and there can be one only",
            "take new_listener out of the flags of one of the two policies",
        )
    if failure == errno.ENOMEM:
        return _refusal(
            attempt,
            "memory",
            failure,
            f"{length} instructions more do not fit beside the earlier filters of this process "
            "(32768 in all), or the kernel is short of memory",
            "install fewer or shorter filters",
        )
    if failure == errno.EINVAL:
        return _refusal(
            attempt,
            "rejected",
            failure,
            f"the kernel rejects the program of {length} instructions as malformed",
            "generate the filter again",
        )
    return _refusal(
        attempt,
        "other",
        failure,
        f"the kernel refuses it ({os.strerror(failure)})",
        "look the error up in seccomp(2)",
    )


def _asking(what: str) -> "tuple[str, str]":
    """Return the attempt of a question, as `_refusal` takes it."""
    return f"ask {what}", f"it cannot be told {what}"


def _forbidden(attempt: "tuple[str, str]", failure: int) -> SeccompError:
    return _refusal(
        attempt,
        "forbidden",
        failure,
        f"a sandbox around this process forbids seccomp(2) ({os.strerror(failure)})",
        "have it permit the call",
    )


def _refusal(
    attempt: "tuple[str, str]", cause: str, number: "int | str", reason: str, remedy: str
) -> SeccompError:
    """Return the error that says in one sentence what is in the way and what to do.

    ``attempt`` is what was tried, and how the sentence begins; ``number`` an errno or its name.
    """
    if isinstance(number, str):
        import errno

        number = int(getattr(errno, number))
    tried, outcome = attempt
    error = SeccompError(number, f"{outcome}: {reason}; {remedy}")
    error.cause, error.tried, error.reason, error.remedy = cause, tried, reason, remedy
    return error
