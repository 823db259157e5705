"""The model of the kernel's rules against the running kernel, at every edge and beyond it.

Programs start with a RET that allows, wherever nothing but their acceptance is asked for: what
follows is checked, translated and counted all the same, and cannot confine the child.
"""

from __future__ import annotations

import errno
import random
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import interpreter as bpf
import pytest
import running_kernel as kernel
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from seccompgen.core.program import Instruction
from seccompgen.verify.kernel import (
    MAX_INSNS_PER_PATH,
    constant_allow,
    fits,
    kernel_objections,
    strictest,
    translated_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

kernel.require_x86_64()

Program: TypeAlias = "list[tuple[int, int, int, int]]"

LD_ABS, LEN = bpf.LD | bpf.W | bpf.ABS, bpf.LD | bpf.W | bpf.LEN
LD_MEM, LDX_MEM = bpf.LD | bpf.MEM, bpf.LDX | bpf.MEM
DIV, LSH, RSH = (bpf.ALU | operation for operation in (bpf.DIV, bpf.LSH, bpf.RSH))
AND, DIV_X = bpf.ALU | bpf.AND, bpf.ALU | bpf.DIV | bpf.X
JA, JEQ = bpf.JMP | bpf.JA, bpf.JMP | bpf.JEQ
JUMPS = sorted(bpf.CONDITIONAL_JUMPS)
MEMORY = {LD_MEM, LDX_MEM, bpf.ST, bpf.STX}

ALLOW = (bpf.RET | bpf.K, 0, 0, bpf.RET_ALLOW)
KILL = (bpf.RET | bpf.K, 0, 0, 0)
RET_A = (bpf.RET | bpf.A, 0, 0, 0)
LOAD_NR = (LD_ABS, 0, 0, bpf.NR)

PROPERTY = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def model(program: Program) -> list[Instruction]:
    return [Instruction(*one) for one in program]


def install(program: Program) -> int:
    """Load the program; return 0 or the errno."""
    try:
        return kernel.install_raw(bpf.assemble(program, "little"))
    except OSError as error:
        return error.errno or -1


def answers(programs: Sequence[Program]) -> list[int]:
    """Load one after the other in a child; return 0 or the errno of each."""
    outcome = kernel.run(lambda: [install(program) for program in programs])
    assert outcome.error is None, outcome
    return list(outcome.value)


def interpreter_takes(program: Program) -> bool:
    try:
        bpf.check(bpf.assemble(program, "little"), "little")
    except bpf.Refused:
        return False
    return True


def taken(programs: Sequence[Program]) -> list[bool]:
    """Return which the kernel takes, having seen that both models say the same."""
    verdicts = []
    for program, answer in zip(programs, answers(programs), strict=True):
        assert answer in {0, errno.EINVAL}, program
        objections = kernel_objections(model(program))
        assert (answer == 0) == (not objections), (program, objections)
        assert (answer == 0) == interpreter_takes(program), program
        verdicts.append(answer == 0)
    return verdicts


# --- what is accepted ------------------------------------------------------------------------

HIGH_CODES = [
    *(0x0100 | code for code in (0x00, 0x06, 0x16, 0x20, 0x15, 0x05, 0x60)),
    *(0x8020, 0x8006, 0xFF06, 0xFFFF, 0x1006, 0x0200),
]


def test_every_opcode_in_the_middle_and_at_the_end() -> None:
    """With k = 4 that all may have, as an offset, word, divisor, shift and distance."""
    codes = [*range(256), *HIGH_CODES]
    start = [ALLOW, (bpf.ST, 0, 0, 4)]
    middle = taken([[*start, (code, 0, 0, 4), *[ALLOW] * 5] for code in codes])
    assert {code for code, verdict in zip(codes, middle, strict=True) if verdict} == bpf.ACCEPTED
    end = taken([[*start, (code, 0, 0, 4)] for code in codes])
    assert [code for code, verdict in zip(codes, end, strict=True) if verdict] == [0x06, 0x16]


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


U32_EDGES = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


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


NEAR = [0, 1, 2, 3, 4, 15, 16, 31, 32, 60, 62, 64, *U32_EDGES]


@st.composite
def instructions(draw: st.DrawFn, behind: int, *, valid: bool) -> tuple[int, int, int, int]:
    """Draw one with ``behind`` more to come; if ``valid``, nothing but scratch can be wrong."""
    code = draw(st.sampled_from([*sorted(bpf.ACCEPTED), *sorted(MEMORY) * 4, JA, *JUMPS]))
    short = st.integers(0, min(max(behind - 1, 0), 3))
    if not valid and draw(st.integers(0, 30)) == 0:
        code = draw(st.sampled_from([code ^ 1 << bit for bit in range(16)]))
    if not valid and draw(st.integers(0, 12)) == 0:
        near = st.integers(max(behind - 2, 0), behind + 1)
        return code, draw(near), draw(near), draw(st.sampled_from(NEAR) | near)
    if code in {JA, *JUMPS} and not behind:
        code = LEN
    if code == JA:
        return code, 0, 0, draw(short)
    if code in JUMPS:
        return code, draw(short), draw(short), draw(st.sampled_from(NEAR))
    if code == LD_ABS:
        return code, 0, 0, draw(st.integers(0, 15)) * 4
    return code, 0, 0, draw(st.integers(1, 2))


@st.composite
def programs(draw: st.DrawFn, *, valid: bool) -> Program:
    """Draw a program that allows everything, and of which much is valid."""
    length = draw(st.integers(0, 10))
    body = [draw(instructions(left, valid=valid)) for left in reversed(range(length))]
    prefix = [(bpf.ST, 0, 0, 1)] * draw(st.integers(0, 1))
    end = [LOAD_NR] if not valid and draw(st.integers(0, 30)) == 0 else []
    return [*prefix, ALLOW, *body, draw(st.sampled_from([KILL, RET_A])), *end]


def batches(*, valid: bool) -> st.SearchStrategy[list[Program]]:
    return st.lists(programs(valid=valid), min_size=8, max_size=16)


VERDICTS: list[bool] = []


@settings(PROPERTY, max_examples=60)
@given(batch=batches(valid=False) | batches(valid=True))
def drawn_programs(batch: list[Program]) -> None:
    VERDICTS.extend(taken(batch))


def test_random_programs() -> None:
    VERDICTS.clear()
    drawn_programs()
    assert 0.2 < sum(VERDICTS) / len(VERDICTS) < 0.8, "one of the verdicts is hardly tried"


# --- the total limit -------------------------------------------------------------------------

PENALTY = 4
"""What each filter in force counts besides its length."""
ROOM = 2100
"""eBPF instructions that the filters below leave free."""


def filler(length: int) -> Program:
    """Return a program that becomes ``length`` eBPF instructions."""
    return [ALLOW, *[RET_A] * (length - 5)]


def filler_lengths(total: int) -> list[int]:
    """Return lengths of filters that in force count as ``total``."""
    longest = 4099  # one less than 4096 instructions become, so that one more can be tried
    lengths = [longest] * (total // (longest + PENALTY))
    return [*lengths, total % (longest + PENALTY) - PENALTY]


def assert_fills(candidates: Sequence[Program]) -> None:
    """Compare the predicted length of each with the room that the kernel leaves for it.

    Padded to what is left it must fit exactly: one instruction more and the kernel says ENOMEM.
    """
    in_force = filler_lengths(MAX_INSNS_PER_PATH - ROOM)
    pairs = []
    for program in candidates:
        exact = [*program, *[RET_A] * (ROOM - translated_length(model(program)))]
        pairs.append((exact, [*exact, RET_A]))
        lengths = [translated_length(model(padded)) for padded in pairs[-1]]
        assert lengths == [ROOM, ROOM + 1]
        assert [fits([*in_force, length]) for length in lengths] == [True, False]

    def child() -> list[list[int]]:
        assert not any(install(filler(length)) for length in in_force)
        # Where "one more" is taken by mistake, no room is left for the other.
        return [
            kernel.run(lambda pair=pair: [install(pair[1]), install(pair[0])]).value  # type: ignore[misc]
            for pair in pairs
        ]

    outcome = kernel.run(child)
    assert outcome.error is None, outcome
    for program, told in zip(candidates, outcome.value, strict=True):
        assert told == [errno.ENOMEM, 0], program[:6]


def kinds() -> list[tuple[int, int, int, int]]:
    """Return each instruction in each form that the translation might tell apart."""
    found = []
    for code in sorted(bpf.ACCEPTED):
        if code in bpf.CONDITIONAL_JUMPS:
            found += [
                (code, jt, jf, k) for jt, jf, k in product((0, 1), (0, 1), (0, 7, *U32_EDGES[:2]))
            ]
            found.append((code, 2, 1, 0xFFFFFFFF))
        elif code in MEMORY | {LD_ABS, DIV, LSH, RSH, JA}:
            found.append((code, 0, 0, 4))
        else:
            found += [(code, 0, 0, k) for k in (0, 0x80000000)]
    return found


def test_each_instruction_becomes_as_many_as_the_kernel_makes_of_it() -> None:
    """300 of a kind, so that no other error makes up for a wrong count."""
    assert_fills([[(bpf.ST, 0, 0, 4), ALLOW, *[kind] * 300, *[RET_A] * 5] for kind in kinds()])


@settings(PROPERTY, max_examples=10)
@given(batch=batches(valid=True))
def test_random_programs_become_as_many(batch: list[Program]) -> None:
    assert_fills([program for program in batch if not kernel_objections(model(program))])


def test_as_many_filters_as_the_model_says() -> None:
    """The smallest there are, so that the penalty counts most."""
    length = translated_length(model([ALLOW]))
    expected = next(n for n in range(1, 32768) if not fits([length] * (n + 1)))

    def child() -> int:
        count = 0
        while (answer := install([ALLOW])) == 0:
            count += 1
        assert answer == errno.ENOMEM
        return count

    assert kernel.run(child).value == expected == 3641


def test_the_stack_is_counted_in_the_order_of_installation() -> None:
    """The penalty is for those in force; the last has none, and a refused one changes nothing."""
    lengths = filler_lengths(MAX_INSNS_PER_PATH)
    lengths[-1] += PENALTY
    assert fits(lengths)
    for stack in (lengths, lengths[::-1]):
        *before, last = stack
        tries = [*before, last + 1, last, 5]
        # Each try with those in force, which leave out the refused one.
        stacks = [
            *(stack[:n] for n in range(1, len(stack))),
            [*before, last + 1],
            stack,
            [*stack, 5],
        ]
        expected = [0 if fits(one) else errno.ENOMEM for one in stacks]
        assert expected == [*[0] * len(before), errno.ENOMEM, 0, errno.ENOMEM]
        assert answers([filler(length) for length in tries]) == expected


# --- precedence ------------------------------------------------------------------------------

ACTIONS = {
    "kill_process": kernel.KILL_PROCESS,
    "kill_thread": kernel.KILL_THREAD,
    "trap": kernel.TRAP,
    "errno": kernel.ERRNO,
    "user_notif": kernel.USER_NOTIF,
    "trace": kernel.TRACE,
    "log": kernel.LOG,
    "allow": kernel.ALLOW,
    # Actions that no kernel knows, which kill the process where they win.
    "negative": 0xFFFF0000,
    "below trap": 0x00010000,
    "between trap and errno": 0x00040000,
}


def meaning(answer: int) -> tuple[str, int]:
    """Say what of a filter's answer can be seen: the action, and its data where it has any.

    ALLOW and LOG look alike but for the kernel's log, which not every machine keeps. The data of
    USER_NOTIF reaches nobody, and no listener is here, so that the call fails with ENOSYS.
    """
    action, data = answer & 0xFFFF0000, answer & 0xFFFF
    if action in {kernel.TRAP, kernel.ERRNO, kernel.TRACE}:
        return {v: k for k, v in ACTIONS.items()}[action], data
    if action in {kernel.ALLOW, kernel.LOG}:
        return "runs", 0
    if action == kernel.USER_NOTIF:
        return "errno", errno.ENOSYS
    return "kill_thread" if action == kernel.KILL_THREAD else "kill_process", 0


def observed(stack: Sequence[int]) -> tuple[str, int]:
    """Install filters with these answers to getppid, in order; say what becomes of the call.

    Where a thread may be killed the call is made by one, untraced: the tracer follows no threads.
    """
    in_thread = any(answer & 0xFFFF0000 in KILLS for answer in stack)

    def child() -> list[object]:
        caught = kernel.catch_sigsys()
        for answer in stack:
            kernel.install_raw(kernel.on_call(kernel.NR_GETPPID, answer))
        results: list[tuple[int, int]] = []
        if in_thread:
            survived = kernel.survives_in_thread(
                lambda: results.append(kernel.syscall(kernel.NR_GETPPID))
            )
            if not survived and not caught:
                return ["kill_thread", 0]
        else:
            results.append(kernel.syscall(kernel.NR_GETPPID))
        if caught:
            return ["trap", caught[0].data]
        result, number = results[0]
        return ["errno", number] if result == -1 else ["runs", 0]

    told: tuple[int, ...] = ()
    if in_thread:
        outcome = kernel.run(child)
    else:
        outcome, told = kernel.run_traced(child)
    assert outcome.error is None, outcome
    if outcome.signal is not None:
        return "kill_process", 0
    action, data = outcome.value
    return ("trace", told[0]) if told else (action, data)


KILLS = {
    *(kernel.KILL_PROCESS, kernel.KILL_THREAD),
    *(ACTIONS[name] for name in ("negative", "below trap", "between trap and errno")),
}


def with_data(action: int, data: int) -> int:
    return action | data if action in {kernel.TRAP, kernel.ERRNO, kernel.TRACE} else action


@pytest.mark.parametrize("older", ACTIONS)
def test_two_filters(older: str) -> None:
    """Of equal actions the newer filter's data counts."""
    for newer in ACTIONS.values():
        stack = [with_data(ACTIONS[older], 11), with_data(newer, 12)]
        assert observed(stack) == meaning(strictest(stack)), list(map(hex, stack))


def test_more_filters_with_data_of_their_own() -> None:
    rng = random.Random(5)
    kinds = [kernel.TRAP, kernel.ERRNO, kernel.TRACE, kernel.ALLOW, kernel.LOG]
    for _ in range(25):
        some = rng.sample(kinds, 2)
        stack = [
            with_data(rng.choice(some), data)
            for data in rng.sample(range(1, 100), rng.randint(3, 5))
        ]
        assert observed(stack) == meaning(strictest(stack)), list(map(hex, stack))


def test_what_no_call_shows() -> None:
    assert strictest([]) == kernel.ALLOW
    assert strictest([kernel.ALLOW | 5, kernel.ALLOW | 6]) == kernel.ALLOW
    assert strictest([kernel.LOG | 5, kernel.ALLOW, kernel.LOG | 6, kernel.ALLOW]) == kernel.LOG | 6
    by_strictness = ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log"]
    for stricter, milder in pairwise([*by_strictness, "allow"]):
        pair = [ACTIONS[stricter], ACTIONS[milder]]
        assert strictest(pair) == strictest(pair[::-1]) == ACTIONS[stricter]


def test_user_notif_asks_the_listener_of_the_newest() -> None:
    """One filter of a stack can have a listener; where it is not the newest, nobody is told."""
    first, second = (kernel.on_call(kernel.NR_GETPPID, kernel.USER_NOTIF) for _ in range(2))
    for flags, expected in (([0, kernel.NEW_LISTENER], 7), ([kernel.NEW_LISTENER, 0], -1)):

        def child(hand_over: Callable[[int], None], flags: list[int] = flags) -> int:
            for program, flag in zip((first, second), flags, strict=True):
                listener = kernel.install_raw(program, flag)
                if flag:
                    hand_over(listener)
            return kernel.syscall(kernel.NR_GETPPID)[0]

        outcome, seen = kernel.run_supervised(child, lambda _: 7)
        assert outcome.value == expected, outcome
        assert len(seen) == (expected == 7)


# --- the bitmap ------------------------------------------------------------------------------

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


@settings(PROPERTY, max_examples=400)
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
