"""Calls that do the same thing by other arguments, for `ways`: which of them are doors to one room.

Calls that do the same whatever their arguments are follow from the table of powers (`twins`).
Sources: the man pages of the calls; kernel/fork.c, fs/open.c, io_uring/opdef.c, mm/mprotect.c,
net/socket.c at the pinned tag.
"""

from __future__ import annotations

from itertools import permutations

from seccompgen.core.model import U32
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Severity
from seccompgen.lint.way import Bits, Door, Named, Way, same

_WARNING, _NOTE = Severity.WARNING, Severity.NOTE

AT_FDCWD = Named("AT_FDCWD", -100)
_CWD = {"dfd": (AT_FDCWD,)}
_SIGCHLD = Named("SIGCHLD", 17)


_OPEN = (
    Door("openat", {"dfd": 0, "flags": 2, "mode": 3}),
    Door("open", {"flags": 1, "mode": 2}, _CWD),
    Door(
        "creat",
        {"mode": 1},
        _CWD | {"flags": (Named("O_CREAT", 0o100), Named("O_WRONLY", 1), Named("O_TRUNC", 0o1000))},
    ),
    Door("openat2", {"dfd": 0}, only_other=True),
    Door("open_by_handle_at", {"flags": 2}, only_other=True),
)
_PROCESS = (
    Door("clone", {"flags": 0}),
    Door("fork", always={"flags": (_SIGCHLD,)}),
    Door("vfork", always={"flags": (_SIGCHLD, 0x4100)}),
    Door("clone3", only_other=True),
)
_NAMESPACES = tuple(
    Named(f"CLONE_NEW{name}", bit)
    for name, bit in {
        "USER": 0x10000000, "NS": 0x20000, "NET": 0x40000000, "PID": 0x20000000,
        "IPC": 0x08000000, "UTS": 0x04000000, "CGROUP": 0x02000000,
    }.items()
)  # fmt: skip
_CHMOD = (
    Door("chmod", {"mode": 1}),
    Door("fchmod", {"mode": 1}),
    Door("fchmodat", {"mode": 2}),
    Door("fchmodat2", {"mode": 2}),
)
_O_CREAT = Named("O_CREAT", 0o100)
_CREATES = Bits(_O_CREAT, True)
_NEW_FILE = (
    Door("open", {"mode": 2}, where={1: _CREATES}),
    Door("openat", {"mode": 3}, where={2: _CREATES}),
    Door("creat", {"mode": 1}),
    Door("mknod", {"mode": 1}),
    Door("mknodat", {"mode": 2}),
)
"""Calls that make a file, of any mode."""
_CREATING = (
    Door("open", {"flags": 1}, where={1: _CREATES}),
    Door("openat", {"flags": 2}, where={2: _CREATES}),
)
_UNNAMED = tuple(
    Door(call, where={n: Bits(Named("__O_TMPFILE", 0o20000000), True)})
    for call, n in (("open", 1), ("openat", 2))
)
"""Calls that make a file that gets its name later, by ``linkat``."""
_REGULAR = tuple(
    Door(call, where={n: Bits(Named("S_IFREG", 0o100000), under=0o170000)})
    for call, n in (("mknod", 1), ("mknodat", 2))
)
_TIME64 = (
    "futex futex_time64",
    "clock_settime clock_settime64",
    "clock_adjtime clock_adjtime64",
    "clock_gettime clock_gettime64",
    "clock_nanosleep clock_nanosleep_time64",
    "ppoll ppoll_time64",
    "pselect6 pselect6_time64",
    "recvmmsg recvmmsg_time64",
    "semtimedop semtimedop_time64",
    "timer_settime timer_settime64",
    "timerfd_settime timerfd_settime64",
    "utimensat utimensat_time64",
    "mq_timedsend mq_timedsend_time64",
    "mq_timedreceive mq_timedreceive_time64",
    "rt_sigtimedwait rt_sigtimedwait_time64",
    "io_pgetevents io_pgetevents_time64",
    "fcntl fcntl64",
    "sendfile sendfile64",
    "setuid setuid32",
    "setgid setgid32",
    "setreuid setreuid32",
    "setregid setregid32",
    "setresuid setresuid32",
    "setresgid setresgid32",
    "setgroups setgroups32",
    "setfsuid setfsuid32",
    "setfsgid setfsgid32",
)
"""Calls and what followed them on 32-bit ABIs, with the same arguments at the same places."""
OTHER_FORMS = frozenset(pair for names in _TIME64 for pair in permutations(names.split(), 2))
"""The same as pairs, in either order."""

