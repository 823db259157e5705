"""Put filters on io_uring's operations in force, and then a seccomp filter: `install` for both.

The kernel's filters on operations hold for the rings that the calling thread makes later, and what
it starts. So `install` wants one thread and no ring, and tries in a child process what they do.
Where the kernel has no such filters, or loses them, it puts another seccomp program in force, in
which io_uring_setup(2) fails with ENOSYS, or raises: as the policy says.

Imported by filters whose policy has a section ``io_uring``. Like `_runtime`, which it needs, it
uses the standard library only, and Python 3.9 and newer. docs/runtime.md describes each step.

Sources: the kernel's io_uring/bpf_filter.c, io_uring/register.c and io_uring/io_uring.c, and
include/uapi/linux/io_uring.h and io_uring/bpf_filter.h.
"""

import sys

from ._runtime import SeccompError, _Kernel, _refusal, _taken, _unreturned, running_abi
from ._runtime import install as _install

# IORING_REGISTER_PROBE, _BPF_FILTER and _USE_REGISTERED_RING; IORING_ENTER_REGISTERED_RING; and how
# many rings a thread can have registered.
_PROBE, _BPF_FILTER, _REGISTERED, _ENTER_REGISTERED, _MOST_REGISTERED = 8, 37, 1 << 31, 16, 16

# IO_URING_BPF_CMD_FILTER, IO_URING_BPF_FILTER_DENY_REST and _SZ_STRICT; sizeof(struct io_uring_bpf)
# and where its pdu_size is.
_CMD_FILTER, _DENY_REST, _SZ_STRICT, _STRUCT_SIZE, _PDU_SIZE = 1, 1, 2, 72, 20

# A size of fields that no operation has: the kernel refuses it, and answers its own.
_NO_SIZE = 255

_WITH_FIELDS = {16: "CONNECT", 18: "OPENAT", 28: "OPENAT2", 45: "SOCKET"}

# The operations that `_tried` knows, up to Linux 7.3.
_LAST = 65

# How many operations there can be, as one byte names them.
_MOST_OPERATIONS = 256

# The outcomes of `_tried`.
_AS_MEANT, _LET_THROUGH, _REFUSED, _NO_RING, _NO_ANSWER = range(5)

# How often a child process is waited for, each time some milliseconds longer up to 50: a minute.
_WAITS = 1200

# How often threads are counted, a millisecond apart: one that was joined can take that long to end.
_LOOKS = 50

# On every ABI.
_EPERM, _EBADF, _EACCES, _EINVAL = 1, 9, 13, 22

_RING_NAME = "anon_inode:[io_uring]"

# The programs that refuse and allow whatever comes: RET 0 and RET 1.
_RET_0, _RET_1 = (
    (6).to_bytes(2, sys.byteorder) + bytes(6),
    (6).to_bytes(2, sys.byteorder) + bytes(2) + (1).to_bytes(4, sys.byteorder),
)

# What `obstacle` answers, where install() has put a program in force.
_found: "list[SeccompError | None]" = []

# As in `_explain`, for the causes that are only here.
_RING_REFUSALS = """\
ring_threads
    this process has {threads} threads, and the kernel filters the operations of one thread's rings;
    install the filter before anything starts a thread, or close the ring that has one

ring_open
    there is a ring already ({ring}), and filters do not reach rings that exist;
    install the filter before anything makes a ring, such as an event loop

no_ring_filters
    the kernel, or a sandbox around this process, has no filters on operations of io_uring
    ({error});
    use Linux 7.0 or newer built with CONFIG_IO_URING_BPF, permit io_uring_register(2), or say
    `without: refuse_rings` in the policy

ring_fields
    of {operation} the kernel shows filters {has} bytes of fields, and the policy's program reads
    {wanted};
    use a newer kernel (CONNECT has fields since Linux 7.2), or say `without: refuse_rings` in the
    policy

ring_rejected
    the kernel does not take the program for {operation} ({error});
    generate the filter again, and see that memory suffices

no_rings
    no ring can be made here, so that it cannot be tried whether filters hold ({error});
    permit io_uring_setup(2) and set kernel.io_uring_disabled to 0, or take the section io_uring out
    of the policy

ring_trial/let_through
    {operation} was to be refused, and the kernel let it through;
    use another kernel, and report this

ring_trial/refused
    {operation} was to be allowed, and is refused;
    take away what also filters rings around this process

ring_trial/untried
    a child process could not try the filters on a ring ({error});
    let it fork, and have a ring: limits on processes, descriptors and locked memory are in the way

ring_exec/lost
    this kernel loses filters on rings when a program is executed (CVE-2026-80713);
    use Linux 7.1.8 or newer, or have the policy refuse execve and execveat

ring_exec/untried
    it could not be tried whether filters on rings outlast an exec, as {python} does not run;
    let sys.executable be the Python interpreter, or have the policy refuse execve and execveat
"""


