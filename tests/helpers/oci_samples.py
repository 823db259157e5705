"""Profiles of our own writing, one for each thing in which runtimes give a profile its meaning.

Plain ones are as a runtime is handed them; the others as an engine is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

X86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def profile(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": X86}
    return {**head, "syscalls": list(rules), **more}


def rule(names: str, *args: tuple[int, ...] | Any, action: str = "ALLOW", **more: Any) -> Any:
    """Return a rule; each of ``args`` is an index, an operator and one or two values."""
    compared = [
        {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
        | ({"valueTwo": two[0]} if two else {})
        for index, op, value, *two in args
    ]
    found = {"names": names.split(), "action": f"SCMP_ACT_{action}", **more}
    return found | ({"args": compared} if compared else {})


_HIGH = (1 << 40) + 7
_MOST = (1 << 64) - 1
PLAIN: dict[str, dict[str, Any]] = {
    "every-operator": profile(
        rule("read", (0, "EQ", 3), (2, "LT", 4096)),
        rule("write", (0, "NE", 2)),
        rule("pread64", (3, "LT", _HIGH)),
        rule("pwrite64", (3, "LE", _HIGH)),
        rule("lseek", (1, "GE", _HIGH)),
        rule("mmap", (1, "GT", _HIGH), (2, "MASKED_EQ", 4, 0)),
        rule("mprotect", (2, "MASKED_EQ", 0xFFFFFFFF00000004, 4)),
    ),
    "order-twice-on-one-argument": profile(
        rule("read", (2, "LT", 16)),
        rule("read", (2, "GT", 4096)),
        rule("write", (2, "LE", 16)),
        rule("write", (2, "EQ", 4096)),
        rule("write", (2, "GE", 1 << 20)),
    ),
    "order-at-the-ends": profile(
        rule("read", (0, "GE", 0)),
        rule("write", (0, "LE", _MOST)),
        rule("open", (0, "GT", _MOST)),
        rule("close", (0, "LT", 0)),
        rule("pipe2", (1, "GT", 0xFFFFFFFF)),
        rule("dup3", (2, "LT", 1 << 32)),
        rule("dup2", (1, "LE", 0xFFFFFFFF)),
    ),
    "one-argument-compared-twice": profile(
        rule("prctl", (0, "EQ", 1), (0, "EQ", 15)),
        rule("ioctl", (1, "GE", 0x5400), (1, "LE", 0x54FF)),
        rule("kill", (0, "EQ", 1), (1, "EQ", 0), (1, "EQ", 15)),
    ),
    "rules-equal-to-the-default": profile(
        rule("read write", action="ERRNO", errnoRet=13),
        rule("read"),
        rule("mount", (3, "EQ", 1)),
        rule("mount", (3, "NE", 1), action="ERRNO", errnoRet=13),
        rule("umount2", action="ERRNO"),
        defaultErrnoRet=13,
    ),
    "numbers-of-errors": profile(
        rule("read write openat close"),
        rule("mount umount2", action="ERRNO", errnoRet=0),
        rule("ptrace", action="ERRNO", errnoRet=4094),
        rule("bpf", action="ERRNO", errnoRet=38),
        rule("setns", action="ERRNO"),
        rule("unshare", action="TRACE", errnoRet=7),
        rule("keyctl", action="TRACE"),
        rule("add_key", action="TRAP"),
        rule("reboot", action="KILL"),
        rule("kexec_load", action="KILL_PROCESS"),
        rule("swapon", action="KILL_THREAD"),
        rule("acct", action="LOG"),
        defaultErrnoRet=1,
    ),
    "default-is-enosys": profile(rule("read write openat"), defaultErrnoRet=38),
    "default-is-allow": profile(
        rule("mount umount2", action="ERRNO"), defaultAction="SCMP_ACT_ALLOW"
    ),
    "default-is-log": profile(rule("mount", action="KILL"), defaultAction="SCMP_ACT_LOG"),
    "default-is-trace": profile(rule("read"), defaultAction="SCMP_ACT_TRACE", defaultErrnoRet=9),
    "default-is-trap": profile(rule("read write"), defaultAction="SCMP_ACT_TRAP"),
    "default-is-kill": profile(
        rule("read write rt_sigreturn exit_group"), defaultAction="SCMP_ACT_KILL_PROCESS"
    ),
    "default-is-kill-with-a-number": profile(
        rule("read write"), defaultAction="SCMP_ACT_KILL", defaultErrnoRet=38
    ),
    "names-that-nobody-knows": profile(
        rule("read write no_such_call"), rule("mount", action="ERRNO", errnoRet=2)
    ),
    "names-of-other-abis": profile(
        rule("read write socketcall _llseek mmap2 sigreturn arm_fadvise64_64 riscv_flush_icache"),
        rule("statfs64 fstatat64", (0, "EQ", 1)),
    ),
    "what-goes-through-socketcall": profile(
        rule("socket", (0, "EQ", 1), (1, "MASKED_EQ", 0xF, 2)),
        rule("connect accept4 recvmmsg shmget"),
        rule("semop", (2, "LT", 9)),
    ),
    "x86_64-alone": profile(rule("read openat faccessat2"), architectures=X86[:1]),
    "no-architectures": profile(rule("read openat faccessat2"), architectures=[]),
    "the-machine-is-not-named": profile(rule("read openat faccessat2"), architectures=X86[1:2]),
    "x32-without-x86_64": profile(rule("read openat faccessat2"), architectures=X86[2:]),
    "the-highest-is-low": profile(rule("read")),
    "the-highest-is-of-a-skipped-rule": profile(
        rule("read write"), rule("faccessat2 openat2", action="ERRNO", errnoRet=1)
    ),
    "no-rules": profile(),
    "more-than-32-rules": profile(
        rule(
            "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk ioctl "
            "pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore "
            "madvise dup dup2 pause nanosleep alarm getpid sendfile exit wait4 uname"
        ),
        rule("personality", (0, "EQ", 0)),
        rule("personality", (0, "EQ", 8)),
        rule("personality", (0, "EQ", 0xFFFFFFFF)),
        rule("clone", (0, "MASKED_EQ", 0x7E020000, 0)),
        rule("fcntl", (1, "LE", 4)),
    ),
    "high-words-on-32-bit-abis": profile(
        rule("read", (0, "EQ", (1 << 32) + 5)),
        rule("write", (0, "NE", 1 << 32)),
        rule("ioctl", (1, "MASKED_EQ", 0xFFFFFFFF00000000, 0)),
        rule("lseek", (1, "GE", 1 << 63)),
    ),
}

_NAMES = (
    *("read", "write", "openat", "socket", "clone", "personality", "ioctl", "accept4", "semop"),
    *("recvmmsg", "prctl", "mmap", "clone3", "futex_waitv", "_llseek", "no_such_call"),
)
_VALUES = (0, 1, 5, 38, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 1 << 63, _MOST)
_OPERATORS = ("EQ", "EQ", "NE", "MASKED_EQ", "LT", "LE", "GE", "GT")
_DEFAULTS: tuple[dict[str, Any], ...] = (
    {},
    {"defaultErrnoRet": 38},
    {"defaultErrnoRet": 13},
    {"defaultAction": "SCMP_ACT_KILL_PROCESS"},
    {"defaultAction": "SCMP_ACT_ALLOW"},
    {"defaultAction": "SCMP_ACT_LOG"},
)


def random_profile(rng: random.Random) -> dict[str, Any]:
    """Draw a profile of few calls that are often named again; most rules give one answer."""
    answer = rng.choice(["ALLOW", "ALLOW", "LOG", "ERRNO"])
    rules = []
    for _ in range(rng.randint(1, 7)):
        compared = [
            (index, op, rng.choice(_VALUES), *([rng.choice(_VALUES)] if op == "MASKED_EQ" else []))
            for index in rng.choices(range(3), k=rng.choice([0, 1, 1, 2, 3]))
            for op in [rng.choice(_OPERATORS)]
        ]
        action = answer if rng.random() < 0.9 else rng.choice(["TRAP", "TRACE", "ERRNO", "KILL"])
        errno = {"errnoRet": rng.choice([1, 13, 38])} if action == "ERRNO" and compared else {}
        names = " ".join(rng.sample(_NAMES, rng.randint(1, 3)))
        rules.append(rule(names, *compared, action=action, **errno))
    architectures = rng.choice([X86, X86, X86[:1], X86[:2], [X86[2], X86[0]], []])
    return profile(*rules, **{"architectures": architectures, **rng.choice(_DEFAULTS)})


_DOCKER = [{"architecture": X86[0], "subArchitectures": X86[1:]}]
_KERNEL = "do not look at minKernel"
ENGINE: dict[str, tuple[dict[str, Any], str]] = {
    "capabilities": (
        profile(
            rule("read write"),
            rule("bpf", includes={"caps": ["CAP_BPF"]}),
            rule("chown", includes={"caps": ["CAP_CHOWN"]}),
            rule("fchown", excludes={"caps": ["CAP_CHOWN"]}),
            rule("mount", includes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}),
            rule("umount2", includes={"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}),
            architectures=None,
            archMap=_DOCKER,
        ),
        "",
    ),
    "machines": (
        profile(
            rule("lchown", includes={"arches": ["amd64", "arm64"]}),
            rule("fchownat", excludes={"arches": ["x86"]}),
            rule("mknod", includes={"arches": ["x86"]}),
            rule("mknodat", excludes={"arches": ["amd64"]}),
            architectures=None,
            archMap=[*_DOCKER, {"architecture": "SCMP_ARCH_AARCH64"}],
        ),
        "",
    ),
    "a-kernel-that-is-there": (
        profile(rule("read"), rule("ptrace", includes={"minKernel": "4.8"})),
        "",
    ),
    "a-kernel-that-is-not": (
        profile(rule("read"), rule("ptrace", includes={"minKernel": "99.0"})),
        _KERNEL,
    ),
    "not-for-this-kernel": (
        profile(rule("read"), rule("ptrace", excludes={"minKernel": "4.8"})),
        _KERNEL,
    ),
    "errors-by-name": (
        profile(
            rule("read", action="ERRNO", errno="EACCES"),
            rule("write", action="ERRNO", errno="EACCES", errnoRet=5),
            rule("open", action="ERRNO", errno="", errnoRet=5),
            rule("close", action="ERRNO", errno="77"),
            rule("stat", action="TRACE", errno="3"),
            defaultErrno="ENOSYS",
        ),
        "",
    ),
    "the-old-form": (
        profile(
            {"name": "stat", "action": "SCMP_ACT_ALLOW", "args": []},
            {"name": "clone", **rule("", (0, "MASKED_EQ", 2114060288, 0)), "names": None},
        ),
        "",
    ),
    "flags": (profile(rule("read"), flags=["SECCOMP_FILTER_FLAG_LOG"]), ""),
}
"""Profiles for engines, and what the note says where Podman reads one otherwise than we do."""
