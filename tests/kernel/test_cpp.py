"""The preprocessor, directive by directive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen.core.errors import Diagnostic, OutsideError, Position
from seccompgen.kernel.parse.cpp import Source, evaluate, preprocess
from seccompgen.kernel.parse.expressions import Macro

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.kernel.parse.cpp import Included

FILES = {
    "a.h": "#define A 1\n",
    "self.h": "#include <self.h>\n",
    "open.h": "#if 1\n",
}


def include(name: str, position: Position) -> Included:
    if name == "nothing.h":
        return None
    if name == "table.h":
        return (Macro("T", "(BASE + 7)", Position("x.tbl", 3, 1)),)
    if name not in FILES:
        raise OutsideError(Diagnostic(f"no {name}", position))
    return Source(name, FILES[name])


def read(text: str, **predefined: str) -> dict[str, Macro]:
    return preprocess(Source("f.h", text), predefined, include)


def values(text: str, **predefined: str) -> Mapping[str, int]:
    macros = read(text, **predefined)
    return {name: evaluate(macros, name) for name in macros if name not in predefined}


def problems(text: str) -> list[str]:
    with pytest.raises(OutsideError) as caught:
        values(text)
    return [str(item) for item in caught.value.diagnostics]


MOST = (1 << 64) - 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7", 7),
        ("0x10", 16),
        ("0X1fUL", 31),
        ("010", 8),
        ("0", 0),
        ("5ull", 5),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("100 / 7 % 4", 2),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("1 << 2 + 1", 8),
        ("256 >> 4 >> 2", 4),
        ("1 | 6 & 3 ^ 1", 3),
        ("1 == 1 == 1", 1),
        ("3 > 2 > 1", 0),
        ("1 < 2 && 2 <= 2 && 3 >= 4 || 5 != 6", 1),
        ("!0 + !5", 1),
        ("~0 & 0xff", 255),
        ("- - 3", 3),
        ("1 ? 2 : 3", 2),
        ("0 ? 2 : 0 ? 4 : 5", 5),
        ("0 && 1 / 0", 0),
        ("1 || nobody", 1),
        ("0 ? 1 << 99 : 6", 6),
        ("B", 14),
        ("B * 2", 21),  # replaced as text: 7 + 7 * 2
        # The largest of each bound.
        ("0xfffffffffffffffe + 1", MOST),
        ("0 - 0xffffffffffffffff + 0xffffffffffffffff", 0),
        ("01777777777777777777777ULL", MOST),
        ("18446744073709551615", MOST),
        ("1 << 63", 1 << 63),
        # As it stands in the test's condition.
        ("(" * 30 + "1" + ")" * 30, 1),
        ("-1" + "+1" * 2045, 2044),
    ],
)
def test_expressions(expression: str, value: int) -> None:
    macros = read(f"#define A 7\n#define B A + A\n#define X {expression}\n")
    assert evaluate(macros, "X") == value
    assert "YES" in read(
        f"#define A 7\n#define B A + A\n#if ({expression}) == {value}\n#define YES\n#endif\n"
    )


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "(1", "1)", "1 2", "NOBODY", "f(1)", "'a'", '"s"', "1.5", "08", "1 / 0", "1 % 0",
     "1 << 64", "1 << -1", "1 = 2", "@", "1 ? 2", "X", "9" * 5000, "1 && (2", "0 && )",
     "(" * 500 + "1" + ")" * 500, "0xffffffffffffffff * 16", "1,2",
     "0xffffffffffffffff + 1", "0 - 0xffffffffffffffff - 1", "0x1ffffffffffffffff", "1ULLL",
     "0" + "1" * 23, "1" * 21, "(" * 32 + "1" + ")" * 32, "1" + "+1" * 2048,
     "__has_include(<a.h>)"],
)  # fmt: skip
def test_what_is_no_expression(expression: str) -> None:
    assert problems(f"#define A 1\n#define X {expression}\n")[0].startswith(
        "f.h:2:1: X has no value"
    )
    assert problems(f"\n  #if {expression}\n#endif\n")[0].startswith(
        "f.h:2:3: this condition has no"
    )


def test_a_line_and_a_chain_of_headers_have_an_end() -> None:
    assert values("#define A".ljust(9_999) + "1") == {"A": 1}
    assert problems("#define A".ljust(10_000) + "1") == ["f.h:1:1: this line is too long"]

    def chain(last: int) -> dict[str, Macro]:
        def next_one(name: str, _: Position) -> Source:
            number = int(name.removesuffix(".h"))
            text = f"#include <{number + 1}.h>\n" if number < last else "#define A 1\n"
            return Source(name, text)

        return preprocess(Source("f.h", "#include <1.h>\n"), {}, next_one)

    assert "A" in chain(16)
    with pytest.raises(OutsideError, match="without end"):
        chain(17)


def test_macros_that_multiply_end() -> None:
    doubling = "".join(f"#define D{i} D{i + 1} + D{i + 1}\n" for i in range(25)) + "#define D25 1\n"
    assert "expands without end" in problems(doubling)[0]
    chain = "".join(f"#define D{i} D{i + 1}\n" for i in range(2000)) + "#define D2000 1\n"
    assert "expands without end" in problems(chain)[0]
    assert "B is not defined" in problems("#define A B\n#define B A\n")[0]


def test_conditionals() -> None:
    text = """
