"""The kernel: namespaces, mounts, BPF, rings, keys, modules, users, and the machine itself."""

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Generator
from errno import (
    EINVAL,
    ENODEV,
    ENOENT,
    ENOEXEC,
    ENOKEY,
    ENOPKG,
    ENOPROTOOPT,
    ENOSPC,
    EOPNOTSUPP,
)

from escape.attack import attack, outside
from escape.scene import HIGH, IS_64_BIT, Foiled, Scene, Unavailable, narrow

Steps = Generator[None, None, None]

_MACHINE = os.uname().machine
IOC_WATCH_QUEUE_SET_SIZE = 0x20005760 if _MACHINE.startswith(("mips", "ppc")) else 0x5760


def _asks(
    name: str,
    ask: "Callable[[Scene], object]",
    *,
    root: bool = False,
    missing: "tuple[int, ...]" = (),
    reached: "tuple[int, ...]" = (),
    compute_only: str = "kernel",
    no_escape: str = "",
) -> None:
    """Register a request of the kernel; ``no_escape`` is the promise of that policy, if it has one.

    ``missing`` are the errnos by which a kernel says that it lacks it. ``reached`` are those by
    which it says that it has looked at the request: where to grant it would do harm, that is what
    the attack is after.
    """

    def body(scene: Scene) -> Steps:
        if root:
            scene.privileged()
        yield
        try:
            ask(scene)
        except OSError as error:
            if error.errno in missing:
                raise Unavailable(f"not with this kernel: {error.strerror}") from error
            if error.errno not in reached:
                raise

    body.__name__ = name
    layer = {"no_escape": no_escape} if no_escape else {}
    attack(abis=(), web_worker="kernel", compute_only=compute_only, **layer)(body)


NAMESPACES = {
    "users": 0x10000000, "mounts": 0x20000, "network": 0x40000000, "processes": 0x20000000,
    "ipc": 0x08000000, "host_name": 0x04000000, "cgroups": 0x02000000, "time": 0x80,
}  # fmt: skip


def _new_namespace(flag: int) -> "Callable[[Scene], object]":
    return lambda scene: scene.call("unshare", flag)


for _what, _flag in NAMESPACES.items():
    _asks(f"new_namespace_of_{_what}", _new_namespace(_flag),
          root=_what != "users", missing=(EINVAL, ENOSPC), no_escape="namespaces")  # fmt: skip


def _clone(scene: Scene, flags: int) -> None:
    words = [flags, 0] if scene.abi != "s390x" else [0, flags]
    child = scene.call("clone", *words, 0, 0, 0)
    if child == 0:
        os._exit(0)
    assert child > 0  # to wait might be refused


_asks(
    "a_process_in_a_new_namespace",
    lambda s: _clone(s, 0x10000000 | signal.SIGCHLD),
    no_escape="namespaces",
)
_asks("a_process_in_a_new_namespace_with_garbage_above", lambda s: _clone(
    s, HIGH | 0x10000000 | signal.SIGCHLD) if IS_64_BIT else narrow(),
    no_escape="namespaces")  # fmt: skip


