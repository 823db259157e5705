"""The trials of the stock filters and of install() in a guest, and their right results.

What is refused is tried without the filter as well, where it must come to something else. The
policies say what they promise; seccomp(2), prctl(2) and proc_pid_status(5) say the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guests.machines import Guest

Outcomes: TypeAlias = "dict[str, tuple[str, str]]"
"""By attempt: what it must come to under the filter, and without it."""

_ELSE = "something else"
"""Than under the filter. What exactly depends on the kernel's version and configuration."""

_32_BIT = frozenset({"i386", "arm"})

NO_PROGRAM = frozenset({("s390x", "compute_only")})
"""As the policy tells: mmap has its arguments in memory."""

_SOCKETCALL_IN_LIBC = frozenset({"i386", "s390x"})
"""Where Debian's C library makes its sockets by socketcall(2), of which filters see little."""

_SOCKETCALL = _SOCKETCALL_IN_LIBC | {"ppc64le"}
_NEWER = frozenset({"aarch64", "riscv64", "loongarch64"})
"""Where the kernel does without calls that are special cases of others, such as open and fork."""

_FOREIGN = {"x86_64": "x32", "mips64el": "mipsel"}
"""Another ABI, into which a process can call by the number alone."""

_SIGSYS = {"mips64el": 12}

_UNAMES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armhf": "armv7l",
    "i386": "i686",
    "loong64": "loongarch64",
    "mips64el": "mips64",
    "ppc64el": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""The machine of uname(2), by Debian's name of the kernel's architecture."""


def plan(guest: Guest) -> dict[str, Any]:
    """Return what ``inside.stock.report`` needs to know."""
    tables = plain_tables()
    numbers = dict(tables[guest.abi])
    if guest.abi in _FOREIGN:
        numbers["foreign"] = tables[_FOREIGN[guest.abi]]["getpid"]
    return {"policies": list(_POLICIES), "abi": guest.abi, "numbers": numbers}


def differences(guest: Guest, report: Mapping[str, Any]) -> list[str]:
    """Return in words all that a report tells otherwise than it should, [] if nothing."""
    wanted = {
        "policies": {name: _policy(guest, name) for name in _POLICIES},
        "installs": _installs(guest, report),
        "abi": _abi(guest),
    }
    return [text for part in wanted for text in _compared(part, wanted[part], report[part])]


def attempts(report: Mapping[str, Any]) -> int:
    """Return how many attempts a report tells of."""
    policies = report["policies"].values()
    parts = [policy[how] for policy in policies for how in ("confined", "free") if how in policy]
    parts += [group for child in report["installs"].values() for group in child.values()]
    parts += [report["abi"]]
    return sum(
        not name.startswith(("ended", "facts", "raised", "machine", "tid"))
        for part in parts
        if isinstance(part, dict)
        for name in part
    )


# --- Comparing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _AllBut:
    """Stands for everything that may be seen but one value."""

    value: str

    def fits(self, seen: object) -> bool:
        return isinstance(seen, str) and seen != self.value

    def __str__(self) -> str:
        return f"anything but {self.value}"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Stands for a SeccompError with that errno, whose text has all of these parts."""

    errno: str
    parts: tuple[str, ...]

    def fits(self, seen: object) -> bool:
        if not isinstance(seen, list) or len(seen) != 2:
            return False
        errno, text = seen
        parts = ("SeccompError: ", "] cannot ", *self.parts)
        return errno == self.errno and all(part in text for part in parts)

    def __str__(self) -> str:
        return f"{self.errno} and {self.parts}"


@dataclass(frozen=True, slots=True)
class _OneOf:
    """Stands for what any of these stands for."""

    alternatives: tuple[object, ...]

    def fits(self, seen: object) -> bool:
        return any(_fits(one, seen) for one in self.alternatives)

    def __str__(self) -> str:
        return " or ".join(map(str, self.alternatives))


