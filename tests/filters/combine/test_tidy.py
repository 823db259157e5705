"""Converted policies: what their authors would write in our language."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from proving import TABLES
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.filters.combine.convert import convert

if TYPE_CHECKING:
    from pathlib import Path

MINIJAIL = """\
# Copyright of somebody.

# What the loop needs.
read: 1
write: 1
madvise: arg2 == MADV_FREE || arg2 == MADV_DONTNEED
# Shared memory.
memfd_create: 1
close: 1
# 1033 and 1034 are about seals.
fcntl: arg1 == F_GETFL || arg1 == F_SETFL || \\
       arg1 == 1033
mmap: arg2 in ~PROT_EXEC

## Refused, so that the library falls back.
clone3: return ENOSYS
socket: { arg0 == AF_UNIX; allow, return EACCES } # local ones
# the end
"""
OURS = """\
# Copyright of somebody.

arches: [x86_64]
default_action: kill_thread
bad_arch_action: kill_thread
syscalls:
# What the loop needs.
- action: allow
  names: [read, write]
  names_with_args:
  - name: madvise
    when: u64(behavior) in {MADV_FREE, MADV_DONTNEED}

# Shared memory.
- action: allow
  names: [memfd_create]

- action: allow
  names: [close]
  names_with_args:
  # 1033 and 1034 are about seals.
  - name: fcntl
    when: u64(cmd) in {F_GETFL, F_SETFL, F_ADD_SEALS}
  - name: mmap
    when: not prot & PROT_EXEC

# Refused, so that the library falls back.
- action: errno(ENOSYS)
  names: [clone3]

# local ones
- action: allow
  names: [socket]
  when: u64(family) == AF_UNIX

- action: errno(EACCES)
  names: [socket]

# the end
"""


def converted(file: Path, text: str, reading: Reading) -> str:
    file.write_text(text)
    return convert(file, TABLES, reading).text


def test_paragraphs_and_their_comments_stay_together(tmp_path: Path) -> None:
    reading = Reading(abis=("x86_64",))
    assert converted(tmp_path / "a.policy", MINIJAIL, reading) == OURS


def test_rules_move_past_rules_of_other_calls_only(tmp_path: Path) -> None:
    lines = ("read: 1", "ioctl: return ENOTTY", "write: 1", "dup: arg0 == 1", "dup: return EPERM")
    found = converted(tmp_path / "a.policy", "\n".join((*lines, "close: 1")), PLAIN_READING)
    assert (
        found.partition("syscalls:\n")[2]
        == """\
- action: allow
  names: [read, write, close]
  names_with_args:
  - name: dup
    when: u64(fildes) == 1
- action: errno(ENOTTY)
  names: [ioctl]
- action: errno(EPERM)
  names: [dup]
"""
    )


def test_a_rule_stays_behind_one_for_the_same_call(tmp_path: Path) -> None:
    lines = "read: 1\nmunmap: { arg1 == 1; return EPERM, allow }\n"
    found = converted(tmp_path / "a.policy", lines, PLAIN_READING)
    assert (
        found.partition("syscalls:\n")[2]
        == """\
- action: allow
  names: [read]
- action: errno(EPERM)
  names: [munmap]
  when: len == 1
- action: allow
  names: [munmap]
"""
    )


def rule(call: str, comment: str = "", *args: tuple[int, str, object, int, str]) -> object:
    """Return a rule of seccompiler's."""
    named = ("index", "type", "op", "val", "comment")
    conditions = [dict(zip(named, one, strict=True)) for one in args]
    return {"syscall": call, "comment": comment} | ({"args": conditions} if args else {})


def test_comments_of_rules_become_lines_of_a_list(tmp_path: Path) -> None:
    kvm = [(1, "dword", "eq", number, name) for number, name in ((0xAE80, "KVM_RUN"),)]
    rules = [
        rule("read"),
        rule("brk", "the heap"),
        rule("futex", "locks", (1, "dword", "eq", 128, "FUTEX_WAIT_PRIVATE")),
        rule("ioctl", "", *kvm),
        rule("ioctl", "", (1, "dword", "eq", 0x5421, "libc::FIONBIO")),
    ]
    file = {"vmm": {"mismatch_action": "trap", "match_action": "allow", "filter": rules}}
    text = converted(tmp_path / "a.json", json.dumps(file), Reading(abis=("aarch64",)))
    assert (
        text.partition("syscalls:\n")[2]
        == """\
- action: allow
  names:
  - read
  - brk # the heap
  names_with_args:
  # locks
  - name: futex
    when: op == FUTEX_WAIT_PRIVATE
  - name: ioctl
    when: cmd in {KVM_RUN, FIONBIO}
"""
    )


def test_entries_of_oci_say_what_they_are_for(tmp_path: Path) -> None:
    entries = [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        *(
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
            }
            for value in (0, 8, 131072)
        ),
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 38,
            "comment": "glibc falls back",
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
    ]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries}
    reading = Reading(abis=("riscv64",))
    text = converted(tmp_path / "a.json", json.dumps(profile), reading)
    assert (
        text.partition("syscalls:\n")[2].partition("\n\n# newer")[0]
        == """\
- action: allow
  names: [read, write]
  names_with_args:
  - name: personality
    when: u64(personality) in {PER_LINUX, PER_LINUX32, PER_LINUX|UNAME26}

# glibc falls back
# without CAP_SYS_ADMIN
- action: errno(ENOSYS)
  names: [clone3]"""
    )


UNIT = """\
[Service]
# Nobody asks for this.
ExecStart=/bin/true
# No other address families.
RestrictAddressFamilies=AF_UNIX
# Just this.
SystemCallFilter=~reboot
"""


def test_settings_of_a_unit_are_above_their_rules(tmp_path: Path) -> None:
    text = converted(tmp_path / "a.service", UNIT, Reading(abis=("aarch64",)))
    assert "Nobody asks" not in text
    assert "# No other address families.\n# RestrictAddressFamilies=AF_UNIX\n- action" in text
    assert "# Just this.\n# SystemCallFilter=~reboot\n- action: kill_process\n" in text


@pytest.mark.parametrize("comment", ["// one\n// two", "/* one\n * two */"])
def test_comments_of_kafel_are_above_their_calls(comment: str, tmp_path: Path) -> None:
    text = f"ALLOW {{ read,\n{comment}\nwrite }} DEFAULT KILL\n"
    found = converted(tmp_path / "a.kafel", text, Reading(abis=("aarch64",)))
    assert "  names:\n  - read\n  # one\n  # two\n  - write\n" in found
