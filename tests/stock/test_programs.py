"""The stock policies on every ABI, by running their programs in an interpreter.

What is expected is written from the kernel's headers (socket.h, net.h, fcntl.h, sched.h, mman.h of
each architecture), not read from the policies.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from errno import EACCES, ENOTTY, EPERM
from functools import cache
from typing import TYPE_CHECKING

import interpreter
import pytest
from confine import POLICIES
from proving import GENERATED
from seccompgen.core.abis import ABIS
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import bits_read, indistinguishable_calls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.verify import Code

ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
HIGH = 1 << 32


def far(abi: str) -> int:
    """Return an address of which a filter sees the highest words only, where there are some."""
    return HIGH if ABIS[abi].argument_bits == 64 else 1 << 31


TABLES = shipped_tables()
FILTERED = [abi for abi in ABIS.values() if abi.name in TABLES.tables and abi.filters_since]
NAMES = [abi.name for abi in FILTERED]
INSPECTED = [name for name in NAMES if name != "s390x"]
MIPS = [name for name in NAMES if name.startswith("mips")]
SERVING = NAMES
PARISC = ["parisc", "parisc64"]

ALLOWING = [("compute_only", abi) for abi in INSPECTED] + [("web_worker", abi) for abi in SERVING]


@cache
def programs(policy: str) -> Mapping[str, Code]:
    """Return the committed programs, which are what the sources give: see `make fresh`."""
    return load_filter(GENERATED / policy, TABLES).programs


def refused(number: int) -> int:
    return ERRNO | number


def no_such_call(abi: str) -> int:
    """Return the refusal with ENOSYS, whose number is not the same everywhere."""
    number = {"alpha": 78, **dict.fromkeys(MIPS, 89), **dict.fromkeys(PARISC, 251)}.get(abi, 38)
    return refused(number)


@dataclass(frozen=True)
class Asker:
    """Asks the program of one policy for one ABI."""

    abi: Abi
    program: bytes

    @property
    def numbers(self) -> Mapping[str, int]:
        return TABLES.tables[self.abi.name].numbers

    def number(self, nr: int, *args: int, arch: int | None = None) -> int:
        abi = self.abi
        data = interpreter.seccomp_data(
            nr, abi.audit_arch if arch is None else arch, args, byte_order=abi.byte_order
        )
        return interpreter.run(self.program, data, abi.byte_order).value

    def __call__(self, name: str, *args: int) -> int:
        return self.number(self.numbers[name], *args)

    def of(self, *names: str) -> list[str]:
        """Return those of ``names`` that the ABI has; there must be one."""
        return [name for name in names if name in self.numbers]


@cache
def ask(policy: str, abi: str) -> Asker:
    code = programs(policy)[abi].instructions
    fields = [(one.code, one.jt, one.jf, one.k) for one in code]
    return Asker(ABIS[abi], interpreter.assemble(fields, ABIS[abi].byte_order))


def test_each_has_a_program_for_every_abi_that_it_can_speak_for() -> None:
    assert {path.stem: {*programs(path.stem)} for path in POLICIES} == {
        "no_network": {*NAMES},
        "no_exec": {*NAMES},
        "compute_only": {*INSPECTED},
        "web_worker": {*SERVING},
        "no_path_sockets": {*NAMES},
        "no_escape": {*NAMES},
        "no_listen": {*NAMES},
        "sandboxed_code": {*NAMES},
    }


@pytest.mark.few(2, "confines programs one by one")
@pytest.mark.parametrize("policy", [path.stem for path in POLICIES])
def test_calls_that_the_kernel_cannot_tell_apart_get_one_answer(policy: str) -> None:
    for abi, code in programs(policy).items():
        read = bits_read(TABLES, ABIS[abi])
        # It says something: of what is looked at, something is known.
        assert any(masks != (HIGH | HIGH - 1,) * 6 for masks in read.values())
        assert indistinguishable_calls(code, read) == ()


@pytest.mark.parametrize("policy", [path.stem for path in POLICIES])
def test_every_name_is_a_system_call_of_an_abi_with_filters(policy: str) -> None:
    """Where absence is expected, nothing else would notice a misspelt name."""
    known = set().union(*(TABLES.tables[name].numbers for name in NAMES))
    (path,) = (path for path in POLICIES if path.stem == policy)
    model, notes = load_policy(path, TABLES)
    assert not notes
    assert {rule.name for rule in model.rules} - known == set()


@pytest.mark.parametrize("policy", [path.stem for path in POLICIES])
def test_foreign_abis_kill_and_new_calls_do_not_exist(policy: str) -> None:
    for abi in programs(policy):
        asker = ask(policy, abi)
        absent = no_such_call(abi)
        assert asker.number(asker.numbers["read"], arch=0x12345678) == KILL_PROCESS
        # No ABI has 1999; 4183 and 6040 are socket(2) of the other ABIs of 64-bit MIPS.
        assert asker.number(1999 | asker.numbers["read"] & 1 << 30) == absent
        if abi in {"mips64", "mips64el"}:
            assert asker.number(4183, 2) == asker.number(6040, 2) == KILL_PROCESS
        if abi == "x86_64":
            assert asker.number(asker.numbers["read"] | 1 << 30) == KILL_PROCESS


@pytest.mark.parametrize("abi", NAMES)
def test_no_network(abi: str) -> None:
    asked = ask("no_network", abi)
    entrances = asked.of("socket", "socketpair")
    for name in entrances:
        assert asked(name, 1) == asked(name, HIGH | 1) == ALLOW
        for family in (0, *range(2, 48), 0xFFFFFFFF, HIGH | 2, HIGH << 31 | 10):
            assert asked(name, family) == refused(EACCES)
    for name in asked.of("socketcall"):
        entrances.append(name)
        verdicts = {operation: asked(name, operation) for operation in range(22)}
        assert {k for k, v in verdicts.items() if v == refused(EACCES)} == {1, 8}
        assert {v for k, v in verdicts.items() if k not in {1, 8}} == {ALLOW}
        assert asked(name, HIGH | 1) == asked(name, HIGH | 8) == refused(EACCES)
    assert entrances
    io_uring = asked.of("io_uring_setup", "io_uring_enter", "io_uring_register")
    assert len(io_uring) == 3
    assert {asked(name) for name in io_uring} == {no_such_call(abi)}
    assert asked("pidfd_getfd", 3, 4) == asked("pidfd_getfd", HIGH | 3, HIGH | 4) == refused(EPERM)
    assert asked("request_key", 3, 4, 0, 5) == ALLOW  # what is there is found
    assert asked("request_key", 3, 4, 1, 5) == refused(EACCES)
    others = set(asked.numbers) - {*entrances, *io_uring, "pidfd_getfd", "request_key"}
    assert {asked(name, 2) for name in others} == {ALLOW}


@pytest.mark.parametrize("abi", NAMES)
def test_no_exec(abi: str) -> None:
    asked = ask("no_exec", abi)
    verdicts = {name: asked(name) for name in asked.numbers}
    expected = {"execve": refused(EACCES), "execveat": refused(EACCES)}
    if abi == "alpha":
        expected |= {"exec_with_loader": no_such_call(abi), "osf_execve": no_such_call(abi)}
    assert {name: verdict for name, verdict in verdicts.items() if verdict != ALLOW} == expected


_NEVER = """
    creat link linkat symlink symlinkat mknod mknodat mkdir mkdirat unlink unlinkat rmdir rename
    renameat renameat2 chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown chown32 fchown32
    utime utimes futimesat truncate truncate64 setxattr lsetxattr
    fsetxattr removexattr fremovexattr open_by_handle_at name_to_handle_at mq_open mq_unlink
    file_setattr memfd_create memfd_secret chdir fchdir chroot fchroot fallocate copy_file_range
    socket connect bind execve execveat uselib fork vfork unshare setns pidfd_open pidfd_getfd
    kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
    ptrace process_vm_readv process_vm_writev process_madvise kcmp personality modify_ldt
    shmget shmat msgget semget ipc io_setup io_submit io_uring_enter io_uring_register
    bpf perf_event_open userfaultfd keyctl add_key request_key seccomp landlock_restrict_self
    mount umount umount2 oldumount move_mount fsopen fsmount open_tree pivot_root mount_setattr
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon quotactl
    setuid setuid32 setgid setgid32 setresuid setresuid32 setgroups setgroups32 capset setpriority
    setrlimit settimeofday clock_settime clock_settime64 clock_adjtime adjtimex stime sethostname
    iopl ioperm vm86 vm86old switch_endian subpage_prot rtas sysmips swapcontext spu_create
    pciconfig_read s390_pci_mmio_write remap_file_pages map_shadow_stack migrate_pages move_pages
    mbind syslog acct nfsservctl lookup_dcookie fanotify_init inotify_init inotify_init1 vmsplice
    splice tee sched_setaffinity sched_setscheduler ioprio_set lchown32 arch_prctl timer_create
    osf_mount osf_setsysinfo osf_execve osf_utimes osf_old_open osf_shmat exec_with_loader
