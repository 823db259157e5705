"""The bits of arguments that kernels read, against what our facts say of them.

For each call there are a few vectors of arguments, made from the names and types of its parameters,
with which it is harmless. Each is tried as it is, with other bits in one argument after the other
that the kernel should not read, and with bits changed that it should. The first must make no
difference. The second show where that says something: where the call is refused for a changed bit
of an argument, or does something else, it looks at that argument.
"""

from __future__ import annotations

import json
import random
import struct
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guests.inside import widths
from guests.inside.machine_code import INT80, NATIVE
from guests.inside.widths import OTHER, SAME, Series
from guests.plan import WIDE
from oracle import ABIS, U32, U64
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS as ABI
from seccompgen.core.facts import Prototype
from seccompgen.core.word import ARGS
from seccompgen.formats import load_policy
from seccompgen.verify import Meaning, meaning
from seccompgen.verify.oracle import FieldTest, OneOf
from stock_policies import STOCK
from strategies import compiled, plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.facts import Parameter
    from seccompgen.core.tables import Tables

_OTHERS = {
    "x86_64": {"i386": INT80},
    "mips64el": {"mipsel": NATIVE, "mips64n32el": NATIVE},
}
"""The ABIs that code of an ABI can call through besides its own."""

_IN_REGISTERS = {"mipsel": 4}
"""The number of arguments that are in registers; others lie on the stack."""

VECTORS = 2
"""The vectors of arguments tried for each call."""

