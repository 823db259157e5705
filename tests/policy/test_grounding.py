"""Names become numbers by ABI, the numbers become rules, and what does not fit is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from grounding import entry, group, load, problems
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import Rule


def numbers(rules: tuple[Rule, ...]) -> list[str]:
    """Return the rules as text, with the ABIs of those that are not for all."""
    return [
        f"{rule.name}: {rule.condition}"
        + (f" on {', '.join(sorted(rule.abis))}" if rule.abis else "")
        for rule in rules
    ]


@pytest.mark.parametrize(
    ("when", "name", "expected"),
    [
        ("fd == ONE", "read", ["u32(arg0) == 1"]),
        ("fd == HERE", "read", ["u32(arg0) == 0xffffff9c"]),
        ("fd != -1", "read", ["u32(arg0) != 0xffffffff"]),
        ("buf == -1", "read", ["arg1 == 0xffffffffffffffff on arm, s390x, x86_64",
                               "u32(arg1) == 0xffffffff on i386"]),
        ("mode == 5", "fchmod", ["u32(arg1) & 0xffff == 5"]),
        ("mode < 5", "fchmod", ["u32(arg1) & 0xffff < 5"]),
        ("mode & 6", "fchmod", ["u32(arg1) & 6 != 0"]),
        ("mode & 6 != 2", "fchmod", ["u32(arg1) & 0x6 != 2"]),
        ("user == -1", "fchown", ["u32(arg1) & 0xff == 0xff"]),
        ("group == 7", "fchown", ["arg2 == 7"]),
        ("u32(group) == 7", "fchown", ["u32(arg2) == 7"]),
        ("u64(user) == 7", "fchown", ["arg1 == 7"]),
        ("arg5 == 7", "getpid", ["arg5 == 7"]),
        ("flags & BITS", "clone", ["u32(arg0) & 0x12 != 0 on arm, i386, x86_64",
                                   "u32(arg1) & 0x21 != 0 on s390x"]),
        ("not flags & BITS == BITS", "clone", ["u32(arg0) & 0x12 != 0x12 on arm, i386, x86_64",
                                               "u32(arg1) & 0x21 != 0x21 on s390x"]),
        ("fd == ONE << 4 | ONE", "read", ["u32(arg0) == 0x11"]),
        ("fd in {1, 2}", "read", ["u32(arg0) == 1", "u32(arg0) == 2"]),
        ("not fd in {1, 2}", "read", ["u32(arg0) != 1 and u32(arg0) != 2"]),
        ("i32(fd) < 0", "read", ["u32(arg0) >= 0x80000000"]),
        ("i32(fd) < 2", "read", ["u32(arg0) >= 0x80000000", "u32(arg0) <= 1"]),
        ("i32(fd) >= -2", "read", ["u32(arg0) >= 0xfffffffe", "u32(arg0) <= 0x7fffffff"]),
        ("i32(fd) == -2", "read", ["u32(arg0) == 0xfffffffe"]),
        ("i32(fd) < 0x80000000", "read", ["None"]),
        ("fd >= 0", "read", ["None"]),
        ("fd < 0x100000000", "read", ["None"]),
        ("not fd <= 5", "read", ["u32(arg0) > 5"]),
        ("not fd >= 5", "read", ["u32(arg0) < 5"]),
        ("not fd > 5", "read", ["u32(arg0) <= 5"]),
        ("not fd < 5", "read", ["u32(arg0) >= 5"]),
        ("fd & 3 >= 2", "read", ["u32(arg0) & 0x3 >= 2"]),
        ("count & 3 >= 2", "read", ["u32(arg2) & 0x3 >= 2"]),
        ("not (fd == 1 or fd == 2 and count)", "read",
         ["u32(arg0) != 1 and u32(arg0) != 2", "u32(arg0) != 1 and arg2 == 0"]),
    ],
)  # fmt: skip
def test_conditions_become_numbers(
    tmp_path: Path, when: str, name: str, expected: list[str]
) -> None:
    rules, _ = load(tmp_path, group(when, name))
    assert numbers(rules) == [f"{name}: {one}" for one in expected]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ({"argument": "fd", "operation": "Equal", "value": "ONE|2"}, "u32(arg0) == 3"),
        ({"argument": "arg2", "operation": "Equal", "value": -1, "width": 32},
         "u32(arg2) == 0xffffffff"),
        ({"argument": 0, "operation": "Equal", "value": 1, "width": 64}, "arg0 == 1"),
        ({"argument": "fd", "operation": "MaskedEqual", "mask": "~3", "value": "ONE<<4"},
         "u32(arg0) & 0xfffffffc == 0x10"),
        ({"argument": "fd", "operation": "BitsSet", "value": "BITS & 2 | 1"}, None),
    ],
)  # fmt: skip
def test_the_long_form_takes_names(
    tmp_path: Path, argument: dict[str, Any], expected: str | None
) -> None:
    rules, _ = load(tmp_path, entry("read", **argument))
    if expected:
        assert numbers(rules) == [f"read: {expected}"]
    else:  # 0x12 & 2 | 1, and 0x21 & 2 | 1
        assert {str(rule.condition) for rule in rules} == {
            "u32(arg0) & 3 != 0", "u32(arg0) & 1 != 0",
        }  # fmt: skip


def test_a_group_with_arguments_and_when_means_both(tmp_path: Path) -> None:
    one = {"name": "read", "when": "count == 2", "arguments": [{"operation": "Equal", "value": 3}]}
    both = {"action": "allow", "when": "fd < 5", "names_with_args": [one]}
    rules, _ = load(tmp_path, both)
    expected = "u32(arg0) < 5 and arg2 == 2 and u32(arg0) == 3"
    assert numbers(rules) == [f"read: {expected}"]


ERRORS = {
    "unknown constant": (
        group("fd == LACKIGN or fd == FD", "read"),
        [
            (Problem.UNKNOWN_CONSTANT, "unknown constant 'LACKIGN' (did you mean 'LACKING'?)"),
            (Problem.UNKNOWN_CONSTANT, "unknown constant 'FD'"),
        ],
    ),
    "a constant without a value": (
        group("fd == SIZED", "read"),
        [
            (
                Problem.UNKNOWN_CONSTANT,
                "SIZED has no value that is known: its type is not public; write the number",
            )
        ],
    ),
    "a constant that some lack": (
        group("fd == LACKING", "read"),
        [
            (
                Problem.CONSTANT_MISSING,
                "LACKING has no value on i386, arm: limit the group with 'arches', or say "
                "'optional: true' to skip these",
            )
        ],
    ),
    "unknown argument": (
        group("fdd == 1", "read"),
        [
            (
                Problem.UNKNOWN_ARGUMENT,
                "'read' has no argument 'fdd' (did you mean 'fd'?); it has fd, buf, count",
            )
        ],
    ),
    "a constant in small letters": (
        group("one == 1", "read"),
        [(Problem.UNKNOWN_ARGUMENT, "'read' has no argument 'one'; the constant is ONE")],
    ),
    "an argument that some lack": (
        group("count == 1", "mmap"),
        [
            (
                Problem.ARGUMENT_MISSING,
                "'mmap' has no argument 'count' on s390x, i386, where it takes arg: limit the "
                "group with 'arches', or say 'optional: true' to skip these",
            )
        ],
    ),
    "a call of several that lacks it": (
        group("count == 1", "read", "fchmod"),
        [
            (
                Problem.UNKNOWN_ARGUMENT,
                "'fchmod' has no argument 'count'; it has fd, mode",
            )
        ],
    ),
    "no prototype": (
        group("pid == 1", "kill"),
        [
            (
                Problem.UNKNOWN_ARGUMENT,
                "the arguments of 'kill' have no known names: write arg0 to arg5",
            )
        ],
    ),
    "an order without a sign": (
        group("fd < -1 and fd >= HERE", "read"),
        [
            (
                Problem.NEGATIVE_ORDER,
                f"{one}: an argument counts as unsigned, so it is never below 0; write i32() "
                "around it",
            )
            for one in ("fd < -1", "fd >= HERE")
        ],
    ),
    "a value of many bits": (
        group("fd == ONE << 63 << 63 or fd == 1 << 64", "read"),
        [
            (Problem.WRONG_VALUE, "(ONE << 0x3f) << 0x3f takes more than 64 bits"),
            (Problem.WRONG_VALUE, "1 << 0x40 takes more than 64 bits"),
        ],
    ),
    "what the type cannot hold": (
        group("fd == WIDE", "read"),
        [
            (
                Problem.DEAD_RULE,
                "this rule for 'read' can never match: fd == WIDE: the kernel reads 32 bits of "
                "this argument of 'read', which the value does not fit into",
            )
        ],
    ),
    "many alternatives": (
        group(" and ".join(f"arg{i} in {{1, 2, 3, 4, 5}}" for i in range(6)), "kill"),
        [
            (
                Problem.LARGE_CONDITION,
                "this condition has too many alternatives: split it into several groups",
            )
        ],
    ),
    "a number on several ABIs": (
        {"action": "allow", "names": [500, -1]},
        [
            (
                Problem.NUMBER_WITHOUT_ARCHES,
                "500 is another call on each ABI: name those that are meant, with 'arches' in "
                "this group",
            )
        ],
    ),
    "a number of another ABI": (
        {"action": "allow", "arches": ["x86_64"], "names": [0x40000001]},
        [
            (
                Problem.FOREIGN_NUMBER,
                "1073741825 is no number of x86_64, but of another ABI beside it",
            )
        ],
    ),
    "a condition that socketcall does not see": (
        group("family == ONE", "socket"),
        [
            (
                Problem.MULTIPLEXED_UNSAID,
                "'socket' can also be made through socketcall on s390x, i386, where no filter "
                "sees its arguments: write 'multiplexed: errno(EPERM)' at the top, or another "
                "action; or, if these are all it is for, 'arches: [x86_64]'",
            )
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_told(tmp_path: Path, case: str) -> None:
    wrong, expected = ERRORS[case]
    assert problems(tmp_path, wrong) == expected


def test_what_is_odd_is_a_note_of_its_kind(tmp_path: Path) -> None:
    odd = [
        (group("fd != WIDE", "read"), Problem.VALUE_TOO_WIDE),
        (group("fd & 3 == 4", "read"), Problem.MASK_NEVER_MATCHES),
        (group("arg3 == 1", "read"), Problem.NO_SUCH_ARGUMENT),
        (group("fd == LACKING", "read", optional=True), Problem.CONSTANT_SKIPPED),
        (group("count == 1", "mmap", optional=True), Problem.ARGUMENT_SKIPPED),
        ({"action": "allow", "arches": ["ppc"], "names": ["read"]}, Problem.GROUP_SKIPPED),
    ]
    for one, kind in odd:
        _, notes = load(tmp_path, one)
        assert [note.kind for note in notes] == [kind], one


def test_an_optional_rule_is_for_the_abis_that_have_its_names(tmp_path: Path) -> None:
    rules, _ = load(tmp_path, group("fd == LACKING", "read", optional=True))
    assert numbers(rules) == ["read: u32(arg0) == 3 on s390x, x86_64"]


def test_a_group_for_some_abis(tmp_path: Path) -> None:
    plain = {"action": "allow", "arches": ["amd64", "s390x"], "names": ["read"]}
    rules, notes = load(tmp_path, plain, {"action": "log", "names": ["read"]})
    assert numbers(rules) == ["read: None on s390x, x86_64", "read: None"]
    assert not notes
    (found,) = problems(tmp_path, plain | {"arches": ["x86_46"]})
    assert found == (Problem.UNKNOWN_ABI, "unknown architecture 'x86_46' (did you mean 'x86_64'?)")


def test_numbers_are_calls(tmp_path: Path) -> None:
    some = {"action": "allow", "arches": ["x86_64"], "names": [500, 0xFFFFFFFF, -1, 0]}
    rules, _ = load(tmp_path, some)
    assert [(rule.name, rule.abis) for rule in rules] == [
        (name, frozenset({"x86_64"})) for name in ("500", "4294967295", "-1", "0")
    ]
    rules, _ = load(tmp_path, {"action": "allow", "names": [-1]})
    assert numbers(rules) == ["-1: None"]


def test_one_answer_for_all_calls_must_be_said(tmp_path: Path) -> None:
    rules, notes = load(tmp_path)
    assert (rules, notes) == ((), [])


def test_what_socketcall_lets_in_is_said_at_the_place_of_the_call(tmp_path: Path) -> None:
    socket = {"action": "allow", "names": ["socket", "semop"]}
    through = "on i386, s390x"
    expected = [
        "socket: None", "semop: None",
        f"socketcall: u32(arg0) == 1 {through}", f"ipc: u32(arg0) & 0xffff == 1 {through}",
    ]  # fmt: skip
    rules, _ = load(tmp_path, socket)
    # i386 and arm have no semop of their own; on i386 it goes through ipc all the same.
    assert numbers(rules)[2:] == expected[2:]
    said = group("family == ONE", "socket", multiplexed="errno(EACCES)")
    rules, _ = load(tmp_path, said)
    assert numbers(rules) == ["socket: u32(arg0) == 1", f"socketcall: u32(arg0) == 1 {through}"]
    assert [str(rule.action) for rule in rules] == ["allow", "errno(EACCES)"]
    rules, _ = load(tmp_path, group("family == ONE", "socket"), multiplexed="log")
    assert [str(rule.action) for rule in rules] == ["allow", "log"]
    own = {"action": "trap", "names": ["socketcall"], "optional": True}
    for order in ((own, group("family == ONE", "socket")), (group("family == ONE", "socket"), own)):
        rules, notes = load(tmp_path, *order)
        assert len(rules) == 2
        assert not notes
    part = {**own, "names": [], "names_with_args": [
        {"name": "socketcall", "when": "arg0 in range(2, 21)"},
    ]}  # fmt: skip
    (found,) = problems(tmp_path, group("family == ONE", "socket"), part)
    assert found[0] is Problem.MULTIPLEXED_UNSAID