class _RingError(SeccompError):
    """A SeccompError that has its words here."""

    def __getattr__(self, name: str) -> str:
        if name not in ("reason", "remedy"):
            return super().__getattr__(name)
        from os import strerror

        label = f"{self.cause}/{self.case}" if self.case else self.cause
        _, _, entry = ("\n" + _RING_REFUSALS).partition(f"\n{label}\n")
        text = " ".join(entry.partition("\n\n")[0].replace(";\n", "\0").split())
        reason, _, remedy = text.format(error=strerror(self.errno or 0), **self.facts).partition(
            "\0 "
        )
        return reason if name == "reason" else remedy


def install(
    name: str,
    programs: "dict[str, tuple]",  # type: ignore[type-arg] # Any would have to be imported
    *,
    flags: int,
    no_new_privs: bool,
    actions: "tuple[int, ...]",
    without: str,
) -> int:
    """Put the filters on operations in force, see that they hold, and then the seccomp program.

    As `_runtime.install`, but ``programs`` maps an ABI to three things: its number of seccomp(2),
    its program, and (numbers, operations, trials, permits_exec, other).

    ``numbers`` are those of io_uring_setup(2), io_uring_enter(2) and io_uring_register(2).
    ``operations`` are those that the policy allows, ascending: (opcode, size of its fields that
    the program reads, or 0, program). ``trials`` are (opcode, values, whether it is allowed), as
    `_tried` takes them. ``permits_exec`` says whether the seccomp program permits to execute
    programs. ``other`` is the seccomp program for where the kernel cannot filter operations:
    io_uring_setup(2) fails in it. It is put in force then if ``without`` is "refuse_rings"; with
    "fail", SeccompError is raised. `filtered` answers which it was.

    Raises SeccompError as `_runtime.install` does, and where there is more than one thread, or a
    ring. The filters on operations stay in force then if the kernel has taken them already.
    """
    abi = running_abi()
    if abi not in programs:
        return _install(name, programs, flags=flags, no_new_privs=no_new_privs, actions=actions)
    attempt = f"install filter {name!r}"
    number, program, section = _taken(attempt, "no_module", lambda: programs[abi])
    other = section[-1]

    def put(chosen: bytes, found: "SeccompError | None") -> int:
        # All that is left to do must be done before: see there.
        _found[:] = [found]
        try:
            return _install(
                name,
                {abi: (number, chosen)},
                flags=flags,
                no_new_privs=no_new_privs,
                actions=actions,
            )
        except SeccompError:
            del _found[:]
            raise

    for chosen in (program, other):
        if _unreturned.__dict__.get((flags, chosen)):  # type: ignore[call-overload]
            return put(chosen, _found[0] if _found else None)
    longest = max((len(one[2]) for one in section[1]), default=len(_RET_0))
    kernel = _Kernel(attempt, number, bytes(_STRUCT_SIZE + longest))
    kernel.require_flags(flags)
    for action in actions:
        kernel.require_action(action)
    # What the module signal is made of: enum is not loaded in a bare interpreter.
    import _signal as signal  # type: ignore[import-not-found]

    # No handler runs from the look for threads and rings on until the filters are in force for what
    # it might make; nor in the child process.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        found = _Rings(kernel, *section[:-1]).confine(no_new_privs, without)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if found and without != "refuse_rings":
        raise found
    return put(other if found else program, found)


def filtered() -> "bool | None":
    """Return whether `install` has put the program in force under which rings are filtered.

    False says that it is the other, under which no ring can be made, and None that there was no
    `install` in this process or the one it was forked from, or that the last one has failed.
    """
    return _found[0] is None if _found else None


