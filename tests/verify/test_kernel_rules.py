"""The model of the kernel's rules against the running kernel, at every edge and beyond it."""

from __future__ import annotations

from itertools import product

import interpreter as bpf
import pytest
import running_kernel as kernel
from drawing import bounded
from hypothesis import given, settings
from kernel_rules import (
    ALLOW,
    DIV,
    DIV_X,
    HIGH_CODES,
    JA,
    JEQ,
    JUMPS,
    KILL,
    LD_ABS,
    LD_MEM,
    LDX_MEM,
    LEN,
    LOAD_NR,
    LSH,
    RET_A,
    RSH,
    U32_EDGES,
    Program,
    batches,
    model,
    taken,
)
from seccompgen.verify.kernel import (
    kernel_objections,
)

kernel.require_x86_64()


def test_every_opcode_in_the_middle_and_at_the_end() -> None:
    """With k = 4 that all may have, as an offset, word, divisor, shift and distance."""
    codes = [*range(256), *HIGH_CODES]
    start = [ALLOW, (bpf.ST, 0, 0, 4)]
    middle = taken([[*start, (code, 0, 0, 4), *[ALLOW] * 5] for code in codes])
    assert {code for code, verdict in zip(codes, middle, strict=True) if verdict} == bpf.ACCEPTED
    end = taken([[*start, (code, 0, 0, 4)] for code in codes])
    assert [code for code, verdict in zip(codes, end, strict=True) if verdict] == [0x06, 0x16]


@pytest.mark.few(4, "proves many programs")
@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ([], False),
        ([ALLOW], True),
        ([ALLOW] * 4096, True),
        ([ALLOW] * 4097, False),
        ([ALLOW] * 65535, False),
        # The longest translation: 20,476 eBPF instructions, which the JIT must not give up at.
        ([ALLOW, *[(DIV_X, 0, 0, 0)] * 4094, RET_A], True),
        ([ALLOW, (JA, 0, 0, 4093), *[LOAD_NR] * 4093, ALLOW], True),
        ([ALLOW, (JA, 0, 0, 4094), *[LOAD_NR] * 4093, ALLOW], False),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, list) else str(value),
)
def test_lengths(program: Program, verdict: bool) -> None:
    assert taken([program]) == [verdict]


def body_edges() -> tuple[list[Program], list[Program]]:
    """Return what the kernel takes at the edge, and what it refuses just beyond it."""
    at: list[Program] = []
    beyond: list[Program] = []
    for jump in JUMPS:
        for distance in (1, 2, 254, 255):
            for jt, jf in ((distance, 0), (0, distance), (distance, distance)):
                at.append([(jump, jt, jf, 9), *[KILL] * (distance + 1)])
                beyond.append([(jump, jt, jf, 9), *[KILL] * distance])
        beyond.append([KILL, (jump, 0, 0, 9)])
    at += [[(JA, 0, 0, k), *[KILL] * (k + 1)] for k in (0, 1, 255, 256, 300)]
    beyond += [[(JA, 0, 0, k), *[KILL] * k] for k in (0, 1, 255, 256, 300)]
    # 32 bits: the sums wrap to this instruction, to the one before, and to the far side.
    beyond += [[KILL, (JA, 0, 0, k), KILL, KILL] for k in U32_EDGES]
    at += [[(JA, 9, 9, 0), KILL], [(LEN, 255, 255, 7), KILL], [(bpf.RET, 255, 255, 0)]]
    at += [[(LD_ABS, 0, 0, k), KILL] for k in range(0, 64, 4)]
    beyond += [[(LD_ABS, 0, 0, k), KILL] for k in (1, 2, 3, 5, 59, 61, 62, 63, 64, 65, 68)]
    # 0xfffff000 is where packets keep their ancillary data (SKF_AD_OFF).
    beyond += [[(LD_ABS, 0, 0, k), KILL] for k in (0xFFFFFFFC, 0xFFFFF000, 0x80000000, 0x10004)]
    at += [[(DIV, 0, 0, k), KILL] for k in (1, *U32_EDGES)]
    beyond.append([(DIV, 0, 0, 0), KILL])
    at += [[(bpf.ALU | bpf.DIV | bpf.X, 0, 0, 0), KILL]]
    for shift in (LSH, RSH):
        at += [[(shift, 0, 0, k), KILL] for k in (0, 31)]
        at.append([(shift | bpf.X, 0, 0, 32), KILL])
        beyond += [[(shift, 0, 0, k), KILL] for k in (32, 33, *U32_EDGES)]
    for store, load in product((bpf.ST, bpf.STX), (LD_MEM, LDX_MEM)):
        at += [[(store, 0, 0, k), (load, 0, 0, k), KILL] for k in (0, 15)]
        beyond += [[(store, 0, 0, k), KILL] for k in (16, 31, 32, *U32_EDGES)]
        beyond += [[(store, 0, 0, 0), (load, 0, 0, k), KILL] for k in (1, 15, 16, 32, *U32_EDGES)]
    return at, beyond


