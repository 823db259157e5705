"""Put a finished seccomp filter in force: the only part of a generated filter that runs.

A generated module holds a program for each ABI and hands them to `install`. `supported`,
`action_available`, `no_new_privs` and `mode` answer what a program may ask before and after.
`marker` stands where `install` will be, while there is no filter yet.

This module stands alone: the standard library only, Python 3.9 and newer, under any package name.
Importing it loads nothing that a bare interpreter has not loaded already; for the same reason it
has no ``from __future__`` import, which loads a module.

Sources: seccomp(2), prctl(2), elf(5), proc_pid_status(5) and the kernel's kernel/seccomp.c.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Seccomp = Callable[[int, int, "bytes | None"], tuple[int, int]]
    _Prctl = Callable[[int, int], tuple[int, int]]
    _Enforce = Callable[[int], Iterator[tuple[int, int]]]

__all__ = (
    "SeccompError",
    "action_available",
    "install",
    "marker",
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
_ROOM = 16  # sizeof(struct sock_fprog), or more

# On every ABI; to import errno for those that success passes by would cost more than all else.
_EFAULT = 14
_EINVAL = 22

# The last CPython whose _ctypes was read, and tried, for what `_lean_libc` does with it.
_NEWEST_LEAN = (3, 14)

_SYSTEMS = ("linux", "android")  # sys.platform where the kernel is Linux

# What each thread's install() could not return (`_keep`), or nothing.
_unreturned = []  # type: ignore[var-annotated] # an annotation would have to be evaluated

# SECCOMP_FILTER_FLAG_*, from bit 0 on, as the kernel numbers them.
_FLAGS = (
    "tsync (Linux 3.17)",
    "log (Linux 4.14)",
    "spec_allow (Linux 4.17)",
    "new_listener (Linux 5.0)",
    "tsync_esrch (Linux 5.7)",
    "wait_killable_recv (Linux 5.19)",
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
# kill_thread, trap, errno, trace, allow: as old as filters, and older than the question.
_OLD_ACTIONS = (0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000)
_ACTION_NAMES = {
    0x80000000: "kill_process (Linux 4.14)",
    0x7FFC0000: "log (Linux 4.14)",
    0x7FC00000: "user_notif (Linux 5.0)",
}

# The two tables below are text, and read only as far as they are needed: made into objects, they
# would be most of what importing a filter costs.

# A row for each ABI that Linux has filters on: its name; its number of seccomp(2), as libc's
# syscall() takes it; width and byte order; e_machine of its executables; and what its CPythons
# have before "-linux-" in `sys.implementation._multiarch` (Misc/platform_triplet.c).
# An order that is missing here has no programs: big-endian arm, say, shares the audit value of
# the other order but not the layout of the arguments.
_ABIS = """\
x86_64      317         64 little  62      x86_64
aarch64     277         64 little  183     aarch64
arm         383         32 little  40      arm
i386        354         32 little  3       i386 i686
riscv64     277         64 little  243     riscv64
ppc64le     358         64 little  21      powerpc64le
s390x       348         64 big     22      s390x
loongarch64 277         64 little  258     loongarch64
alpha       514         64 little  0x9026  alpha
csky        277         32 little  252
loongarch32 277         32 little  258
m68k        380         32 big     4       m68k
mips        4352        32 big     8       mips mipsisa32r6
mips64      5312        64 big     8       mips64 mipsisa64r6
mips64el    5312        64 little  8       mips64el mipsisa64r6el
mips64n32   6316        32 big     8+n32   mips64 mipsisa64r6
mips64n32el 6316        32 little  8+n32   mips64el mipsisa64r6el
mipsel      4352        32 little  8       mipsel mipsisa32r6el
parisc      338         32 big     15      hppa
parisc64    338         64 big     15
ppc         358         32 big     20      powerpc
ppc64       358         64 big     21      powerpc64
riscv32     277         32 little  243     riscv32
s390        348         32 big     22      s390
sh          372         32 little  42      sh4
sheb        372         32 big     42
x32         0x4000013D  32 little  62      x86_64
xtensa      337         32 little  94
"""
_EM_MIPS = 8
_EF_MIPS_ABI2 = 0x20  # in e_flags: n32

# What can be in the way: its cause, and "/" and a word where a cause has several texts; its errno,
# where that is not the kernel's to say; the reason; what to do. What is in braces is filled in.
_REFUSALS = """\
wrong_abi ENOEXEC
    this interpreter is {abi}, and the programs are for {programs};
    add {abi} to the policy's arches and generate the filter again{wide}

