"""The oracle itself, on cases worked out by hand, and its facts against upstream's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from oracle import ABIS, action_value, argument_test, decide, errnos_of, expression_test
from upstream import NEW, REAL, each_tree

INCLUDE, KERNEL = Path("/usr/include"), REAL / NEW
# The distribution's headers (Debian's package linux-libc-dev), and the kernel's where they are.
SOURCES = ["distribution"] + (["kernel"] if KERNEL.is_dir() else [])
of_each_source = pytest.mark.parametrize("source", SOURCES)
TRIPLETS = {"alpha": "alpha", "mips": "mips", "parisc": "hppa", "powerpc": "powerpc"}

ALLOW, KILL, NOSYS, PERM = 0x7FFF0000, 0x80000000, 0x00050026, 0x00050001
X86_64, I386 = 0xC000003E, 0x40000003
TABLES = {
    "x86_64": {"read": 0, "socket": 41},
    "x32": {"read": 0x40000000, "socket": 0x40000029},
    "i386": {"read": 3, "socket": 359, "socketcall": 102},
    "mips": {"read": 4003, "last": 4470},
    "mips64": {"read": 5000, "last": 5470},
    "mips64n32": {"read": 6000, "last": 6470},
    "alpha": {"umount": 22, "getpid": 20, "getxpid": 20},
}
POLICY: dict[str, Any] = {
    "default_action": "errno",
    "unknown_action": "errno(ENOSYS)",
    "syscalls": [{"action": "allow", "names": ["read"]}],
}
NOTHING = (0,) * 6


def compat(*abis: str) -> dict[str, Any]:
    return POLICY | {"compat_arches": list(abis)}


@pytest.mark.parametrize(
    ("compat_arches", "abi", "arch", "nr", "expected"),
    [
        ([], "x86_64", X86_64, 0, ALLOW),
        ([], "x86_64", X86_64, 41, PERM),
        ([], "x86_64", X86_64, 3, NOSYS),
        ([], "x86_64", X86_64, 0x40000000, KILL),
        ([], "x86_64", X86_64, 0x3FFFFFFF, NOSYS),
        ([], "x86_64", X86_64, 0x80000000, NOSYS),
        ([], "x86_64", X86_64, 0xBFFFFFFF, NOSYS),
        ([], "x86_64", X86_64, 0xC0000000, KILL),
        ([], "x86_64", X86_64, 0xFFFFFFFE, KILL),
        ([], "x86_64", X86_64, 0xFFFFFFFF, NOSYS),
        ([], "x86_64", I386, 3, KILL),
        (["x32"], "x86_64", X86_64, 0x40000000, ALLOW),
        (["x32"], "x86_64", X86_64, 0x40000029, PERM),
        (["x32"], "x86_64", X86_64, 0x40000001, NOSYS),
        (["x32"], "x86_64", X86_64, 0xFFFFFFFE, NOSYS),
        (["x32"], "x86_64", X86_64, 0xFFFFFFFF, NOSYS),
        (["i386"], "x86_64", I386, 3, ALLOW),
        (["i386"], "x86_64", I386, 102, PERM),
        (["i386"], "x86_64", I386, 0x40000003, NOSYS),
        (["i386"], "x86_64", X86_64, 3, NOSYS),
        ([], "x32", X86_64, 0x40000000, ALLOW),
        ([], "x32", X86_64, 0, KILL),
        ([], "x32", X86_64, 0x80000000, KILL),
        ([], "x32", X86_64, 0xFFFFFFFF, NOSYS),
        (["x86_64"], "x32", X86_64, 0, ALLOW),
        (["x86_64"], "i386", X86_64, 0, ALLOW),
        ([], "i386", X86_64, 0xFFFFFFFF, KILL),
        ([], "i386", I386, 0xFFFFFFFF, NOSYS),
        (["x86_64"], "mips", 0x8, 4003, ALLOW),
        (["x86_64"], "mips", X86_64, 0, KILL),
        (["mips"], "mips64", 0x80000008, 5000, ALLOW),
        (["mips"], "mips64", 0x80000008, 5471, NOSYS),
        (["mips"], "mips64", 0x80000008, 3999, NOSYS),
        (["mips"], "mips64", 0x80000008, 4000, KILL),
        (["mips"], "mips64", 0x80000008, 4003, KILL),
        (["mips"], "mips64", 0x80000008, 4470, KILL),
        (["mips"], "mips64", 0x80000008, 4471, NOSYS),
        (["mips"], "mips64", 0x80000008, 6000, KILL),
        (["mips"], "mips64", 0x8, 4003, ALLOW),
        (["mips"], "mips64", 0x8, 5000, KILL),
        (["mips"], "mips64", 0x8, 4000, NOSYS),
        (["mips"], "mips64", 0xA0000008, 6000, KILL),
        ([], "alpha", 0xC0009026, 20, PERM),
    ],
)
def test_who_answers(compat_arches: list[str], abi: str, arch: int, nr: int, expected: int) -> None:
    if expected == NOSYS and abi in {"mips64", "alpha"}:
        expected = 0x00050059
    assert decide(compat(*compat_arches), TABLES, abi, arch, nr, NOTHING) == expected


def test_the_first_rule_that_matches_decides() -> None:
    policy = {
        "default_action": "kill_thread",
        "syscalls": [
            {
                "action": "trap(1)",
                "names_with_args": [
                    {
                        "name": "read",
                        "arguments": [
                            {"argument": 1, "operation": "greaterthan", "value": 5},
                            {"argument": 2, "operation": "LESSTHAN", "value": 5},
                        ],
                    },
                    {"name": "read", "arguments": [{"operation": "Equal", "value": 9}]},
                ],
            },
            {"action": "log", "names": ["read"], "when": "arg5 in {1, 2} or i32(arg4) == -1"},
            {"action": "errno(0x10)", "names": ["read"]},
        ],
    }
    expected = {
        (0, 6, 4, 0, 0, 0): 0x00030001,
        (0, 6, 5, 0, 0, 0): 0x00050010,
        (9, 0, 0, 0, 0, 0): 0x00030001,
        (9, 0, 0, 0, 0, 1): 0x00030001,
        (0, 0, 0, 0, 0, 2): 0x7FFC0000,
        (0, 0, 0, 0, 0x1FFFFFFFF, 0): 0x7FFC0000,
        (0, 0, 0, 0, 0, 0): 0x00050010,
    }
    for args, value in expected.items():
        assert decide(policy, TABLES, "x86_64", X86_64, 0, args) == value
    assert decide(policy, TABLES, "x86_64", X86_64, 41, NOTHING) == 0  # named, without a rule
    assert decide(policy, TABLES, "x86_64", X86_64, 42, NOTHING) == 0  # no unknown_action


def test_names_that_share_a_number_share_their_rules() -> None:
    entry = {"name": "getxpid", "arguments": [{"operation": "BitsSet", "value": 1}]}
    policy = {
        "default_action": "kill_thread",
        "syscalls": [
            {"action": "log", "names_with_args": [entry]},
            {"action": "allow", "names": ["getpid"]},
        ],
    }
    for argument, value in ((1, 0x7FFC0000), (2, ALLOW)):
        args = (argument, 0, 0, 0, 0, 0)
        assert decide(policy, TABLES, "alpha", ABIS["alpha"].audit_arch, 20, args) == value


@pytest.mark.parametrize(
    ("entry", "yes", "no"),
    [
        ({"operation": "Equal", "value": 2**32}, [2**32], [0, 2**32 + 1, 2**33]),
        ({"operation": "NotEqual", "value": 2**32}, [0, 2**33], [2**32]),
        ({"operation": "GreaterThan", "value": 2**63}, [2**63 + 1, 2**64 - 1], [2**63, 0]),
        ({"operation": "GreaterOrEqual", "value": 2**63}, [2**63, 2**64 - 1], [2**63 - 1, 0]),
        ({"operation": "LessThan", "value": 2**63}, [2**63 - 1, 0], [2**63, 2**64 - 1]),
        ({"operation": "LessOrEqual", "value": 2**63}, [2**63, 0], [2**63 + 1, 2**64 - 1]),
        ({"operation": "BitsSet", "value": 2**40 + 1}, [1, 2**40, 2**41 - 1], [0, 2, 2**41]),
        ({"operation": "BitsNotSet", "value": 2**40 + 1}, [0, 2, 2**41], [1, 2**40, 2**41 - 1]),
        ({"operation": "MaskedEqual", "mask": 7, "value": 5}, [5, 13, 2**40 + 5], [4, 7, 0]),
        ({"operation": "Equal", "value": 5, "width": 32}, [5, 2**40 + 5], [4]),
        ({"operation": "LessThan", "value": 5, "width": 32}, [4, 2**40], [5, 2**40 + 5]),
        ({"operation": "BitsNotSet", "value": 1, "width": 32}, [0, 2**32], [1, 2**32 + 1]),
        ({"operation": "Equal"}, [0], [1]),
        ({"operation": "Equal", "value": "0x10"}, [16], [0]),
        ({"operation": "Equal", "value": "AF_UNIX"}, [1], [0]),
    ],
)
def test_operations(entry: dict[str, Any], yes: list[int], no: list[int]) -> None:
    test = argument_test(entry, {"AF_UNIX": 1})
    assert all(test([value]) for value in yes)
    assert not any(test([value]) for value in no)
    elsewhere = argument_test(entry | {"argument": 5}, {"AF_UNIX": 1})
    assert all(elsewhere([7, 7, 7, 7, 7, value]) for value in yes)
    assert not any(elsewhere([7, 7, 7, 7, 7, value]) for value in no)


def test_expressions_are_python() -> None:
    test = expression_test("not arg2 & PROT_EXEC and u32(arg0) < 5", {"PROT_EXEC": 4})
    assert test([2**32 + 4, 0, 3])
    assert not test([2**32 + 5, 0, 3])
    assert not test([0, 0, 7])


@pytest.mark.parametrize(
    ("action", "abi", "value"),
    [
        ("kill_process", "x86_64", KILL),
        ("kill_thread", "x86_64", 0),
        ("trap", "x86_64", 0x00030000),
        ("trap(1)", "x86_64", 0x00030001),
        ("errno", "mips", PERM),
        ("errno(13)", "mips", 0x0005000D),
        ("errno(EACCES)", "mips", 0x0005000D),
        ("errno(ENOSYS)", "mips64n32el", 0x00050059),
        ("errno(ENOSYS)", "alpha", 0x0005004E),
        ("errno(ENOSYS)", "parisc64", 0x000500FB),
        ("errno(EDEADLOCK)", "ppc64le", 0x0005003A),
        ("trace(7)", "x86_64", 0x7FF00007),
        ("user_notif", "x86_64", 0x7FC00000),
        ("log", "x86_64", 0x7FFC0000),
        ("allow", "x86_64", ALLOW),
    ],
)
def test_actions(action: str, abi: str, value: int) -> None:
    assert action_value(action, abi) == value


def header_text(source: str, name: str, arch: str = "") -> str:
    if source == "kernel":
        return (KERNEL / (f"arch/{arch}" if arch else "") / "include/uapi" / name).read_text()
    path = INCLUDE / (f"{TRIPLETS[arch]}-linux-gnu" if arch else "") / name
    if not path.is_file():
        pytest.skip(f"no {path}: package linux-libc-dev")
    return path.read_text()


@of_each_source
def test_actions_are_the_kernels(source: str) -> None:
    header = header_text(source, "linux/seccomp.h")
    found = re.findall(r"#define SECCOMP_RET_(\w+)\s+(0x[0-9a-f]{8})U", header)
    kernel = {name.lower(): int(value, 16) for name, value in found}
    for name in ("kill_process", "kill_thread", "trap", "user_notif", "trace", "log", "allow"):
        assert action_value(name, "x86_64") == kernel[name]
    assert action_value("errno(0)", "x86_64") == kernel["errno"]


@pytest.mark.parametrize("tree", each_tree())
def test_abis_are_those_of_arches_json(tree: Path) -> None:
    arches = json.loads((tree / "arches.json").read_text())
    facts = {entry["abi"]: entry for entry in arches}
    with_filters = {
        name
        for name, entry in facts.items()
        if any(entry["seccomp_filter"][tag] for tag in ("v7.3", "v6.12"))
    }
    assert set(ABIS) == with_filters - {"arm_on_arm64"}
    for name, abi in ABIS.items():
        assert abi.audit_arch == facts[name]["audit_arch_value"]
        assert abi.byte_order == facts[name]["endian"]
        for other in ABIS:  # sharing a kernel goes both ways, but for a ppc program
            if (name, other) == ("ppc", "ppc64le"):  # big-endian: it fits no ppc64le kernel
                continue
            said = [text.split()[0] for text in facts[name]["secondary_abis_same_kernel"]]
            said_there = [text.split()[0] for text in facts[other]["secondary_abis_same_kernel"]]
            assert (other in abi.same_kernel) == (other in said or name in said_there)


def defined_errnos(source: str, *headers: tuple[str, str]) -> dict[str, int]:
    found: dict[str, str] = {}
    for name, arch in headers:
        text = header_text(source, name, arch)
        found |= dict(re.findall(r"#define\s+(E[A-Z0-9]+)\s+([A-Z0-9]+)\s", text))
    numbers = {}
    for name, number in found.items():
        while not number.isdigit():
            number = found[number]  # noqa: PLW2901 - an alias leads on to its number
        numbers[name] = int(number)
    return numbers


@of_each_source
def test_errnos_are_the_headers(source: str) -> None:
    base = ("asm-generic/errno-base.h", "")
    generic = (base, ("asm-generic/errno.h", ""))
    headers = {
        "alpha": (base, ("asm/errno.h", "alpha")),
        "mips": (base, ("asm/errno.h", "mips")),
        "parisc": (base, ("asm/errno.h", "parisc")),
        "ppc": (*generic, ("asm/errno.h", "powerpc")),
    }
    for abi in ABIS:
        kind = next((kind for kind in headers if abi.startswith(kind)), "")
        kernel = defined_errnos(source, *headers.get(kind, generic))
        mine = errnos_of(abi)
        assert mine == {name: kernel[name] for name in mine}, abi
