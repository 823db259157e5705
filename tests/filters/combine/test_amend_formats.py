"""Units of systemd, filters of seccompiler and policies of minijail, changed in place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from amending import AF_ALG, changed, lets_through, lines
from proving import TABLES
from seccompgen.core.errors import AnswerNo
from seccompgen.core.foreign import Reading
from seccompgen.filters.combine.change_proof import other_filter

if TYPE_CHECKING:
    from pathlib import Path


UNIT = """\
[Service]
ExecStart=/bin/serve
# what it needs
SystemCallFilter=@basic-io @network-io @file-system \\
    bpf userfaultfd
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX AF_INET AF_ALG
ProtectClock=yes
"""
DENIES = """\
[Service]
  RestrictAddressFamilies=~AF_NETLINK
  SystemCallFilter=~reboot:kill swapon
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize(
    ("unit", "rule", "allows", "expected"),
    [
        (UNIT, "bpf", False, ["-    bpf userfaultfd", "+    userfaultfd"]),
        (UNIT, "openat fcntl", False, ["+SystemCallFilter=~openat fcntl"]),
        (UNIT, AF_ALG, False, ["-RestrictAddressFamilies=AF_UNIX AF_INET AF_ALG",
                               "+RestrictAddressFamilies=AF_UNIX AF_INET"]),
        (UNIT, "keyctl", True, ["+SystemCallFilter=keyctl"]),
        (DENIES, "keyctl", False, ["+  SystemCallFilter=~keyctl"]),
        (DENIES, "reboot", True, ["-  SystemCallFilter=~reboot:kill swapon",
                                  "+  SystemCallFilter=~swapon"]),
    ],
)  # fmt: skip
def test_a_unit_of_systemd(
    tmp_path: Path, unit: str, rule: str, allows: bool, expected: list[str]
) -> None:
    assert lines(changed(tmp_path / "a.service", unit, rule, allows=allows)) == expected


def test_a_refused_family_is_compared_as_the_kernel_reads_it_from_systemd_262_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.service"
    with pytest.raises(AnswerNo, match=r"socket\(AF_ALG\|0x100000000\) on x86_64"):
        changed(path, DENIES, AF_ALG, reading=Reading(systemd=257))
    found = changed(path, DENIES, AF_ALG, reading=Reading(systemd=262))
    assert lines(found) == ["+  RestrictAddressFamilies=~AF_ALG"]
    assert any("calls of i386 stay permitted" in one.message for one in found.notes)


VMM = """\
{
    "main": {
        "default_action": "trap",
        "filter_action": "allow",
        "filter": [
            {"syscall": "read"},
            {"syscall": "write", "comment": "the serial console"},
            {
                "syscall": "socket",
                "args": [
                    {"index": 1, "type": "dword", "op": "eq", "val": 1}
                ]
            }
        ]
    },
    "api": {
        "mismatch_action": {"errno": 1},
        "match_action": "log",
        "filter": [
            {"syscall": "accept4"},
            {"syscall": "socket", "args": [{"index": 0, "type": "dword", "op": "eq", "val": 1}]},
            {"syscall": "socket"}
        ]
    }
}
"""


@pytest.mark.parametrize(
    ("rule", "allows", "expected"),
    [
        ("write", False, ['-            {"syscall": "write", "comment": "the serial console"},']),
        (AF_ALG, False, [
            '-                    {"index": 1, "type": "dword", "op": "eq", "val": 1}',
            '+                    {"index": 1, "type": "dword", "op": "eq", "val": 1},',
            '+                    {"index": 0, "type": "dword", "op": "ne", "val": 38}']),
        ("write when fd == 2", False, [
            '-            {"syscall": "write", "comment": "the serial console"},',
            '+            {"syscall": "write", "comment": "the serial console", "args": '
            '[{"index": 0, "type": "dword", "op": "ne", "val": 2}]},']),
        ("socket when family == AF_UNIX and type == 1", False, [
            '-                    {"index": 1, "type": "dword", "op": "eq", "val": 1}',
            '+                    {"index": 1, "type": "dword", "op": "eq", "val": 1},',
            '+                    {"index": 0, "type": "dword", "op": "ne", "val": 1}',
            '-            {"syscall": "socket", "args": '
            '[{"index": 0, "type": "dword", "op": "eq", "val": 1}]},',
            '+            {"syscall": "socket", "args": '
            '[{"index": 0, "type": "dword", "op": "eq", "val": 1}, '
            '{"index": 1, "type": "dword", "op": "ne", "val": 1}]},']),
    ],
)  # fmt: skip
def test_all_filters_of_seccompiler(
    tmp_path: Path, rule: str, allows: bool, expected: list[str]
) -> None:
    found = changed(tmp_path / "vmm.json", VMM, rule, allows=allows)
    assert lines(found) == expected
    json.loads(found.after)


