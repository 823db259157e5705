"""Our reading of system call lists beside the filters that systemd's own functions make of them.

A child loads systemd's library with a `seccomp_load` that writes programs instead of installing
them; our own interpreter runs these, and the severest answer counts, as in the kernel.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from interpreter import run, seccomp_data
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.foreign import Reading
from seccompgen.core.model import ActionKind
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.formats.systemd import reader as systemd
from seccompgen.formats.systemd.groups import systemd_groups
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import Code, Operation, Proof, Stack, meaning, prove

LIBRARIES = sorted(Path("/usr/lib").glob("*/systemd/libsystemd-shared-*.so"))
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not LIBRARIES or not shutil.which("cc") or not shutil.which("systemd-analyze"),
        reason="needs systemd and a C compiler",
    ),
]
TABLES = shipped_tables()
KEEP = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int seccomp_export_bpf(const void *, int);
int seccomp_load(void *filter) {
    static int n; char name[32];
    snprintf(name, sizeof name, "%d.bpf", n++);
    int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    int failed = seccomp_export_bpf(filter, fd);
    close(fd);
    return failed;
}
"""
CHILD = r"""
import ctypes, json, sys
library, words, default, action, names = json.loads(sys.argv[1])
systemd, seccomp = ctypes.CDLL(library), ctypes.CDLL("libseccomp.so.2")
systemd._hashmap_new.restype = ctypes.c_void_p
found = ctypes.c_void_p(systemd._hashmap_new(None))
for word, number, flags in words:
    given = word.encode(), number, found, flags, None, None, 0
    assert systemd.seccomp_parse_syscall_filter(*given) >= 0
load = systemd.seccomp_load_syscall_filter_set_raw
load.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_bool]
assert load(default, found, action, False) >= 0
print(json.dumps([n for n in names if seccomp.seccomp_syscall_resolve_name(n.encode()) == -1]))
"""
INVERT, ALLOW_LIST, PERMISSIVE = 1, 2, 8
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
SEVERITY = [one.value for one in (ActionKind.KILL_PROCESS, ActionKind.KILL_THREAD)] + [ERRNO, ALLOW]
UNITS = [
    ["@system-service", "write", "~@privileged @resources", "~ptrace:5 kcmp:kill", "swapon"],
    ["~@debug @mount:13", "kcmp", "~reboot:kill kexec_load"],
    ["read write", "~write:13", "write", "~read"],
    ["~@network-io:97", "socket"],
]
ERRORS = {"kill": 0x7FFFFFFE}


def theirs(place: Path, unit: list[str], negative: int) -> tuple[list[bytes], set[str]]:
    """Return the programs that systemd makes, and the calls that its libseccomp does not know."""
    (place / "keep.c").write_text(KEEP)
    command = ["cc", "-shared", "-fPIC", "-o", "keep.so", "keep.c", "-l:libseccomp.so.2"]
    subprocess.run(command, cwd=place, check=True)
    allows = not unit[0].startswith("~")
    flags = PERMISSIVE | (ALLOW_LIST if allows else 0)
    words: list[tuple[str, int, int]] = [("@default", -1, flags)] if allows else []
    for line in unit:
        takes = INVERT if line.startswith("~") else 0
        for word in line.removeprefix("~").split():
            name, _, error = word.partition(":")
            number = (ERRORS.get(error) or int(error)) if error else -1
            words.append((name, number, flags | takes))
    names = sorted({name for table in TABLES.tables.values() for name in table.numbers})
    default, action = (negative, ALLOW) if allows else (ALLOW, negative)
    asked = json.dumps([str(LIBRARIES[-1]), words, default, action, names])
    child = [sys.executable, "-c", CHILD, asked]
    answer = subprocess.run(
        child, cwd=place, check=True, capture_output=True, text=True,
        env={"LD_PRELOAD": str(place / "keep.so")},
    )  # fmt: skip
    return [path.read_bytes() for path in sorted(place.glob("*.bpf"))], set(
        json.loads(answer.stdout)
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit[0].split()[0])
@pytest.mark.parametrize("negative", ["", "EPERM"])
def test_lists_mean_what_systemd_makes_of_them(
    tmp_path: Path, unit: list[str], negative: str
) -> None:
    release = int(re.search(r"shared-(\d+)", LIBRARIES[-1].name)[1])  # type: ignore[index]  # the glob
    programs, unknown = theirs(tmp_path, unit, ERRNO | 1 if negative else KILL)
    assert len(programs) == 3
    lines = [f"SystemCallFilter={line}" for line in unit]
    text = "\n".join(["[Service]", f"SystemCallErrorNumber={negative}", *lines, ""])
    draft = systemd.read(text, "a.service", Reading(systemd=release), TABLES)
    policy, _ = load_policy(draft.document(), TABLES)
    program = compile_policy(policy, ABIS["x86_64"], TABLES).to_bytes()
    differ = []
    for abi in ("x86_64", "i386", "x32"):
        for nr in (*range(0x40000000, 0x40000400),) if abi == "x32" else (*range(600), 0xFFFFFFFF):
            if TABLES.tables[abi].names.get(nr) in unknown:
                continue
            for first in range(22) if TABLES.tables[abi].numbers.get("socketcall") == nr else (0,):
                data = seccomp_data(nr, ABIS[abi].audit_arch, [first])
                answers = [run(one, data, "little").value for one in programs]
                both = min(answers, key=lambda ret: SEVERITY.index(ret & 0xFFFF0000))
                if run(program, data, "little").value != both:
                    differ.append((abi, TABLES.tables[abi].names.get(nr, nr), first, hex(both)))
    assert differ == []


