"""``syscalls`` and ``constants``: calls, groups and constants looked up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside, seccompgen
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.groups import stock_groups
from upstream import each_tree

if TYPE_CHECKING:
    from pathlib import Path

TAG = shipped_tables().tag


def test_syscalls_in_json_for_tools() -> None:
    run = seccompgen("syscalls", "--arch", "SCMP_ARCH_MIPSEL", "--json")
    table = json.loads(run.out)
    assert list(table) == ["abi", "tag", "audit_arch", "syscalls", "since"]
    assert (table["abi"], table["tag"], table["audit_arch"]) == ("mipsel", TAG, 0x40000008)
    assert table["syscalls"]["exit"] == 4001
    one = json.loads(seccompgen("syscalls", "0xf0002", "--arch", "armhf", "--json").out)
    assert [(row["abi"], row["name"], row["nr"]) for row in one] == [("arm", "cacheflush", 0xF0002)]


def test_syscalls_shows_what_a_call_takes() -> None:
    run = seccompgen("syscalls", "openat", "--arch", "x86_64")
    assert run.out.splitlines() == [
        "x86_64              257 openat  since <=2.6.29",
        "",
        "openat on x86_64 (sys_openat):",
        "  arg0  dfd        32 bits signed    int",
        "  arg1  filename   64 bits pointer   const char __user *",
        "  arg2  flags      32 bits signed    int",
        "  arg3  mode       16 bits unsigned  umode_t",
    ]
    everywhere = seccompgen("syscalls", "openat").out
    assert everywhere.count("dfd") == 2  # pointers of 64 and of 32 bits
    assert "\nopenat on i386, " in everywhere
    assert "sys_openat, compat_sys_openat):" in everywhere
    assert (
        "gettid on x86_64 (sys_gettid):\n  no arguments\n"
        in seccompgen("syscalls", "gettid", "--arch", "x86_64").out
    )
    assert seccompgen("syscalls", "create_module").out.count("\n") == len(
        json.loads(seccompgen("syscalls", "create_module", "--json").out)
    )
    partly = seccompgen("syscalls", "readahead").out
    assert "readahead on csky: not implemented, or nobody knows its arguments\n" in partly


def test_syscalls_shows_what_a_call_takes_in_json() -> None:
    (one,) = json.loads(seccompgen("syscalls", "clone", "--arch", "s390x", "--json").out)
    assert one["prototype"]["entry"] == "sys_clone"
    assert one["prototype"]["parameters"][1] == {
        "name": "flags",
        "type": "unsigned long",
        "bits": 32,
        "signed": False,
        "pointer": False,
    }
    (one,) = json.loads(seccompgen("syscalls", "idle", "--arch", "s390x", "--json").out)
    assert one["prototype"] is None


def test_syscalls_lists_groups() -> None:
    assert "\n@swap " in seccompgen("syscalls", "@").out
    listed = json.loads(seccompgen("syscalls", "@", "--json").out)
    assert {"name": "swap", "promise": stock_groups()["swap"].promise} in listed
    everywhere = seccompgen("syscalls", "@swap").out.splitlines()
    assert everywhere[1:] == ["osf_swapon               on 1 of 35 ABIs", "swapoff", "swapon"]
    here = seccompgen("syscalls", "@swap.v1", "--arch", "arm64").out.splitlines()
    assert here == [everywhere[0], "       225 swapoff", "       224 swapon"]
    group = json.loads(seccompgen("syscalls", "@swap", "--arch", "alpha", "--json").out)
    assert group["name"] == "swap"
    assert {"name": "osf_swapon", "when": None, "abis": ["alpha"]} in group["syscalls"]
    # There its arguments are in memory, so that the group permits no such call.
    assert " mmap " not in seccompgen("syscalls", "@memory", "--arch", "s390x").out
    assert " mmap " in seccompgen("syscalls", "@memory", "--arch", "x86_64").out
    assert "(did you mean '@swap'?)" in seccompgen("syscalls", "@swpa").err
    assert seccompgen("syscalls", "@swpa").code == 1


def test_syscalls_says_no_with_exit_code_1() -> None:
    run = seccompgen("syscalls", "opnat")
    assert (run.code, "did you mean 'openat'?" in run.err) == (1, True)
    assert seccompgen("syscalls", "open", "--arch", "pdp11").code == 2
    assert seccompgen("syscalls", "--tables", "/nowhere").code == 2


@pytest.mark.parametrize("tree", each_tree())
def test_every_abi_of_the_facts_is_listed(tree: Path) -> None:
    facts = json.loads((tree / "arches.json").read_text())
    listed = json.loads(inside("syscalls", "--json").out)["abis"]
    ours = {one["abi"]: one for one in listed}
    for fact in facts:
        if fact["abi"] in {"arm_on_arm64", "s390"}:  # a view of arm; gone since v6.19
            continue
        one = ours[fact["abi"]]
        assert one["audit_arch"] == fact["audit_arch_value"]
        assert one["seccomp_filter"] == bool(fact["seccomp_filter"]["v7.3"])


def test_constants_by_name_pattern_and_value() -> None:
    lines = seccompgen("constants", "O_DIRECTORY", "AT_FDCWD").out.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [
        ["O_DIRECTORY", "65536", "0x10000"],
        ["O_DIRECTORY", "16384", "0x4000"],
    ]
    assert "alpha" in lines[3]
    assert lines[-1].split() == ["AT_FDCWD", "-100"]
    users = seccompgen("constants", "CLONE_NEWU*", "--arch", "s390x").out
    assert [line.split()[0] for line in users.splitlines()] == ["CLONE_NEWUSER", "CLONE_NEWUTS"]
    assert "TIOCSTI" in seccompgen("constants", "0x5412", "--arch", "amd64").out
    one = json.loads(seccompgen("constants", "SOCK_STREAM", "--json").out)[0]
    assert (one["values"]["x86_64"], one["values"]["mips"]) == (1, 2)
    run = seccompgen("constants", "TIOCST")
    assert run.code == 1
    assert "did you mean 'TIOCSTI'?" in run.err
    why = seccompgen("constants", "USBDEVFS_BULK32").out
    assert why == "USBDEVFS_BULK32: no value: struct usbdevfs_bulktransfer32 is not known\n"
