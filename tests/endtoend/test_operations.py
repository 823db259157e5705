"""Every operation at the edges of 32 and 64 bits, judged by the running kernel."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from seccompgen.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

# Of the six arguments of a call that takes none, the kernel looks at nothing but the filter does.
NR_GETPPID = kernel.NR_GETPPID
NO_ARGUMENTS = {
    "getppid": NR_GETPPID,
    "getpgrp": 111,
    "getuid": 102,
    "geteuid": 107,
    "getgid": 104,
    "getegid": 108,
    "gettid": 186,
    "sched_yield": 24,
}
HEAD = "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n"
NR_SOCKET = 41
MARK = 321
IGNORED = "  # lint: ignore[no-such-argument]: the call does nothing with what it is given\n"

EDGES = sorted(
    {
        (base + near) % 2**64
        for base in (0, 2**31, 2**32, 2**33, 2**63, 0x12345678_9ABCDEF0, 0x9ABCDEF0)
        for near in (-1, 0, 1)
    }
)

VALUES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63, 0x12345678_9ABCDEF0, 2**64 - 1]

MEANING: dict[str, Callable[[int, int], bool]] = {
    "Equal": lambda arg, value: arg == value,
    "NotEqual": lambda arg, value: arg != value,
    "GreaterThan": lambda arg, value: arg > value,
    "LessThan": lambda arg, value: arg < value,
    "GreaterOrEqual": lambda arg, value: arg >= value,
    "LessOrEqual": lambda arg, value: arg <= value,
    "BitsSet": lambda arg, value: arg & value != 0,
    "BitsNotSet": lambda arg, value: arg & value == 0,
}


def ask(module: Any, calls: list[list[int]]) -> list[bool]:
    """Return for each list of arguments of getppid whether the rule matched."""
    return ask_of(module, [(NR_GETPPID, args) for args in calls])


def ask_of(module: Any, calls: list[tuple[int, list[int]]]) -> list[bool]:
    """Return for each number and its arguments whether a rule matched."""

    def child() -> object:
        module.install()
        return [kernel.syscall(nr, *args)[1] == MARK for nr, args in calls]

    answers = kernel.run(child).value
    assert isinstance(answers, list)
    return answers


def policy(*tests: dict[str, object], call: str = "getppid") -> str:
    arguments = "".join(
        "    - {" + ", ".join(f"{key}: {value}" for key, value in test.items()) + "}\n"
        for test in tests
    )
    return (
        f"{HEAD}- action: errno({MARK})\n  names_with_args:\n"
        f"{IGNORED}  - name: {call}\n    arguments:\n" + arguments
    )


@pytest.mark.parametrize(
    ("width", "argument"),
    [
        (32, 0),
        (64, 5),
        *[
            pytest.param(*which, marks=pytest.mark.long("the same operations at the other offsets"))
            for which in ((32, 5), (64, 0))
        ],
    ],
)
@pytest.mark.parametrize("operation", MEANING)
def test_operations(
    generate: Callable[[str], Any], operation: str, width: int, argument: int
) -> None:
    """Each value has a call of its own, so that one policy tries them all."""
    meaning = MEANING[operation]
    values = sorted({value % (1 << width) for value in VALUES})
    rules = dict(zip(NO_ARGUMENTS, values, strict=False))
    assert len(rules) == len(values)
    test = {"argument": argument, "operation": operation, "width": width}
    true = {
        name: value
        for name, value in rules.items()
        if any(meaning(arg, value) for arg in (0, value, (1 << width) - 1))
    }
    for name in rules.keys() - true.keys():
        with pytest.raises(InputError, match="never true"):
            generate(policy({**test, "value": rules[name]}, call=name))
    texts = [policy({**test, "value": value}, call=name) for name, value in true.items()]
    module = generate(texts[0] + "".join(text.removeprefix(HEAD) for text in texts[1:]))
    calls = [[0] * argument + [arg] + [0] * (5 - argument) for arg in EDGES]
    asked = [(NO_ARGUMENTS[name], call) for name in true for call in calls]
    expected = [meaning(arg % (1 << width), value) for value in true.values() for arg in EDGES]
    assert ask_of(module, asked) == expected


@pytest.mark.few(1, "tries each case in the kernel")
@pytest.mark.parametrize("mask", [0xFF, 0xFF00000000, 0x80000000_00000001, 2**64 - 1, 2**32])
def test_masked_equal(generate: Callable[[str], Any], mask: int) -> None:
    for value in (0, mask, mask & -mask):
        text = policy({"argument": 2, "operation": "MaskedEqual", "mask": mask, "value": value})
        module = generate(text)
        expected = [arg & mask == value for arg in EDGES]
        assert ask(module, [[0, 0, arg, 0, 0, 0] for arg in EDGES]) == expected


def test_arguments_are_anded_and_repeated_names_ored(generate: Callable[[str], Any]) -> None:
    text = policy(
        {"argument": 0, "operation": "Equal", "value": 1},
        {"argument": 1, "operation": "Equal", "value": 2},
    )
    text += (
        IGNORED
        + "  - name: getppid\n    arguments:\n    - {argument: 3, operation: BitsSet, value: 6}\n"
    )
    calls = [[a, b, 0, c] for a in (0, 1) for b in (1, 2) for c in (0, 1, 2, 4)]
    expected = [(a == 1 and b == 2) or c & 6 != 0 for a, b, _, c in calls]
    assert ask(generate(text), calls) == expected


def test_the_first_match_wins(generate: Callable[[str], Any]) -> None:
    text = (
        "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n"
        f"- action: allow\n  names_with_args:\n{IGNORED}  - name: getppid\n    arguments:\n"
        "    - {argument: 0, operation: LessThan, value: 10}\n"
        f"- {{action: errno({MARK}), names: [getppid]}}\n"
    )
    assert ask(generate(text), [[9], [10], [2**32]]) == [False, True, True]


WHEN: dict[str, Callable[[int], bool]] = {
    "arg1 in {1, 0x80000000} or arg1 == -1": lambda arg: arg in {1, 2**31, 2**64 - 1},
    "not (arg1 & 1 or 3 <= arg1 < 0x80000001)": lambda arg: not (arg & 1 or 3 <= arg < 2**31 + 1),
    "i32(arg1) < -1": lambda arg: 2**31 <= arg % 2**32 < 2**32 - 1,
    "u32(arg1) & ~3 >= 0x80000000": lambda arg: arg % 2**32 & ~3 >= 2**31,
    "arg1 & 0xffff0000 not in range(1, 0x20000)": lambda arg: arg & 0xFFFF0000 not in {0x10000},
}


@pytest.mark.few(2, "tries each case in the kernel")
@pytest.mark.parametrize("when", WHEN)
def test_expressions(generate: Callable[[str], Any], when: str) -> None:
    """getppid has no arguments, so all of what a caller passes counts."""
    text = (
        "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n"
        f"- action: errno({MARK})\n{IGNORED}  names: [getppid]\n  when: {when}\n"
    )
    edges = [*EDGES, 2, 3, 4, 0x10000, 0x20000]
    assert ask(generate(text), [[0, arg] for arg in edges]) == [WHEN[when](arg) for arg in edges]


def test_what_the_kernel_does_not_read_does_not_count(generate: Callable[[str], Any]) -> None:
    text = (
        "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n"
        f"- action: errno({MARK})\n  names: [socket]\n  when: family == AF_UNIX\n"
    )
    module = generate(text)
    high, stream = 1 << 32, 1

    def child() -> object:
        module.install()
        families = [1, high | 1, high | 0x7FFF, 0x7FFF]
        return [kernel.syscall(NR_SOCKET, family, stream)[1] for family in families]

    assert kernel.run(child).value == [MARK, MARK, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT]