#ifndef GUARD
#define GUARD 1
#ifdef P
# define X 1
#elif defined(Q) && !defined R
#  define X 2
#elif nonsense if P or Q is defined @
#define X 3
#else
#define X 4
#endif
#if 0
#if whatever @
#define Y 1
#else
#define Y 2
#endif
#bad directive
#elif 1
#define Y 3
#endif
#endif
"""
    assert values(text, P="1") == {"GUARD": 1, "X": 1, "Y": 3}
    assert values(text, P="1", Q="1")["X"] == 1
    assert values(text, Q="1")["X"] == 2
    plain = "#if A == 3\n#define X 1\n#else\n#define X 2\n#endif\n#undef X\n#undef NOBODY\n"
    assert values(plain, A="3") == {}
    assert values("#ifdef A\n#else\n#define X 1\n#endif\n") == {"X": 1}


def test_comments_and_continuations() -> None:
    text = (
        "/* #define NO 1 */ #define A /* one */ 1\n"
        "#define B 2 // two\n"
        "#define C \\\n 1 \\\n + 2\n"
        "#define D /* a comment\n over lines */ 4\n"
        '#define S "/* no comment */"\n'
        "// don't /* begin here\n"
        "#define E 5\r\n"
        "#define F 6"
    )
    macros = read(text)
    assert {name: macro.body for name, macro in macros.items()} == {
        "A": "1",
        "B": "2",
        "C": "1  + 2",
        "D": "4",
        "S": '"/* no comment */"',
        "E": "5",
        "F": "6",
    }
    assert [macro.position.line for macro in macros.values()] == [1, 2, 3, 6, 8, 10, 11]
    assert problems("#define A 1\n/* never closed\n\n") == ["f.h:2:1: this comment is never closed"]
    assert problems("/*/\n") == ["f.h:1:1: this comment is never closed"]


def test_function_like_macros_are_passed_over() -> None:
    assert values("#define F(x) (x)\n#define A (1)\n") == {"A": 1}


def test_includes() -> None:
    text = "#include <nothing.h>\n#define BASE 100\n#include <a.h>\n# include <table.h>\n"
    assert values(text) == {"BASE": 100, "A": 1, "T": 107}
    assert problems("#include <other.h>\n#include MACRO\n") == [
        "f.h:1:1: no other.h",
        "f.h:2:1: #include needs <name>",
    ]
    assert problems("#include <self.h>\n") == ["self.h:1:1: headers include each other without end"]
    assert problems("#include <open.h>\n#endif\n") == [
        "open.h:1:1: this conditional is never closed; is the file cut off?",
        "f.h:2:1: #endif without #if",
    ]


def test_all_errors_of_a_file_at_once() -> None:
    text = (
        "#else\n#if 1\n#else\n#elif 1\n#else\n#endif\n#error no\n#nonsense\n#define 1\n#ifdef 2\n"
    )
    assert problems(text) == [
        "f.h:1:1: #else without #if",
        "f.h:4:1: #elif after #else",
        "f.h:5:1: #else after #else",
        "f.h:7:1: the header refuses this view of it: no",
        "f.h:8:1: unknown directive #nonsense",
        "f.h:9:1: #define needs a name",
        "f.h:10:1: #ifdef needs a name",
        "f.h:10:1: this conditional is never closed; is the file cut off?",
    ]


def test_a_macro_has_one_meaning() -> None:
    assert values("#define A (1 + 2)\n#define A   (1 +  2)\n") == {"A": 3}
    assert values("#define A 1\n#undef A\n#define A 2\n") == {"A": 2}
    assert problems("#define A 1\n#define A 2\n") == [
        "f.h:2:1: A is defined as '2' here, but as '1' at f.h:1:1"
    ]
