"""The shortest program that does what a given one does: candidates by SAT, compared by z3."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import interpreter
import z3

from benchmarks.optimum.sat import U32, Kind, Point, Synthesis, Undecided

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.optimum.sat import Shape

LOAD = interpreter.LD | interpreter.W | interpreter.ABS
RET = interpreter.RET | interpreter.K
AND = interpreter.ALU | interpreter.AND | interpreter.K
JA = interpreter.JMP | interpreter.JA
JEQ, JGT, JGE, JSET = (
    interpreter.JMP | operation | interpreter.K
    for operation in (interpreter.JEQ, interpreter.JGT, interpreter.JGE, interpreter.JSET)
)
TESTS = (JEQ, JGT, JGE, JSET)
DATA = 64
"""Bytes of ``struct seccomp_data``."""


class Proof(Enum):
    """The knowledge of a length."""

    SHORTEST = "shortest"
    """No program of the model is shorter."""
    OPEN = "open"
    """The solver gave up before it knew whether one is."""


@dataclass(frozen=True, slots=True)
class Found:
    """``given`` instructions can be ``least``; ``proof`` says whether they can be fewer."""

    given: int
    least: int
    proof: Proof
    shape: Shape | None = None
    """The shorter program, None where the given one is the best that is known."""


def shortest(program: Sequence[interpreter.Instruction], conflicts: int) -> Found:
    """Return the shortest program that answers as ``program`` does, by at most ``conflicts`` each.

    Only loads, masks, tests, jumps and answers may be in it. Its copies of one answer count.
    """
    reference = _Reference(program)
    answers = tuple(dict.fromkeys(one.k for one in program if one.code == RET))
    points = dict.fromkeys(reference.first_points())
    best = len(program)
    shape: Shape | None = None
    while best - 1 > len(answers):
        size = best - 1 - len(answers)
        try:
            better = _of_size(size, reference, answers, points, conflicts)
        except Undecided:
            return Found(len(program), best, Proof.OPEN, shape)
        if better is None:
            break
        best, shape = best - 1, better
    return Found(len(program), best, Proof.SHORTEST, shape)


def _of_size(
    size: int,
    reference: _Reference,
    answers: Sequence[int],
    points: dict[Point, None],
    conflicts: int,
) -> Shape | None:
    """Return a program of ``size`` instructions besides the answers; note points that it took."""
    synthesis = Synthesis(size, len(reference.offsets), answers)
    try:
        for point in points:
            synthesis.add(point)
        while True:
            shape = synthesis.solve(conflicts)
            if shape is None:
                return None
            other = reference.difference(shape)
            if other is None:
                return shape
            assert other not in points, "the encoding and the comparison disagree"
            points[other] = None
            synthesis.add(other)
    finally:
        synthesis.close()


class _Reference:
    """The given program, run and as a formula."""

    def __init__(self, program: Sequence[interpreter.Instruction]) -> None:
        self._program = program
        self._bytes = interpreter.assemble(program, "little")
        self.offsets = sorted({one.k for one in program if one.code == LOAD})
        self._words = {offset: z3.BitVec(f"word{offset}", 32) for offset in self.offsets}
        self._formula = self._from(0, z3.BitVecVal(0, 32), {})

    def first_points(self) -> list[Point]:
        """Return calls on both sides of each constant, other words being zero."""
        near = sorted(
            {one.k + d & U32 for one in self._program if one.code in TESTS for d in (-1, 0, 1)}
        )
        calls = [{offset: value} for offset in self.offsets for value in [0, *near, U32]]
        return [self._point(call) for call in calls]

    def difference(self, shape: Shape) -> Point | None:
        """Return a call that ``shape`` answers otherwise, None if there is none."""
        solver = z3.Solver()
        solver.add(self._formula != self._of_shape(shape, 0, z3.BitVecVal(0, 32), {}))
        if solver.check() == z3.unsat:
            return None
        model = solver.model()
        return self._point(
            {o: model.eval(w, model_completion=True).as_long() for o, w in self._words.items()}
        )

    def _point(self, words: Mapping[int, int]) -> Point:
        data = bytearray(DATA)
        for offset, value in words.items():
            data[offset : offset + 4] = value.to_bytes(4, "little")
        answer = interpreter.run(self._bytes, bytes(data), "little").value
        return Point(tuple(words.get(offset, 0) for offset in self.offsets), answer)

    def _from(self, at: int, a: Any, known: dict[tuple[int, int], Any]) -> Any:
        """Return the answer from instruction ``at`` on, ``a`` being in the accumulator."""
        one = self._program[at]
        key = at, a.get_id()
        if key not in known:
            match one.code:
                case code if code == RET:
                    known[key] = z3.BitVecVal(one.k, 32)
                case code if code == LOAD:
                    known[key] = self._from(at + 1, self._words[one.k], known)
                case code if code == AND:
                    known[key] = self._from(at + 1, a & one.k, known)
                case code if code == JA:
                    known[key] = self._from(at + 1 + one.k, a, known)
                case code:
                    true = self._from(at + 1 + one.jt, a, known)
                    false = self._from(at + 1 + one.jf, a, known)
                    known[key] = z3.If(_holds(code, a, one.k), true, false)
        return known[key]

    def _of_shape(self, shape: Shape, at: int, a: Any, known: dict[tuple[int, int], Any]) -> Any:
        """Return the answer of ``shape`` from node ``at`` on."""
        if at >= len(shape.nodes):
            return z3.BitVecVal(shape.answers[at - len(shape.nodes)], 32)
        node = shape.nodes[at]
        key = at, a.get_id()
        if key not in known:
            match node.kind:
                case Kind.LOAD:
                    word = self._words[self.offsets[node.k]]
                    known[key] = self._of_shape(shape, node.true, word, known)
                case Kind.AND:
                    known[key] = self._of_shape(shape, node.true, a & node.k, known)
                case kind:
                    code = {Kind.EQ: JEQ, Kind.GE: JGE, Kind.ANY_BITS: JSET}[kind]
                    true = self._of_shape(shape, node.true, a, known)
                    false = self._of_shape(shape, node.false, a, known)
                    known[key] = z3.If(_holds(code, a, node.k), true, false)
        return known[key]


def _holds(code: int, a: Any, k: int) -> Any:
    if code == JEQ:
        return a == k
    if code == JGE:
        return z3.UGE(a, k)
    if code == JGT:
        return z3.UGT(a, k)
    assert code == JSET
    return (a & k) != 0