def _fits(wanted: object, seen: object) -> bool:
    if isinstance(wanted, _AllBut | _Refusal | _OneOf):
        return wanted.fits(seen)
    return wanted == seen


def _compared(where: str, wanted: object, seen: object) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(seen, dict):
        for name, value in wanted.items():
            if name in seen:
                yield from _compared(f"{where}, {name}", value, seen[name])
            elif isinstance(value, dict):
                yield f"{where}, {name}: nothing is told"
            else:
                yield f"{where}, {name}: wanted {value}, but nothing is told"
        for name, value in seen.items():
            if name not in wanted:
                yield f"{where}, {name}: was {value}, but nothing is wanted"
    elif not _fits(wanted, seen):
        yield f"{where}: wanted {wanted}, was {seen}"


def _facts(no_new_privs: int, mode: int, filters: int) -> dict[str, str]:
    """Return what /proc/PID/status says of a thread."""
    values = {"NoNewPrivs": no_new_privs, "Seccomp": mode, "Seccomp_filters": filters}
    return {name: str(value) for name, value in values.items()}


_NOTHING = _facts(0, 0, 0)
_PRIVILEGES = _facts(1, 0, 0)
_CONFINED = _facts(1, 2, 1)
_CONFINED_WITH_PRIVILEGES = _facts(0, 2, 1)


# --- The stock policies --------------------------------------------------------------------------


def _policy(guest: Guest, name: str) -> dict[str, object]:
    """Return what must be told of a policy."""
    left = {"old": 7, "older": 7}
    if (guest.abi, name) in NO_PROGRAM:
        texts = (f"'app.sandbox.{name}'", f"is {guest.abi},", f"add {guest.abi} to the policy")
        refused = {"install": _Refusal("ENOEXEC", texts), "facts": _NOTHING, "ended": "exit 0"}
        return {"confined": refused, "left": left}
    outcomes = _POLICIES[name](guest)
    confined: dict[str, object] = {what: one for what, (one, _) in outcomes.items()}
    free: dict[str, object] = {
        what: _AllBut(one) if other == _ELSE else other for what, (one, other) in outcomes.items()
    }
    if name == "no_network":
        confined["after exec"] = "EACCES 2"
    if confined["create"] == "done":
        left["new"] = 7
    confined |= {"install": "done", "facts": _CONFINED, "facts of thread": _CONFINED}
    free |= {"facts": _NOTHING, "facts of thread": _NOTHING}
    confined["ended"] = free["ended"] = "exit 0"
    if guest.abi in _FOREIGN:  # bad_arch_action is to kill
        confined["ended"] = f"signal {_SIGSYS.get(guest.abi, 31)}"
        free["foreign"] = _OneOf(("done", "ENOSYS"))
    return {"confined": confined, "free": free, "left": left}


def _each(confined: str, free: str, *names: str) -> Outcomes:
    return dict.fromkeys(names, (confined, free))


def _no_network(guest: Guest) -> Outcomes:
    abi = guest.abi
    # The policy refuses to make sockets by socketcall, as it does not see of which family.
    unix = "EACCES" if abi in _SOCKETCALL_IN_LIBC else "done"
    wanted = {
        **_each("EACCES", "done", "inet", "netlink", "inet by number", "in thread"),
        **_each("EACCES", _ELSE, "inet6", "packet", "vsock"),
        **_each("EACCES", "EOPNOTSUPP", "inet pair"),
        **_each("EACCES", "EAFNOSUPPORT", "no family"),
        **_each("ENOSYS", _ELSE, "io_uring_setup", "io_uring_enter", "io_uring_register"),
        **_each("forked, EACCES", "done", "forked"),
        **_each("done", "done", "unix by number", "early socket", "connect anew"),
        **_each("done", "done", "create", "thread"),
        **_each(unix, "done", "unix", "pair"),
    }
    if abi in _SOCKETCALL:
        wanted |= {
            **_each("EACCES", "done", "inet by socketcall", "unix by socketcall"),
            **_each("EACCES", "EFAULT", "pair by socketcall"),
            **_each("EFAULT", "EFAULT", "socketcall without an address"),
        }
    if abi not in _32_BIT:
        wanted |= {
            **_each("EACCES", "done", "inet with garbage"),
            **_each("EACCES", _ELSE, "inet6 with garbage"),
            **_each("EACCES", "EFAULT", "pair with garbage"),
            **_each("done", "done", "unix with garbage", "unix pair with garbage"),
        }
        if abi in _SOCKETCALL:
            wanted |= _each("EACCES", "done", "inet by socketcall with garbage")
    return wanted


