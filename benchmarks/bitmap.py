"""Ask the running kernel, by the clock, what its bitmap answers: ``python -m benchmarks.bitmap``.

Nothing else shows it where /proc/self/seccomp_cache is absent. With seven long filters in force,
whose 28,000 instructions take some 10 microseconds, a call that the bitmap answers takes no notable
time more; so each probe program tells whether it made the kernel run the filters. What the model
in ``seccompgen.verify.kernel`` predicts is compared with that, probe by probe.
"""

from __future__ import annotations

import random
import sys
import time
from itertools import product

import interpreter as bpf
import running_kernel as kernel
from seccompgen.core.abis import ABIS
from seccompgen.core.program import decode
from seccompgen.verify.kernel import constant_allow

PROBES = 250
CALLS = 60
ENDS = (*[bpf.RET_ALLOW] * 5, kernel.ERRNO | 1, bpf.RET_ALLOW | 1)
CONSTANTS = (0, 1, 0x6F, kernel.NR_GETPPID, kernel.AUDIT_ARCH_X86_64, 0x3FFFFFFF, 0xFFFFFFFF)

Instruction = tuple[int, int, int, int]

LOAD = bpf.LD | bpf.W | bpf.ABS
AND = bpf.ALU | bpf.AND
JUMPS = sorted(bpf.CONDITIONAL_JUMPS)
ALLOW = (bpf.RET | bpf.K, 0, 0, bpf.RET_ALLOW)
# DIV by zero and words of memory that hold nothing are refused, and tell nothing of the bitmap.
ODD = sorted(
    bpf.ACCEPTED
    - {bpf.RET | bpf.K, bpf.RET | bpf.A, bpf.LD | bpf.MEM, bpf.LDX | bpf.MEM, *JUMPS}
    - {bpf.ALU | bpf.DIV | bpf.X, bpf.JMP | bpf.JA}
)


def probes() -> list[list[Instruction]]:
    """Return what getppid() comes to: each opcode, offset and jump, and random programs."""
    rng = random.Random(3)
    return [
        *([(code, 0, 0, 1), ALLOW] for code in ODD if code not in {LOAD, bpf.ST, bpf.STX}),
        *([(LOAD, 0, 0, offset), ALLOW] for offset in range(0, bpf.DATA_SIZE, 4)),
        *([(jump, 0, 1, k), ALLOW, ALLOW] for jump, k in product(JUMPS, CONSTANTS)),
        *(_random(rng) for _ in range(PROBES)),
    ]


def _random(rng: random.Random) -> list[Instruction]:
    program = []
    for left in reversed(range(rng.randint(1, 9))):
        near = range(min(left, 3) + 1)
        code = rng.choice([LOAD, AND, bpf.JMP | bpf.JA, *JUMPS])
        k = rng.choice(CONSTANTS)
        if code == LOAD:
            k = rng.choice([0, 0, 4, 8, 60])
        elif code == bpf.JMP | bpf.JA:
            k = rng.choice(near)
        jt, jf = (rng.choice(near), rng.choice(near)) if code in JUMPS else (0, 0)
        program.append((code, jt, jf, k))
    return [*program, (bpf.RET | bpf.K, 0, 0, rng.choice(ENDS))]


def whole(body: list[Instruction]) -> bytes:
    """Return a program that allows every call but getppid(), for which it is ``body``."""
    at_once = [(LOAD, 0, 0, bpf.NR), (bpf.JMP | bpf.JEQ, 1, 0, kernel.NR_GETPPID), ALLOW]
    return bpf.assemble([*at_once, *body], "little")


def fastest_call(program: bytes) -> int:
    """Install ``program`` in a child; return the nanoseconds of the fastest of its getppid()."""

    def child() -> int:
        assert kernel.install_raw(program) == 0
        best = 1 << 60
        for _ in range(CALLS):
            start = time.perf_counter_ns()
            kernel.syscall(kernel.NR_GETPPID)
            best = min(best, time.perf_counter_ns() - start)
        return best

    outcome = kernel.run(child)
    assert outcome.error is None, outcome
    return int(outcome.value)


def main() -> int:
    """Measure, and say where model and kernel differ; exit with 1 if they do."""
    programs = list(map(whole, probes()))

    def child() -> list[int]:
        stack = [(LOAD, 0, 0, bpf.NR), *[(AND, 0, 0, bpf.U32)] * 4085, ALLOW]
        for _ in range(7):
            assert kernel.install_raw(bpf.assemble(stack, "little")) == 0
        known = (whole([ALLOW]), whole([(bpf.LDX | bpf.IMM, 0, 0, 0), ALLOW]))
        return [fastest_call(program) for program in (*known, *programs)]

    outcome = kernel.run(child)
    assert outcome.error is None, outcome
    fast, slow, *times = outcome.value
    print(f"getppid() by the bitmap {fast} ns, through the filters {slow} ns")
    if slow < 3 * fast:
        print("no bitmap here (Linux before 5.11), or nothing to tell it by")
        return 0
    predicted = [
        constant_allow(decode(program, ABIS["x86_64"]), kernel.NR_GETPPID, kernel.AUDIT_ARCH_X86_64)
        for program in programs
    ]
    different = [
        (program.hex(" ", 8), expected, nanoseconds)
        for program, expected, nanoseconds in zip(programs, predicted, times, strict=True)
        if (nanoseconds**2 < fast * slow) != expected
    ]
    print(f"{len(programs)} programs, {sum(predicted)} constant; {len(different)} differ")
    for one in different:
        print(one)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