def test_one_filter_of_seccompiler(tmp_path: Path) -> None:
    path, api = tmp_path / "vmm.json", Reading(thread="api")
    found = changed(path, VMM, "socket when family == AF_UNIX", reading=api)
    assert [line.split('"args"')[0].strip() for line in lines(found)] == [
        '-            {"syscall": "accept4"},', '-            {"syscall": "socket",',
        '-            {"syscall": "socket"}', '+            {"syscall": "accept4"}',
    ]  # fmt: skip
    more = changed(path, VMM, "bpf when cmd == 1 or cmd == 5", reading=api, allows=True)
    assert [line for line in lines(more) if line[0] == "+"][1:] == [
        '+            {"syscall": "bpf", "args": '
        f'[{{"index": 0, "type": "dword", "op": "eq", "val": {value}}}]}}{comma}'
        for value, comma in ((1, ","), (5, ""))
    ]
    denies = VMM.replace('{"errno": 1}', '"allow"').replace('"log"', '{"errno": 1}')
    refused = changed(path, denies, AF_ALG, reading=api)
    assert any("calls of x32 stay permitted" in note.message for note in refused.notes)


SERVICE = """\
# A daemon.
@default trap
{accept4, shutdown}: 1
read: 1   # what it is told
socket: arg0 == AF_UNIX && arg1 in SOCK_STREAM|SOCK_CLOEXEC || \\
    arg0 == 16 && arg2 == 0xf  # and the journal
mmap: !(arg2 & PROT_EXEC && arg2 & PROT_WRITE)
keyctl: arg0 == 11
prctl: {arg0 == PR_SET_NAME, return EINVAL}
"""


@pytest.mark.parametrize(
    ("rule", "allows", "expected"),
    [
        ("shutdown", False, ["-{accept4, shutdown}: 1", "+accept4: 1"]),
        ("read", False, ["-read: 1   # what it is told"]),
        ("read when fd == 3", False, [
            "-read: 1   # what it is told",
            "+read: arg0 != 3 && arg0 <= 0xffffffff   # what it is told"]),
        ("accept4 when flags & SOCK_CLOEXEC", False, [
            "-{accept4, shutdown}: 1", "+shutdown: 1", "+accept4: arg3 in ~0x80000"]),
        ("socket when family == AF_NETLINK", False, [
            "-socket: arg0 == AF_UNIX && arg1 in SOCK_STREAM|SOCK_CLOEXEC || \\",
            "-    arg0 == 16 && arg2 == 0xf  # and the journal",
            "+socket: arg0 == AF_UNIX && arg1 in SOCK_STREAM|SOCK_CLOEXEC  # and the journal"]),
        ("socket when family == AF_INET", True, [
            "-    arg0 == 16 && arg2 == 0xf  # and the journal",
            "+    arg0 == 16 && arg2 == 0xf || arg0 == AF_INET  # and the journal"]),
        ("mmap when flags & MAP_SHARED", False, [
            "-mmap: !(arg2 & PROT_EXEC && arg2 & PROT_WRITE)",
            "+mmap: {arg3 & 1; trap, !(arg2 & PROT_EXEC && arg2 & PROT_WRITE)}"]),
        ("bpf", True, ["+bpf: 1"]),
        ("keyctl when cmd == KEYCTL_READ", False, ["-keyctl: arg0 == 11"]),
        ("keyctl", True, ["-keyctl: arg0 == 11", "+keyctl: 1"]),
        ("prctl when option == PR_SET_VMA", True, [
            "-prctl: {arg0 == PR_SET_NAME, return EINVAL}",
            "+prctl: {arg0 == PR_SET_VMA; allow, arg0 == PR_SET_NAME, return EINVAL}"]),
    ],
)  # fmt: skip
def test_a_policy_of_minijail(tmp_path: Path, rule: str, allows: bool, expected: list[str]) -> None:
    found = changed(tmp_path / "a.policy", SERVICE, rule, allows=allows)
    assert sorted(lines(found)) == sorted(expected)


def test_a_denylist_of_minijail_compares_all_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    found = changed(path, "@denylist\n{reboot, keyctl}: return EPERM\n", AF_ALG)
    (line,) = lines(found)
    assert line.endswith("; return EPERM")
    for family in (38, 1 << 32 | 38):
        assert not lets_through(path, found.after, "socket", family)
    assert lets_through(path, found.after, "socket", 39)
    assert any("calls of x32 stay permitted" in note.message for note in found.notes)


def test_a_statement_in_another_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "common.policy").write_text("read: 1\n")
    with pytest.raises(AnswerNo, match=r"read has its statement at .*common.policy:1:1: amend"):
        changed(tmp_path / "a.policy", "@include ./common.policy\nwrite: 1\n", "read")


def test_the_proof_finds_another_filter_that_changed() -> None:
    def other(text: str) -> str | None:
        texts = VMM.encode(), text.encode()
        return other_filter(texts, "vmm.json", Reading(thread="api"), TABLES)

    assert other(VMM.replace("accept4", "accept")) is None
    assert other(VMM.replace('{"syscall": "read"},', "")) == "main"