_asks("enter_a_namespace", lambda s: s.call(
    "setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0), root=True,
    no_escape="namespaces")  # fmt: skip


@attack(web_worker="kernel", compute_only="making", no_escape="namespaces")
def enter_a_namespace_that_it_has(scene: Scene) -> Steps:
    scene.privileged()
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    yield
    scene.call("setns", namespace, 0)


# Mounts
_asks(
    "mount",
    lambda s: s.call("mount", b"none\0", b"/nowhere\0", b"tmpfs\0", 0, 0),
    root=True,
    reached=(ENOENT,),
    no_escape="mounts",
)
_asks(
    "unmount",
    lambda s: s.call("umount2", b"/nowhere\0", 0),
    root=True,
    reached=(ENOENT,),
    no_escape="mounts",
)
_asks(
    "open_a_file_system", lambda s: s.call("fsopen", b"tmpfs\0", 0), root=True, no_escape="mounts"
)
_asks(
    "clone_a_mount",
    lambda s: s.call("open_tree", -100, b"/tmp\0", 1),
    root=True,
    no_escape="mounts",
)
_asks(
    "move_a_mount",
    lambda s: s.call("move_mount", -100, b"/nowhere\0", -100, b"/\0", 0),
    root=True,
    reached=(ENOENT,),
    no_escape="mounts",
)
_asks(
    "pick_a_mount",
    lambda s: s.call("fspick", -100, b"/\0", 0),
    root=True,
    missing=(EINVAL,),
    no_escape="mounts",
)
_asks(
    "change_a_mount",
    lambda s: s.call("mount_setattr", -100, b"/nowhere\0", 0, bytes(32), 32),
    root=True,
    reached=(ENOENT,),
    no_escape="mounts",
)
_asks(
    "pivot",
    lambda s: s.call("pivot_root", b"/nowhere\0", b"/\0"),
    root=True,
    reached=(ENOENT,),
    no_escape="mounts",
)
_asks("stat_a_mount", lambda s: s.call("listmount", struct.pack("=IIQQQ", 24, 0, HIGH * HIGH - 1, 0,
                                                                0)[:24], bytes(64), 8, 0),
      missing=(EINVAL, ENOENT))  # fmt: skip

# BPF, probes, faults
_asks("bpf", lambda s: s.call(
    "bpf", 0, struct.pack("=4I", 2, 4, 4, 1) + bytes(112), 128), root=True,
    no_escape="kernel")  # fmt: skip
_asks("probe", lambda s: s.call(
    "perf_event_open", struct.pack("=IIQ", 1, 128, 0) + bytes(112), 0, -1, -1, 0),
    root=True, missing=(ENOENT, ENODEV, EOPNOTSUPP), no_escape="kernel")  # fmt: skip
_asks(
    "handle_faults", lambda s: s.call("userfaultfd", 1), missing=(EINVAL,), no_escape="kernel"
)  # before 5.11


@attack(web_worker="kernel", compute_only="kernel")
def attach_a_filter_to_a_socket(scene: Scene) -> Steps:
    own, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    accept = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFF), 8)
    yield
    own.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(accept)))


# --- Options that are read ------------------------------------------------------------------------
# One asks for a table of a firewall's. A kernel that has tables only when somebody asks for them
# (since 5.15; before, it loads a module) makes it then, and sends all packets through it.


def _firewall(
    name: str,
    ask: "Callable[[Scene, int, int, int], object]",
    family: socket.AddressFamily = socket.AF_INET,
) -> None:
    level, tables = {socket.AF_INET: (0, "ip"), socket.AF_INET6: (41, "ip6")}[family]
    listed = f"/proc/self/net/{tables}_tables_names"

    def body(scene: Scene) -> Steps:
        scene.privileged()
        scene.call("unshare", NAMESPACES["network"])
        own = socket.socket(family)
        table = scene.low(b"filter".ljust(84, b"\0") + struct.pack("=I", 84))
        yield
        try:
            ask(scene, own.fileno(), level, table)
        except OSError as error:
            if error.errno in (ENOPROTOOPT, ENOENT):
                raise Unavailable(f"the kernel has no such firewall: {error.strerror}") from error
            raise
        with open(listed) as names:
            if "filter" not in names.read().split():
                raise Foiled("there is no such table")

    body.__name__ = name
    attack(web_worker="kernel", compute_only="kernel")(body)


_firewall("make_a_firewall", lambda s, fd, level, table: s.call(
    "getsockopt", fd, level, 64, table, table + 84))  # fmt: skip
_firewall("make_a_firewall_for_ipv6", lambda s, fd, level, table: s.call(
    "getsockopt", fd, level, 64, table, table + 84), socket.AF_INET6)  # fmt: skip