_RING = same(
    "socket connect bind listen accept accept4 sendto sendmsg recvfrom recvmsg shutdown openat "
    "open openat2 creat unlinkat unlink renameat2 renameat rename mkdirat mkdir linkat link "
    "symlinkat symlink statx setxattr fsetxattr ftruncate setsockopt"
)
"""The work that a ring of io_uring does for its owner (``IORING_OP_*``)."""

_UNIX = Bits(Named("AF_UNIX", 1))
_OLD_MMAP = frozenset({"i386", "s390", "s390x", "m68k"})
"""ABIs whose ``mmap`` has its arguments in memory (``sys_old_mmap``)."""
_PROT = {"prot": 2}
_PROTECT = (
    Door("mprotect", _PROT),
    Door("mmap2", _PROT),
    Door("mmap", _PROT, not_on=_OLD_MMAP),
)
_WX = {"prot": (7,)}
_EXECUTABLE = Bits(Named("PROT_EXEC", 4), True)

_FASTOPEN = Bits(Named("MSG_FASTOPEN", 0x20000000), True)


def _family(name: str, number: int) -> Door:
    """Return the sockets of a family, of every type."""
    return Door("socket", {"type": 1}, where={0: Bits(Named(name, number))}, in_part=True)


_INTERNET = _family("AF_INET", 2), _family("AF_INET6", 10)
_SMC = Door(
    "socket",
    {"type": 1},
    where={0: Bits(Named("AF_SMC", 43)), 1: Bits(Named("SOCK_STREAM", 1), under=0xF)},
)
_SIGNALS = same("kill tkill tgkill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo")
_OWNER = tuple(
    Door(call, where={1: Bits(Named(command, value))}, in_part=True)
    for call, command, value in (
        ("fcntl", "F_SETOWN", 8),
        ("fcntl", "F_SETOWN_EX", 15),
        ("ioctl", "FIOSETOWN", 0x8901),
        ("ioctl", "SIOCSPGRP", 0x8902),
    )
)
"""Calls that say who is signalled when something comes to a descriptor; F_SETSIG says by what."""

