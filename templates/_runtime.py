"""Put a finished seccomp filter in force: what of a generated filter runs when all is well.

`install` confines the calling thread, and the threads and processes it starts from then on. Threads
that run already stay unconfined; with TSYNC every thread of the process is confined.

A generated module holds a program for each ABI and hands them to `install`. `supported`,
`action_available`, `no_new_privs` and `mode` answer what a program may ask before and after.
`set_no_new_privs` sets that bit alone. `marker` stands where `install` will be, while there is no
filter yet.

Two modules lie beside this one, and are imported when they are needed: `_explain` has the words of
errors, `_questions` what is seldom asked.

All three stand alone: the standard library only, Python 3.9 and newer, under any package name.
Importing this loads nothing that a bare interpreter has not loaded already; for the same reason it
has no ``from __future__`` import, which loads a module.

Sources: seccomp(2), prctl(2) and the kernel's kernel/seccomp.c.
"""

import sys
from _thread import _local

# Raised with every change of what generated modules call; they are refused beside another.
FORMAT = 1

_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_TSYNC, _NEW_LISTENER, _TSYNC_ESRCH, _WAIT_KILLABLE_RECV = 1, 8, 16, 32
# Every flag, and with which flags the kernel is asked for it.
_FLAGS = ((1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (32, 32 | _NEW_LISTENER))

# sizeof(struct sock_filter), BPF_MAXINSNS, and sizeof(struct sock_fprog) or more
_INSTRUCTION_SIZE, _MAX_INSTRUCTIONS, _ROOM = 8, 4096, 16

# On every ABI; to import errno for those that success passes by would cost more than all else.
_EFAULT, _EINVAL = 14, 22

# The last CPython whose _ctypes was read, and tried, for what `_libc` does with it.
_NEWEST_LEAN = (3, 14)

_SYSTEMS = ("linux", "android")  # sys.platform where the kernel is Linux

# What an import ends in where files are not as they should be.
_LOADING = (ImportError, OSError, EOFError, MemoryError, SyntaxError, TypeError, ValueError)

# In each thread, what its install() could not return as a signal handler's exception came: by flags
# and program, no result or one.
_unreturned = _local()

# kill_thread, trap, errno, trace, allow: as old as filters, and older than the question.
_OLD_ACTIONS = (0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000)

# Each ABI that Linux has filters on: its name; its number of seccomp(2), as libc's syscall() takes
# it; width and byte order; e_machine of its executables; and what its CPythons have before
# "-linux-" in `sys.implementation._multiarch` (Misc/platform_triplet.c).
# An order that is missing here has no programs: big-endian arm, say, shares the audit value of
# the other order but not the layout of the arguments.
# It is text, which is quicker to import than objects.
_ABIS = """
ppc64le 358 64le 21 powerpc64le;      x86_64 317 64le 62 x86_64; aarch64 277 64le 183 aarch64;
loongarch64 277 64le 258 loongarch64; arm 383 32le 40 arm;       s390x 348 64be 22 s390x;
x32 0x4000013D 32le 62 x86_64;        i386 354 32le 3 i386 i686; riscv64 277 64le 243 riscv64;
ppc64 358 64be 21 powerpc64;          ppc 358 32be 20 powerpc;   s390 348 32be 22 s390;
alpha 514 64le 0x9026 alpha;          m68k 380 32be 4 m68k;      riscv32 277 32le 243 riscv32;
parisc 338 32be 15 hppa;              parisc64 338 64be 15;      loongarch32 277 32le 258;
sh 372 32le 42 sh4; sheb 372 32be 42; csky 277 32le 252; xtensa 337 32le 94;
mips 4352 32be 8 mips mipsisa32r6;            mipsel 4352 32le 8 mipsel mipsisa32r6el;
mips64 5312 64be 8 mips64 mipsisa64r6;        mips64el 5312 64le 8 mips64el mipsisa64r6el;
mips64n32 6316 32be 8+n32 mips64 mipsisa64r6; mips64n32el 6316 32le 8+n32 mips64el mipsisa64r6el"""


class SeccompError(OSError):
    """No filter was put in force, or a question has no answer.

    ``errno`` says what the kernel said, or would have, and ``errno_name`` says it by name. For
    programs: ``cause`` is a word of those in docs/runtime.md, and ``facts`` is what belongs to it.
    For people: ``tried``, ``reason`` and ``remedy`` say what was tried, what was in the way, and
    what to do. The text of the error is all three.

    `_explain` has the sentences, and is imported when one is read. Where it cannot be, the reason
    is the cause and its facts.
    """

    cause = case = tried = ""
    facts: "dict[str, object]" = {}  # noqa: RUF012 - ClassVar would have to be imported

    def __getattr__(self, name: str) -> str:
        if name not in ("errno_name", "reason", "remedy"):
            raise AttributeError(name)
        try:
            from ._explain import _words

            return _words(self)[name]
        except _LOADING:
            words = {"reason": str(self.args[1]), "remedy": f"see {self.cause} in docs/runtime.md"}
            return words.get(name, str(self.errno))

    @property
    def strerror(self) -> str:  # type: ignore[override] # made when it is asked for, as the others
        """The whole text, but for the number."""
        return f"cannot {self.tried}: {self.reason}; {self.remedy}" if self.tried else self.reason

    def __str__(self) -> str:
        return f"[Errno {self.errno}] {self.strerror}"


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

    Raises SeccompError, with no filter in force, where anything at all is in the way: also where
    a sandbox around this process answers its calls with any error, or with a success that is none.
    What can be found out beforehand is, so that then nothing has changed; but no_new_privs, once
    set, stays set if the kernel refuses the program itself (EACCES, EBUSY, EINVAL, ENOMEM, ESRCH).

    An exception of a signal handler passes through, and may come when the filter is in force.
    Called again in the same thread, this then returns what it could not return before.
    """
    attempt = f"install filter {name!r}"
    abi = running_abi()
    if abi not in programs:
        raise _refusal(attempt, "wrong_abi", "ENOEXEC", abi=abi, programs=sorted(programs))
    # A package imports it only now.
    number, program = _taken(attempt, "no_module", lambda: programs[abi])
    length, rest = divmod(len(program), _INSTRUCTION_SIZE)
    # The kernel reads the length as 16 bits: one that wraps would be another, shorter program.
    if rest or not 0 < length <= _MAX_INSTRUCTIONS:
        raise _refusal(attempt, "no_program", "EINVAL", size=len(program))
    told = _unreturned.__dict__.setdefault((flags, program), [])  # type: ignore[call-overload]
    if not told:
        kernel = _Kernel(attempt, number, program)
        kernel.require_flags(flags)
        for action in actions:
            kernel.require_action(action)
        if no_new_privs:
            kernel.set_no_new_privs()
        # From a success on, every system call is the filter's to judge: nothing may be left to do.
        # C code makes the call and keeps the result. No signal handler runs in between, nor from
        # `del` to the return; before 3.11, CPython runs some until the caller has the result.
        told.extend(kernel.enforce(flags))
    ((result, failure),) = told
    del told[:]
    if result == 0 or (flags & _NEW_LISTENER and result > 0):
        return result if flags & _NEW_LISTENER else -1
    if result > 0:
        raise _refusal(attempt, "diverging_thread/named", "ESRCH", tid=result)
    # ESRCH, ENOMEM, EACCES, EBUSY and EINVAL, on every ABI.
    causes = {3: "diverging_thread", 12: "memory", 13: "no_privilege", 16: "second_listener"}
    cause = causes.get(failure, "rejected" if failure == _EINVAL else "other")
    raise _refusal(attempt, cause, failure, length=length)


def supported() -> bool:
    """Return whether the kernel takes seccomp filters from this interpreter, as far as it says.

    A sandbox around this process can answer like a kernel that has none. Raises SeccompError
    where something answers as no kernel does, or the question cannot be asked.
    """
    try:
        _Kernel("ask whether the kernel takes filters").require_flags(0)
    except SeccompError as error:
        if error.cause not in ("no_seccomp", "no_filters"):
            raise
        return False
    return True


def no_new_privs() -> bool:
    """Return whether no_new_privs is set for the calling thread.

    Raises SeccompError if prctl(2) does not say so.
    """
    return bool(_ask("no_new_privs"))


def set_no_new_privs() -> None:
    """Set no_new_privs for the calling thread and all it starts; it cannot be taken back.

    `install` does so where the policy says it. Raises SeccompError unless it is set then.
    """
    _Kernel("set no_new_privs").set_no_new_privs()


def action_available(action: str) -> bool:
    """Return whether filters may return ``action``, by the name it has in policies.

    These are kill_process, kill_thread, trap, errno, user_notif, trace, log and allow.

    Raises ValueError for another name, and SeccompError as `supported` does.
    """
    return bool(_ask("action_available", action))


def mode() -> "tuple[str, int | None]":
    """Return the calling thread's seccomp mode, and how many filters are in force for it.

    The mode is "disabled", "strict" or "filter". The number is None where the mode is "filter"
    and the kernel does not tell, which is before Linux 5.9. Both count what was in force when the
    program started, such as a container's filter. What another thread has may be different.

    The answer is /proc/thread-self/status. Raises SeccompError if that cannot be read, also where
    the filter in force is what forbids it, or does not say.
    """
    return _ask("mode")  # type: ignore[no-any-return]


def marker() -> None:
    """Mark where the startup ends, for recorder and tracer; nothing else changes.

    It stands where `install` will be, in a program that has no filter yet. The call is the one
    that `install` asks with beforehand: set filter mode without a program, which every kernel
    refuses. Where the kernel is not Linux, nobody records, and no call is made.

    Raises SeccompError if the call cannot be made.
    """
    if sys.platform in _SYSTEMS:
        _Kernel("mark the end of the startup").seccomp(_SET_MODE_FILTER, 0, None)


def running_abi() -> str:
    """Return the ABI of the running interpreter by its canonical name, such as ``"x86_64"``.

    It is what the interpreter was built for, whatever `uname` says about the kernel. Raises
    SeccompError (ENOEXEC) if Linux has no seccomp filters for it, or if it cannot be told.
    """
    return _running()[0]


def _running() -> "list[str]":
    """Return the row of `_ABIS` for the running interpreter. Raises SeccompError as said there."""
    attempt = "tell the ABI of this interpreter"
    if sys.platform not in _SYSTEMS:
        raise _refusal(attempt, "no_seccomp/system", "ENOSYS", system=sys.platform)
    # What the build calls itself costs nothing to ask, needs no /proc, and no filter forbids it.
    arch, _, system = getattr(sys.implementation, "_multiarch", "").partition("-linux-")
    kind = ("64" if sys.maxsize > 2**32 else "32") + sys.byteorder[0] + "e"
    row = _row(arch, kind) if system else None
    return row if row and row[0] != "riscv32" else _ask("proved_row", attempt, row, kind)


def _row(word: str, kind: str) -> "list[str] | None":
    """Return the row of this width and byte order that has ``word`` behind them."""
    rows = (text.split() for text in _ABIS.split(";"))
    return next((row for row in rows if word in row[3:] and row[2] == kind), None)


def _ask(question: str, *words: object):  # type: ignore[no-untyped-def] # no Any: see _libc
    """Return the answer to one of `_QUESTIONS`. Raises SeccompError if they are out of reach."""

    def questions():  # type: ignore[no-untyped-def]
        from ._questions import _QUESTIONS

        return _QUESTIONS

    return _taken("import _questions", "no_module", questions)[question](*words)


def _taken(attempt: str, label: str, take):  # type: ignore[no-untyped-def]
    """Return what ``take`` imports. Raises SeccompError with ``label`` where that fails.

    Where a sandbox answers for the kernel, a file can be cut or not be there, and an import ends in
    any exception.
    """
    try:
        return take()
    except Exception as error:
        # What cannot be had, cannot be had again; what a signal handler has raised, it does not.
        try:
            taken = take()
        except Exception as again:
            raise _refusal(attempt, label, "ENOSYS", failure=str(again) or repr(again)) from again
        # The kernel's errors have a number. An import takes a handler's OSError for a file that is
        # not there, and goes on.
        if not isinstance(error, _LOADING) or getattr(error, "errno", 0) is None:
            raise
        return taken


class _Kernel:
    """System calls through libc, for ``attempt``, and the memory that their pointers point to.

    ``number`` is seccomp(2)'s; without it, the running interpreter's is taken. ``program`` is what
    `enforce` puts in force. A call gives its result, and errno where that is -1 (0 elsewhere).
    """

    def __init__(self, attempt: str, number: int = 0, program: bytes = b"") -> None:
        self.attempt, self.program, self.number = attempt, program, number or int(_running()[1], 0)
        parts = _taken(attempt, "no_ctypes", _libc)
        self.ctypes, self.int, self.long, self.libc_syscall, self.libc_prctl = parts
        # Both functions are variadic: argtypes names the fixed parameters only, so that libffi
        # passes the others as variadic ones, which some ABIs keep elsewhere.
        for function, kind in ((self.libc_syscall, self.long), (self.libc_prctl, self.int)):
            function.argtypes, function.restype = (kind,), kind
        # The struct sock_fprog is at the beginning, or what else a call points to.
        self.memory = bytearray(_ROOM) + program
        self.address = self.ctypes.addressof(self.long.from_buffer(self.memory))

    # All six arguments are passed: a sandbox sees them, so that chance must not make them differ.

    def seccomp(self, operation: int, flags: int, data: "bytes | None") -> "tuple[int, int]":
        """Pass the address of ``data``, which is put in memory, or a null pointer for None."""
        self.memory[: len(data or b"")] = data or b""
        words = (operation, flags, 0 if data is None else self.address, 0, 0, 0)
        result: int = self.libc_syscall(self.number, *map(self.long, words))
        return result, self.ctypes.get_errno() if result == -1 else 0

    def prctl(self, label: str, option: int, value: int) -> int:
        """Return the result. Raises SeccompError with ``label`` where the call fails."""
        result: int = self.libc_prctl(option, *map(self.long, (value, 0, 0, 0)))
        if result == -1:
            raise _refusal(self.attempt, label, self.ctypes.get_errno())
        return result

    def enforce(self, flags: int) -> "zip[tuple[int, int]]":
        """Return an iterator that puts the program in force when it is advanced.

        It is C code alone: no signal handler runs between the call and its result.
        """
        # An unsigned short, and a pointer where its alignment puts it.
        pointer = self.long.from_buffer(self.memory, self.ctypes.alignment(self.long))
        pointer.value = self.address + _ROOM
        self.memory[:2] = (len(self.program) // _INSTRUCTION_SIZE).to_bytes(2, sys.byteorder)
        words = map(self.long, (_SET_MODE_FILTER, flags, self.address, 0, 0, 0))
        results = map(self.libc_syscall, (self.number,), *zip(words))
        return zip(results, iter(self.ctypes.get_errno, None))  # noqa: B905 - strict is 3.10's

    def require_flags(self, flags: int) -> None:
        """Raise SeccompError unless ``flags`` go together and the kernel has filters and these.

        It is asked to set filter mode without a program: where it understands the flags, it finds
        nothing at the null pointer, and no instructions in an empty program.
        """
        if flags & ~0x3F:
            raise _refusal(self.attempt, "unknown_flag", "EINVAL", flags=hex(flags & ~0x3F))
        if flags & (_TSYNC | _NEW_LISTENER | _TSYNC_ESRCH) == _TSYNC | _NEW_LISTENER:
            raise _refusal(self.attempt, "conflicting_flags/tsync", "EINVAL")
        if flags & (_WAIT_KILLABLE_RECV | _NEW_LISTENER) == _WAIT_KILLABLE_RECV:
            raise _refusal(self.attempt, "conflicting_flags/recv", "EINVAL")
        result, failure = self.seccomp(_SET_MODE_FILTER, flags, None)
        if failure == _EFAULT:
            # Here is a program of no instructions. To a sandbox's filter, which sees no memory,
            # this is the very call by which the program is put in force: it answers both alike, or
            # neither.
            result, failure = self.seccomp(_SET_MODE_FILTER, flags, bytes(_ROOM))
            if failure == _EINVAL:
                return
        if result != -1:
            raise _refusal(self.attempt, "pretended", "EPROTO", call="seccomp(2)")
        from errno import ENOSYS

        if failure != _EINVAL or not self.knows(0):
            causes = {ENOSYS: "no_seccomp", _EINVAL: "no_filters"}
            raise _refusal(self.attempt, causes.get(failure, "forbidden"), failure)
        lacking = [flag for flag, asked in _FLAGS if flags & flag and not self.knows(asked)]
        label = "lacks_flag" if lacking else "flags_apart"
        raise _refusal(self.attempt, label, failure, flags=hex(sum(lacking) or flags))

    def knows(self, flags: int) -> bool:
        """Return whether the kernel knows them."""
        return self.seccomp(_SET_MODE_FILTER, flags, None)[1] == _EFAULT

    def require_action(self, action: int) -> None:
        """Raise SeccompError if the kernel lacks an action."""
        if action not in _OLD_ACTIONS:
            failure = self.seccomp(_GET_ACTION_AVAIL, 0, action.to_bytes(4, sys.byteorder))[1]
            if failure:
                raise _refusal(self.attempt, "lacks_action", failure, action=hex(action))

    def set_no_new_privs(self) -> None:
        """Set no_new_privs. Raises SeccompError unless it is set then."""
        self.prctl("no_new_privs/set", _PR_SET_NO_NEW_PRIVS, 1)
        # A sandbox may say yes and do nothing; with CAP_SYS_ADMIN the kernel would not mind.
        if not self.prctl("no_new_privs/ask", _PR_GET_NO_NEW_PRIVS, 0):
            raise _refusal(self.attempt, "pretended", "EPROTO", call="prctl(PR_SET_NO_NEW_PRIVS)")


def _libc() -> "tuple":  # type: ignore[type-arg] # Any would have to be imported
    """Return ctypes or what stands for it, c_int, c_long, and libc's syscall() and prctl()."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] > _NEWEST_LEAN:
        import ctypes

        # PyDLL keeps the GIL: to take it back would be a system call under the filter. PyPy has
        # none, and takes its own back without one unless another thread has it.
        libc = getattr(ctypes, "PyDLL", ctypes.CDLL)(None, use_errno=True)
        return ctypes, ctypes.c_int, ctypes.c_long, libc.syscall, libc.prctl
    # The extension module that ctypes is made of loads in a fifth of the time. docs/runtime.md
    # says why this is sound, and where.
    import _ctypes as c

    types = [type(code, (c._SimpleCData,), {"_type_": code}) for code in ("i", "l")]
    # As in PyDLL(None, use_errno=True).
    flags = c.FUNCFLAG_CDECL | c.FUNCFLAG_PYTHONAPI | c.FUNCFLAG_USE_ERRNO
    function = type("function", (c.CFuncPtr,), {"_flags_": flags})
    handle = c.dlopen(None, c.RTLD_LOCAL)  # type: ignore[arg-type] # its stub lacks None
    return (c, *types, *(function(c.dlsym(handle, name)) for name in ("syscall", "prctl")))


def _refusal(attempt: str, label: str, number: "int | str", **facts: object) -> SeccompError:
    """Return the error for ``label``, a cause and perhaps "/" and a word that tells cases apart.

    ``number`` is errno, by its name where that is not the kernel's to say.
    """
    import errno

    cause, _, case = label.partition("/")
    text = ", ".join([cause.replace("_", " "), *(f"{key} {fact}" for key, fact in facts.items())])
    error = SeccompError(number if isinstance(number, int) else getattr(errno, number), text)
    error.tried, error.cause, error.case, error.facts = attempt, cause, case, facts
    return error
