"""Put a finished seccomp filter in force: the only part of a generated filter that runs.

A generated module holds a program for each ABI and hands them to `install`. This module stands
alone: the standard library only, Python 3.9 and newer, under any package name. Importing it
loads nothing that a bare interpreter has not loaded already; for the same reason it has no
``from __future__`` import, which loads a module.

Sources: seccomp(2), prctl(2), elf(5) and the kernel's kernel/seccomp.c.
"""

import os
import sys

__all__ = ("SeccompError", "install", "running_abi")

# Raised with every change of what generated modules call; they are refused beside another.
FORMAT = 1

_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_PR_SET_NO_NEW_PRIVS = 38
_TSYNC = 1
_NEW_LISTENER = 8
_TSYNC_ESRCH = 16
_WAIT_KILLABLE_RECV = 32

_INSTRUCTION_SIZE = 8  # sizeof(struct sock_filter)
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

_FLAG_NAMES = {
    1: "tsync (Linux 3.17)",
    2: "log (Linux 4.14)",
    4: "spec_allow (Linux 4.17)",
    8: "new_listener (Linux 5.0)",
    16: "tsync_esrch (Linux 5.7)",
    32: "wait_killable_recv (Linux 5.19)",
}
# kill_thread, trap, errno, trace, allow: as old as filters, and older than the question.
_OLD_ACTIONS = (0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000)
_ACTION_NAMES = {
    0x80000000: "kill_process (Linux 4.14)",
    0x7FFC0000: "log (Linux 4.14)",
    0x7FC00000: "user_notif (Linux 5.0)",
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
    """No filter was put in force. Holds errno, and a sentence that ends in what to do."""


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
    import errno

    abi = running_abi()
    if abi not in programs:
        raise _refusal(
            name,
            errno.ENOEXEC,
            f"this interpreter is {abi}, and the programs are for {', '.join(sorted(programs))}",
            f"add {abi} to the policy's arches and generate the filter again",
        )
    number, program = programs[abi]
    length, rest = divmod(len(program), _INSTRUCTION_SIZE)
    # The kernel reads the length as 16 bits: one that wraps would be another, shorter program.
    if rest or not 0 < length <= _MAX_INSTRUCTIONS:
        raise _refusal(
            name,
            errno.EINVAL,
            f"{len(program)} bytes are not a program of 1 to {_MAX_INSTRUCTIONS} instructions",
            "generate the filter again",
        )

    kernel = _Kernel(name, number)
    _check_flags(kernel, name, flags)
    _check_actions(kernel, name, actions)
    fprog = kernel.fprog(length, program)
    if no_new_privs:
        failure = kernel.set_no_new_privs()
        if failure:
            raise _refusal(
                name,
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
    raise _explain(name, result, failure, length)


def running_abi() -> str:
    """Return the ABI of the running interpreter by its canonical name, such as ``"x86_64"``.

    It is what the interpreter was built for, whatever `uname` says about the kernel. Raises
    SeccompError (ENOEXEC) if Linux has no seccomp filters for it, or if it cannot be told.
    """
    import errno

    machine = os.uname().machine
    try:
        with open("/proc/self/exe", "rb") as file:
            header = file.read(52)
    except OSError:
        header = b""
    bits = 64 if sys.maxsize > 2**32 else 32
    if header[:4] == b"\x7fELF":
        abi = _abi_of_elf(header)
        remedy = "run one of an ABI that Linux has filters for"
    else:
        abi = _abi_of_uname(machine, bits, sys.byteorder)
        remedy = "mount /proc, which tells its ABI exactly"
    if abi is None:
        raise SeccompError(
            errno.ENOEXEC,
            f"no filter is in force: none is known to fit this interpreter, a {bits}-bit "
            f"{sys.byteorder}-endian program with a kernel for {machine}; {remedy}",
        )
    if _is_misreported(abi, machine):
        raise SeccompError(
            errno.ENOEXEC,
            f"no filter is in force: a {machine} kernel shows the calls of a {abi} interpreter "
            f"to filters as its own; run an interpreter built for {machine}",
        )
    return abi


def _abi_of_elf(header: bytes) -> "str | None":
    """Return the ABI of an executable by its first 52 bytes, None if no filter fits it."""
    bits = 64 if header[4] == 2 else 32
    little = header[5] == 1

    def number(offset: int, size: int) -> int:
        return int.from_bytes(header[offset : offset + size], "little" if little else "big")

    abi = _ELF_ABIS.get((number(18, 2), bits, "little" if little else "big"))
    if abi in _N32_ABIS and number(36, 4) & _EF_MIPS_ABI2:
        return _N32_ABIS[abi]
    return abi


def _abi_of_uname(machine: str, bits: int, order: str) -> "str | None":
    """Return the one ABI of these that a ``machine`` kernel runs, None if there is not one."""
    served = _UNAME_MACHINES.get(machine, ())
    fits = [abi for key, abi in _ELF_ABIS.items() if key[0] in served and key[1:] == (bits, order)]
    return fits[0] if len(fits) == 1 and fits[0] not in _N32_ABIS else None


def _is_misreported(abi: str, machine: str) -> bool:
    """Return True if a ``machine`` kernel gives filters another audit value than the ABI's.

    riscv64 does to its 32-bit tasks (syscall_get_arch() in arch/riscv); `uname` is "riscv64"
    or, under PER_LINUX32, "riscv" in these, and "riscv32" on a kernel of 32 bits.
    """
    return abi == "riscv32" and machine != "riscv32"


class _Kernel:
    """The system calls that installing takes, through libc."""

    def __init__(self, name: str, number: int) -> None:
        import errno

        try:
            import ctypes

            # PyDLL keeps the GIL: to take it back would be a system call under the filter.
            libc = ctypes.PyDLL(None, use_errno=True)
        except (ImportError, OSError) as error:
            raise _refusal(
                name,
                errno.ENOSYS,
                f"this Python cannot call the C library ({error})",
                "use one that is built with ctypes and linked dynamically",
            ) from error

        class Fprog(ctypes.Structure):
            """``struct sock_fprog``; the field of type char * keeps the bytes it points to."""

            _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))

        self._ctypes = ctypes
        self._fprog = Fprog
        self._number = number
        # Both functions are variadic: argtypes names the fixed parameters only, so that libffi
        # passes the others as variadic ones, which some ABIs keep elsewhere.
        self._syscall = libc.syscall
        self._syscall.argtypes = (ctypes.c_long,)
        self._syscall.restype = ctypes.c_long
        self._prctl = libc.prctl
        self._prctl.argtypes = (ctypes.c_int,)
        self._prctl.restype = ctypes.c_int

    def fprog(self, length: int, program: bytes) -> object:
        """Return a pointer to a ``struct sock_fprog`` that refers to ``program`` itself."""
        return self._ctypes.byref(self._fprog(length, program))

    def seccomp(self, operation: int, flags: int, argument: object) -> tuple[int, int]:
        """Call the kernel; return the result, and errno where that is -1 (0 elsewhere)."""
        result = int(
            self._syscall(
                self._number,
                self._ctypes.c_ulong(operation),
                self._ctypes.c_ulong(flags),
                argument,
            )
        )
        return result, self._ctypes.get_errno() if result == -1 else 0

    def probe(self, flags: int) -> tuple[int, int]:
        """Set filter mode without a program: fails with EFAULT where ``flags`` are understood."""
        return self.seccomp(_SET_MODE_FILTER, flags, self._ctypes.c_void_p(None))

    def action_errno(self, action: int) -> int:
        """Return 0 if the kernel has the action, and the error of the question if not."""
        value = self._ctypes.c_uint32(action)
        return self.seccomp(_GET_ACTION_AVAIL, 0, self._ctypes.byref(value))[1]

    def set_no_new_privs(self) -> int:
        """Set no_new_privs for the calling thread; returns 0 or an errno."""
        ulong = self._ctypes.c_ulong
        if self._prctl(_PR_SET_NO_NEW_PRIVS, ulong(1), ulong(0), ulong(0), ulong(0)) == 0:
            return 0
        return self._ctypes.get_errno()


