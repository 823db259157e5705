"""The assembler alone: diagrams made by hand, whose jumps end just within reach and just beyond."""

from __future__ import annotations

import itertools
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import interpreter
import pytest
from longer import long_but
from oracle import U32
from seccompgen.compile.assemble import assemble
from seccompgen.compile.diagram import CompareOp, Diagram, Leaf, LoadedWord
from seccompgen.core.errors import Position
from seccompgen.core.model import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Position("policy.yml", 1, 1)
NR, LOW, HIGH = LoadedWord(0), LoadedWord(16), LoadedWord(20)
AROUND_255 = range(250, 260)
MARK = 0x5EAC0DE
"""The constant of the one test that a diagram below is about."""
FAR, NEAR = 0x00050002, 0x00050003


class Drawn:
    """A graph under construction, and what it means."""

    def __init__(self) -> None:
        self.graph = Diagram()

    def leaf(self, ret: int) -> int:
        return self.graph.leaf(ret, [Origin(f"ret {ret:#x}", HERE)])

    def test(self, value: LoadedWord, relation: CompareOp, k: int, true: int, false: int) -> int:
        origin = Origin(f"{value} {relation} {k:#x}", HERE)
        return self.graph.test(value, relation, k, true, false, [origin])

    def answer(self, root: int, data: bytes) -> int:
        """Walk the diagram from ``root``."""
        words = struct.unpack("<16I", data)
        node = self.graph.nodes[root]
        while not isinstance(node, Leaf):
            held = words[node.value.offset // 4] & node.value.mask
            holds = {
                CompareOp.EQ: held == node.k,
                CompareOp.GT: held > node.k,
                CompareOp.GE: held >= node.k,
                CompareOp.ANY_BITS: held & node.k != 0,
            }[node.relation]
            node = self.graph.nodes[node.true if holds else node.false]
        return node.ret

    def assembled(self, root: int) -> list[interpreter.Instruction]:
        """Return the instructions, each of which the kernel takes and knows its origin."""
        instructions, origins = assemble(self.graph, root)
        assert len(origins) == len(instructions)
        assert all(origins)
        return [interpreter.Instruction(i.code, i.jt, i.jf, i.k) for i in instructions]


def words(nr: int, low: int = 0, high: int = 0) -> bytes:
    return interpreter.seccomp_data(nr, 0xC000003E, [high << 32 | low])


def assert_computes(
    diagram: Drawn, root: int, program: list[interpreter.Instruction], datas: list[bytes]
) -> set[int]:
    """Assert that the program answers as the diagram; return which instructions ran."""
    code = interpreter.assemble(program, "little")
    if len(program) <= interpreter.MAX_INSTRUCTIONS:
        interpreter.check(code, "little")
    ran: set[int] = set()
    for data in datas:
        result = interpreter.run(code, data, "little")
        assert result.value == diagram.answer(root, data), (data.hex(), result.path)
        ran.update(result.path)
    return ran


# --- one target out of reach -------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """The target of a far jump: ``make`` adds it; its unit has ``size`` instructions.

    The instruction with ``k`` is found by it; ``ahead`` of that one the unit is entered.
    """

    make: Callable[[Drawn], int]
    k: int
    size: int
    ahead: int
    leaves: int


def asks(value: LoadedWord) -> Callable[[Drawn], int]:
    return lambda d: d.test(value, CompareOp.EQ, MARK & value.mask, d.leaf(FAR), d.leaf(FAR + 2))


MASK = 0x0FF0FF0F
TARGETS = {
    "an answer": Target(lambda d: d.leaf(FAR), FAR, 1, 0, 0),
    "a test of another word": Target(asks(LOW), MARK, 2, 1, 2),
    "a test of the same word": Target(asks(NR), MARK, 1, 0, 2),
    "a test of part of the same word": Target(asks(LoadedWord(0, MASK)), MARK & MASK, 2, 1, 2),
    "a test of part of another word": Target(asks(LoadedWord(16, MASK)), MARK & MASK, 3, 2, 2),
}


def some(values: Sequence[int]) -> list[int]:
    """Return the first dozen, whose jumps are the longest, and a few of the others."""
    return sorted({*values[:12], *values[12::25], *values[-2:]})


def far_where_true(diagram: Drawn, target: int, count: int) -> tuple[int, list[int]]:
    """Add a list of ``count`` values that all lead to ``target``.

    No order of instructions brings ``target`` near the first test, for all others lead to it
    as well and jumps go forwards. Also return numbers, of which each takes another way.
    """
    values = [7 * n + 1 for n in range(count)]
    root = diagram.leaf(NEAR)
    for value in reversed(values):
        root = diagram.test(NR, CompareOp.EQ, value, target, root)
    return root, [*some(values), 0, 2, MARK, MARK & MASK]


def far_where_false(diagram: Drawn, target: int, count: int) -> tuple[int, list[int]]:
    """Add ``count`` tests of bits that must all be true, else ``target`` is next."""
    bits = [
        1 << a | 1 << b | 1 << c
        for a, b, c in itertools.islice(itertools.combinations(range(32), 3), count)
    ]
    root = diagram.leaf(NEAR)
    for one in reversed(bits):
        root = diagram.test(NR, CompareOp.ANY_BITS, one, root, target)
    return root, [*(U32 & ~one for one in some(bits)), U32, 0, MARK, MARK & MASK]


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize("far", [far_where_true, far_where_false])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_gets_one_copy_exactly_if_it_is_out_of_reach(
    far: Callable[[Drawn, int, int], tuple[int, list[int]]], target: Target
) -> None:
    reached = set()
    for count in itertools.count(240):
        diagram = Drawn()
        root, numbers = far(diagram, target.make(diagram), count)
        program = diagram.assembled(root)
        first = next(i for i, one in enumerate(program) if one.code & 7 == interpreter.JMP)
        entered = max(i for i, one in enumerate(program) if one.k == target.k) - target.ahead
        # A load, the tests, the answer NEAR, the target, and its answers: all else is copies.
        copies = len(program) - (1 + count + 1 + target.size + target.leaves)
        distance = entered - first - 1 - copies
        reached.add(distance)
        assert copies == (1 if distance > 255 else 0), distance
        assert all(max(one.jt, one.jf) <= 255 for one in program)
        if not copies:
            assert distance in {program[first].jt, program[first].jf}
        datas = [words(nr, low) for nr in numbers for low in (0, MARK, MARK & MASK)]
        assert_computes(diagram, root, program, datas)
        if distance >= max(AROUND_255):
            break
    assert set(AROUND_255) <= reached


# --- both targets out of reach -----------------------------------------------------------------


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize("branches", [(NEAR, FAR), (FAR, NEAR)], ids=["near first", "far first"])
def test_a_copy_for_one_branch_may_push_the_other_out_of_reach(branches: tuple[int, int]) -> None:
    seen = set()
    for count, in_front in itertools.product(range(240, 262), (False, True)):
        diagram = Drawn()
        leaves = diagram.leaf(NEAR), diagram.leaf(FAR)
        chain = diagram.leaf(FAR + 2)
        for n in reversed(range(count)):
            chain = diagram.test(LOW, CompareOp.EQ, n, leaves[n % 2], chain)
        both = diagram.test(HIGH, CompareOp.EQ, MARK, *map(diagram.leaf, branches))
        root = diagram.test(NR, CompareOp.EQ, 1, *((both, chain) if in_front else (chain, both)))
        program = diagram.assembled(root)
        datas = [
            words(nr, low, high)
            for nr, low, high in itertools.product((0, 1), some(range(count + 1)), (0, MARK))
        ]
        assert_computes(diagram, root, program, datas)
        place = next(i for i, one in enumerate(program) if one.k == MARK)
        if place < 5:  # one of the two orders has it in front of the chain
            lasts = [max(i for i, one in enumerate(program) if one.k == ret) for ret in branches]
            # Three units of a load and tests, and three answers: all else is copies.
            copies = len(program) - (2 + 2 + 1 + count + 3)
            near, far = sorted(last - place - 1 - copies for last in lasts)
            assert far == near + 1
            assert (copies > 0) == (far > 255)
            seen.add(far)
    assert set(AROUND_255) <= seen


# --- diagrams of any shape ---------------------------------------------------------------------


def woven(rng: random.Random, size: int, reach: int) -> tuple[Drawn, int]:
    """Return a diagram in which each test leads to the one before it and to one farther back.

    Every test is about as often true as false on random words.
    """
    diagram = Drawn()
    nodes = [diagram.leaf(0x00050000 | n) for n in range(1, 6)]
    while len(nodes) < size:
        relation = rng.choice(list(CompareOp))
        mask, k = U32, rng.getrandbits(32)
        if relation is CompareOp.EQ:
            mask = 1 << rng.randrange(15) | 1 << rng.randrange(16, 32)
            k &= mask
        elif relation is CompareOp.ANY_BITS:
            k = 1 << rng.randrange(32)
        elif rng.random() < 0.5:
            mask = rng.choice([0xFFFF, 0xFFFFFF00])
            k &= mask
        branches = [nodes[-1], rng.choice(nodes[-reach:])]
        rng.shuffle(branches)
        value = LoadedWord(4 * rng.randrange(4, 16), mask)
        made = diagram.test(value, relation, k, branches[0], branches[1])
        if made not in nodes:
            nodes.append(made)
    return diagram, nodes[-1]


@pytest.mark.few(2, "compiles many programs")
@pytest.mark.parametrize("reach", [5, 150, 300, 500])
@pytest.mark.parametrize("seed", long_but([0], range(3), "more diagrams of each kind"))
def test_woven_diagrams(seed: int, reach: int) -> None:
    rng = random.Random(seed)
    diagram, root = woven(rng, 1200, reach)
    program = diagram.assembled(root)
    datas = [rng.randbytes(interpreter.DATA_SIZE) for _ in range(min(3000, 20 * reach))]
    ran = assert_computes(diagram, root, program, datas)
    # It means something only if most of it ran, and far targets were among it.
    assert len(ran) > 0.3 * len(program)
    ways = {i for i in ran if program[i].code == interpreter.JMP | interpreter.JA}
    assert len(ways) > (50 if reach >= 300 else -1)


@pytest.mark.long("compiles many programs")
def test_a_chain_of_any_length_does_not_recurse() -> None:
    diagram = Drawn()
    root, numbers = far_where_true(diagram, diagram.leaf(FAR), 20_000)
    program = diagram.assembled(root)
    assert len(program) > 20_000
    datas = [words(nr) for nr in [*numbers[::2500], *numbers[-4:]]]
    assert_computes(diagram, root, program, datas)
