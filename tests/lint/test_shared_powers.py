"""Calls that give the same as a refused one: those of the table of powers, and by arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from seccompgen.kernel.powers import powers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import Severity
from seccompgen.lint.registry import rules
from seccompgen.lint.shared_powers import ANY_OTHER

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

DENY = "default_action: allow\narches: [{abi}]\nsyscalls:\n- {{action: errno, names: [{names}]}}\n"
IN_PART = (
    "default_action: allow\narches: [x86_64]\nsyscalls:\n- action: errno\n  names_with_args:\n"
)
CONNECTS = {"sendto", "sendmsg", "sendmmsg"}


def by_code(tmp_path: Path, text: str, form: str = "policy") -> dict[str, list[Finding]]:
    path = tmp_path / "policy.yml"
    path.write_text(text)
    found: dict[str, list[Finding]] = {}
    for one in findings(path, form, shipped_tables()):
        found.setdefault(one.kind.value, []).append(one)
    return found


def opened(found: list[Finding]) -> set[str]:
    return {one.message.partition(", but ")[2].split()[0] for one in found}


def in_part(*rules: tuple[str, str]) -> str:
    return IN_PART + "".join(f"  - {{name: {name}, when: '{when}'}}\n" for name, when in rules)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("abi", "names", "code", "left"),
    [
        ("x86_64", "setrlimit", "limit-twin", {"prlimit64"}),
        ("x86_64", "prlimit64", "limit-twin", {"setrlimit"}),
        ("x86_64", "setpriority, sched_setscheduler", "limit-twin", {"sched_setattr"}),
        ("x86_64", "setuid", "identity-twin", {"setreuid", "setresuid"}),
        ("i386", "setresgid32", "identity-twin",
         {"setgid", "setgid32", "setregid", "setregid32"}),
        ("x86_64", "connect", "socket-twin", CONNECTS),
        ("x86_64", "add_key", "kernel-twin", {"keyctl", "request_key"}),
        ("x86_64", "ioperm", "kernel-twin", {"iopl"}),
        ("x86_64", "quotactl", "kernel-twin", {"quotactl_fd"}),
        ("x86_64", "seccomp", "kernel-twin", {"prctl"}),
        ("x86_64", "pivot_root", "mount-twin", {"chroot", "fchroot"}),
        ("i386", "umount", "mount-twin", {"umount2"}),
        ("aarch64", "mount, fsopen, open_tree", "mount-twin",
         {"umount2", "fsmount", "move_mount", "open_tree_attr", "mount_setattr"}),
        ("x86_64", "settimeofday, clock_settime", "clock-twin", {"adjtimex", "clock_adjtime"}),
        ("x86_64", "kill, tkill, tgkill", "signal-twin",
         {"pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "fcntl", "ioctl"}),
    ],
)  # fmt: skip
def test_a_twin_of_a_refused_call(
    tmp_path: Path, form: str, abi: str, names: str, code: str, left: set[str]
) -> None:
    found = by_code(tmp_path, DENY.format(abi=abi, names=names), form)
    assert opened(found[code]) == left


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("call", "when", "code", "left"),
    [
        ("mmap", "prot & PROT_EXEC and prot & PROT_WRITE", "executable-memory",
         {"mprotect", "pkey_mprotect", "personality", "shmat"}),
        ("mmap", "prot & PROT_EXEC", "executable-memory",
         {"mprotect", "pkey_mprotect", "personality", "shmat"}),
        ("fcntl", "cmd == F_SETOWN", "async-signals", {"fcntl", "ioctl"}),
        ("prctl", "option == PR_SET_SECCOMP", "kernel-twin", {"seccomp"}),
        ("setrlimit", "resource == RLIMIT_CORE", "limit-twin", {"prlimit64"}),
        ("setuid", "uid == 0", "identity-twin", {"setreuid", "setresuid"}),
        ("chown", "user == 0", "file-twin", {"fchown", "fchownat", "lchown"}),
        ("ptrace", "request == PTRACE_ATTACH", "memory-twin",
         {"process_vm_readv", "process_vm_writev", "pidfd_getfd", "ptrace"}),
        ("socket", "family == AF_INET", "socket-twin", {"socket"}),
        ("socket", "family == AF_PACKET", "socket-twin", {"socket"}),
        ("openat", "flags & O_CREAT", "open-twin",
         {"open", "creat", "openat", "openat2", "open_by_handle_at", "mknod", "mknodat"}),
    ],
)  # fmt: skip
def test_a_twin_by_arguments(
    tmp_path: Path, form: str, call: str, when: str, code: str, left: set[str]
) -> None:
    found = by_code(tmp_path, in_part((call, when)), form)
    assert opened(found[code]) == left


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(in_part(("setrlimit", "resource >= 0"), ("prlimit64", "new_rlim != 0")),
                     id="the other only reads"),
        pytest.param(in_part(("setuid", "uid == 0"), ("setreuid", "euid == 0"),
                             ("setresuid", "euid == 0")), id="conditions that mean the same"),
        pytest.param(in_part(("connect", "fd >= 0"),
                             ("socket", "family in {AF_INET, AF_INET6, AF_SMC}")),
                     id="no socket that could connect"),
        pytest.param(in_part(("unlinkat", "flag & AT_REMOVEDIR"), ("rmdir", "pathname >= 0")),
                     id="a part that the other cannot"),
        pytest.param(in_part(("mmap", "prot & PROT_EXEC and prot & PROT_WRITE"),
                             ("mprotect", "prot & PROT_EXEC and prot & PROT_WRITE"),
                             ("pkey_mprotect", "prot & PROT_EXEC and prot & PROT_WRITE"),
                             ("personality", "personality & 0x400000"),
                             ("shmat", "shmflg & SHM_EXEC")), id="never both at a time"),
        pytest.param(in_part(("mmap", "prot & PROT_EXEC and flags & MAP_FIXED"),
                             ("personality", "personality & 0x400000"),
                             ("shmat", "shmflg & SHM_EXEC")), id="executable at other places"),
        pytest.param(in_part(("connect", "addrlen > 28")), id="some of connect"),
        pytest.param(in_part(("socket", "family not in {AF_INET6, AF_UNIX}")),
                     id="IPv4 among all others"),
        pytest.param(in_part(("socket", "family == AF_INET and type & 0xf == SOCK_RAW"),
                             ("socket", "family == AF_INET6 and type & 0xf == SOCK_RAW")),
                     id="raw sockets alone"),
        pytest.param(in_part(("socket", "family not in {AF_UNIX, AF_INET, AF_INET6}")),
                     id="AF_PACKET among all others"),
        pytest.param(in_part(("connect", "fd >= 0"), ("sendto", "addr != 0"),
                             ("sendmsg", "flags & MSG_FASTOPEN"),
                             ("sendmmsg", "flags & MSG_FASTOPEN")), id="no address to connect to"),
        pytest.param(in_part(("mmap", "prot & PROT_EXEC"), ("mprotect", "prot & PROT_EXEC"),
                             ("pkey_mprotect", "prot & PROT_EXEC"),
                             ("personality", "personality not in {0, 0xffffffff}"),
                             ("shmat", "shmflg & SHM_EXEC")), id="personality only asks"),
        pytest.param(DENY.format(abi="x86_64", names="prctl"), id="all of prctl"),
        pytest.param(DENY.format(abi="i386", names="fcntl, fcntl64"), id="all of fcntl"),
        pytest.param(DENY.format(abi="x86_64", names="times, read, lseek, dup"),
                     id="calls that give nothing"),
    ],
)  # fmt: skip
def test_no_twin_is_left(tmp_path: Path, form: str, text: str) -> None:
    assert {code for code in by_code(tmp_path, text, form) if code != "io-uring-way"} == set()


@pytest.mark.parametrize(("abi", "known"), [("x86_64", True), ("mips64", False)])
def test_a_command_whose_number_nobody_knows_is_none(tmp_path: Path, abi: str, known: bool) -> None:
    """SIOCSPGRP is made of a type on MIPS, which the tables do not follow."""
    text = in_part(("fcntl", "cmd == F_SETOWN")).replace("x86_64", abi)
    found = by_code(tmp_path, text)["async-signals"]
    assert any("SIOCSPGRP" in one.message for one in found) is known


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("call", "left"),
    [
        ("keyctl", {"add_key", "request_key"}),
        ("quotactl", {"quotactl_fd"}),
        ("quotactl_fd", set()),
        ("accept4", set()),
        ("statx", set()),
    ],
)
def test_enosys_refuses_what_no_older_call_is_there_for(
    tmp_path: Path, form: str, call: str, left: set[str]
) -> None:
    text = DENY.format(abi="x86_64", names=call).replace("errno,", "errno(ENOSYS),")
    found = by_code(tmp_path, text, form)
    twins = {code: several for code, several in found.items() if code.endswith("-twin")}
    assert {name for several in twins.values() for name in opened(several)} == left


@pytest.mark.parametrize("form", FORMS)
def test_an_allowlist_that_names_both_twins_meant_it(tmp_path: Path, form: str) -> None:
    text = (
        "default_action: errno\narches: [x86_64]\nsyscalls:\n"
        "- {action: errno(EACCES), names: [setuid]}\n"
        "- {action: allow, names: [exit_group, rt_sigreturn, read, setresuid]}\n"
    )
    (found,) = by_code(tmp_path, text, form)["identity-twin"]
    assert found.severity is Severity.NOTE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("action", "there"), [("errno", False), ("errno(EACCES)", True)])
def test_one_of_many_commands_is_refused_on_purpose_by_an_answer_of_its_own(
    tmp_path: Path, form: str, action: str, there: bool
) -> None:
    text = (
        "default_action: errno\narches: [x86_64]\nsyscalls:\n"
        "- {action: allow, names: [exit_group, rt_sigreturn, read, seccomp, ioctl]}\n"
        "- {action: allow, names: [prctl], when: option == PR_SET_NAME}\n"
        f"- {{action: {action}, names: [prctl], when: option == PR_SET_SECCOMP}}\n"
    )
    assert ("kernel-twin" in by_code(tmp_path, text, form)) is there


@pytest.mark.parametrize("form", FORMS)
def test_an_allowlist_that_names_one_twin_is_no_finding(tmp_path: Path, form: str) -> None:
    text = (
        "default_action: errno\narches: [x86_64]\nsyscalls:\n- action: allow\n"
        "  names: [exit_group, rt_sigreturn, read, setresuid, prlimit64, mprotect, sendto]\n"
    )
    assert by_code(tmp_path, text, form) == {}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("more", "severity"),
    [("", Severity.NOTE), (", pidfd_send_signal, rt_sigqueueinfo", Severity.WARNING)],
)
def test_an_owner_of_a_descriptor_matters_where_no_signal_can_be_sent(
    tmp_path: Path, form: str, more: str, severity: Severity
) -> None:
    names = f"kill, tkill, tgkill, rt_tgsigqueueinfo{more}"
    found = by_code(tmp_path, DENY.format(abi="x86_64", names=names), form)["signal-twin"]
    owners = [one for one in found if " but fcntl with argument 1 == F_SETOWN " in one.message]
    assert [one.severity for one in owners] == [severity]


def test_calls_that_may_send_the_same_signals_are_no_twins(tmp_path: Path) -> None:
    """As a recording has them of a run that sent one; of others it has more, or of fewer calls."""
    calls = ("kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
    head = "default_action: errno\narches: [x86_64]\nsyscalls:\n"
    head += "- {action: allow, names: [exit_group]}\n"

    def rule(names: tuple[str, ...], signals: str) -> str:
        listed = ", ".join(names)
        return f"- {{action: allow, names: [{listed}], when: 'sig in {{{signals}}}'}}\n"

    assert "signal-twin" not in by_code(tmp_path, head + rule(calls, "SIGTERM, SIGKILL"))
    text = head + rule(calls[:2], "SIGTERM") + rule(("tgkill",), "SIGTERM, SIGABRT")
    assert opened(by_code(tmp_path, text)["signal-twin"]) == {"tgkill"}


@pytest.mark.parametrize("abi", ["x86_64", "i386"])
def test_whatever_gives_the_same_is_found(tmp_path: Path, abi: str) -> None:
    """The first call of each line of the table is refused: all others on it are twins."""
    numbers = shipped_tables().tables[abi].numbers
    lines = [
        [call for call in line.calls if call in numbers]
        for line in powers().lines
        if line.power.gives and not line.when
    ]
    shared = [calls for calls in lines if len(calls) > 1]
    refused = ", ".join(calls[0] for calls in shared)
    found = by_code(tmp_path, DENY.format(abi=abi, names=refused))
    told = {name for several in found.values() for name in opened(several)}
    assert {call for calls in shared for call in calls[1:]} - told == set()


def test_what_is_said_of_kinds_and_lines_is_of_some() -> None:
    names = [name for one in rules("bypasses") for name in one.powers]
    kinds = {kind for kind, one in powers().kinds.items() if one.gives}
    lines = {line.calls[0] for line in powers().lines if len(line.calls) > 1}
    assert set(names) <= {*kinds, *lines, ANY_OTHER}
    assert len(set(names)) == len(names)