def _no_exec(_: Guest) -> Outcomes:
    return {
        **_each("EACCES", "ENOENT", "exec", "exec along the path", "spawn", "in thread"),
        **_each("EACCES", _ELSE, "exec memory", "execveat"),
        **_each("forked, EACCES", "done", "forked"),
        **_each("done", "done", "thread", "inet", "create", "map code", "load"),
    }


def _compute_only(guest: Guest) -> Outcomes:
    abi = guest.abi
    wanted = {
        **_each("EPERM", "done", "open", "open there", "create", "stat", "list", "chdir"),
        **_each("EPERM", "done", "inet", "unix", "pair", "pipe", "memfd", "pidfd"),
        **_each("EPERM", "done", "fork", "kill", "tgkill", "read another"),
        **_each("EPERM", "done", "map code", "map code there", "make code", "map there"),
        **_each("EPERM", "done", "personality", "limit", "dumpable", "lock", "owner"),
        **_each("EPERM", "done", "limits of another", "affinity of another", "in thread"),
        **_each("EPERM", "ENOENT", "unlink", "spawn", "exec"),
        **_each("EPERM", "ESRCH", "ptrace"),
        **_each("EPERM", "EINVAL", "map again", "move there"),
        **_each("EPERM", "done", "grow", "asynchronous"),
        **_each("EPERM", _ELSE, "make code with a key", "shared"),
        **_each("ENOSYS", "EINVAL", "clone3"),
        **_each("ENOTTY", "done", "ioctl"),
        **_each("RuntimeError", "done", "thread"),
        **_each("done", "done", "compute", "allocate", "descriptors", "write", "clocks"),
        **_each("done", "done", "limits", "affinity", "random"),
        **_each(_fstat(guest), "done", "fstat"),
    }
    if abi not in _NEWER:
        wanted |= _each("EPERM", "done", "fork by number")
    if abi in _32_BIT:
        # Only mmap may not choose the place; these have mmap2.
        wanted |= _each("done", "done", "map there")
    else:
        wanted |= {
            **_each("EPERM", "done", "dumpable with garbage", "limits of another with garbage"),
            **_each("EPERM", "done", "owner with garbage"),
            **_each("done", "done", "own limits with garbage", "name with garbage"),
            **_each("done", "done", "own affinity with garbage", "flags with garbage"),
            **_each("done", "done", "blocking with garbage"),
        }
    if abi == "i386":
        # Of that mmap, which has its arguments in memory.
        wanted |= {
            **_each("EPERM", "done", "old map"),
            **_each("EPERM", "EFAULT", "old map of nothing"),
        }
    return wanted


def _fstat(guest: Guest) -> str:
    """Return what fstat(3) comes to, which some C libraries make of a call with a path.

    glibc 2.31, that of Debian 11, takes fstat(2), and 2.36, that of Debian 12, newfstatat(2). Newer
    ones take fstat(2) again, but for 32-bit ABIs and for loongarch64, whose first kernels lack it:
    there it is statx(2).
    """
    takes_statx = guest.abi in _32_BIT or guest.abi == "loongarch64"
    takes_fstat = {"bullseye": True, "bookworm": False, "sid": not takes_statx}
    return "done" if takes_fstat[guest.user.suite] else "EPERM"


