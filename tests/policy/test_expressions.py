"""Conditions as they are written: what is understood, and what is said where it is not."""

from __future__ import annotations

import pytest
from seccompgen.core.errors import Position
from seccompgen.policy.expressions import (
    MOST_CHARACTERS,
    ArgumentTest,
    ExpressionError,
    parse_condition,
    parse_value,
)

EXAMPLE = "write a comparison, such as flags & O_CREAT or arg1 == 3"


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("arg0 == 1", "arg0 == 1"),
        ("1 == arg0", "arg0 == 1"),
        ("5 > arg0", "arg0 < 5"),
        ("2 <= arg0 < 5", "arg0 >= 2 and arg0 < 5"),
        ("flags", "flags != 0"),
        ("not flags", "not (flags != 0)"),
        ("flags & O_CREAT", "flags & O_CREAT != 0"),
        ("O_CREAT & flags", "flags & O_CREAT != 0"),
        ("flags & O_ACCMODE == O_RDONLY", "flags & O_ACCMODE == O_RDONLY"),
        ("flags & O_ACCMODE != O_RDONLY", "flags & O_ACCMODE != O_RDONLY"),
        ("flags & (A | B) < 3", "flags & (A | B) < 3"),
        ("flags & 7 & 3 == 1", "flags & (7 & 3) == 1"),
        ("~A == arg1", "arg1 == ~A"),
        ("u32(arg0) == 1", "u32(arg0) == 1"),
        ("u64(arg0) & 1", "u64(arg0) & 1 != 0"),
        ("i32(fd) < -1", "i32(fd) < -1"),
        ("family in {AF_UNIX, 2}", "family == AF_UNIX or family == 2"),
        ("family not in (1,)", "not (family == 1)"),
        ("arg1 in range(1, 5)", "arg1 >= 1 and arg1 < 5"),
        ("i32(arg1) in range(5)", "i32(arg1) >= 0 and i32(arg1) < 5"),
        ("arg0 == 1 and (arg1 == 2 or arg2 == 3)", "arg0 == 1 and (arg1 == 2 or arg2 == 3)"),
        ("arg0 == 1 << 12 | 0x10", "arg0 == (1 << 0xc) | 0x10"),
        ("  arg0\n == -0x64 ", "arg0 == -0x64"),
    ],
)
def test_what_is_understood(text: str, understood: str) -> None:
    condition = parse_condition(text)
    assert str(condition) == understood
    assert str(parse_condition(understood)) == understood or " and " in understood