unknown_abi ENOEXEC
    none is known to fit this interpreter, a {bits}-bit {order}-endian program with a kernel for
    {machine};
    {remedy}

misreported_abi/other ENOEXEC
    a {machine} kernel shows the calls of a riscv32 interpreter to filters as its own;
    run an interpreter built for {machine}

misreported_abi/doubtful ENOEXEC
    this kernel may be one of 64 bits that calls itself riscv32, and would show the calls of a
    riscv32 interpreter to filters as its own;
    mount /proc, and run the interpreter without the personality linux32

no_program EINVAL
    {size} bytes are not a program of 1 to {most} instructions;
    generate the filter again

unknown_flag EINVAL
    this runtime does not know the filter flags {unknown:#x};
    generate the filter and the runtime beside it by one seccompgen

conflicting_flags/tsync EINVAL
    tsync and new_listener do not go together, as the kernel can return only one of a thread and a
    descriptor;
    give the policy tsync_esrch as well

conflicting_flags/recv EINVAL
    wait_killable_recv says how a listener waits, and there is none;
    give the policy new_listener as well

no_ctypes ENOSYS
    this Python cannot call the C library ({failure});
    use one that is built with ctypes and linked dynamically, and let limits and filters in force
    permit to load _ctypes, or import it before they are; in a subinterpreter with a GIL of its
    own, use Python 3.13, or install the filter before, in the main interpreter of the same thread

no_seccomp/system ENOSYS
    filters are Linux's, and this is {system};
    install them where supported() says that it can be done

no_seccomp -
    the kernel, or a sandbox around this process, has no seccomp(2);
    use Linux 3.17 or newer built with CONFIG_SECCOMP_FILTER, and permit the call

no_filters -
    the kernel has no seccomp filters;
    use one that is built with CONFIG_SECCOMP_FILTER

forbidden -
    a sandbox around this process forbids seccomp(2) ({error});
    have it permit the call

pretended EPROTO
    something around this process answers {call} as done without doing it;
    run outside that sandbox, tracer or emulator

lacks_flag -
    the kernel lacks the filter flags {flags};
    use a newer kernel, or take them out of the policy's flags

flags_apart -
    the kernel takes each of the filter flags but not all of them together ({flags:#x});
    take some of them out of the policy's flags

lacks_action -
    the kernel does not grant the action {action} ({error});
    use a newer kernel, or another action in the policy

no_new_privs/set -
    no_new_privs cannot be set ({error});
    let the sandbox around this process permit prctl(PR_SET_NO_NEW_PRIVS)

no_new_privs/ask -
    prctl(PR_GET_NO_NEW_PRIVS) fails ({error});
    use Linux 3.5 or newer, or let the sandbox around this process permit the call

no_privilege -
    without no_new_privs the kernel wants the capability CAP_SYS_ADMIN;
    say `no_new_privs: true` in the policy, or run with that capability

rejected -
    the kernel, or a sandbox around this process, rejects the program of {length} instructions as
    malformed;
    generate the filter again, and have the sandbox permit seccomp(2)

memory -
    {length} instructions more do not fit beside the earlier filters of this process (32768 in
    all), or the kernel is short of memory;
    install fewer or shorter filters

second_listener -
    an earlier filter of this process has a listener, and there can be one only;
    take new_listener out of the flags of one of the two policies, or start the process again if a
    signal handler's exception ended an earlier install()

diverging_thread/named ESRCH
    thread {tid} of this process has a filter of its own, so that not all threads can be confined
    together;
    install the filter before that thread installs one, or before it starts

diverging_thread/hidden -
    a thread of this process has a filter of its own, so that not all threads can be confined
    together;
    install the filter before any other thread installs one

other -
    the kernel refuses it ({error});
    look the error up in seccomp(2)

no_proc -
    {path} cannot be read ({error});
    mount /proc, and let filters permit to open it

no_mode ENOSYS
    {path} does not tell the seccomp mode;
    use a kernel that is built with CONFIG_SECCOMP, and a /proc that is the kernel's

no_notification -
    the kernel, or a sandbox around this process, has none ({error});
    use Linux 5.0 or newer, and permit seccomp(2)

no_listener EPIPE
    the confined process ended, or sent something else, before it sent its listener;
    see why its install() failed; its filter must allow sendmsg

gone -
    the call does not wait any more: it was answered, or a signal ended it or its caller;
    pass it over

unreadable/memory EFAULT
    it has no {size} bytes at {address:#x};
    answer the call with EFAULT, as the kernel would

unreadable/string ENAMETOOLONG
    what is at {address:#x} has no end within {limit} bytes;
    answer the call with ENAMETOOLONG, as the kernel would

unreadable/process -
    {path} cannot be read ({error});
    run the supervisor as the same user and as an ancestor, with /proc mounted

refused -
    the kernel refuses it ({error});
    see seccomp_unotify(2): EINVAL may mean that the kernel is too old for it
"""


class SeccompError(OSError):
    """No filter was put in force, or a question has no answer.

    ``errno`` and ``errno_name`` say what the kernel said, or would have. ``cause`` is one word of
    those in docs/runtime.md, for programs; ``tried``, ``reason`` and ``remedy`` are for people:
    what was tried, what was in the way, and what to do. The text of the error is all three.
    """

    cause = tried = reason = remedy = ""

    @property
    def errno_name(self) -> str:
        """The name of ``errno``, such as ``"EINVAL"``; in digits if it has none."""
        import errno

        # This one has a second name, which is not the kernel's.
        names = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
        return names.get(self.errno or 0, str(self.errno))


def install(
    name: str,
    programs: "dict[str, tuple[int, bytes]]",
    *,
    flags: int,
    no_new_privs: bool,
    actions: "tuple[int, ...]",
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

    An exception of a signal handler passes through, and may come when the filter is in force.
    Called again in the same thread, this then returns what it could not return before.
    """
    attempt = f"install filter {name!r}"
    abi = running_abi()
    if abi not in programs:
        wide = "" if sys.maxsize > 2**32 else ", or run an interpreter of 64 bits"
        names = ", ".join(sorted(programs))
        raise _refusal(attempt, "wrong_abi", abi=abi, programs=names, wide=wide)
    number, program = programs[abi]
    length, rest = divmod(len(program), _INSTRUCTION_SIZE)
    # The kernel reads the length as 16 bits: one that wraps would be another, shorter program.
    if rest or not 0 < length <= _MAX_INSTRUCTIONS:
        raise _refusal(attempt, "no_program", size=len(program), most=_MAX_INSTRUCTIONS)
    if _unreturned:
        kept = _unreturned[0].__dict__
        if (flags, program) in kept:
            descriptor: int = kept[flags, program]
            del kept[flags, program]
            return descriptor
    seccomp, prctl, _, enforce = _system_calls(attempt, number, program)
    _check_flags(attempt, seccomp, flags)
    for action in actions:
        if action in _OLD_ACTIONS:
            continue
        failure = seccomp(_GET_ACTION_AVAIL, 0, action.to_bytes(4, sys.byteorder))[1]
        if failure:
            name = _ACTION_NAMES.get(action, hex(action))
            raise _refusal(attempt, "lacks_action", failure, action=name)
    if no_new_privs:
        failure = prctl(_PR_SET_NO_NEW_PRIVS, 1)[1]
        if failure:
            raise _refusal(attempt, "no_new_privs/set", failure)
        # A sandbox may say yes and do nothing; with CAP_SYS_ADMIN the kernel would not mind.
        value, failure = prctl(_PR_GET_NO_NEW_PRIVS, 0)
        if failure:
            raise _refusal(attempt, "no_new_privs/ask", failure)
        if not value:
            raise _refusal(attempt, "pretended", call="prctl(PR_SET_NO_NEW_PRIVS)")

    # From a success on, every system call is the filter's to judge: nothing may be left to do.
    told: list[tuple[int, int]] = []
    try:
        # C code makes the call and keeps the result: no signal handler runs in between. The last
        # place for one is int(); before 3.11, CPython has another before the caller has the result.
        told.extend(enforce(flags))
        ((result, failure),) = told
        if result == 0 or (flags & _NEW_LISTENER and result > 0):
            return int(result if flags & _NEW_LISTENER else -1)
    except BaseException:
        _keep(told, flags, program)
        raise
    import errno

    if result > 0:
        raise _refusal(attempt, "diverging_thread/named", tid=result)
    labels = {
        errno.ESRCH: "diverging_thread/hidden",
        errno.EACCES: "no_privilege",
        errno.EBUSY: "second_listener",
        errno.ENOMEM: "memory",
        errno.EINVAL: "rejected",
    }
    raise _refusal(attempt, labels.get(failure, "other"), failure, length=length)


def supported() -> bool:
    """Return whether the kernel takes seccomp filters from this interpreter, as far as it says.

    A sandbox around this process can answer like a kernel that has none. Raises SeccompError
    where something answers as no kernel does, or the question cannot be asked.
    """
    attempt = "ask whether the kernel takes filters"
    try:
        _check_flags(attempt, _system_calls(attempt)[0], 0)
    except SeccompError as error:
        if error.cause not in ("no_seccomp", "no_filters"):
            raise
        return False
    return True


def action_available(action: str) -> bool:
    """Return whether filters may return ``action``, by the name it has in policies.

    These are kill_process, kill_thread, trap, errno, user_notif, trace, log and allow.

    Raises ValueError for another name, and SeccompError as `supported` does.
    """
    if action not in _ACTIONS:
        raise ValueError(f"{action!r} is no action; these are: {', '.join(_ACTIONS)}")
    if not supported():
        return False
    number = _ACTIONS[action]
    if number in _OLD_ACTIONS:
        return True
    attempt = f"ask whether the kernel has the action {action}"
    seccomp = _system_calls(attempt)[0]
    failure = seccomp(_GET_ACTION_AVAIL, 0, number.to_bytes(4, sys.byteorder))[1]
    if not failure:
        return True
    import errno

    # EINVAL is what a kernel says that is older than the question.
    if failure not in (errno.EOPNOTSUPP, errno.EINVAL):
        raise _refusal(attempt, "forbidden", failure)
    return False


def no_new_privs() -> bool:
    """Return whether the calling thread has no_new_privs set, which it then has for good.

    Raises SeccompError if prctl(2) does not say so.
    """
    attempt = "ask whether no_new_privs is set"
    value, failure = _system_calls(attempt, 0)[1](_PR_GET_NO_NEW_PRIVS, 0)
    if failure:
        raise _refusal(attempt, "no_new_privs/ask", failure)
    return bool(value)


def marker() -> None:
    """Mark where the startup ends, for recorder and tracer; nothing else changes.

    It stands where `install` will be, in a program that has no filter yet. The call is the one
    that `install` asks with beforehand: set filter mode without a program, which every kernel
    refuses. Where the kernel is not Linux, nobody records, and no call is made.

    Raises SeccompError if the call cannot be made.
    """
    if sys.platform in _SYSTEMS:
        _system_calls("mark the end of the startup")[0](_SET_MODE_FILTER, 0, None)


def mode() -> "tuple[str, int | None]":
    """Return the calling thread's seccomp mode, and how many filters are in force for it.

    The mode is "disabled", "strict" or "filter". The number is None where the mode is "filter"
    and the kernel does not tell, which is before Linux 5.9. Both count what was in force when the
    program started, such as a container's filter. What another thread has may be different.

    The answer is /proc/thread-self/status. Raises SeccompError if that cannot be read, also where
    the filter in force is what forbids it, or does not say.
    """
    attempt = "ask whether a filter is in force"
    _require_linux(attempt)
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
        raise _refusal(attempt, "no_mode", path=path)
    if not count:
        return name, None if name == "filter" else 0
    return name, int(count)


def running_abi() -> str:
    """Return the ABI of the running interpreter by its canonical name, such as ``"x86_64"``.

    It is what the interpreter was built for, whatever `uname` says about the kernel. Raises
    SeccompError (ENOEXEC) if Linux has no seccomp filters for it, or if it cannot be told.
    """
    return _running()[0]


def _running() -> "list[str]":
    """Return the row of `_ABIS` for the running interpreter. Raises SeccompError as said there."""
    attempt = "tell the ABI of this interpreter"
    _require_linux(attempt)
    bits, order = "64" if sys.maxsize > 2**32 else "32", sys.byteorder
    # What the build calls itself costs nothing to ask, needs no /proc, and no filter forbids it.
    arch, _, system = getattr(sys.implementation, "_multiarch", "").partition("-linux-")
    row = _row(arch, bits, order) if system else None
    if row is None:
        header = _read("/proc/self/exe", 52)
        if header[:4] == b"\x7fELF":
            row = _row_of_elf(header)
            remedy = "run one of an ABI that Linux has filters for"
        else:
            remedy = "mount /proc, which tells its ABI exactly"
    if row is None:
        machine = os.uname().machine
        raise _refusal(
            attempt, "unknown_abi", bits=bits, order=order, machine=machine, remedy=remedy
        )
    if row[0] == "riscv32":
        _require_native_riscv32(attempt, os.uname().machine)
    return row


def _row(word: str, bits: str, order: str) -> "list[str] | None":
    """Return the row of this width and order that has ``word`` behind them."""
    rest = _ABIS
    while rest:
        text, _, rest = rest.partition("\n")
        row = text.split()
        if word in row[4:] and row[2:4] == [bits, order]:
            return row
    return None


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


def _require_linux(attempt: str) -> None:
    """Raise SeccompError where the kernel is another than Linux."""
    if sys.platform not in _SYSTEMS:
        raise _refusal(attempt, "no_seccomp/system", system=sys.platform)


def _row_of_elf(header: bytes) -> "list[str] | None":
    """Return the row for an executable by its first 52 bytes, None if no filter fits it."""
    bits = "64" if header[4] == 2 else "32"
    order = "little" if header[5] == 1 else "big"
    step = 1 if order == "little" else -1
    machine = int.from_bytes(header[18:20][::step], "little")
    word = hex(machine) if machine > 0xFFF else str(machine)
    if machine == _EM_MIPS and bits == "32":
        e_flags = int.from_bytes(header[36:40][::step], "little")
        word += "+n32" if e_flags & _EF_MIPS_ABI2 else ""
    return _row(word, bits, order)


def _require_native_riscv32(attempt: str, machine: str) -> None:
    """Raise SeccompError unless a riscv32 interpreter is proved to run on a kernel of 32 bits.

    A kernel of 64 bits gives filters its own audit value with the calls of 32-bit tasks
    (syscall_get_arch() in arch/riscv), so no program for riscv32 would fit. Its name is no proof
    under the personality PER_LINUX32: there a kernel of 64 bits calls itself "riscv", and
    "riscv32" since Linux 7.2 (override_architecture() in kernel/sys.c). Without that personality
    uname(2) tells the kernel's own name.
    """
    if machine != "riscv32":
        raise _refusal(attempt, "misreported_abi/other", machine=machine)
    try:
        personality = int(_read("/proc/thread-self/personality", 16), 16)
    except ValueError:
        personality = _PER_LINUX32
    if personality & _PER_MASK == _PER_LINUX32:
        raise _refusal(attempt, "misreported_abi/doubtful")


def _keep(told: "list[tuple[int, int]]", flags: int, program: bytes) -> None:
    """Keep what `install` cannot return, as a signal handler's exception came, for its next call.

    It is kept for the calling thread, and ends with it: another one may get its identifier, and
    would not have its filter.
    """
    from _thread import _local

    for result, _ in told:
        if result == 0 or (flags & _NEW_LISTENER and result > 0):
            if not _unreturned:
                _unreturned.append(_local())
            _unreturned[0].__dict__[flags, program] = result if flags & _NEW_LISTENER else -1


def _system_calls(
    attempt: str, number: "int | None" = None, program: bytes = b""
) -> "tuple[_Seccomp, _Prctl, bytearray, _Enforce]":
    """Return what makes system calls through libc, and the memory that their pointers point to.

    ``number`` is seccomp(2)'s; None stands for the running interpreter's.

    seccomp(operation, flags, data) passes the memory's address, after it has put ``data`` there,
    or a null pointer for None. Like prctl(option, value), it returns the result, and errno where
    that is -1 (0 elsewhere).

    enforce(flags) returns an iterator that puts ``program`` in force when it is advanced, and
    gives result and errno. It is C code alone: no signal handler runs between call and result.
    """
    _require_linux(attempt)
    if number is None:
        number = int(_running()[1], 0)
    try:
        parts = _libc()
    except (ImportError, OSError, AttributeError) as error:
        # AttributeError: a module of another kind in its place, or a C library without the symbol.
        # What this Python lacks, it lacks again; what a signal handler has raised, it does not.
        try:
            parts = _libc()
        except (ImportError, OSError, AttributeError) as again:
            raise _refusal(attempt, "no_ctypes", failure=again) from again
        # An import takes a handler's OSError for a file that is not there, and goes on.
        if not isinstance(error, ImportError):
            raise
    alignment, sizeof, addressof, get_errno, c_int, c_long, libc_syscall, libc_prctl = parts
    # Both functions are variadic: argtypes names the fixed parameters only, so that libffi
    # passes the others as variadic ones, which some ABIs keep elsewhere.
    libc_syscall.argtypes = (c_long,)
    libc_syscall.restype = c_long
    libc_prctl.argtypes = (c_int,)
    libc_prctl.restype = c_int
    # The struct sock_fprog is at the beginning, or what else a call points to.
    memory = bytearray(_ROOM) + program
    address = addressof(c_long.from_buffer(memory))
    here, zero = c_long(address), c_long(0)

    # All six arguments are passed: a sandbox sees them, so that chance must not make them differ.
    def seccomp(operation: int, flags: int, data: "bytes | None") -> "tuple[int, int]":
        pointer = zero
        if data is not None:
            memory[: len(data)], pointer = data, here
        words = (c_long(operation), c_long(flags), pointer)
        result = libc_syscall(number, *words, zero, zero, zero)
        return result, get_errno() if result == -1 else 0

    def prctl(option: int, value: int) -> "tuple[int, int]":
        result = libc_prctl(option, c_long(value), zero, zero, zero)
        return result, get_errno() if result == -1 else 0

    def enforce(flags: int) -> "Iterator[tuple[int, int]]":
        # An unsigned short, and a pointer where its alignment puts it.
        length = (len(program) // _INSTRUCTION_SIZE).to_bytes(2, sys.byteorder)
        pointer = (address + _ROOM).to_bytes(sizeof(c_long), sys.byteorder)
        fprog = length + bytes(alignment(c_long) - 2) + pointer
        memory[: len(fprog)] = fprog
        words = (number,), (c_long(_SET_MODE_FILTER),), (c_long(flags),), (here,)
        results = map(libc_syscall, *words, (zero,), (zero,), (zero,))
        return zip(results, iter(get_errno, None))  # noqa: B905 - strict is newer than Python 3.9

    return seccomp, prctl, memory, enforce


def _libc() -> "tuple":  # type: ignore[type-arg] # Any would have to be imported
    """Return what `_system_calls` needs of ctypes and of libc."""
    if sys.implementation.name == "cpython" and sys.version_info[:2] <= _NEWEST_LEAN:
        return _lean_libc()
    import ctypes

    # PyDLL keeps the GIL: to take it back would be a system call under the filter. PyPy has none,
    # and takes its own back without one unless another thread has it.
    libc = getattr(ctypes, "PyDLL", ctypes.CDLL)(None, use_errno=True)
    functions = (ctypes.alignment, ctypes.sizeof, ctypes.addressof, ctypes.get_errno)
    return (*functions, ctypes.c_int, ctypes.c_long, libc.syscall, libc.prctl)


def _lean_libc() -> "tuple":  # type: ignore[type-arg] # Any would have to be imported
    """Return what `_libc` does, from the extension module that ctypes is made of.

    It loads in a fifth of the time. docs/runtime.md says why this is sound, and where.
    """
    import _ctypes as c

    # Where ctypes is loaded, to take its types is quicker than to make some.
    loaded = sys.modules.get("ctypes")
    if loaded:
        types = [loaded.c_int, loaded.c_long]
    else:
        types = [type(code, (c._SimpleCData,), {"_type_": code}) for code in ("i", "l")]
    # As in PyDLL(None, use_errno=True).
    flags = c.FUNCFLAG_CDECL | c.FUNCFLAG_PYTHONAPI | c.FUNCFLAG_USE_ERRNO
    function = type("function", (c.CFuncPtr,), {"_flags_": flags})
    handle = c.dlopen(None, c.RTLD_LOCAL)  # type: ignore[arg-type] # its stub lacks None
    functions = [function(c.dlsym(handle, name)) for name in ("syscall", "prctl")]
    return (c.alignment, c.sizeof, c.addressof, c.get_errno, *types, *functions)


def _check_flags(attempt: str, seccomp: "_Seccomp", flags: int) -> None:
    """Raise SeccompError unless ``flags`` go together and the kernel has filters and takes them.

    It is asked to set filter mode without a program: where it understands the flags, it finds
    nothing at the null pointer, and no instructions in an empty program.
    """
    unknown = flags >> len(_FLAGS) << len(_FLAGS)
    if unknown:
        raise _refusal(attempt, "unknown_flag", unknown=unknown)
    if flags & _TSYNC and flags & _NEW_LISTENER and not flags & _TSYNC_ESRCH:
        raise _refusal(attempt, "conflicting_flags/tsync")
    if flags & _WAIT_KILLABLE_RECV and not flags & _NEW_LISTENER:
        raise _refusal(attempt, "conflicting_flags/recv")

    result, failure = seccomp(_SET_MODE_FILTER, flags, None)
    if failure == _EFAULT:
        # Here is a program of no instructions. To a sandbox's filter, which sees no memory, this is
        # the very call by which the program is put in force: it answers both alike, or neither.
        result, failure = seccomp(_SET_MODE_FILTER, flags, bytes(_ROOM))
        if failure == _EINVAL:
            return
    import errno

    if result != -1:
        raise _refusal(attempt, "pretended", call="seccomp(2)")
    if failure == errno.ENOSYS:
        raise _refusal(attempt, "no_seccomp", failure)
    if failure != errno.EINVAL:
        raise _refusal(attempt, "forbidden", failure)
    if seccomp(_SET_MODE_FILTER, 0, None)[1] != _EFAULT:
        raise _refusal(attempt, "no_filters", failure)
    missing = []
    for shift, name in enumerate(_FLAGS):
        bit = 1 << shift
        with_it = bit | _NEW_LISTENER if bit == _WAIT_KILLABLE_RECV else bit
        if flags & bit and seccomp(_SET_MODE_FILTER, with_it, None)[1] != _EFAULT:
            missing.append(name)
    if missing:
        raise _refusal(attempt, "lacks_flag", failure, flags=", ".join(missing))
    raise _refusal(attempt, "flags_apart", failure, flags=flags)


def _refusal(attempt: str, label: str, number: int = 0, **told: object) -> SeccompError:
    """Return the error that says in one sentence what is in the way and what to do.

    ``attempt`` is what was tried; ``label`` begins an entry of `_REFUSALS`, and ``told`` fills it
    in; ``number`` is errno, where the entry has none.
    """
    import errno

    _, _, entry = ("\n" + _REFUSALS).partition(f"\n{label} ")
    name, _, text = entry.partition("\n\n")[0].partition("\n")
    number = number or getattr(errno, name, 0)
    text = " ".join(text.replace(";\n", "\0").split()).format(error=os.strerror(number), **told)
    reason, _, remedy = text.partition("\0 ")
    error = SeccompError(number, f"cannot {attempt}: {reason}; {remedy}")
    error.cause, _, _ = label.partition("/")
    error.tried, error.reason, error.remedy = attempt, reason, remedy
    return error