def _web_worker(guest: Guest) -> Outcomes:
    abi = guest.abi
    wanted = {
        **_each("EPERM", "ENOENT", "run", "exec", "rename", "unlink", "mkdir"),
        **_each("EPERM", "done", "fork", "kill", "write", "append", "read and write", "truncate"),
        **_each("EPERM", "done", "create", "chmod", "inet", "unix", "in thread"),
        **_each("EPERM", "done", "timestamps"),
        **_each("done", "done", "timestamps of what is open"),
        **_each("EPERM", "done", "datagrams", "send to unix", "ask for a lifetime"),
        **_each("EPERM", "EISCONN", "connect", "send message to"),
        **_each("EPERM", "EPIPE", "send to"),
        **_each("EPERM", "EINVAL", "bind", "attach filter", "unshare", "setns"),
        **_each("EPERM", "EINVAL", "process", "process in new namespace"),
        **_each("EPERM", "EINVAL", "thread in new namespace"),
        **_each("EPERM", "ESRCH", "ptrace"),
        **_each("EPERM", "ENOMEM", "make code"),
        **_each("EPERM", _ELSE, "bpf", "userfaultfd", "keyctl", "perf", "execveat", "fast open"),
        **_each("ENOSYS", "EINVAL", "clone3", "openat2"),
        **_each("ENOSYS", _ELSE, "io_uring_setup"),
        **_each("done", "done", "serve", "listen", "tune", "ask", "blocking", "wait", "pair"),
        **_each("done", "done", "read", "look", "lock", "import", "load", "map code", "thread"),
    }
    if abi not in _NEWER:
        wanted |= _each("EPERM", "done", "old open", "fork by number")
    if abi not in _32_BIT:
        wanted |= {
            **_each("EPERM", "done", "write with garbage"),
            **_each("done", "done", "read with garbage", "pair with garbage"),
            **_each("done", "done", "tune with garbage"),
        }
    if abi == "mips64el":
        # Debian's C library and Python ask for executable stacks, so mprotect(PROT_EXEC).
        wanted |= _each("RuntimeError", "done", "thread")
    if abi in _SOCKETCALL_IN_LIBC:
        # A family, an option and a level that are in memory.
        wanted |= _each("EPERM", "done", "pair", "tune", "ask")
    return wanted


_POLICIES = {
    "no_network": _no_network,
    "no_exec": _no_exec,
    "compute_only": _compute_only,
    "web_worker": _web_worker,
}


# --- What install() refuses ----------------------------------------------------------------------


def _trial(
    outcome: object,
    thread: dict[str, str],
    main_thread: dict[str, str] = _NOTHING,
) -> dict[str, object]:
    """Return what is told of one: what it came to, what is in force after, that calls work."""
    return {"outcome": outcome, "thread": thread, "main thread": main_thread, "works": "done"}


def _refused(errno: str, *parts: str, thread: dict[str, str] = _NOTHING) -> dict[str, object]:
    return _trial(_Refusal(errno, ("filter 'tried'", *parts)), thread)


