"""Rows of system call tables, and the makefiles beside them."""

from __future__ import annotations

import re

import pytest
from seccompgen.core.errors import OutsideError
from seccompgen.kernel.parse.kbuild import read_assignments
from seccompgen.kernel.parse.tbl import read_rows


def rows(text: str) -> list[tuple[int, str, str]]:
    return [(row.nr, row.abi, row.name) for row in read_rows("t.tbl", text)]


def test_white_space_and_numbers_of_fields() -> None:
    text = (
        "# comment\n"
        "462 \tcommon  mseal\t\t\tsys_mseal\n"
        "38\trenameat renameat\t\tsys_renameat   \n"
        "13\t32    \tchown\n"
        "17 i386 break\n"
        "  60 common exit sys_exit - noreturn\n"
        "\n   \t\n"
        "1 64 a sys_a # why\r\n"
        "#447 common memfd_secret sys_memfd_secret\n"
        "# 448 common x sys_x\n"
    )
    assert rows(text) == [
        (462, "common", "mseal"),
        (38, "renameat", "renameat"),
        (13, "32", "chown"),
        (17, "i386", "break"),
        (60, "common", "exit"),
        (1, "64", "a"),
    ]


def test_entry_points_do_not_matter() -> None:
    assert rows("58 common query_module sys_ni_syscall\n9 common a ppc_a compat_a\n") == [
        (58, "common", "query_module"),
        (9, "common", "a"),
    ]


def test_positions() -> None:
    assert str(read_rows("t.tbl", "\n \t5 common x sys_x\n")[0].position) == "t.tbl:2:3"


def test_all_bad_rows_at_once() -> None:
    text = (
        "1 common\n2\n3 common ok sys_ok\nx common y\n"
        "4 COMMON y\n5 common Y\n-1 common z\n1234567 common z\n"
    )
    with pytest.raises(OutsideError) as caught:
        read_rows("t.tbl", text)
    assert [str(item) for item in caught.value.diagnostics] == [
        "t.tbl:1:9: the row ends before the name of a system call",
        "t.tbl:2:2: the row ends before an ABI",
        "t.tbl:4:1: 'x' stands where a number should",
        "t.tbl:5:3: 'COMMON' stands where an ABI should",
        "t.tbl:6:10: 'Y' stands where the name of a system call should",
        "t.tbl:7:1: '-1' stands where a number should",
        "t.tbl:8:1: '1234567' stands where a number should",
    ]


def assignments(text: str) -> dict[str, tuple[str, ...]]:
    return read_assignments("Makefile", text, re.compile("a|b_32|syscall-y"))


def test_assignments() -> None:
    text = (
        "# a = comment\n"
        "a := x,y z # trailing\n"
        "a += w\n"
        "b_32 +=\n"
        "syscall-y += unistd_32.h \\\n  unistd_64.h\n"
        "ignored = 1\n"
        "\ta = in a recipe\n"
        "targets: a = b\n"
    )
    assert assignments(text) == {
        "a": ("x", "y", "z", "w"),
        "b_32": (),
        "syscall-y": ("unistd_32.h", "unistd_64.h"),
    }
    assert assignments("a = 1 2\na = 3\na ?= 4\n") == {"a": ("4",)}


def test_conditional_assignments_are_refused() -> None:
    assert assignments("ifeq ($(X),y)\nother = 1\nendif\na = 1\n") == {"a": ("1",)}
    with pytest.raises(OutsideError) as caught:
        assignments("x = \\\n1\nifdef X\na = 1\nelse\na = 2\nendif\n")
    assert [str(item) for item in caught.value.diagnostics] == [
        "Makefile:4:1: a depends on a condition, which seccompgen cannot decide",
        "Makefile:6:1: a depends on a condition, which seccompgen cannot decide",
    ]
