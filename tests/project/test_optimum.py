"""The exact search of ``benchmarks/optimum``: known shortest programs, and that none is missed."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import interpreter
import pytest
from corpus import SHARED
from interpreter import Instruction

from benchmarks.optimum import __main__ as command
from benchmarks.optimum.instances import KINDS, Instance
from benchmarks.optimum.sat import Kind, Shape
from benchmarks.optimum.shortest import AND, JEQ, JSET, LOAD, RET, Found, Proof, shortest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

YES, NO, MAYBE = 0x7FFF0000, 0, 0x00050001
MANY = 10**9


def program(*lines: tuple[int, int, int, int]) -> list[Instruction]:
    return [Instruction(*line) for line in lines]


def any_of(*values: int) -> list[Instruction]:
    """Return a chain of equality tests."""
    tests = [(JEQ, len(values) - n, 0, value) for n, value in enumerate(values)]
    return program((LOAD, 0, 0, 0), *tests, (RET, 0, 0, NO), (RET, 0, 0, YES))


def found(given: Sequence[Instruction]) -> Found:
    return shortest(given, MANY)


def test_what_is_shortest_already_is_left() -> None:
    assert found(any_of(3)) == Found(4, 4, Proof.SHORTEST)
    # Two values with a bit between them that no mask can tell from the others.
    assert found(any_of(1, 6)) == Found(5, 5, Proof.SHORTEST)


def test_a_range_takes_two_tests() -> None:
    result = found(any_of(9, 10, 11, 12))
    assert (result.least, result.proof) == (5, Proof.SHORTEST)
    assert result.shape is not None
    assert [node.kind for node in result.shape.nodes] == [Kind.LOAD, Kind.GE, Kind.GE]


@pytest.mark.long("does all that a page shows")
def test_values_that_differ_in_one_bit_take_a_mask() -> None:
    result = found(any_of(0x1702, 0x1706, 0x1722, 0x1726))
    assert (result.least, result.proof) == (5, Proof.SHORTEST)
    assert result.shape is not None
    assert [node.kind for node in result.shape.nodes] == [Kind.LOAD, Kind.AND, Kind.EQ]


def test_words_are_loaded_once_each() -> None:
    both = program(
        (LOAD, 0, 0, 0),
        (JEQ, 0, 4, 1),
        (LOAD, 0, 0, 16),
        (JEQ, 1, 0, 5),
        (JEQ, 0, 1, 6),
        (RET, 0, 0, YES),
        (RET, 0, 0, NO),
    )
    assert found(both) == Found(7, 7, Proof.SHORTEST)


def test_two_tests_that_fail_into_one_place_are_found() -> None:
    """With the bit 4, and none of 3, the answer is MAYBE; else the bit 8 decides."""
    tree = program(
        (LOAD, 0, 0, 0),
        (JSET, 0, 2, 4),
        (JSET, 0, 2, 3),
        (JSET, 2, 3, 8),
        (JSET, 1, 2, 8),
        (RET, 0, 0, MAYBE),
        (RET, 0, 0, YES),
        (RET, 0, 0, NO),
    )
    result = found(tree)
    assert (result.given, result.least, result.proof) == (8, 7, Proof.SHORTEST)


@pytest.mark.few(2, "does all that a page shows")
@pytest.mark.parametrize("wanted", range(1, 256, 100))
def test_no_shorter_program_is_missed(wanted: int) -> None:
    """Compare with all programs of two tests on a word of three bits."""
    values = [value for value in range(8) if wanted >> value & 1]
    # Higher bits are cut off at once, so that all programs can be tried on eight values.
    given = program(
        (LOAD, 0, 0, 0),
        (JSET, len(values), 0, 0xFFFFFFF8),
        *((JEQ, len(values) - n, 0, value) for n, value in enumerate(values)),
        (RET, 0, 0, NO),
        (RET, 0, 0, YES),
    )
    result = found(given)
    assert result.proof is Proof.SHORTEST
    assert (result.least <= 5) == _two_tests_do(set(values))


def _two_tests_do(values: set[int]) -> bool:
    """Tell whether some program of at most two tests takes these values, and none above seven."""
    everything = frozenset((*range(8), 8, 15, 1 << 31, 0xFFFFFFFF, 0xFFFFFFF8, 0x80000007))
    sides = set()
    for k in (*range(9), *(0xFFFFFFF8 | low for low in range(8))):
        sides |= {
            frozenset({k}) & everything,
            frozenset(value for value in everything if value >= k),
            frozenset(value for value in everything if value & k),
        }
    sides |= {everything - side for side in sides}
    right = frozenset(values)
    return any(right in {a & b, a | b} for a, b in product(sides, repeat=2))


def test_what_is_found_does_the_same() -> None:
    given = any_of(3, 5, 9, 10, 11, 12)
    result = found(given)
    assert result.least < result.given
    assert result.shape is not None
    code = interpreter.assemble(given, "little")
    for value in [*range(64), 1 << 31, 0xFFFFFFFF]:
        data = value.to_bytes(4, "little") + bytes(60)
        assert _run(result.shape, value) == interpreter.run(code, data, "little").value


def _run(shape: Shape, value: int) -> int:
    at, a = 0, 0
    while at < len(shape.nodes):
        node = shape.nodes[at]
        match node.kind:
            case Kind.LOAD:
                a, at = value, node.true
            case Kind.AND:
                a, at = a & node.k, node.true
            case Kind.EQ:
                at = node.true if a == node.k else node.false
            case Kind.GE:
                at = node.true if a >= node.k else node.false
            case Kind.ANY_BITS:
                at = node.true if a & node.k else node.false
    return shape.answers[at - len(shape.nodes)]


def test_a_solver_that_gives_up_proves_nothing() -> None:
    result = shortest(any_of(3, 5, 9, 17, 30, 33, 41, 50), 1)
    assert result.proof is Proof.OPEN


def test_masked_comparisons_are_understood() -> None:
    masked = program(
        (LOAD, 0, 0, 0),
        (AND, 0, 0, 0xF0),
        (JEQ, 0, 1, 0x30),
        (RET, 0, 0, YES),
        (RET, 0, 0, NO),
    )
    assert found(masked) == Found(5, 5, Proof.SHORTEST)


@pytest.mark.long("does all that a page shows")
def test_the_command_writes_what_it_found(tmp_path: Path) -> None:
    report = tmp_path / "OPTIMUM.md"
    command.main(["--most", "1", "--conflicts", "1000", "-o", str(report)])
    # One a kind; without the corpus, no real policy has arguments that are small enough.
    kinds = len(KINDS) if (SHARED / "resolved-x86_64.json").is_file() else len(KINDS) - 1
    assert f"| all | {kinds} | " in report.read_text()


def test_the_report_counts_what_is_proved() -> None:
    tried = [Instance(kind, "one", ()) for kind in (KINDS[0], KINDS[0], KINDS[1])]
    results = [
        Found(9, 8, Proof.SHORTEST),
        Found(11, 11, Proof.SHORTEST),
        Found(12, 11, Proof.OPEN),
    ]
    lines = command.rendered(tried, results).splitlines()
    assert f"| {KINDS[0]} | 2 | 2 | 20 | 19 | 1.053 | 1 |" in lines
    assert f"| {KINDS[1]} | 1 | 0 | 0 | 0 |  | 0 |" in lines
    assert "| all | 3 | 2 | 20 | 19 | 1.053 | 1 |" in lines
    assert f"- {KINDS[0]}: one: 9, shortest 8" in lines