def _installs(guest: Guest, report: Mapping[str, Any]) -> dict[str, object]:
    """Return what must be told of the trials to install.

    A refusal leaves no filter; nor no_new_privs, where it comes before the kernel sees the program.
    """
    major, minor = map(int, report["kernel"].split(".")[:2])
    new_flag = "lacks the filter flags wait_killable_recv (Linux 5.19);"
    listener = "descriptor with flags 1"  # FD_CLOEXEC
    tid = report["installs"]["alone"].get("other thread", {}).get("tid")
    own = "of this process has a filter of its own"
    if (major, minor) >= (5, 19):
        with_new_flag = _trial(listener, _CONFINED)
    else:
        with_new_flag = _refused("EINVAL", new_flag, "use a newer kernel")
    alone = {
        "plain": {"install": _trial("done", _CONFINED)},
        "capability": {"install": _trial("done", _CONFINED_WITH_PRIVILEGES)},
        "user": {
            "no capability": _refused("EACCES", "CAP_SYS_ADMIN", "`no_new_privs: true`"),
            "no new privileges": _trial("done", _CONFINED),
        },
        "without ctypes": {
            "install": _trial("-1", _CONFINED),
            "listener": _trial(listener, _facts(1, 2, 2)),
            "unknown action": _refused(
                "EOPNOTSUPP", "does not grant the action 0x7ffd0000 (", thread=_facts(1, 2, 2)
            ),
        },
        "refusals": {
            "unknown flag": _refused("EINVAL", "does not know the filter flags 0x100000"),
            "new flag alone": _refused("EINVAL", "there is none", "give the policy new_listener"),
            "flags apart": _refused("EINVAL", "do not go together", "the policy tsync_esrch"),
            "unknown action": _refused("EOPNOTSUPP", "does not grant the action 0x7ffd0000 ("),
            "empty": _refused("EINVAL", " 0 bytes are not a program of 1 to 4096 instructions"),
            "half an instruction": _refused("EINVAL", " 12 bytes are not a program"),
            "too long": _refused("EINVAL", " 32776 bytes are not a program"),
            "other ABIs": _refused(
                "ENOEXEC", f"is {guest.abi}, and the programs are for s390, sheb; add {guest.abi} "
            ),
            "bad opcode": _refused("EINVAL", " 2 instructions as malformed", thread=_PRIVILEGES),
            "no end": _refused("EINVAL", " 1 instructions as malformed", thread=_PRIVILEGES),
            # Of 4096 the kernel makes some more, and counts 4 more of each that is in force.
            "too many": _refused("ENOMEM", "4096 instructions more", thread=_facts(1, 2, 7)),
        },
        "listeners": {
            "listener": _trial(listener, _CONFINED),
            "second listener": _refused("EBUSY", "has a listener", thread=_CONFINED),
        },
        "new flag": {"install": with_new_flag},
        "other thread": {
            "tid": tid,
            "tsync": _refused("ESRCH", f": thread {tid} {own}", thread=_PRIVILEGES),
            "tsync_esrch": _refused("ESRCH", f": a thread {own}", thread=_PRIVILEGES),
        },
        "inside EPERM": _inside("EPERM", "a sandbox around this process forbids seccomp(2) (Op"),
        "inside ENOSYS": _inside("ENOSYS", "or a sandbox around this process, has no seccomp(2)"),
        "inside EINVAL": _inside("EINVAL", "the kernel has no seccomp filters"),
        "inside success": _inside("EPROTO", "answers seccomp(2) as done without doing it"),
        "inside no prctl": _inside("EPERM", "no_new_privs cannot be set (Op"),
        "ended": "exit 0",
    }
    together = {
        "all threads": {"install": _trial(listener, _CONFINED, _CONFINED)},
        "ended": "exit 0",
    }
    return {"alone": alone, "together": together}


def _inside(errno: str, part: str) -> dict[str, object]:
    """Return what an outer filter makes of it, which alone is in force then."""
    return {"install": _refused(errno, part, thread=_CONFINED_WITH_PRIVILEGES)}


# --- Which ABI it is -----------------------------------------------------------------------------


def _abi(guest: Guest) -> dict[str, object]:
    """Return what must be told of the interpreter's ABI, whatever the kernel calls itself.

    An interpreter that does not say what it was built for is known by its file in /proc alone.
    """
    parts = ("none is known to fit this interpreter", "mount /proc, which tells its ABI exactly")
    machine, any_name = _UNAMES[guest.kernel.architecture], _AllBut("")
    asked: dict[str, object] = {}
    for where in ("", " by its file", " without /proc"):
        asked |= {f"machine{where}": machine, f"abi{where}": guest.abi}
        asked |= {f"machine as 32-bit{where}": any_name, f"abi as 32-bit{where}": guest.abi}
    return {
        **asked,
        "abi by nothing": _Refusal("ENOEXEC", parts),
        "install without /proc": "done",
        "exec without /proc": "EACCES",
        "ended": "exit 0",
    }
