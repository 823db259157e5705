"""The kind of each system call: the part of the kernel that it is about.

A page of hundreds of calls is read by kind. Unlike a group, a kind is for reading alone: no policy
can name it, and a better one may move a call. It follows from what calls give, by the table of
powers, but for lines whose calls people use for something else.
"""

from __future__ import annotations

from functools import lru_cache

from seccompgen.core.call_kinds import Kind
from seccompgen.kernel.powers import powers

_BY_POWER = {
    Kind.FILES: "files-read files-write files-own",
    Kind.DESCRIPTORS: "own-descriptors waiting devices",
    Kind.NETWORK: "sockets connect listen",
    Kind.PROCESSES: "threads end exec processes code namespaces limits",
    Kind.MEMORY: "memory",
    Kind.SIGNALS: "signals",
    Kind.TIME: "time",
    Kind.IPC: "ipc",
    Kind.IDENTITY: "identity",
    Kind.SYSTEM: "itself",
    Kind.SANDBOX: "confinement",
    Kind.WATCHING: "others",
    Kind.ADMINISTRATION: "mounts kernel machine",
    Kind.MULTIPLEXED: "any",
    Kind.OBSOLETE: "gone",
}
"""The kinds of the table whose calls are of a kind here."""
BY_LINE = {
    Kind.FILES: "ftruncate fstat fgetxattr getdents fchdir flock inotify_init getcwd umask",
    Kind.DESCRIPTORS: "fcntl io_uring_setup io_uring_enter io_uring_register",
    Kind.NETWORK: "getsockname send recv shutdown",
    Kind.PROCESSES: "futex wait4 sched_yield getpid getpgid getpriority sched_getaffinity prctl",
    Kind.MEMORY: "mlock process_madvise migrate_pages remap_file_pages userfaultfd",
    Kind.SIGNALS: "pause restart_syscall kill",
    Kind.TIME: "nanosleep settimeofday adjtimex",
    Kind.IPC: "pipe mq_getsetattr",
    Kind.IDENTITY: "getuid getgid capget getrlimit setrlimit prlimit64",
    Kind.SYSTEM: "listmount listns",
    Kind.SANDBOX: "add_key lsm_get_self_attr lsm_set_self_attr",
    Kind.WATCHING: "perf_event_open s390_runtime_instr uprobe",
    Kind.ADMINISTRATION: "fanotify_init fanotify_mark memory_ordering uselib",
}
"""Lines of another kind than the others of their power, by their first call."""


def kind_of_call(name: str) -> Kind:
    """Return the kind of the call ``name``; OTHER for one that came with a later kernel.

    A number that has no name, but rules in a policy, is UNNAMED.
    """
    if name.isdecimal():
        return Kind.UNNAMED
    lines = powers().of(name)
    if not lines:
        return Kind.OTHER
    by_power, by_line = _sorted()
    return by_line.get(lines[-1].calls[0], by_power[lines[-1].power.name])


@lru_cache(maxsize=1)
def _sorted() -> tuple[dict[str, Kind], dict[str, Kind]]:
    by_power = {power: kind for kind, names in _BY_POWER.items() for power in names.split()}
    by_line = {call: kind for kind, names in BY_LINE.items() for call in names.split()}
    return by_power, by_line