OLDER = {
    ("mbind", 2): ((5, 13), "its mode was compared as an unsigned long"),
}
"""Arguments of which older kernels read more: the release that no longer does, and why."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEVER = _names(
    "exit exit_group fork vfork clone clone3 rt_sigreturn sigreturn restart_syscall vhangup "
    "reboot sync fsync pause rt_sigsuspend sigsuspend futex_wait uretprobe uprobe ptrace brk "
    "usr26 usr32 breakpoint"
)
"""Calls that end, double or stop the child whatever they are given, or work for long."""

ALONE = _names(
    "close close_range dup2 dup3 fcntl fcntl64 chdir fchdir chroot unshare setns seccomp prctl "
    "arch_prctl setrlimit prlimit64 alarm setitimer landlock_restrict_self personality "
    "rt_sigaction sigaction signal sigaltstack rt_sigprocmask sigprocmask setuid setgid "
    "setreuid setregid setresuid setresgid setgroups setfsuid setfsgid setuid32 setgid32 "
    "setreuid32 setregid32 setresuid32 setresgid32 setgroups32 setfsuid32 setfsgid32 "
    "set_thread_area set_tls set_robust_list set_tid_address rseq userfaultfd iopl ioperm "
    "shutdown nice sched_setscheduler sched_setparam sched_setattr sched_setaffinity "
    "io_uring_setup kexec_load vm86 vm86old stime truncate ftruncate"
)
"""Calls that change what others depend on."""

OF_MEMORY = _names(
    "mmap mmap2 munmap mremap mprotect pkey_mprotect madvise mseal shmat shmdt remap_file_pages "
    "msync mlock mlock2 mlockall munlock munlockall map_shadow_stack process_madvise modify_ldt "
    "pkey_alloc pkey_free"
)
"""Calls that change what memory there is, which most children share."""

_PIDS = _names("pid tgid tid upid who")
_USERS = _names("uid gid ruid euid suid rgid egid sgid")
CHOSEN = {
    ("futex", "op"): [1, 3],
    ("futex_time64", "op"): [1, 3],
    ("getsockopt", "level"): [1],
    ("getsockopt", "optname"): [3, 2],
    ("setsockopt", "level"): [1],
    ("setsockopt", "optname"): [2],
    ("setsockopt", "optlen"): [8, 4],
    ("socket", "family"): [1, 16],
    ("socket", "type"): [1, 2],
    ("socketpair", "family"): [1],
    ("socketpair", "type"): [1, 2],
    ("mq_open", "oflag"): [0, 64],
}
"""Values of arguments with which calls do not wait, or do something."""

_DESCRIPTORS = _names(
    "fd dfd fildes epfd newdfd olddfd oldfd newfd fdin fdout in_fd out_fd fd_in fd_out pidfd mqdes "
    "ufd fs_fd from_dfd to_dfd fanotify_fd group_fd mountdirfd ruleset_fd kernel_fd initrd_fd"
)
_WAITS = _names("timeout tsp utime uts tvp rqtp u_abs_timeout")
_SIGSETS = _names("sigsetsize sizemask setsize")


@dataclass(frozen=True, slots=True)
class Change:
    """Bits of an argument that are changed; the kernel should not read those ``ignored``."""

    argument: int
    bits: int
    ignored: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """A vector of arguments of a call, made by ``way`` to the table of an ABI, and its changes."""

    way: int
    abi: str
    call: str
    nr: int
    args: tuple[int, ...]
    changes: tuple[Change, ...]
    program: bytes = b""
    """The filter in force, if there is one."""

    def vectors(self) -> Iterator[tuple[int, ...]]:
        """Yield the arguments of the calls of a `Series`."""
        yield self.args
        for ignored in (True, False):
            for one in self.changes:
                if one.ignored == ignored:
                    changed = self.args[one.argument] ^ one.bits
                    yield (*self.args[: one.argument], changed, *self.args[one.argument + 1 :])
            if ignored:
                yield self.args


def trials(abi: str, tables: Tables, vectors: int = VECTORS) -> list[Trial]:
    """Return what to try in a process of ``abi``, by all ABIs that its code can call through."""
    found = list(_trials(abi, abi, NATIVE, tables, vectors))
    for other, way in _OTHERS.get(abi, {}).items():
        found += _trials(abi, other, way, tables, (vectors + 1) // 2)
    return found


def wrong_trials(abi: str, tables: Tables) -> dict[str, list[Trial]]:
    """Return trials that a kernel must contradict, by what is wrong with them."""
    nr = tables.tables[abi].numbers["socket"]
    known = tables.facts.prototypes[abi]["socket"]
    register = U64 if abi in WIDE else U32
    args = (1, 1, 0, 0, 0, 0)
    family, *others = known.parameters
    narrow = Prototype("sys_socket", (replace(family, bits=8), *others))
    entry = {"argument": 0, "operation": "Equal", "value": 1, "width": 64}
    rule = {"action": "errno(1)", "names_with_args": [{"name": "socket", "arguments": [entry]}]}
    policy = {
        "arches": [abi],
        "default_action": "allow",
        "multiplexed": "allow",
        "syscalls": [rule],
    }
    program = compiled(policy)[abi]
    found = {
        "a width that is too small": Trial(
            NATIVE, abi, "socket", nr, args, tuple(_changes(narrow, register))
        )
    }
    ignored = tuple(one for one in _changes(known, register) if one.ignored)
    if register == U64:
        found["a filter that compares what is not read"] = Trial(
            NATIVE, abi, "socket", nr, args, ignored, program
        )
    return {what: [replace(one, changes=_in_order(one.changes))] for what, one in found.items()}


def filtered_trials(abi: str, tables: Tables) -> list[Trial]:
    """Return calls around the rules of the stock filters that an ABI has, under these."""
    found: list[Trial] = []
    for path in STOCK:
        policy, _ = load_policy(path, tables)
        if ABI[abi] in policy.arches:
            code = compile_policy(policy, ABI[abi], tables)
            found += _around_rules(meaning(policy, ABI[abi], tables), code.to_bytes(), tables)
    return found


def _around_rules(means: Meaning, program: bytes, tables: Tables) -> Iterator[Trial]:
    """Yield trials with the values that a policy's rules compare arguments with."""
    abi = means.abi.name
    register = U64 if abi in WIDE else U32
    names = tables.tables[abi].names
    for case in means.cases:
        numbers = [test.values for test in case.tests if isinstance(test, OneOf)]
        compared = [one for one in case.tests if isinstance(one, FieldTest) and one.field >= ARGS]
        for nr in sorted(numbers[0]) if numbers and compared else ():
            prototype = tables.facts.prototype(names[nr], means.abi)
            if prototype is None or names[nr] in NEVER:
                continue
            changes = tuple(one for one in _changes(prototype, register) if one.ignored)
            args = [*_vectors(names[nr], prototype, abi, 1, wide=abi in WIDE)[0]]
            for test in compared:
                for value in dict.fromkeys((test.value, test.value ^ 1, test.mask & U32, 0)):
                    args[test.field - ARGS] = value & register
                    yield Trial(NATIVE, abi, names[nr], nr, tuple(args), changes, program)
                args[test.field - ARGS] = test.value


def _programs(planned: Sequence[Trial]) -> list[bytes]:
    return [*dict.fromkeys(one.program for one in planned if one.program)]


def plan(abi: str, planned: Sequence[Trial]) -> dict[str, bytes]:
    """Return the files from which `inside.widths.planned_outcomes` makes the calls."""
    series, calls = packed(abi, planned)
    known = {
        "abi": abi,
        "numbers": plain_tables()[abi],
        "series": series,
        "programs": [program.hex() for program in _programs(planned)],
    }
    return {"widths.json": json.dumps(known).encode(), "widths": calls}


def packed(abi: str, planned: Sequence[Trial]) -> tuple[list[Series], bytes]:
    """Return the trials as `inside.widths.outcomes` takes them."""
    order = "<" if ABIS[abi].byte_order == "little" else ">"
    programs = _programs(planned)
    calls = bytearray()
    series = []
    count = 0
    for one in planned:
        vectors = list(one.vectors())
        for args in vectors:
            calls += struct.pack(order + "q7Q", one.nr, *args, one.way)
        same = sum(change.ignored for change in one.changes)
        child = widths.TOGETHER
        if one.call in OF_MEMORY or one.program:
            child = widths.MEMORY_TOO
        elif one.call in ALONE:
            child = widths.ALONE
        place = programs.index(one.program) if one.program else None
        series.append(Series(count, same, len(one.changes) - same, child, place))
        count += len(vectors)
    return series, bytes(calls)