FAULTS = {
    "arg0 && arg1": [("write 'and' for '&&'", 5)],
    "arg0 || !arg1": [("write 'or' for '||'", 5), ("write 'not' for '!'", 8)],
    "arg0 = 1": [("write '==' to compare", 5)],
    "arg0 == 'x'": [("names stand without quotes", 8), ("names stand without quotes", 10)],
    "arg0 == 1 # only": [("a comment cannot stand in an expression", 10)],
    "arg0 == 1 \\": [("an expression goes on in the next line without '\\'", 10)],
    "\uff41rg0 == 1": [("only ASCII characters can stand in an expression", 0)],
    "arg0 == 0755": [("0755 may be octal: write 0o755 or 755", 8)],
    "": [(f"an empty expression; {EXAMPLE}", 0)],
    "arg0 == ": [(f"not understood: invalid syntax; {EXAMPLE}", 7)],
    "1) or (arg0 == 2": [("')' closes nothing", 1)],
    "arg0 == arg1": [("compares two arguments, which no filter can: compare with a value", 0)],
    "1 == 2 and True": [
        (f"no argument is compared here; {EXAMPLE}", 0),
        (f"a condition that is always True; {EXAMPLE}", 11),
    ],
    "O_CREAT": [(f"no argument is compared here; {EXAMPLE}", 0)],
    "arg0 + 1 == 2 or arg1 | 2": [
        ("only & can be done to an argument, as in flags & O_CREAT", 0),
        ("only & can be done to an argument, as in flags & O_CREAT", 17),
    ],
    "-arg0 == 2": [("an argument stands alone: put what is computed beside the value", 0)],
    "int32(arg0) < 2": [("unknown function 'int32' (did you mean 'i32'?)", 0)],
    "abs(arg0) < 2": [("unknown function 'abs'; known: u32, u64, i32, range", 0)],
    "u32(5) == arg0": [("compares two arguments, which no filter can: compare with a value", 0)],
    "u32(5)": [("u32() takes an argument: u32(arg0)", 0)],
    "arg0 in AF_UNIX": [("write the values as in {AF_UNIX, AF_INET}, or range(first, end)", 8)],
    "arg0 in {}": [("write the values as in {AF_UNIX, AF_INET}, or range(first, end)", 8)],
    "arg0 in range(1, 9, 2)": [
        ("write the values as in {AF_UNIX, AF_INET}, or range(first, end)", 8)
    ],
    "1 in {arg0}": [(f"no argument is compared here; {EXAMPLE}", 0)],
    "arg0 is 1": [("write == or != here", 8)],
    "i32(arg0) & 3": [("a mask looks at bits, which have no sign: leave out i32()", 0)],
    "arg0 & arg1": [("a mask is a value: an argument cannot stand on both sides of &", 0)],
    "path[0] == 1": [("no filter can see what an argument points to", 0)],
    "arg0 == 1.5": [
        ("not a value: write a number, a constant, or these with | & ^ ~ + - << >>", 8)
    ],
    "arg0 == 2 ** 9": [
        ("not a value: write a number, a constant, or these with | & ^ ~ + - << >>", 8)
    ],
    "arg0 == 0x10000000000000000": [("a number of more than 64 bits", 8)],
    "arg0 == " + "9" * 4301: [("a number of more than 64 bits", 8)],
    "arg0 == 1 or arg1 < " + "9_" * 4000 + "9": [("a number of more than 64 bits", 20)],
    "arg0 == (lambda: 1)": [
        ("not a value: write a number, a constant, or these with | & ^ ~ + - << >>", 9)
    ],
}


@pytest.mark.parametrize("text", FAULTS)
def test_every_fault_has_its_place(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(text)
    assert list(caught.value.faults) == FAULTS[text]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "arg0" + ")" * 5000,
        "(" * 101 + "arg0" + ")" * 101,
        "not " * 1500 + "arg0",
        "~" * 3000 + "1 == arg0",
        "arg0 == " + "1|" * 3000 + "1",
        "arg0 == 1 " + "or arg0 == 1 " * 1000,
        "arg0.a" + ".b" * 3000,
        "x if y else " * 600 + "z",
    ],
)
def test_nothing_deep_or_long_takes_long(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(text)
    assert caught.value.faults


def test_a_long_flat_expression_is_fine() -> None:
    values = ", ".join(map(str, range(1000)))
    assert len(values) < MOST_CHARACTERS
    assert str(parse_condition(f"arg0 in {{{values}}}")).count(" or ") == 999


def test_a_power_or_a_wide_shift_is_never_computed() -> None:
    # That would take all memory; it is looked at when the value is, and refused.
    assert str(parse_value("1 << 1000000000")) == "1 << 0x3b9aca00"


def test_warnings_of_pythons_parser_go_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExpressionError):
        parse_condition("arg0 == 0x1for 2")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "understood"),
    [("O_RDONLY|O_CLOEXEC", "O_RDONLY | O_CLOEXEC"), ("~3", "~3"), ("-1", "-1"), ("0x1F", "0x1f")],
)
def test_values(text: str, understood: str) -> None:
    assert str(parse_value(text)) == understood


@pytest.mark.parametrize("text", ["arg0", "o_rdonly", "A == B", "", "1,2", "f(1)", "A and B"])
def test_no_values(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_value(text)


def test_positions_are_those_of_the_text() -> None:
    def place(index: int) -> Position:
        return Position("f", 1, index + 1)

    test = parse_condition("  flags == A", place)
    assert isinstance(test, ArgumentTest)
    assert (str(test.at), str(test.value_at)) == ("f:1:3", "f:1:12")