def test_operands_and_jumps() -> None:
    at, beyond = body_edges()
    assert all(taken([[ALLOW, *body] for body in at]))
    assert not any(taken([[ALLOW, *body] for body in beyond]))


STORE, LOAD = (bpf.ST, 0, 0, 3), (LDX_MEM, 0, 0, 3)
STORED: list[Program] = [
    [STORE, (JEQ, 0, 1, 0), KILL, LOAD, KILL],
    [(JEQ, 0, 2, 0), STORE, (JA, 0, 0, 1), STORE, LOAD, KILL],  # on either side
    [(JA, 0, 0, 1), LOAD, KILL],  # dead code behind a jump
    [(JEQ, 1, 1, 0), LOAD, KILL],
    [(JA, 0, 0, 2), (JA, 0, 0, 0), LOAD, KILL],  # reached from dead code alone
    [STORE, KILL, LOAD, KILL],  # dead code behind a RET goes by what was stored before
    [(JA, 0, 0, 1), KILL, STORE, LOAD, KILL],
    [STORE, *[(JEQ, 1, 0, 0)] * 9, KILL, LOAD, KILL],
]
UNSTORED: list[Program] = [
    [LOAD, KILL],
    [LOAD, STORE, KILL],
    [(bpf.ST, 0, 0, 2), (bpf.ST, 0, 0, 4), LOAD, KILL],
    [KILL, LOAD, KILL],  # dead code behind a RET
    [(JEQ, 0, 1, 0), STORE, LOAD, KILL],  # on one side
    [(JEQ, 1, 0, 0), STORE, LOAD, KILL],
    [(JEQ, 0, 0, 0), LOAD, KILL],
    [(JA, 0, 0, 1), STORE, LOAD, KILL],
    [(JA, 0, 0, 0), LOAD, KILL],
    [(JA, 0, 0, 1), KILL, LOAD, STORE, KILL],
    [(JEQ, 0, 1, 0), STORE, *[(JEQ, 0, 0, 0)] * 9, LOAD, KILL],
]


def test_scratch_memory() -> None:
    assert all(taken([[ALLOW, *body] for body in STORED]))
    assert not any(taken([[ALLOW, *body] for body in UNSTORED]))


def test_all_objections_are_told() -> None:
    program = [(DIV, 0, 0, 0), (LSH, 0, 0, 32), (JA, 0, 0, 9), (bpf.ST, 0, 0, 16), (0x30, 0, 0, 0)]
    assert len(kernel_objections(model(program))) == 6
    assert len(kernel_objections(model([LOAD, LOAD, KILL]))) == 2


VERDICTS: list[bool] = []


@settings(bounded, max_examples=25)
@given(batch=batches(valid=False) | batches(valid=True))
def drawn_programs(batch: list[Program]) -> None:
    VERDICTS.extend(taken(batch))


@pytest.mark.long("proves many programs")
def test_random_programs() -> None:
    VERDICTS.clear()
    drawn_programs()
    assert 0.2 < sum(VERDICTS) / len(VERDICTS) < 0.8, "one of the verdicts is hardly tried"