def _check_flags(kernel: _Kernel, name: str, flags: int) -> None:
    """Raise SeccompError unless the kernel has filters and takes ``flags``."""
    import errno

    result, failure = kernel.probe(flags)
    if failure == errno.EFAULT:
        return
    if result != -1:
        raise _refusal(
            name,
            errno.EPROTO,
            "something around this process answers seccomp(2) as done without doing it",
            "run outside that sandbox, tracer or emulator",
        )
    if failure == errno.ENOSYS:
        raise _refusal(
            name,
            failure,
            "the kernel, or a sandbox around this process, has no seccomp(2)",
            "use Linux 3.17 or newer built with CONFIG_SECCOMP_FILTER, and permit the call",
        )
    if failure != errno.EINVAL:
        raise _refusal(
            name,
            failure,
            f"a sandbox around this process forbids seccomp(2) ({os.strerror(failure)})",
            "have it permit the call",
        )
    if kernel.probe(0)[1] != errno.EFAULT:
        raise _refusal(
            name,
            failure,
            "the kernel has no seccomp filters",
            "use one that is built with CONFIG_SECCOMP_FILTER",
        )
    missing = []
    for bit in (1 << shift for shift in range(flags.bit_length())):
        needed = _NEW_LISTENER if bit == _WAIT_KILLABLE_RECV else 0
        if flags & bit and kernel.probe(bit | needed)[1] != errno.EFAULT:
            missing.append(_FLAG_NAMES.get(bit, hex(bit)))
    if missing:
        raise _refusal(
            name,
            failure,
            f"the kernel lacks the filter flags {', '.join(missing)}",
            "use a newer kernel, or take them out of the policy's flags",
        )
    raise _refusal(
        name,
        failure,
        f"the kernel takes each of the filter flags but not all of them together ({flags:#x})",
        "give the policy tsync_esrch where it has tsync and new_listener, and new_listener "
        "where it has wait_killable_recv",
    )