WAYS: tuple[Way, ...] = (
    Way(Problem.OPEN_TWIN, _WARNING, "opens the same files", _OPEN),
    # In part as well: a descriptor that execveat may not execute is /proc/self/fd/N to execve.
    Way(Problem.EXEC_TWIN, _WARNING, "executes the same programs", same("execve execveat")),
    Way(Problem.PROCESS_TWIN, _WARNING, "makes the same processes", _PROCESS),
    *(
        way
        for flag in _NAMESPACES
        for way in (
            Way(
                Problem.NAMESPACE_TWIN,
                _WARNING,
                "makes the same namespaces",
                (Door("clone", {"flags": 0}, where={0: Bits(flag, True)}),),
                (Door("unshare", where={0: Bits(flag, True)}),),
                ("flags", flag),
            ),
            Way(
                Problem.NAMESPACE_TWIN,
                _WARNING if flag is _NAMESPACES[0] else _NOTE,
                "makes the same namespaces",
                (Door("unshare", {"flags": 0}, where={0: Bits(flag, True)}),),
                (Door("clone", {"flags": 0}, where={0: Bits(flag, True)}), Door("clone3")),
            ),
        )
    ),
    *(
        Way(
            Problem.NAMESPACE_TWIN,
            _WARNING,
            "enters the same namespaces, of whatever type,",
            (Door("setns", where={1: Bits(flag, True)}),),
            (Door("setns", where={1: Bits(0)}),),
        )
        for flag in _NAMESPACES
    ),
    Way(
        Problem.MEMORY_TWIN,
        _WARNING,
        "reads and writes the memory of the same processes",
        same("ptrace process_vm_writev process_vm_readv"),
    ),
    Way(
        Problem.MEMORY_TWIN,
        _NOTE,
        "takes descriptors out of the same processes",
        same("ptrace"),
        same("pidfd_getfd"),
    ),
    Way(
        Problem.MEMORY_TWIN,
        _WARNING,
        "attaches to the same processes",
        tuple(
            Door("ptrace", where={0: Bits(Named(name, number))}, in_part=True)
            for name, number in (("PTRACE_ATTACH", 16), ("PTRACE_SEIZE", 0x4206))
        ),
    ),
    Way(
        Problem.MOUNT_TWIN,
        _WARNING,
        "mounts as well",
        same("mount"),
        same("fsopen fsmount move_mount open_tree open_tree_attr mount_setattr"),
    ),
    Way(
        Problem.MOUNT_TWIN,
        _WARNING,
        "changes what is mounted",
        same("mount"),
        same("umount umount2 oldumount"),
    ),
    Way(
        Problem.TRACING_TWIN,
        _NOTE,
        "attaches programs to the same events of the kernel",
        same("perf_event_open"),
        same("bpf"),
    ),
    *(
        Way(
            Problem.OPEN_TWIN,
            _WARNING,
            "makes new files",
            _CREATING,
            others,
            flips=("flags", _O_CREAT),
            needs=needs,
        )
        for others, needs in ((_UNNAMED, same("linkat")), (_REGULAR, ()))
    ),
    Way(
        Problem.FILE_TWIN,
        _WARNING,
        "makes files of the same modes",
        _CHMOD,
        _NEW_FILE,
        ("mode", Named("S_ISUID", 0o4000)),
    ),
    Way(
        Problem.FILE_TWIN,
        _WARNING,
        "removes the same directories",
        same("rmdir"),
        (Door("unlinkat", where={2: Bits(Named("AT_REMOVEDIR", 0x200), True)}),),
    ),
    Way(
        Problem.SOCKET_TWIN,
        _WARNING,
        "sends the same messages",
        (Door("sendmsg", {"flags": 2}), Door("sendmmsg", {"flags": 3})),
    ),
    Way(
        Problem.CLOCK_TWIN,
        _WARNING,
        "moves the same clock",  # ADJ_SETOFFSET
        same("settimeofday clock_settime clock_settime64 stime"),
        same("adjtimex clock_adjtime clock_adjtime64"),
    ),
    Way(
        Problem.SOCKET_TWIN,
        _WARNING,
        "connects to the same addresses",
        same("connect"),
        (
            Door("sendto", where={3: _FASTOPEN, 4: Bits(0, other=True)}),
            Door("sendmsg", where={2: _FASTOPEN}),
            Door("sendmmsg", where={3: _FASTOPEN}),
        ),
        needs=_INTERNET,
        shut=same("connect"),
    ),
    # IPv6 has addresses for those of IPv4, and SMC connects by TCP where the other end has no SMC.
    # Whoever refuses a family with most others has not named it.
    *(
        Way(
            Problem.SOCKET_TWIN,
            _WARNING,
            "reaches the same addresses",
            (family,),
            (other,),
            needs=(_family("AF_VSOCK", 40),),
        )
        for family, other in (_INTERNET, (_INTERNET[0], _SMC), (_INTERNET[1], _SMC))
    ),
    Way(
        Problem.SOCKET_TWIN,
        _WARNING,
        "reads and writes the same packets",
        (_family("AF_PACKET", 17),),
        (
            Door(
                "socket",
                where={
                    0: Bits(Named("AF_INET", 2)),
                    1: Bits(Named("SOCK_PACKET", 10), under=0xF),
                },
            ),
        ),
        needs=(_family("AF_VSOCK", 40),),
    ),
    Way(
        Problem.UNIX_DATAGRAMS,
        _WARNING,
        "reaches the same servers of datagrams",
        (Door("socket", where={0: _UNIX}),),
        tuple(
            Door("socketpair", where={0: _UNIX, 1: Bits(Named(name, usual), under=0xF)})
            for name, usual in (("SOCK_DGRAM", 2), ("SOCK_RAW", 3))
        ),
        needs=(*same("connect sendmsg sendmmsg"), Door("sendto", where={4: Bits(0, other=True)})),
        shut=(Door("socket", where={0: _UNIX}),),
        by_default=True,
    ),
    Way(
        Problem.SIGNAL_TWIN,
        _NOTE,
        "signals the same processes",
        same("kill", sig=1),
        (
            *same("tkill pidfd_send_signal rt_sigqueueinfo", sig=1),
            *same("tgkill rt_tgsigqueueinfo", sig=2),
        ),
    ),
    Way(
        Problem.SIGNAL_TWIN,
        _NOTE,
        "has the same processes signalled",
        same("kill"),
        _OWNER,
        needs=_SIGNALS,
    ),
    Way(
        Problem.SIGNAL_TWIN,
        _WARNING,
        "has the same processes signalled",
        _SIGNALS,
        _OWNER,
        shut=_SIGNALS,
    ),
    Way(
        Problem.ASYNC_SIGNALS,
        _WARNING,
        "has the same processes signalled",
        _OWNER,
    ),
    Way(
        Problem.IDENTITY_TWIN,
        _WARNING,
        "becomes the same user",
        (
            *same("setuid setuid32", user=0),
            *same("setreuid setreuid32 setresuid setresuid32", user=1),
        ),
    ),
    Way(
        Problem.IDENTITY_TWIN,
        _WARNING,
        "becomes of the same group",
        (
            *same("setgid setgid32", group=0),
            *same("setregid setregid32 setresgid setresgid32", group=1),
        ),
    ),
    Way(
        Problem.LIMIT_TWIN,
        _WARNING,
        "sets the same limits",
        (
            Door("setrlimit", {"resource": 0}, {"pid": (0,)}),
            Door("prlimit64", {"pid": 0, "resource": 1}, where={2: Bits(0, other=True)}),
        ),
    ),
    Way(
        Problem.LIMIT_TWIN,
        _WARNING,
        "sets the same priorities",
        same("nice setpriority sched_setparam"),
        same("sched_setattr"),
    ),
    Way(
        Problem.LIMIT_TWIN,
        _WARNING,
        "sets the same priorities",
        same("sched_setparam", pid=0),
        same("sched_setscheduler", pid=0),
    ),
    Way(
        Problem.KERNEL_TWIN,
        _WARNING,
        "installs the same filters",
        (
            Door("seccomp", where={1: Bits(0)}),
            Door("prctl", where={0: Bits(Named("PR_SET_SECCOMP", 22))}, in_part=True),
        ),
    ),
    *(
        Way(
            Problem.TIME64_TWIN,
            _WARNING,
            "is the same call in another form",
            same(names, **{f"argument {n}": n for n in range(6)}),
        )
        for names in _TIME64
    ),
    Way(
        Problem.EXECUTABLE_MEMORY,
        _WARNING,
        "makes the same memory executable",
        same("mprotect pkey_mprotect", **_PROT),
    ),
    Way(
        Problem.EXECUTABLE_MEMORY,
        _WARNING,
        "makes the same memory executable",
        (
            Door("mmap2", _PROT, where={2: _EXECUTABLE}),
            Door("mmap", _PROT, where={2: _EXECUTABLE}, not_on=_OLD_MMAP),
        ),
        (
            Door("mprotect", _PROT, where={2: _EXECUTABLE}),
            Door("pkey_mprotect", _PROT, where={2: _EXECUTABLE}),
        ),
        nowhere="prot",
    ),
    Way(
        Problem.EXECUTABLE_MEMORY,
        _WARNING,
        "makes all readable memory executable",
        _PROTECT,
        (Door("personality", always=_WX, where={0: Bits(0x400000, True, none=U32)}),),
        ("prot", Named("PROT_EXEC", 4)),
    ),
    Way(
        Problem.EXECUTABLE_MEMORY,
        _WARNING,
        "maps memory that can be written and executed",
        _PROTECT,
        (Door("shmat", always=_WX, where={2: Bits(Named("SHM_EXEC", 0o100000), True)}),),
        ("prot", Named("PROT_EXEC", 4)),
    ),
    Way(
        Problem.TTY_INJECTION,
        _WARNING,
        "types into a terminal as well",
        (Door("ioctl", where={1: Bits(Named("TIOCSTI", 0x5412))}),),
        (Door("ioctl", where={1: Bits(Named("TIOCLINUX", 0x541C))}),),
    ),
    Way(
        Problem.ASYNC_SIGNALS,
        _WARNING,
        "turns the same signals on",
        (
            Door(
                "fcntl",
                {"flags": 2},
                where={
                    1: Bits(Named("F_SETFL", 4)),
                    2: Bits(Named("O_ASYNC", 0o20000), True),
                },
            ),
        ),
        (Door("ioctl", where={1: Bits(Named("FIOASYNC", 0x5452))}),),
        ("flags", Named("O_ASYNC", 0o20000)),
    ),
    Way(
        Problem.IO_URING_WAY,
        _WARNING,
        "does the same in the kernel, where no filter sees it",
        _RING,
        same("io_uring_setup"),
    ),
    *(
        Way(
            Problem.IO_URING_WAY,
            _WARNING,
            "does the same in the kernel, where no filter sees it",
            same(names),
            same("io_uring_setup"),
            shut=same(seen),
            by_default=True,
        )
        # What a ring adds nothing to, as it is permitted anyway.
        for names, seen in (("openat", "open openat2"), ("socket connect", "socketcall"))
    ),
    *(
        Way(
            Problem.MULTIPLEXED_WAY,
            Severity.WARNING,
            "does the same, with the arguments in memory",
            (Door(name),),
            (Door(call, where={0: Bits(number)}),),
        )
        for call, first in (("socketcall", 1),)
        for number, name in enumerate(MULTIPLEXED[call].split(), first)
    ),
    *(
        Way(
            Problem.MULTIPLEXED_WAY,
            Severity.WARNING,
            "does the same, with the arguments in memory",
            (Door(name),),
            (Door("ipc", where={0: Bits(number)}),),
        )
        for number, name in zip(
            (*range(1, 5), *range(11, 15), *range(21, 25)), MULTIPLEXED["ipc"].split(), strict=True
        )
    ),
)