"""
NEVER = _NEVER.split()


@pytest.mark.parametrize(("policy", "abi"), ALLOWING)
def test_allowlists_leave_out(policy: str, abi: str) -> None:
    asked = ask(policy, abi)
    for arguments in ([0] * 6, [HIGH * HIGH - 1] * 6):
        assert {name: asked(name, *arguments) for name in asked.of(*NEVER)} == dict.fromkeys(
            asked.of(*NEVER), refused(EPERM)
        )
    assert {asked(name) for name in asked.of("clone3")} <= {no_such_call(abi)}


def test_every_name_left_out_exists() -> None:
    known = set().union(*(TABLES.tables[name].numbers for name in NAMES))
    assert set(NEVER) - known == set()


CLOCKS = [
    "clock_gettime clock_gettime64", "clock_getres clock_getres_time64",
    "clock_nanosleep clock_nanosleep_time64",
]  # fmt: skip
SPELLINGS = [
    *CLOCKS, "futex futex_time64", "ppoll ppoll_time64",
    "pselect6 pselect6_time64 ", "rt_sigtimedwait rt_sigtimedwait_time64", "fstat fstat64",
    "lseek _llseek llseek", "ftruncate ftruncate64", "fadvise64 fadvise64_64 arm_fadvise64_64",
    "sigreturn rt_sigreturn", "rt_sigaction sigaction", "rt_sigprocmask sigprocmask",
    "getrlimit ugetrlimit", "getuid getuid32", "getegid getegid32", "getgroups getgroups32",
    "select _newselect osf_select", "gettimeofday osf_gettimeofday", "getitimer osf_getitimer",
    "brk", "munmap", "read", "writev", "restart_syscall", "exit_group", "set_robust_list", "rseq",
    "get_thread_area set_thread_area", "set_tls get_tls", "cacheflush", "riscv_flush_icache",
]  # fmt: skip
WEB_SPELLINGS = [
    "recvmmsg recvmmsg_time64", "sendfile sendfile64", "stat stat64", "lstat lstat64", "getdents64",
    "newfstatat fstatat64 statx", "getdents", "send recv recvfrom", "accept accept4", "pipe pipe2",
    "flock", "faccessat faccessat2", "readlink readlinkat", "epoll_create epoll_create1",
]  # fmt: skip


def descriptor_flags(abi: str) -> tuple[int, int]:
    """Return O_NONBLOCK and O_ASYNC."""
    if abi in MIPS:
        return 0x80, 0x1000
    return {"alpha": 4, **dict.fromkeys(PARISC, 0x10000)}.get(abi, 0x800), 0x2000


def nonblocking_request(abi: str) -> int:
    """Return FIONBIO."""
    if abi in MIPS:
        return 0x667E
    if abi in ("alpha", "ppc", "ppc64", "ppc64le"):
        return 0x8004667E
    return 0x4004667E if abi in ("sh", "sheb", "xtensa") else 0x5421


@pytest.mark.parametrize(("policy", "abi"), ALLOWING)
def test_allowlists_know_every_spelling_of_what_they_allow(policy: str, abi: str) -> None:
    asked = ask(policy, abi)
    wanted = " ".join(SPELLINGS + WEB_SPELLINGS * (policy == "web_worker")).split()
    verdicts = {name: asked(name) for name in asked.of(*wanted)}
    assert len(verdicts) > 15
    assert verdicts == dict.fromkeys(verdicts, ALLOW)
    for name in asked.of("fcntl", "fcntl64"):
        assert {asked(name, 0, command) for command in (0, 1, 2, 3, 4, 1030)} == {ALLOW}
        blocking, asynchronous = descriptor_flags(abi)
        for high in (0, HIGH):
            assert asked(name, 0, high | 4, high | blocking) == ALLOW
            for flags in (asynchronous, asynchronous | blocking):
                assert asked(name, 0, high | 4, high | flags) == refused(EPERM)
        # Owners and their signals: by default 8, 10, 15; 5 on alpha, 12 on parisc, 24 on mips. On
        # alpha 8 locks, on parisc 10.
        others = {5, 8, 10, 12, 15, 24, 1024, 1033}
        if policy == "web_worker":
            others -= {8} if abi == "alpha" else {10} if abi in PARISC else set()
        assert {asked(name, 0, command) for command in others} == {refused(EPERM)}
    for number in (0x5421, 0x8004667E, 0x667E, 0x4004667E):
        verdict = ALLOW if number == nonblocking_request(abi) else refused(ENOTTY)
        assert asked("ioctl", 0, number) == verdict
    assert asked("ioctl", 0, 0x5412) == refused(ENOTTY)  # TIOCSTI


@pytest.mark.parametrize("abi", INSPECTED)
def test_compute_only_makes_no_executable_memory(abi: str) -> None:
    asked = ask("compute_only", abi)
    assert asked.of("mmap", "mmap2")
    # On i386 and m68k "mmap" takes a pointer to its arguments.
    of_arguments = () if abi in {"i386", "m68k"} else ("mmap",)
    for name in asked.of(*of_arguments, "mmap2", "mprotect", "pkey_mprotect"):
        for protection in range(16):
            # On i386 and m68k "mmap" takes a pointer to its arguments.
            hidden = name == "mmap" and abi in ("i386", "m68k")
            verdict = refused(EPERM) if protection & 4 or hidden else ALLOW
            assert asked(name, 0, 4096, protection, 0x22, HIGH - 1) == verdict
            assert asked(name, 0, 4096, HIGH | protection, 0x22, HIGH - 1) == verdict
    for name in asked.of("mmap"):
        for address in (1, 4096, far(abi)) if of_arguments else (0, 1, 4096, far(abi)):
            assert asked(name, address, 4096, 3, 0x22, HIGH - 1) == refused(EPERM)
    for flags in range(8):
        assert asked("mremap", 4096, 4096, 8192, flags) == refused(EPERM)
    paths = ("open", "openat", "openat2", "stat", "newfstatat", "statx", "utimensat")
    for name in asked.of(*paths, "utimensat_time64", "clone"):
        assert asked(name) == refused(EPERM)
    assert asked("prlimit64", 0, 7, 0, 1) == asked("prlimit64", HIGH) == ALLOW
    assert asked("prlimit64", 1) == asked("prlimit64", 0, 7, 1) == refused(EPERM)
    assert asked("prlimit64", 0, 7, far(abi)) == refused(EPERM)


@pytest.mark.parametrize("abi", INSPECTED)
def test_compute_only_tells_the_time_of_no_other_process(abi: str) -> None:
    asked = ask("compute_only", abi)
    clocks = asked.of(*" ".join(CLOCKS).split())
    assert len(clocks) >= 3
    for name in clocks:
        # CLOCK_REALTIME to CLOCK_TAI, and its own clocks by the number 0 (posix-timers.h).
        for clock in (*range(8), 10, 11, 2**32 - 6, 2**32 - 2):
            assert asked(name, clock) == asked(name, HIGH | clock) == ALLOW
        for alarm in (8, 9):
            assert asked(name, alarm) == asked(name, HIGH | alarm) == refused(EPERM)
        for pid in (1, 2, 300, 4194304):
            for kind in range(8):
                clock = ~pid * 8 + kind & 0xFFFFFFFF
                assert asked(name, clock) == asked(name, HIGH | clock) == refused(EPERM)


def creating_flags(abi: str) -> tuple[int, int]:
    """Return O_CREAT and O_TRUNC."""
    if abi == "alpha":
        return 0x200, 0x400
    return (0x100 if abi in (*MIPS, *PARISC) else 0x40), 0x200


@pytest.mark.parametrize("abi", SERVING)
def test_web_worker_opens_files_for_reading_only(abi: str) -> None:
    asked = ask("web_worker", abi)
    cloexec = 0x200000 if abi in ("alpha", *PARISC) else 0x80000
    directory = {"alpha": 0x8000, "parisc": 0x1000, "parisc64": 0x1000, "arm": 0x4000}.get(
        abi, 0x10000
    )
    for name in asked.of("open", "openat"):
        before = [0, 0][: 2 if name == "openat" else 1]
        for reading in (0, cloexec, cloexec | directory, HIGH | cloexec):
            assert asked(name, *before, reading) == ALLOW
            for flag in (1, 2, 3, descriptor_flags(abi)[1], *creating_flags(abi)):
                assert asked(name, *before, reading | flag) == refused(EPERM)
    for name in asked.of("fcntl64"):
        # F_SETLK64 and F_SETLKW64; 13 and 14 are F_SETSIG and F_GETSIG on parisc.
        own = {**dict.fromkeys(PARISC, (9, 10)), **dict.fromkeys(MIPS, (34, 35))}.get(abi, (13, 14))
        for command in (9, 10, 13, 14, 34, 35):
            verdict = ALLOW if command in own else refused(EPERM)
            assert asked(name, 3, command, 0x10000) == asked(name, 3, command, 4096) == verdict
    assert asked("openat2") == asked("io_uring_setup") == no_such_call(abi)
    for name in asked.of("utimensat", "utimensat_time64"):
        assert asked(name, 3, 0, far(abi)) == asked(name, HIGH, 0) == ALLOW
        assert asked(name, 3, 1) == asked(name, 3, far(abi)) == refused(EPERM)


@pytest.mark.parametrize("abi", SERVING)
def test_web_worker_grows_memory_and_tells_all_time(abi: str) -> None:
    asked = ask("web_worker", abi)
    assert asked("mremap", 4096, 4096, 8192, 1) == ALLOW
    assert asked("mremap", 4096, 4096, 8192, 3, 4096) == refused(EPERM)
    *reads, sleeps = (name.split() for name in CLOCKS)
    for name in asked.of(*itertools.chain(*reads)):
        assert asked(name, ~300 * 8 + 2 & 0xFFFFFFFF) == ALLOW
    for name in asked.of(*sleeps):
        assert asked(name, 1) == asked(name, HIGH | 7) == ALLOW
        for clock in (8, 9, HIGH | 9, ~300 * 8 + 2 & 0xFFFFFFFF):
            assert asked(name, clock) == refused(EPERM)


@pytest.mark.parametrize("abi", SERVING)
def test_web_worker_starts_threads_only(abi: str) -> None:
    asked = ask("web_worker", abi)
    glibc, musl, vm, thread = 0x3D0F00, 0x7D0F00, 0x100, 0x10000

    def clone(flags: int) -> int:
        return asked("clone", *((0, flags) if abi == "s390x" else (flags, 0)))

    assert clone(glibc) == clone(musl) == clone(HIGH | glibc) == ALLOW
    namespaces = [0x20000, *(1 << bit for bit in range(25, 31))]
    for flags in (17, 0, vm, vm | 0x4000 | 17, glibc & ~thread, HIGH << 16 | 17):
        assert clone(flags) == refused(EPERM)
    for namespace in namespaces:
        assert clone(glibc | namespace) == refused(EPERM)
        assert clone(namespace | 17) == refused(EPERM)


@pytest.mark.parametrize("abi", SERVING)
def test_web_worker_makes_no_connections(abi: str) -> None:
    asked = ask("web_worker", abi)
    fast_open = 0x20000000
    assert asked("sendto", 3, 1, 1, 0x4000, 0, 0) == ALLOW
    assert asked("sendto", 3, 1, 1, 0x4000, 1, 16) == refused(EPERM)
    assert asked("sendto", 3, 1, 1, fast_open, far(abi), 16) == refused(EPERM)
    assert asked("sendmsg", 3, 1, 0x4000) == asked("sendmmsg", 3, 1, 1, 0x4000) == ALLOW
    for flags in (fast_open, HIGH | fast_open | 0x4000):
        assert asked("sendmsg", 3, 1, flags) == refused(EPERM)
        assert asked("sendmmsg", 3, 1, 1, flags) == refused(EPERM)
    stream, datagram = (2 | 0x80000, 1) if abi in MIPS else (1 | 0x80000, 2)
    assert asked("socketpair", 1, stream) == asked("socketpair", HIGH | 1, HIGH | stream) == ALLOW
    for family, kind in ((1, datagram), (1, datagram | 0x80000), (2, stream), (30, stream)):
        assert asked("socketpair", family, kind) == refused(EPERM)
    for name in asked.of("socketcall"):
        allowed = {x for x in range(32) if asked(name, x) == ALLOW}
        # LISTEN ACCEPT GETSOCKNAME GETPEERNAME SEND RECV RECVFROM SHUTDOWN RECVMSG ACCEPT4
        # RECVMMSG; not SOCKET BIND CONNECT SOCKETPAIR SENDTO SETSOCKOPT GETSOCKOPT SENDMSG
        # SENDMMSG.
        assert allowed == {4, 5, 6, 7, 9, 10, 12, 13, 17, 18, 19}
    for level, option in (
        (1, 26),
        (1, 50),
        (0xFFFF, 26),
        (6, 31),
        (6, 30),
        (6, 2),
        (0, 1),
        (41, 1),
    ):
        assert asked("setsockopt", 3, level, option) == refused(EPERM)
    own = 0xFFFF if abi in ("alpha", *PARISC, *MIPS) else 1
    keep_alive, linger = (8, 0x80) if own == 0xFFFF else (9, 13)
    for level, option in ((6, 1), (6, 5), (own, keep_alive), (own, linger)):
        assert asked("setsockopt", 3, level, option) == ALLOW
    for level in (own, HIGH | own, 6):
        assert asked("getsockopt", 3, level, keep_alive) == ALLOW
    # IP, IPv6, raw, SCTP, netlink
    for level in (0, HIGH, 41, 255, 132, 270, 0xFFFF if own == 1 else 1):
        assert asked("getsockopt", 3, level, 64) == refused(EPERM)