def obstacle() -> "SeccompError | None":
    """Return why no ring can be made, where `filtered` answers False: what "fail" would raise."""
    return _found[0] if _found else None


class _Rings:
    """The kernel's filters on operations of the rings of this thread, and what has to be so."""

    def __init__(
        self,
        kernel: _Kernel,
        numbers: "tuple[int, int, int]",
        operations: "tuple[tuple[int, int, bytes], ...]",
        trials: "tuple[tuple[int, bytes | tuple[int, ...], bool], ...]",
        permits_exec: bool,
    ) -> None:
        self.kernel, self.numbers = kernel, numbers
        self.setup, self.enter, self.control = numbers
        self.operations, self.permits_exec = operations, permits_exec
        self.filters: list[tuple[int, int, bytes]] = []
        programs = {opcode: program for opcode, _, program in operations}
        said = {opcode for opcode, _, _ in trials}
        # What the programs of all others say, as far as these answer always alike.
        self.trials = trials + tuple(
            (opcode, (), opcode in programs)
            for opcode in range(_LAST)
            if opcode not in said and programs.get(opcode, _RET_1) == _RET_1
        )

    def confine(self, no_new_privs: bool, without: str) -> "SeccompError | None":
        """Put the filters in force; return why they are not, or cannot be relied on.

        Raises SeccompError where there is what they would not reach.
        """
        self._require_one_thread()
        self._require_no_ring()
        missing = self._missing()
        if no_new_privs and (not missing or missing.errno == _EACCES):
            self.kernel.set_no_new_privs()
            missing = missing and self._missing()
        if missing:
            # If nothing can make a ring, nothing is missing; no kernel takes that back.
            none = without == "fail" and self._call(self.setup, 0, 0)[1] == _number("ENOSYS")
            return None if none else missing
        obstacle = self._register() or self._try_all()
        # The filters are in force, for rings that can be had some day.
        return None if obstacle and obstacle.cause == "no_rings" and without == "fail" else obstacle

    def _require_one_thread(self) -> None:
        from time import sleep

        path = "/proc/thread-self/status"
        for _ in range(_LOOKS):
            found = [line.split()[1] for line in self._lines(path) if line.startswith(b"Threads:")]
            if found == [b"1"]:
                return
            sleep(0.001)
        if not found:
            raise _refusal(self.kernel.attempt, "no_mode", "ENOSYS", path=path)
        raise self._refusal("ring_threads", "EBUSY", threads=int(found[0]))

    def _require_no_ring(self) -> None:
        import os

        path = "/proc/thread-self/fd"
        try:
            for descriptor in os.listdir(path):
                try:
                    target = os.readlink(f"{path}/{descriptor}")
                except FileNotFoundError:  # it was the directory's own
                    continue
                if target == _RING_NAME:
                    raise self._refusal("ring_open", "EBUSY", ring=f"descriptor {descriptor}")
        except OSError as error:
            if isinstance(error, SeccompError):
                raise
            raise _refusal(self.kernel.attempt, "no_proc", error.errno or 0, path=path) from None
        if any(
            line.rstrip().endswith(_RING_NAME.encode())
            for line in self._lines("/proc/thread-self/maps")
        ):
            raise self._refusal("ring_open", "EBUSY", ring="in memory")
        # A ring can be in neither: its number among the thread's registered ones is all there is.
        for call, words in (
            (self.enter, (0, 0, _ENTER_REGISTERED)),
            (self.control, (_PROBE | _REGISTERED, self.kernel.address, 0)),
        ):
            # The kernel's answer for a number that no ring can have, or a sandbox's for any.
            nothing = self._call(call, _MOST_REGISTERED, *words)
            for ring in range(_MOST_REGISTERED):
                self.kernel.memory[:_STRUCT_SIZE] = bytes(_STRUCT_SIZE)
                answer = self._call(call, ring, *words)
                if answer not in (nothing, (-1, _EBADF)):
                    raise self._refusal("ring_open", "EBUSY", ring=f"registered as {ring}")

    def _missing(self) -> "SeccompError | None":
        """Return why the kernel cannot take the filters; keep one for each operation that it has.

        The refusal of the rest is for operations without a filter. What contains this process may
        have put one on any of them, so that each that is not allowed gets one that refuses.
        """
        programs = {opcode: (size, program) for opcode, size, program in self.operations}
        self.filters = []
        for opcode in range(_MOST_OPERATIONS):
            result, failure, has = self._filter(opcode, _SZ_STRICT, _NO_SIZE, _RET_1)
            # The size that is written is the kernel's own, as no seccomp filter writes memory.
            if result != -1 or (failure == _number("EMSGSIZE") and has == _NO_SIZE):
                call = "io_uring_register(2)"
                return _refusal(self.kernel.attempt, "pretended", "EPROTO", call=call)
            if failure == _EINVAL and opcode:
                break  # It is newer than the kernel, and then no ring has it.
            if failure != _number("EMSGSIZE"):
                return self._refusal("no_ring_filters", failure)
            size, program = programs.get(opcode, (0, _RET_0))
            if size not in (0, has):
                facts = {"operation": _named(opcode), "has": has, "wanted": size}
                return self._refusal("ring_fields", "EMSGSIZE", **facts)
            self.filters.append((opcode, size, program))
        return None

    def _register(self) -> "SeccompError | None":
        last = len(self.filters) - 1
        for opcode, size, program in self.filters:
            flags = (_SZ_STRICT if size else 0) | (_DENY_REST if opcode == last else 0)
            result, failure, _ = self._filter(opcode, flags, size, program)
            if result:
                return self._refusal("ring_rejected", failure, operation=_named(opcode))
        return None

    def _try_all(self) -> "SeccompError | None":
        """Return what a child process finds wrong with the filters, and one that executes."""
        outcome, place, failure = self._in_child(None)
        operation = _named(self.trials[place][0])
        if outcome == _LET_THROUGH:
            return self._refusal("ring_trial/let_through", "EPROTO", operation=operation)
        if outcome == _REFUSED:
            return self._refusal("ring_trial/refused", _EACCES, operation=operation)
        if outcome == _NO_RING and failure in (_EPERM, _number("ENOSYS")):
            return self._refusal("no_rings", failure)
        if outcome != _AS_MEANT:
            return self._refusal("ring_trial/untried", failure)
        # In the place of an error, how many were refused, and as the place, the first of them.
        if not failure and not all(allowed for _, _, allowed in self.trials):
            return self._refusal("ring_trial/untried", "EIO")
        if self.permits_exec:
            outcome, _, failure = self._in_child(self.trials[place])
            if outcome == _LET_THROUGH:
                return self._refusal("ring_exec/lost", "EPROTO")
            if outcome != _AS_MEANT or not failure:
                python = repr(sys.executable)
                return self._refusal("ring_exec/untried", failure or "EIO", python=python)
        return None

    def _in_child(
        self, trial: "tuple[int, bytes | tuple[int, ...], bool] | None"
    ) -> "tuple[int, int, int]":
        """Return the outcome of all trials in a child process, or of one in a program it executes.

        The child has ended before this returns.
        """
        import os
        from struct import pack, unpack

        none = _number("EIO")
        try:
            read, write = os.pipe()
        except OSError as error:
            return _NO_ANSWER, 0, error.errno or none
        try:
            child = os.fork()
            if not child:
                try:
                    if trial:
                        self._execute(write, trial)
                    else:
                        os.write(write, pack("3i", *_tried(self.numbers, self.trials)))
                finally:
                    # No handler, and nothing that waits for the end of the process, is to run.
                    os._exit(0)
            self._await(child)
            os.set_blocking(read, False)
            try:
                answer = os.read(read, 12)
            except BlockingIOError:
                answer = b""
            return unpack("3i", answer) if len(answer) == 12 else (_NO_ANSWER, 0, none)
        except (OSError, RuntimeError) as error:
            return _NO_ANSWER, 0, getattr(error, "errno", 0) or none
        finally:
            os.close(read)
            os.close(write)

    def _await(self, child: int) -> None:
        """Wait until it has ended, or end it."""
        import os
        from time import sleep

        try:
            for step in range(_WAITS):
                if os.waitpid(child, os.WNOHANG)[0]:
                    return
                sleep(min(step + 1, 50) / 1000)
            os.kill(child, 9)
            os.waitpid(child, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored: the kernel keeps no ended child.

    def _execute(self, write: int, trial: "tuple[int, bytes | tuple[int, ...], bool]") -> None:
        """Make a ring, and execute this interpreter to make one and try a refused operation."""
        import os
        from marshal import dumps

        program = os.path.basename(os.path.realpath(sys.executable))
        # Who executes itself, to be another program, starts anew what it is.
        if getattr(sys, "frozen", False) or not program.startswith(("python", "pypy")):
            return
        if _tried(self.numbers, (trial,)) != (_AS_MEANT, 0, 1):
            return
        os.set_inheritable(write, True)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            if stream != write:
                os.dup2(nowhere, stream)
        code: object = _tried.__code__
        words = dumps((code, self.numbers, (trial,), write)).hex()  # type: ignore[arg-type]
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _EXECUTED, words])

    def _filter(self, opcode: int, flags: int, size: int, program: bytes) -> "tuple[int, int, int]":
        """Register a program; return the result, errno, and the size of fields that was written."""
        from struct import pack

        memory, address = self.kernel.memory, self.kernel.address
        length = len(program) // 8
        head = (_CMD_FILTER, 0, 0, opcode, flags, length, size, address + _STRUCT_SIZE)
        data = pack("=2H4IB3xQ40x", *head) + program
        memory[: len(data)] = data
        # All arguments are as in every other such call: a sandbox answers them alike.
        result, failure = self._call(self.control, -1, _BPF_FILTER, address, 1)
        return result, failure, memory[_PDU_SIZE]

    def _call(self, number: int, *words: int) -> "tuple[int, int]":
        padded = (*words, 0, 0, 0, 0, 0)[:6]
        result: int = self.kernel.libc_syscall(number, *map(self.kernel.long, padded))
        return result, self.kernel.ctypes.get_errno() if result == -1 else 0

    def _lines(self, path: str) -> "list[bytes]":
        try:
            with open(path, "rb") as file:
                return file.readlines()
        except OSError as error:
            raise _refusal(self.kernel.attempt, "no_proc", error.errno or 0, path=path) from None

    def _refusal(self, label: str, number: "int | str", **facts: object) -> SeccompError:
        error = _refusal(self.kernel.attempt, label, number, **facts)
        error.__class__ = _RingError
        return error