def _check_actions(kernel: _Kernel, name: str, actions: tuple[int, ...]) -> None:
    """Raise SeccompError unless the kernel has every one of ``actions``."""
    for action in actions:
        failure = 0 if action in _OLD_ACTIONS else kernel.action_errno(action)
        if failure:
            raise _refusal(
                name,
                failure,
                f"the kernel does not grant the action {_ACTION_NAMES.get(action, hex(action))} "
                f"({os.strerror(failure)})",
                "use a newer kernel, or another action in the policy",
            )


def _explain(name: str, result: int, failure: int, length: int) -> SeccompError:
    """Return the error for a filter that the kernel refused with ``result`` and errno."""
    import errno

    if result > 0:
        return _refusal(
            name,
            errno.ESRCH,
            f"thread {result} of this process has a filter of its own, so that not all threads "
            "can be confined together",
            "install the filter before that thread installs one, or before it starts",
        )
    if failure == errno.ESRCH:
        return _refusal(
            name,
            failure,
            "a thread of this process has a filter of its own, so that not all threads can be "
            "confined together",
            "install the filter before any other thread installs one",
        )
    if failure == errno.EACCES:
        return _refusal(
            name,
            failure,
            "without no_new_privs the kernel wants the capability CAP_SYS_ADMIN",
            "say `no_new_privs: true` in the policy, or run with that capability",
        )
    if failure == errno.EBUSY:
        return _refusal(
            name,
            failure,
            "an earlier filter of this process has a listener, and there can be one only",
            "take new_listener out of the flags of one of the two policies",
        )
    if failure == errno.ENOMEM:
        return _refusal(
            name,
            failure,
            f"{length} instructions more do not fit beside the earlier filters of this process "
            "(32768 in all), or the kernel is short of memory",
            "install fewer or shorter filters",
        )
    if failure == errno.EINVAL:
        return _refusal(
            name,
            failure,
            f"the kernel rejects the program of {length} instructions as malformed",
            "generate the filter again",
        )
    return _refusal(
        name,
        failure,
        f"the kernel refuses it ({os.strerror(failure)})",
        "look the error up in seccomp(2)",
    )


def _refusal(name: str, number: int, why: str, remedy: str) -> SeccompError:
    """Return the error that says in one sentence what is in the way and what to do."""
    return SeccompError(number, f"filter {name!r} is not in force: {why}; {remedy}")
