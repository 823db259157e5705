"""Programs that no compiler of ours made: their jumps, and what cannot be followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from interpreter import assemble
from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000
LD, AND, JEQ, JGT, JGE, JSET, RET, ADD = 0x20, 0x54, 0x15, 0x25, 0x35, 0x45, 0x06, 0x04
NR, ARCH, ARG0, HIGH0 = 0, 4, 16, 20
X86_64, I386 = 0xC000003E, 0x40000003
EXECVE, EXECVEAT, PERSONALITY = 59, 322, 135

HEAD = [(LD, 0, 0, ARCH), (JEQ, 1, 0, X86_64), (RET, 0, 0, KILL), (LD, 0, 0, NR)]
X32 = [(JSET, 0, 1, 1 << 30), (RET, 0, 0, KILL)]
END = [(RET, 0, 0, ALLOW)]


def lint_program(tmp_path: Path, *code: tuple[int, int, int, int]) -> dict[str, Finding]:
    path = tmp_path / "filter.bpf"
    path.write_bytes(assemble(list(code), "little"))
    found = lint_filter(path, shipped_tables(), ABIS["x86_64"]).findings
    return {one.kind.value: one for one in found}


def on_call(number: int, *test: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return a program that refuses ``number`` if ``test``, that goes on there, lets it."""
    skipped = len(test) + 1
    return [*HEAD, *X32, (JEQ, 0, skipped, number), *test, (RET, 0, 0, EPERM), *END]


def test_a_program_that_refuses_one_door(tmp_path: Path) -> None:
    found = lint_program(tmp_path, *on_call(EXECVE))
    assert found.keys() == {"exec-twin"}
    assert found["exec-twin"].instruction == 7


@pytest.mark.parametrize(
    ("test", "code", "at"),
    [
        ([(LD, 0, 0, ARG0), (AND, 0, 0, 0xF0), (JEQ, 0, 1, 8)], "mask-never-matches", 9),
        ([(LD, 0, 0, ARG0), (JSET, 0, 1, 0)], "mask-never-matches", 8),
        ([(LD, 0, 0, ARG0), (JGT, 0, 1, 0xFFFFFFFF)], "mask-never-matches", 8),
        ([(LD, 0, 0, ARG0), (JGE, 0, 1, 0)], "always-true", 8),
        ([(LD, 0, 0, ARG0), (AND, 0, 0, 0xF8), (JEQ, 0, 1, 8)], None, 0),
        ([(LD, 0, 0, ARG0), (JGE, 0, 1, 1)], None, 0),
        (
            [
                (LD, 0, 0, HIGH0),
                (JEQ, 0, 4, 0),
                (LD, 0, 0, ARG0),
                (AND, 0, 0, 0xF8),
                (JEQ, 0, 1, 8),
            ],
            "ignored-bits",
            8,
        ),
    ],
)
def test_a_comparison_in_a_program(
    tmp_path: Path, test: list[tuple[int, int, int, int]], code: str | None, at: int
) -> None:
    found = lint_program(tmp_path, *on_call(PERSONALITY, *test))
    assert found.keys() == ({code} if code else set())
    if code:
        assert found[code].instruction == at
        assert found[code].witness is not None


def test_who_does_not_look_at_x32(tmp_path: Path) -> None:
    code = [*HEAD, (JEQ, 0, 1, PERSONALITY), (RET, 0, 0, EPERM), *END]
    found = lint_program(tmp_path, *code)
    assert found.keys() == {"foreign-abi"}
    assert found["foreign-abi"].abis == ("x32",)


def test_who_does_not_look_at_the_architecture(tmp_path: Path) -> None:
    code = [HEAD[3], *X32, (JEQ, 0, 1, PERSONALITY), (RET, 0, 0, EPERM), *END]
    assert lint_program(tmp_path, *code)["foreign-abi"].abis == ("i386",)


def test_what_cannot_be_followed_is_said(tmp_path: Path) -> None:
    code = [*HEAD, *X32, (ADD, 0, 0, 1), (JEQ, 0, 1, PERSONALITY + 1), (RET, 0, 0, EPERM), *END]
    found = lint_program(tmp_path, *code)
    assert "mixed-words" in found
    assert found["mixed-words"].severity.value == "note"


def test_an_abi_that_a_program_answers_for_is_no_foreign_one(tmp_path: Path) -> None:
    """Its own numbers count there: it is asked what it forgot, and not why it is open."""
    i386 = [(LD, 0, 0, NR), (JEQ, 0, 1, 11), (RET, 0, 0, EPERM), *END]
    both = [(LD, 0, 0, ARCH), (JEQ, 6, 0, X86_64), (JEQ, 1, 0, I386), (RET, 0, 0, KILL), *i386]
    native = [(JEQ, 1, 0, EXECVE), (JEQ, 0, 1, EXECVEAT), (RET, 0, 0, EPERM), *END]
    found = lint_program(tmp_path, *both, HEAD[3], *X32, *native)
    assert found.keys() == {"exec-twin", "foreign-abi"}
    assert {one.abis for one in found.values()} == {("i386",)}
    assert found["foreign-abi"].message.startswith("execveat is permitted through i386")