def _named(opcode: int) -> str:
    return f"operation {opcode}" + (f" ({_WITH_FIELDS[opcode]})" if opcode in _WITH_FIELDS else "")


def _number(name: str) -> int:
    import errno

    number: int = getattr(errno, name)
    return number


# What the interpreter executes that `_execute` starts.
_EXECUTED = """
import marshal, os, struct, sys
code, numbers, trials, write = marshal.loads(bytes.fromhex(sys.argv[1]))
os.write(write, struct.pack("3i", *type(lambda: 0)(code, globals())(numbers, trials)))
os._exit(0)
"""


def _tried(
    numbers: "tuple[int, int, int]", trials: "tuple[tuple[int, bytes | tuple[int, ...], bool], ...]"
) -> "tuple[int, int, int]":
    """Return what comes of ``trials`` on a new ring: outcome, which of them it was, and errno.

    Where all is as meant, that is the first that was refused, and how many were.

    Each is (opcode, values, allowed). The descriptor is -1, so that what is allowed fails in
    another way, with nothing touched; what has no descriptor gets a name that no file can have, or
    nothing to do. For CONNECT the values are the bytes of an address, for OPENAT (flags, mode),
    OPENAT2 (flags, mode, resolve), SOCKET (family, type, protocol). Where they are empty, and the
    kernel finds the operation malformed, or was built without it, that says nothing: no filter was
    asked.

    Its code is executed in another interpreter as well, and so knows nothing of this module.
    """
    import ctypes
    import errno
    import mmap
    from struct import pack_into, unpack_from

    as_meant, let_through, refused, no_ring, no_answer = range(5)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.argtypes, syscall.restype = (ctypes.c_long,), ctypes.c_long

    def call(*words: int) -> int:
        result: int = syscall(*map(ctypes.c_long, (*words, 0, 0, 0, 0)[:7]))
        return result

    # A page each for the ring, its entry, and all that pointers point to.
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    params, pointed, longest = 2 * page, 2 * page + 256, 2 * page + 512
    # CQSIZE: what completes later must leave room for a refusal, which is not seen otherwise.
    # NO_MMAP and NO_SQARRAY, and the addresses of entries and ring.
    pack_into("=2I", memory, params + 4, 128, 1 << 3 | 1 << 14 | 1 << 16)
    pack_into("=Q", memory, params + 72, base + page)
    pack_into("=Q", memory, params + 112, base)
    ring = call(numbers[0], 1, base + params)
    if ring < 0:
        return no_ring, 0, ctypes.get_errno()
    tail = unpack_from("=I", memory, params + 44)[0]
    done_head, done_tail, mask, _, _, done = unpack_from("=6I", memory, params + 80)
    if not done:
        return no_answer, 0, errno.EPROTO  # something else than the kernel has answered
    # A name that is too long for any file, and its end.
    memory[longest : longest + 256] = b"x" * 256
    zeros, name, short, nowhere = base + pointed, base + longest, base + longest + 255, 0xFFFFFFFF
    # By operation, where zeros are malformed: descriptor, offset, address, length; flags of the
    # entry; its third address.
    forms = {
        **dict.fromkeys((9, 10, 48), (nowhere, 0, zeros)),
        **dict.fromkeys((11, 20), (nowhere, 0, zeros, 1)),
        **dict.fromkeys((35, 39), (nowhere, name, name, nowhere)),
        **dict.fromkeys((36, 37), (nowhere, 0, name)),
        **dict.fromkeys((41, 43), (nowhere, zeros, short)),
        **dict.fromkeys((42, 44), (nowhere, zeros, short, 0, 0, name)),
        **dict.fromkeys((51, 52), (2, 1, zeros, 0, 0, 1)),
        21: (nowhere, zeros, name),
        29: (nowhere, 0, 0, 2),
        31: (1, 0, zeros, 1),
        32: (1,),
        38: (nowhere, name, name),
        49: (nowhere, 0, 0, 0, 32),
        53: (0, 0, zeros, 1),
        54: (nowhere, 0, 0, 0, 1),
        62: (0,),
    }
    unsaid = {-errno.EINVAL, -errno.EFAULT, -errno.EOPNOTSUPP}
    reached = first = count = 0
    for place, (opcode, values, allowed) in enumerate(trials):
        form = forms.get(opcode, ())
        descriptor, offset, address, length, marks, third = (
            form + (nowhere, 0, 0, 0, 0, 0)[len(form) :]
        )
        more, source = 0, nowhere if opcode in (30, 33) else 0
        memory[pointed : pointed + 256] = bytes(256)
        if opcode == 16 and values:
            memory[pointed : pointed + len(values)] = bytes(values)
            address, offset = zeros, len(values)
        elif opcode == 18:
            address, (more, length) = short, values or (0, 0)
        elif opcode == 28:
            pack_into("=3Q", memory, pointed, *(values or (0, 0, 0)))
            address, offset, length = short, zeros, 24
        elif opcode == 45:
            descriptor, offset, length = values or (0, 0, 0)
        elif opcode == 53:
            pack_into("=QQI", memory, pointed, 1, zeros, 2)
        entry = (opcode, marks, descriptor, offset, address, length, more, place, source, third)
        pack_into("=BBxxIQQIIQ4xIQ8x", memory, page, *entry)
        pack_into("=I", memory, tail, place + 1)
        if call(numbers[1], ring, 1) != 1:
            return no_answer, place, ctypes.get_errno()
        # A refusal is there by now; what comes later is none.
        results = set()
        while reached != unpack_from("=I", memory, done_tail)[0]:
            at = done + 16 * (reached & unpack_from("=I", memory, mask)[0])
            of, result = unpack_from("=Qi", memory, at)
            results |= {result} if of == place else set()
            reached = reached + 1 & 0xFFFFFFFF
            pack_into("=I", memory, done_head, reached)
        denied = -errno.EACCES in results
        if allowed == denied and (allowed or values or not results & unsaid):
            return refused if allowed else let_through, place, 0
        first = place if denied and not count else first
        count += denied
    return as_meant, first, count