_firewall("make_a_firewall_with_garbage_above", lambda s, fd, level, table: s.call(
    "getsockopt", fd, HIGH | level, HIGH | 64, table, table + 84)
    if IS_64_BIT else narrow())  # fmt: skip
_firewall("make_a_firewall_by_socketcall", lambda s, fd, level, table: s.call(
    "socketcall", 15, struct.pack("@5L", fd, level, 64, table, table + 84)))  # fmt: skip

# Keys
_asks("add_a_key", lambda s: s.call("add_key", b"user\0", b"x\0", b"x", 1, -2), no_escape="kernel")
_asks("ask_for_a_key", lambda s: s.call(
    "request_key", b"user\0", b"none\0", 0, -2), reached=(ENOKEY, ENOENT),
    no_escape="kernel")  # fmt: skip
_asks("ask_for_a_key_of_a_helper", lambda s: s.call(
    "request_key", b"user\0", b"none\0", b"x\0", -2), reached=(ENOKEY, ENOENT),
    no_escape="kernel")  # fmt: skip
_asks("control_keys", lambda s: s.call("keyctl", 0, -2, 1), no_escape="kernel")


def _watch_keys(scene: Scene) -> None:
    """Have the kernel write into a pipe what becomes of keys; the pipe alone gives nothing."""
    reader, _ = os.pipe2(os.O_EXCL)  # O_NOTIFICATION_PIPE
    fcntl.ioctl(reader, IOC_WATCH_QUEUE_SET_SIZE, 1)
    scene.call("keyctl", 32, -4, reader, 1)  # KEYCTL_WATCH_KEY, KEY_SPEC_USER_KEYRING


_asks("watch_keys", _watch_keys, missing=(EINVAL, ENOPKG, EOPNOTSUPP), no_escape="kernel")

# Rings, asynchronous input and output, watching
_asks("asynchronous_io", lambda s: s.call("io_setup", 1, bytes(8)))
_asks("watch_everything", lambda s: s.call("fanotify_init", 0, 0), root=True, no_escape="kernel")


def _sleep(scene: Scene, clock: int) -> None:
    """Sleep for no time by a clock."""
    name = "clock_nanosleep" if scene.has("clock_nanosleep") else "clock_nanosleep_time64"
    scene.call(name, clock, 0, bytes(16), 0)


# The machine
_asks("load_a_module", lambda s: s.call(
    "init_module", bytes(8), 8, b"\0"), root=True, reached=(ENOEXEC,),
    no_escape="kernel")  # fmt: skip
_asks("load_a_module_from_a_file", lambda s: s.call(
    "finit_module", os.open("/dev/null", os.O_RDONLY), b"\0", 0),
    root=True, reached=(ENOEXEC, EINVAL), no_escape="kernel")  # fmt: skip
_asks(
    "unload_a_module",
    lambda s: s.call("delete_module", b"none\0", 0o4000),
    root=True,
    reached=(ENOENT,),
    no_escape="kernel",
)
_asks(
    "another_kernel",
    lambda s: s.call("kexec_load", 0, 0, 0, 0xFFFF),
    root=True,
    reached=(EINVAL,),
    no_escape="machine",
)
_asks(
    "accounting",
    lambda s: s.call("acct", b"/nowhere\0"),
    root=True,
    reached=(ENOENT,),
    no_escape="machine",
)
_asks(
    "swap",
    lambda s: s.call("swapon", b"/nowhere\0", 0),
    root=True,
    reached=(ENOENT,),
    no_escape="machine",
)
_asks("the_log", lambda s: s.call("syslog", 10, 0, 0), root=True, no_escape="machine")
_asks(
    "host_name",
    lambda s: s.call("sethostname", b"x", -1),
    root=True,
    reached=(EINVAL,),
    no_escape="machine",
)
_asks("set_the_time", lambda s: s.call(
    "clock_settime", 0, struct.pack("@ll", -1, 0)), root=True, reached=(EINVAL,),
    no_escape="machine")  # fmt: skip
