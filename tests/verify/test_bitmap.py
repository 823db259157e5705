"""The model of the kernel's bitmap against the interpreter and the running kernel."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import interpreter as bpf
import pytest
import running_kernel as kernel
from drawing import bounded
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_rules import (
    ALLOW,
    AND,
    DIV,
    DIV_X,
    HIGH_CODES,
    JA,
    JEQ,
    JUMPS,
    KILL,
    LD_ABS,
    LOAD_NR,
    LSH,
    MEMORY,
    RSH,
    Program,
    install,
    model,
)
from seccompgen.verify.kernel import (
    constant_allow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

kernel.require_x86_64()


FOLLOWED = [LD_ABS, AND, JA, *(bpf.JMP | op for op in (bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET))]
OTHERS = sorted(bpf.ACCEPTED - {*FOLLOWED, *MEMORY, DIV, DIV_X, bpf.RET | bpf.K, bpf.RET | bpf.A})
NUMBERS = [0, 1, kernel.NR_GETPPID, kernel.X32_BIT, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
ARCHES = [kernel.AUDIT_ARCH_X86_64, kernel.AUDIT_ARCH_I386]
ENDS = [*[bpf.RET_ALLOW] * 5, kernel.LOG, kernel.ERRNO | 1, bpf.RET_ALLOW | 1, 0xFFFF0000]
CONSTANTS = [0, 1, 0x6F, 0xFF, *NUMBERS, *ARCHES, 0x3FFFFFFF, 0xC0000000]


def followed(rng: random.Random, length: int, offsets: Sequence[int]) -> Program:
    """Return a program of what the builder follows, now and then of something else."""
    program = []
    for left in reversed(range(length)):
        distances = range(min(left, 3) + 1)
        code = rng.choice(OTHERS) if rng.random() < 0.04 else rng.choice([*FOLLOWED, ALLOW[0]])
        k = rng.choice(CONSTANTS)
        if code == LD_ABS:
            k = rng.choice(offsets)
        elif code == JA:
            k = rng.choice(distances)
        elif code == ALLOW[0]:
            k = rng.choice(ENDS)
        elif code in {LSH, RSH}:
            k = 1
        jt, jf = (rng.choice(distances), rng.choice(distances)) if code in JUMPS else (0, 0)
        program.append((code, jt, jf, k))
    return [*program, (ALLOW[0], 0, 0, rng.choice(ENDS))]


def assert_same_constant(program: Program, nr: int, arch: int) -> bool:
    packed = bpf.assemble(program, "little")
    told = constant_allow(model(program), nr, arch)
    assert told == bpf.constant_allow(packed, nr, arch, "little"), (program, nr, arch)
    return told


@pytest.mark.long("proves many programs")
@settings(bounded, max_examples=400)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 12))
@example(seed=0, length=0)
def test_constant_allow_as_the_interpreter_has_it(seed: int, length: int) -> None:
    rng = random.Random(seed)
    program = followed(rng, length, [bpf.NR, bpf.NR, bpf.ARCH, rng.choice([8, 12, 16, 60])])
    for nr, arch in product([*NUMBERS, -1], ARCHES):
        if assert_same_constant(program, nr, arch):
            data = bpf.seccomp_data(nr, arch, [rng.getrandbits(64) for _ in range(6)])
            result = bpf.run(bpf.assemble(program, "little"), data, "little")
            assert result.value == bpf.RET_ALLOW


def test_constant_allow_for_every_opcode() -> None:
    kept = {
        code
        for code, k in product([*range(256), *HIGH_CODES], (0, 4))
        if assert_same_constant([(code, 0, 0, k), *[ALLOW] * 5], 1, ARCHES[0])
    }
    assert kept == set(FOLLOWED)
    for offset in range(8, 64, 4):
        assert not assert_same_constant([(LD_ABS, 0, 0, offset), ALLOW], 1, ARCHES[0])
    for end in (ALLOW[3] | 1, ALLOW[3] | 0xFFFF, kernel.LOG, 0xFFFF0000, 0):
        assert not assert_same_constant([(bpf.RET | bpf.K, 0, 0, end)], 1, ARCHES[0])
    assert not assert_same_constant([LOAD_NR], 1, ARCHES[0])
    # The number is an int; loaded, it is unsigned.
    assert assert_same_constant([LOAD_NR, (JEQ, 0, 1, bpf.U32), ALLOW, KILL], -1, ARCHES[0])


def test_constant_allow_is_what_the_kernel_shows() -> None:
    """Without that file only the clock tells: ``python -m benchmarks.bitmap`` asks it."""
    shown = Path("/proc/self/seccomp_cache")
    if not shown.exists():
        pytest.skip(f"{shown} is absent: the kernel is built without SECCOMP_CACHE_DEBUG")
    rng = random.Random(4)
    exempt = {335, 336}  # uretprobe, uprobe: allowed whatever the filters say
    for _ in range(20):
        body = [LOAD_NR, (JEQ, 1, 0, kernel.NR_GETPPID), ALLOW, *followed(rng, 6, [0, 4, 16])]
        outcome = kernel.run(lambda body=body: [install(body), shown.read_text()])  # type: ignore[misc]
        assert outcome.error is None, outcome
        rows = [line.split() for line in outcome.value[1].splitlines()]
        told = {int(nr): answer == "ALLOW" for arch, nr, answer in rows if arch == "x86_64"}
        assert len(told) > 300
        for nr in told.keys() - exempt:
            assert told[nr] == constant_allow(model(body), nr, ARCHES[0]), (body, nr)