def _trials(abi: str, of: str, way: int, tables: Tables, most: int) -> Iterator[Trial]:
    table = tables.tables[of]
    register = U64 if abi in WIDE else U32
    for call, nr in sorted(table.numbers.items(), key=lambda item: item[1]):
        prototype = tables.facts.prototype(call, table.abi)
        most_arguments = _IN_REGISTERS.get(of, 6)
        if prototype is None or call in NEVER or len(prototype.parameters) > most_arguments:
            continue
        possible = (one for one in _changes(prototype, register) if one.argument < most_arguments)
        changes = _in_order(possible)
        for args in _vectors(call, prototype, of, most, wide=abi in WIDE):
            yield Trial(way, of, call, nr, args, changes)


def _in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda one: not one.ignored))


def _changes(prototype: Prototype, register: int) -> Iterator[Change]:
    for argument in range(6):
        bits = register
        parameter = None
        if argument < len(prototype.parameters):
            parameter = prototype.parameters[argument]
            bits = register if parameter.bits is None else register & (1 << parameter.bits) - 1
        else:
            bits = 0
        ignored = register & ~bits
        if ignored:
            lowest = ignored & -ignored
            yield Change(argument, ignored, ignored=True)
            yield Change(argument, lowest, ignored=True)
        if parameter is None or parameter.name in _WAITS:
            continue
        if not parameter.pointer:
            top = min(bits.bit_length(), 32)
            for bit in {0, 4, top - 2, top - 1}:
                yield Change(argument, 1 << bit, ignored=False)
        else:
            yield Change(argument, 1 << 28, ignored=False)  # there is no memory


def _vectors(
    call: str, prototype: Prototype, abi: str, most: int, *, wide: bool
) -> list[tuple[int, ...]]:
    """Return up to ``most`` vectors of arguments, the likeliest to do something first."""
    if call in ALONE:
        most = (most + 1) // 2
    rng = random.Random(call)
    choices = [
        CHOSEN.get((call, one.name)) or _values(one, abi, widths.memory(wide=wide))
        for one in prototype.parameters
    ]
    first = tuple(values[0] for values in choices)
    found: dict[tuple[int, ...], None] = {first: None}
    for _ in range(30):
        found.setdefault(tuple(rng.choice(values) for values in choices))
    return [(*args, *[0] * (6 - len(args))) for args in [*found][:most]]


def _values(parameter: Parameter, abi: str, memory: int) -> list[int]:
    """Return values for a parameter, by its name and type, the most usual first."""
    name, ctype = parameter.name, parameter.type
    if name in _WAITS:
        return [memory + widths.EMPTY if parameter.pointer else 0]
    if parameter.pointer:
        if "char" in ctype or "name" in name or "path" in name:
            return [memory + widths.HERE, memory + widths.NAME, memory + widths.EMPTY]
        if "addr" in name or "start" in name:
            return [memory + widths.SCRATCH, memory + widths.EMPTY]
        return [memory + widths.EMPTY, memory + widths.EMPTY, 0]
    if name in _DESCRIPTORS:
        if "d" in name and name.endswith("dfd"):
            return [widths.DIRECTORY, U32 & -100, widths.FILE]
        return [*widths.DESCRIPTORS]
    if name in _PIDS or name == "sig":
        return [0]
    if name in _USERS:
        return [widths.USER]
    if name in _SIGSETS:
        return [16 if "mips" in abi else 8]
    if name in {"addr", "start"}:
        return [memory + widths.SCRATCH]
    if name in {"len", "size", "count", "length"}:
        return [8, 0, 0x1000]
    return [0, 1, 0, 2]


@dataclass(frozen=True, slots=True)
class WidthsFound:
    """The arguments, as (ABI, call, argument), whose width showed, and what ``differences`` are.

    It shows where other bits made no difference, but a bit that is read did.
    """

    shown: frozenset[tuple[str, str, int]]
    differences: tuple[str, ...]


def judge(release: str, planned: Sequence[Trial], outcomes: Sequence[str]) -> WidthsFound:
    """Judge what became of the trials on a kernel of that release."""
    running = tuple(map(int, release.split(".")[:2]))
    shown = set()
    differences = []
    for one, outcome in zip(planned, outcomes, strict=True):
        looked_at: dict[int, set[bool]] = defaultdict(set)
        for change, seen in zip(one.changes, outcome, strict=True):
            until, _ = OLDER.get((one.call, change.argument), ((0, 0), ""))
            if seen == OTHER and change.ignored and running >= until:
                under = " under a filter" if one.program else ""
                differences.append(
                    f"{one.call} on {one.abi}{under} reads more of argument {change.argument}: "
                    f"({', '.join(map(hex, one.args))}) ^ {change.bits:#x}"
                )
            if (change.ignored and seen == SAME) or (not change.ignored and seen == OTHER):
                looked_at[change.argument].add(change.ignored)
        shown |= {(one.abi, one.call, n) for n, kinds in looked_at.items() if len(kinds) == 2}
    return WidthsFound(frozenset(shown), tuple(differences))