RESTRICT = r"""
import ctypes, json, sys
library, function, arguments, families = json.loads(sys.argv[1])
systemd = ctypes.CDLL(library)
if families is not None:
    systemd._set_new.restype = ctypes.c_void_p
    found = ctypes.c_void_p(systemd._set_new(None))
    for family in families:
        systemd.set_put(found, ctypes.c_void_p(family))
    arguments = [found, *arguments]
call = getattr(systemd, function)
call.argtypes = [ctypes.c_void_p if families is not None else ctypes.c_ulong] * len(arguments)
assert call(*arguments) >= 0
"""
RESTRICTIONS = [
    ("RestrictNamespaces=yes", "seccomp_restrict_namespaces", [0], None),
    ("RestrictNamespaces=user mnt", "seccomp_restrict_namespaces", [0x10020000], None),
    ("RestrictRealtime=yes", "seccomp_restrict_realtime_full", [1], None),
    ("RestrictSUIDSGID=yes", "seccomp_restrict_suid_sgid", [], None),
    ("DynamicUser=yes", "seccomp_restrict_suid_sgid", [], None),
    ("LockPersonality=yes", "seccomp_lock_personality", [0], None),
    ("LockPersonality=yes\nPersonality=x86", "seccomp_lock_personality", [8], None),
    ("MemoryDenyWriteExecute=yes", "seccomp_memory_deny_write_execute", [], None),
    ("ProtectHostname=yes", "seccomp_protect_hostname", [], None),
    ("ProtectKernelTunables=yes", "seccomp_protect_sysctl", [], None),
    ("ProtectKernelLogs=yes", "seccomp_protect_syslog", [], None),
    *(
        (f"RestrictAddressFamilies={said}", "seccomp_restrict_address_families", [allow], families)
        for said, allow, families in [
            ("AF_UNIX AF_INET AF_INET6", 1, [1, 2, 10]),
            ("AF_NETLINK", 1, [16]),
            ("~AF_PACKET AF_NETLINK", 0, [16, 17]),
            ("none", 1, []),
        ]
    ),
]


@pytest.mark.parametrize(
    ("setting", "function", "arguments", "families"),
    RESTRICTIONS,
    ids=lambda one: one.replace("\n", " ") if isinstance(one, str) else "",
)
def test_settings_that_compare_arguments_mean_what_systemd_makes_of_them(
    tmp_path: Path, setting: str, function: str, arguments: list[int], families: list[int] | None
) -> None:
    release = int(re.search(r"shared-(\d+)", LIBRARIES[-1].name)[1])  # type: ignore[index]  # the glob
    (tmp_path / "keep.c").write_text(KEEP)
    command = ["cc", "-shared", "-fPIC", "-o", "keep.so", "keep.c", "-l:libseccomp.so.2"]
    subprocess.run(command, cwd=tmp_path, check=True)
    asked = json.dumps([str(LIBRARIES[-1]), function, arguments, families])
    child = [sys.executable, "-c", RESTRICT, asked]
    environment = {"LD_PRELOAD": str(tmp_path / "keep.so")}
    subprocess.run(child, cwd=tmp_path, check=True, env=environment)
    text = f"[Service]\n{setting}\n"
    # On a kernel that cannot refuse written code itself, so that there is a filter.
    reading = Reading(systemd=release, kernel=(6, 1))
    policy, _ = load_policy(systemd.read(text, "a.service", reading, TABLES).document(), TABLES)
    abi = ABIS["x86_64"]
    codes = [
        Code(decode(path.read_bytes(), abi), abi.byte_order) for path in tmp_path.glob("*.bpf")
    ]
    assert codes
    found = prove(meaning(policy, abi, TABLES), Stack(Operation.INTERSECT, tuple(codes)))
    assert isinstance(found, Proof), found


def test_groups_of_the_installed_release_are_those_of_our_table() -> None:
    words = ["systemd-analyze", "syscall-filter", "--no-pager"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    release = int(re.search(r"shared-(\d+)", LIBRARIES[-1].name)[1])  # type: ignore[index]  # the glob
    groups = systemd_groups(release)
    named = set(re.findall(r"^@([a-z-]+)", text, re.M))
    assert named == set(groups)
    listed = re.findall(r"^    ([a-z0-9_]+)$", text, re.M)
    assert set(listed) >= set(itertools.chain(*groups.values()))
