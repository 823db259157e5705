"""Mistakes that newcomers make: each message says what to write, or what the file looks like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import OURS
from seccompgen.formats import load_policy, load_policy_for
from seccompgen.formats.detect import detect
from seccompgen.formats.unread import unread
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
HEAD = "default_action: errno\nsyscalls:\n- action: allow\n"

YAML = {
    "a group without quotes": (
        HEAD + "  names: [read, @basic-io]\n",
        "4:17: not YAML: put the name of a group in quotes: '@basic-io'",
    ),
    "a group without quotes, on a line of its own": (
        HEAD + "  names:\n  - @file-read\n",
        "5:5: not YAML: put the name of a group in quotes: '@file-read'",
    ),
    "a key too far right": (
        HEAD + "   names: [read]\n",
        "4:9: not YAML: wrong indentation: this begins in column 4, and line 3 in column 3; keys "
        "of one mapping begin in one column",
    ),
    "the first key too far right": (
        "default_action: errno\n # a comment\n syscalls: []\n",
        "3:2: not YAML: wrong indentation: this begins in column 2, and line 1 in column 1; keys "
        "of one mapping begin in one column",
    ),
    "a key too far left": (
        "default_action: errno\nsyscalls:\n  - action: allow\n names: [read]\n",
        "4:2: not YAML: wrong indentation: this begins in column 2, and line 3 in column 5; keys "
        "of one mapping begin in one column",
    ),
    "an item too far left": (
        HEAD + "  names:\n  - read\n - write\n",
        "6:2: not YAML: wrong indentation: this begins in column 2, and line 5 in column 3; items "
        "of one list begin in one column",
    ),
    "a tab": (
        "default_action: errno\nsyscalls:\n\t- action: allow\n",
        "3:1: not YAML: YAML takes no tabs: indent with spaces",
    ),
    "no colon": (
        "default_action errno\nsyscalls: []\n",
        "2:9: not YAML: write a colon on line 1: 'default_action: errno'",
    ),
    "no colon and no value": (
        HEAD + "  names: [read]\nfoo\nflags: []\n",
        "6:1: not YAML: write a colon on line 5, and a value",
    ),
    "no space behind a colon": (
        "default_action:errno\nsyscalls: []\n",
        "2:9: not YAML: write a space behind 'default_action:' on line 1",
    ),
    "text with a colon": (
        "syscalls: []\ndescription: HTTP: a worker\n",
        "2:18: not YAML: put text in quotes that has a colon and a space in it",
    ),
    "an open bracket": (
        HEAD + "  names: [read,\n- action: errno\n  names: [acct]\n",
        "5:1: not YAML: no ] for the [ on line 4, or no comma before this",
    ),
    "an open quote": (
        'default_action: "errno\nsyscalls: []\n',
        '3:1: not YAML: no second " for the one on line 1',
    ),
    "a wildcard": (
        HEAD + "  names: [*]\n",
        "4:12: not YAML: there are no patterns, and YAML takes * for an alias: name the calls, or "
        "a group such as '@basic-io'; default_action answers all that are not named",
    ),
    "two policies": (
        HEAD + "  names: [read]\n---\nsyscalls: []\n",
        "5:1: not YAML: a file holds one policy: remove what follows this line, and the line",
    ),
    "JSON with comments": (
        '{\n  "default_action": "errno", // the default\n  "syscalls": []\n}\n',
        "2:30: not YAML: JSON has no comments: remove this, or write YAML, whose comments begin "
        "with #",
    ),
    "another mistake, in the reader's words": (
        HEAD + '  names: ["\\d"]\n',
        "4:12: not YAML: while parsing a quoted scalar found unknown escape character",
    ),
    "TOML": (
        'default_action = "errno"\nsyscalls = []\n',
        "1:1: a policy is a mapping with default_action and syscalls; if this is TOML, end the "
        "file's name in .toml",
    ),
    "a list of names": (
        "default_action: errno\nsyscalls:\n- read\n",
        "3:3: an item here must be a mapping with action, not 'read'",
    ),
    "text for a list": (
        HEAD + "  names: read\n",
        "4:10: 'names' must be a list, not 'read': write [read]",
    ),
    "no comma": (
        HEAD + "  names: [read write]\n",
        "4:11: 'read write' is not the name of a system call; write a comma between names",
    ),
    "C's name of a call": (
        HEAD + "  names: [__NR_read, sys_opnat, fork(2)]\n",
        "4:33: 'fork(2)' is not the name of a system call; write fork",
    ),
    "the kernel's name of a call": (
        HEAD + "  names: [__NR_read, sys_opnat]\n",
        "4:11: unknown system call '__NR_read' (did you mean 'read'?)\n"
        "4:22: unknown system call 'sys_opnat' (did you mean 'openat'?)",
    ),
    "an errno for an action": (
        "default_action: EPERM\nsyscalls: [{action: errno EACCES, names: [read]}]\n",
        "1:17: unknown action 'EPERM': write errno(EPERM)\n"
        "2:21: 'errno EACCES' is not an action; write errno(EACCES)",
    ),
    "others' words for operations": (
        HEAD + "  names_with_args:\n  - name: read\n"
        "    arguments: {argument: 0, operation: ==, value: 1}\n"
        "  - name: write\n    arguments: [{argument: 0, operation: SCMP_CMP_GE, value: 1}]\n",
        "6:16: 'arguments' must be a list, not {'argument': 0, 'operation': '==', 'v...: write - "
        "before it, for an item\n"
        "8:42: unknown operation 'SCMP_CMP_GE' (did you mean 'GreaterOrEqual'?)",
    ),
    "others' words for actions": (
        "default_action: deny\nsyscalls: [{action: SCMP_ACT_ALLOW, names: [read]}]\n",
        "1:17: unknown action 'deny' (did you mean 'errno'?)\n"
        "2:21: unknown action 'SCMP_ACT_ALLOW' (did you mean 'allow'?)",
    ),
    "others' name for an ABI": (
        f"arches: [x64]\n{HEAD}  names: [read]\n",
        "1:10: unknown architecture 'x64' (did you mean 'x86_64'?)",
    ),
    "a socket on ABIs with socketcall": (
        HEAD + "  names: [socket]\n  when: family == AF_UNIX\n",
        "4:11: 'socket' can also be made through socketcall on i386, s390x, ppc64le, ppc64 and 6 "
        "more, where no filter sees its arguments: write 'multiplexed: errno(EPERM)' at the top, "
        "or another action; or, if these are all it is for, 'arches: [x86_64, aarch64]'",
    ),
    "keys in camelCase": (
        "defaultAction: allow\nsyscall:\n- name: acct\n  action: kill\n",
        "1:1: unknown key 'defaultAction' (did you mean 'default_action'?)\n"
        "2:1: unknown key 'syscall' (did you mean 'syscalls'?)",
    ),
}


@pytest.mark.parametrize("case", YAML)
def test_what_to_write(tmp_path: Path, case: str) -> None:
    text, expected = YAML[case]
    path = tmp_path / "p.yml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    assert str(caught.value).replace(f"{path}:", "") == expected


@pytest.mark.parametrize("line", ["multiplexed: errno(EPERM)\n", "arches: [x86_64, aarch64]\n"])
def test_each_line_that_a_message_proposes_mends_the_policy(tmp_path: Path, line: str) -> None:
    path = tmp_path / "p.yml"
    path.write_text(f"{line}{YAML['a socket on ABIs with socketcall'][0]}")
    load_policy(path, TABLES)


UNREAD = {
    "a list of calls": "# a comment\naccess\nptrace\n",
    "a profile of AppArmor": "#include <tunables/global>\nprofile foo {\n  deny network,\n}\n",
    "a Compose file": (
        "services:\n  web:\n    image: nginx\n    security_opt:\n      - seccomp:profile.json\n"
    ),
    "an object of Kubernetes": "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
    "a program": "\x7fELF\x02\x01",
    "a script": "#!/bin/sh\necho hello\n",
    "a web page": "<!DOCTYPE html>\n<title>404</title>\n",
    "a table of 'strace -c'": (
        "% time     seconds  usecs/call     calls    errors syscall\n"
        "------ ----------- ----------- --------- --------- ----------------\n"
        " 28.74    0.000000           0         5           read\n"
    ),
    "a listing of seccomp-tools": (
        " line  CODE  JT   JF      K\n=================================\n"
        " 0000: 0x20 0x00 0x00 0x00000004  A = arch\n"
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_file_that_no_reader_knows_is_told_what_it_looks_like(tmp_path: Path, name: str) -> None:
    path = tmp_path / "profile"
    path.write_text(UNREAD[name])
    assert detect(path.read_bytes()) == OURS
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    assert str(caught.value).startswith(f"{path}: looks like {name}, "), caught.value
    assert len(caught.value.diagnostics) == 1


@pytest.mark.parametrize("text", ["\n" * 65536, "a b\n" * 16000, '"' * 65536, "kind:\n" * 11000])
def test_looking_takes_time_by_the_length(text: str) -> None:
    assert unread(text.encode()) is None


@pytest.mark.parametrize(
    ("name", "text", "wanted", "read_for"),
    [
        ("policy", "read: 1\n", ["riscv64"], ["riscv64"]),
        ("policy", "riscv_flush_icache: 1\n", ["riscv64"], ["riscv64"]),
        ("policy", "read: 1\n", ["x86_64"], ["x86_64", "aarch64"]),
        ("web.kafel", "ALLOW { read } DEFAULT KILL\n", ["riscv64"], ["riscv64"]),
        ("x.service", "[Service]\nSystemCallFilter=read\n", ["aarch64"], ["aarch64"]),
        (
            *("p.json", '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}'),
            *(["mips"], ["mips"]),
        ),
        (
            "p.json",
            '{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_AARCH64"]}',
            *(["riscv64"], ["riscv64"]),
        ),
        (
            "p.json",
            '{"defaultAction": "SCMP_ACT_ERRNO", '
            '"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}',
            *(["x86_64"], ["x86_64"]),
        ),
        (
            "p.json",
            '{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_X86_64", '
            '"subArchitectures": ["SCMP_ARCH_X86"]}]}',
            *(["i386"], ["x86_64"]),
        ),
        (
            "p.json",
            '{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_X86_64", '
            '"subArchitectures": ["SCMP_ARCH_X86"]}]}',
            *(["riscv64"], ["riscv64"]),
        ),
        ("p.yml", "arches: [x86_64]\ndefault_action: allow\nsyscalls: []\n", ["mips"], ["x86_64"]),
    ],
)
def test_a_file_that_names_no_abi_is_for_those_that_are_wanted(
    name: str, text: str, wanted: list[str], read_for: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    abis = [TABLES.tables[one].abi for one in wanted]
    policy, _ = load_policy_for(path, abis, TABLES)
    assert [abi.name for abi in policy.arches] == read_for


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            '{"defaultAction": "SCMP_ACT_ERRNO",\n "syscalls": [],}',
            "2:16: JSON has no comma before",
        ),
        ("{defaultAction: SCMP_ACT_ERRNO}", "1:2: no JSON, which this format is"),
        (
            '{"a": {"mismatch_action": "trap", "match_action": "allow", "filter": [],}}',
            "1:72: JSON has no comma before",
        ),
    ],
)
def test_what_the_tools_of_a_format_refuse_as_json_is_refused(
    text: str, wrong: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    assert str(caught.value.diagnostics[0]).startswith(f"{path}:{wrong}")


def test_no_pattern_is_for_our_own_policies(tmp_path: Path) -> None:
    """A policy with an error of its own is never told that it looks like something else."""
    assert not [name for name, (text, _) in YAML.items() if unread(text.encode())]
    path = tmp_path / "p.yml"
    path.write_text(HEAD + "  names: [reed]\n")
    with pytest.raises(InputError, match=re.escape("unknown system call 'reed'")):
        load_policy(path, TABLES)