for _what, _clock in {"time_of_day": 8, "time_since_the_start": 9}.items():
    _asks(f"wake_the_machine_by_the_{_what}", lambda s, clock=_clock: _sleep(  # type: ignore[misc]
        s, clock), root=True, missing=(EINVAL, EOPNOTSUPP))  # fmt: skip
_asks("adjust_the_time", lambda s: s.call("adjtimex", bytes(208)), no_escape="machine")
_asks("reboot", lambda s: s.call(
    "reboot", 0xFEE1DEAD, 672274793, 0x12345, 0), root=True, reached=(EINVAL,),
    no_escape="machine")  # fmt: skip
# Of no memory, so that none is harmed: to say that it would be done is as far as it goes.
for _what, _advice in {"poison_memory": 100, "take_memory_away": 101}.items():
    _asks(_what, lambda s, advice=_advice: s.call(  # type: ignore[misc]
        "madvise", s.memory(), 0, advice), root=True, missing=(EINVAL,),
        no_escape="machine")  # fmt: skip
_asks("ports", lambda s: s.call("iopl", 0), no_escape="machine")
_asks("port", lambda s: s.call("ioperm", 0x80, 1, 0), no_escape="machine")
_asks("segments", lambda s: s.call("modify_ldt", 0, bytes(64), 64), no_escape="kernel")
_asks(
    "another_persona",
    lambda s: s.call("personality", 0x0400000),
    compute_only="memory",
    no_escape="kernel",
)

# The process's own rights
_asks("another_user", lambda s: s.call("setresuid", -1, -1, -1))
_asks("capabilities", lambda s: s.call(
    "capset", struct.pack("=Ii", 0x20080522, 0), bytes(24)))  # fmt: skip
_asks("groups", lambda s: s.call("setgroups", 0, 0), root=True)
_asks("dumpable", lambda s: s.call("prctl", 4, 1, 0, 0, 0))
_asks("its_tracer", lambda s: s.call("prctl", 0x59616D61, 1, 0, 0, 0), missing=(EINVAL,))
_asks("its_subreaper", lambda s: s.call("prctl", 36, 1, 0, 0, 0))
_asks("a_signal_at_its_parents_end", lambda s: s.call("prctl", 1, 9, 0, 0, 0),
      compute_only="signals")  # fmt: skip
_asks("another_map_of_itself", lambda s: s.call("prctl", 35, 9, 0, 0, 0), missing=(EINVAL,),
      compute_only="memory")  # fmt: skip
_asks("a_filter_of_its_own", lambda s: s.call(
    "seccomp", 2, 0, struct.pack("=I", 0x7FFF0000)))  # fmt: skip
_asks("limits", lambda s: s.call("prlimit64", 0, 4, struct.pack("=QQ", 0, 0), 0))  # fmt: skip
_asks(
    "start_shadow_memory",
    lambda s: s.call("map_shadow_stack", 0, 4096, 0),
    missing=(EOPNOTSUPP, EINVAL),
    compute_only="memory",
)


# --- Outside -------------------------------------------------------------------------------------


_WAKEUP = 1 << 29
"""EPOLLWAKEUP of epoll_ctl(2), a name that Python has from 3.14 on."""


@outside(compute_only="sleep", web_worker="sleep")
def keep_the_machine_awake(scene: Scene) -> Steps:
    scene.privileged()
    reader, _ = os.pipe()
    watch = select.epoll()
    with open(f"/proc/self/fdinfo/{watch.fileno()}") as facts:
        yield
        watch.register(reader, select.EPOLLIN | _WAKEUP)
        # The kernel drops the flag where it never sleeps.
        if not int(facts.read().partition("events:")[2].split()[0], 16) & _WAKEUP:
            raise Unavailable("the kernel never sleeps")
