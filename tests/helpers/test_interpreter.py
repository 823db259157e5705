"""The interpreter itself: by hand, against the running kernel, and on libseccomp's programs."""

from __future__ import annotations

import ast
import ctypes
import os
import platform
import random
import struct
import sys
from pathlib import Path
from typing import Any

import interpreter as bpf
import libseccomp
import oracle
import pytest
import ring_context
from interpreter import Refused, Result, assemble, check, constant_allow, run, seccomp_data

X86_64 = 0xC000003E
RUNNING_X86_64 = sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 2**32

LD_ABS = bpf.LD | bpf.W | bpf.ABS
RET_K = bpf.RET | bpf.K
RET_A = bpf.RET | bpf.A


def answer(*instructions: tuple[int, int, int, int], data: bytes | None = None) -> Result:
    program = assemble(instructions, "little")
    check(program, "little")
    return run(program, data or seccomp_data(0, X86_64), "little")


@pytest.mark.parametrize("module", [bpf, oracle, ring_context])
def test_shares_no_code_with_seccompgen(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported
    assert imported <= {*sys.stdlib_module_names, "interpreter"}


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_data_is_laid_out_in_the_targets_byte_order(byte_order: bpf.ByteOrder) -> None:
    data = seccomp_data(7, X86_64, [0, 0x1122334455667788], 9, byte_order)
    assert len(data) == bpf.DATA_SIZE
    low = 24 if byte_order == "little" else 28
    words = {}
    for offset in range(0, 64, 4):
        program = assemble([(LD_ABS, 0, 0, offset), (RET_A, 0, 0, 0)], byte_order)
        words[offset] = run(program, data, byte_order).value
    ip = 8 if byte_order == "little" else 12
    expected = {0: 7, 4: X86_64, ip: 9, low: 0x55667788, 52 - low: 0x11223344}
    assert words == dict.fromkeys(range(0, 64, 4), 0) | expected


def test_reports_the_path() -> None:
    result = answer(
        (LD_ABS, 0, 0, 0),
        (bpf.JMP | bpf.JEQ, 1, 0, 5),
        (RET_K, 0, 0, 1),
        (LD_ABS, 0, 0, 28),
        (LD_ABS, 0, 0, 56),
        (RET_K, 0, 0, 2),
        data=seccomp_data(5, X86_64),
    )
    assert result == Result(2, (0, 1, 3, 4, 5))
    assert result.executed == 5


@pytest.mark.parametrize(
    ("operation", "a", "operand", "expected"),
    [
        (bpf.ADD, 0xFFFFFFFF, 2, 1),
        (bpf.SUB, 1, 2, 0xFFFFFFFF),
        (bpf.MUL, 0x10001, 0x10001, 0x20001),
        (bpf.DIV, 0xFFFFFFFF, 2, 0x7FFFFFFF),
        (bpf.OR, 5, 6, 7),
        (bpf.AND, 5, 6, 4),
        (bpf.XOR, 5, 6, 3),
        (bpf.LSH, 3, 31, 0x80000000),
        (bpf.RSH, 0x80000000, 31, 1),
    ],
)
def test_arithmetic(operation: int, a: int, operand: int, expected: int) -> None:
    by_constant = answer((0x00, 0, 0, a), (bpf.ALU | operation, 0, 0, operand), (RET_A, 0, 0, 0))
    by_x = answer(
        (bpf.LD | bpf.IMM, 0, 0, a),
        (bpf.LDX | bpf.IMM, 0, 0, operand),
        (bpf.ALU | operation | bpf.X, 0, 0, 0),
        (RET_A, 0, 0, 0),
    )
    assert by_constant.value == by_x.value == expected


def test_negation_transfers_scratch_and_length() -> None:
    result = answer(
        (bpf.LD | bpf.IMM, 0, 0, 1),
        (bpf.ALU | bpf.NEG, 0, 0, 0),
        (bpf.ST, 0, 0, 15),
        (bpf.MISC | bpf.TAX, 0, 0, 0),
        (bpf.LD | bpf.W | bpf.LEN, 0, 0, 0),
        (bpf.STX, 0, 0, 0),
        (bpf.LDX | bpf.W | bpf.LEN, 0, 0, 0),
        (bpf.LD | bpf.MEM, 0, 0, 0),
        (bpf.ALU | bpf.SUB | bpf.X, 0, 0, 0),  # 0xffffffff - 64
        (bpf.LDX | bpf.MEM, 0, 0, 15),
        (bpf.ALU | bpf.AND | bpf.X, 0, 0, 0),
        (bpf.MISC | bpf.TAX, 0, 0, 0),
        (bpf.LD | bpf.IMM, 0, 0, 0),
        (bpf.MISC | bpf.TXA, 0, 0, 0),
        (RET_A, 0, 0, 0),
    )
    assert result.value == 0xFFFFFFFF - 64


def test_division_by_x_of_zero_kills_the_thread() -> None:
    assert (
        answer((0x00, 0, 0, 9), (bpf.ALU | bpf.DIV | bpf.X, 0, 0, 0), (RET_K, 0, 0, 7)).value == 0
    )


@pytest.mark.parametrize(
    ("jump", "a", "k", "taken"),
    [
        (bpf.JEQ, 5, 5, True),
        (bpf.JEQ, 5, 4, False),
        (bpf.JGT, 0x80000000, 1, True),
        (bpf.JGT, 5, 5, False),
        (bpf.JGE, 5, 5, True),
        (bpf.JGE, 4, 5, False),
        (bpf.JSET, 6, 3, True),
        (bpf.JSET, 4, 3, False),
    ],
)
@pytest.mark.parametrize("distance", [0, 255])
def test_conditional_jumps(jump: int, a: int, k: int, taken: bool, distance: int) -> None:
    padding = [(RET_K, 0, 0, 1000 + i) for i in range(256)]
    jt, jf = (distance, 9) if taken else (9, distance)
    by_constant = answer((0x00, 0, 0, a), (bpf.JMP | jump, jt, jf, k), *padding)
    by_x = answer((0x00, 0, 0, a), (0x01, 0, 0, k), (bpf.JMP | jump | bpf.X, jt, jf, 0), *padding)
    assert by_constant.value == by_x.value == 1000 + distance


RET = (RET_K, 0, 0, 0)
REFUSED = {
    "no instructions": [],
    "too long": [RET] * 4097,
    "no RET at the end": [RET, (LD_ABS, 0, 0, 0)],
    "byte load": [(bpf.LD | bpf.ABS | 0x10, 0, 0, 0), RET],
    "half-word load": [(bpf.LD | bpf.ABS | 0x08, 0, 0, 0), RET],
    "indirect load": [(bpf.LD | 0x40, 0, 0, 0), RET],
    "ldx msh": [(bpf.LDX | 0xA0, 0, 0, 0), RET],
    "mod": [(bpf.ALU | 0x90, 0, 0, 3), RET],
    "neg x": [(bpf.ALU | bpf.NEG | bpf.X, 0, 0, 3), RET],
    "ret x": [(bpf.RET | bpf.X, 0, 0, 0), RET],
    "jne": [(bpf.JMP | 0x50, 0, 0, 0), RET],
    "ja x": [(bpf.JMP | bpf.X, 0, 0, 0), RET],
    "high opcode bits": [(0x0100 | RET_K, 0, 0, 0), RET],
    "unaligned load": [(LD_ABS, 0, 0, 2), RET],
    "load outside": [(LD_ABS, 0, 0, 64), RET],
    "load far outside": [(LD_ABS, 0, 0, 0xFFFFF000), RET],
    "division by zero": [(bpf.ALU | bpf.DIV, 0, 0, 0), RET],
    "shift by 32": [(bpf.ALU | bpf.LSH, 0, 0, 32), RET],
    "right shift by 32": [(bpf.ALU | bpf.RSH, 0, 0, 32), RET],
    "scratch cell 16": [(bpf.ST, 0, 0, 16), RET],
    "uninitialised scratch": [(bpf.LD | bpf.MEM, 0, 0, 3), RET],
    "scratch stored on one side": [
        (bpf.JMP | bpf.JEQ, 0, 1, 0),
        (bpf.ST, 0, 0, 3),
        (bpf.LDX | bpf.MEM, 0, 0, 3),
        RET,
    ],
    "scratch jumped around": [
        (bpf.JMP | bpf.JA, 0, 0, 1),
        (bpf.ST, 0, 0, 3),
        (bpf.LD | bpf.MEM, 0, 0, 3),
        RET,
    ],
    "ja out": [(bpf.JMP | bpf.JA, 0, 0, 1), RET],
    "ja far out": [(bpf.JMP | bpf.JA, 0, 0, 0xFFFFFFFF), RET],
    "jt out": [(bpf.JMP | bpf.JEQ, 1, 0, 0), RET],
    "jf out": [(bpf.JMP | bpf.JEQ, 0, 1, 0), RET],
}
ACCEPTED = {
    "longest": [RET] * 4096,
    "scratch stored on both sides": [
        (bpf.ST, 0, 0, 3),
        (bpf.JMP | bpf.JEQ, 0, 1, 0),
        RET,
        (bpf.LD | bpf.MEM, 0, 0, 3),
        RET,
    ],
    "scratch in dead code": [
        (bpf.JMP | bpf.JA, 0, 0, 1),
        (bpf.LD | bpf.MEM, 0, 0, 3),
        RET,
    ],
    "to the last": [(bpf.JMP | bpf.JEQ, 0, 1, 0), (bpf.JMP | bpf.JA, 0, 0, 0), RET],
    "shift by 31": [(bpf.ALU | bpf.LSH, 0, 0, 31), RET],
    "noise in unused fields": [(LD_ABS, 9, 9, 60), (bpf.LD | bpf.W | bpf.LEN, 9, 9, 9), RET],
}


@pytest.mark.parametrize("program", REFUSED.values(), ids=REFUSED)
def test_refuses(program: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(Refused):
        check(assemble(program, "big"), "big")


@pytest.mark.parametrize("program", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(program: list[tuple[int, int, int, int]]) -> None:
    assert len(check(assemble(program, "big"), "big")) == len(program)


def test_refuses_a_torn_program() -> None:
    with pytest.raises(Refused):
        check(bytes(9), "little")


def test_refuses_to_run_off_the_end_or_on_what_it_does_not_know() -> None:
    data = seccomp_data(0, X86_64)
    for program in ([(LD_ABS, 0, 0, 0)], [(0x30, 0, 0, 0)], [(bpf.LD | bpf.MEM, 0, 0, 0)]):
        with pytest.raises(Refused):
            run(assemble(program, "little"), data, "little")
    with pytest.raises(Refused):
        run(assemble([RET], "little"), data[:60], "little")


def test_constant_allow_is_the_kernels_bitmap() -> None:
    program = assemble(
        [
            (LD_ABS, 0, 0, 4),
            (bpf.JMP | bpf.JEQ, 1, 0, X86_64),
            (RET_K, 0, 0, 0),
            (LD_ABS, 0, 0, 0),
            (bpf.JMP | bpf.JGE, 6, 0, 100),
            (bpf.JMP | bpf.JGT, 3, 0, 50),
            (bpf.JMP | bpf.JSET, 2, 0, 1),
            (bpf.JMP | bpf.JA, 0, 0, 0),
            (RET_K, 0, 0, 0x7FFF0000),
            (LD_ABS, 0, 0, 16),
            (RET_K, 0, 0, 0x7FFF0000),
            (bpf.ALU | bpf.AND, 0, 0, 1),
            (bpf.JMP | bpf.JEQ, 0, 1, 1),
            (RET_K, 0, 0, 0x7FFF0000),
            (RET_K, 0, 0, 0x7FFF0001),
        ],
        "big",
    )
    check(program, "big")
    allowed = [nr for nr in range(120) if constant_allow(program, nr, X86_64, "big")]
    assert allowed == [*range(0, 51, 2), *range(101, 120, 2)]
    assert not constant_allow(program, 0, X86_64 + 1, "big")
    through_x = assemble([(0x07, 0, 0, 0), (RET_K, 0, 0, 0x7FFF0000)], "big")
    assert not constant_allow(through_x, 0, X86_64, "big")


# --- the running kernel ----------------------------------------------------------------------

CALL = 1000  # a number that no kernel names
REPORT_ERRNO = [  # answer with the low 12 bits of A, as an errno
    (bpf.ALU | bpf.AND, 0, 0, 0xFFF),
    (bpf.ALU | bpf.OR, 0, 0, 0x00050000),
    (RET_A, 0, 0, 0),
]


class SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def ask_kernel(program: bytes, calls: list[list[int]]) -> list[int] | None:
    """Install ``program`` in a child; return the errno of each call, None if it is refused."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            memory = ctypes.create_string_buffer(program, len(program))
            fprog = SockFprog(len(program) // 8, ctypes.addressof(memory))
            libc.prctl(38, 1, 0, 0, 0)
            if libc.prctl(22, 2, ctypes.byref(fprog), 0, 0):
                os.write(write_end, b"refused")
            else:
                answers = []
                for args in calls:
                    wide = map(ctypes.c_ulonglong, args)
                    answers.append(ctypes.get_errno() if libc.syscall(CALL, *wide) else 0)
                os.write(write_end, struct.pack(f"{len(answers)}I", *answers))
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    _, wait_status = os.waitpid(child, 0)
    assert wait_status == 0
    if answer == b"refused":
        return None
    return list(struct.unpack(f"{len(calls)}I", answer))


def seccomp_works() -> bool:
    if not RUNNING_X86_64:
        return False
    try:
        return ask_kernel(assemble([(RET_K, 0, 0, bpf.RET_ALLOW)], "little"), []) == []
    except (AssertionError, OSError):
        return False


needs_kernel = pytest.mark.skipif(not seccomp_works(), reason="needs seccomp on x86_64 Linux")


OF_THE_TESTS = pytest.mark.long("the tests' own interpreter, which changes hardly ever")


@OF_THE_TESTS
@needs_kernel
@pytest.mark.parametrize("program", (REFUSED | ACCEPTED).values(), ids=(REFUSED | ACCEPTED).keys())
def test_check_agrees_with_the_kernel(program: list[tuple[int, int, int, int]]) -> None:
    # Let every call of the child through, so that it can report.
    prefix = [(RET_K, 0, 0, bpf.RET_ALLOW)] if 0 < len(program) < 4096 else []
    if len(program) == 4096:
        program = [(RET_K, 0, 0, bpf.RET_ALLOW), *program[1:]]
    code = assemble([*prefix, *program], "little")
    try:
        check(code, "little")
    except Refused:
        accepted = False
    else:
        accepted = True
    assert (ask_kernel(code, []) is not None) == accepted


def random_program(rng: random.Random, length: int) -> list[tuple[int, int, int, int]]:
    """Return instructions of every accepted kind but RET; jumps stay inside."""
    values = [0, 1, 2, 31, 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)]
    codes = sorted(bpf.ACCEPTED - {RET_K, RET_A})
    program = []
    for left in reversed(range(length)):
        code = rng.choice(codes)
        jt = jf = 0
        k = rng.choice(values)
        if code == LD_ABS:
            k = rng.randrange(4, 16) * 4
        elif code in {bpf.LD | bpf.MEM, bpf.LDX | bpf.MEM, bpf.ST, bpf.STX}:
            k = rng.randrange(4)
        elif code in {bpf.ALU | bpf.LSH, bpf.ALU | bpf.RSH}:
            k = rng.randrange(32)
        elif code == bpf.ALU | bpf.DIV:
            k = k or 1
        elif code == bpf.JMP | bpf.JA:
            k = rng.randrange(min(left, 3) + 1)
        elif code in bpf.CONDITIONAL_JUMPS:
            jt, jf = (rng.randrange(min(left, 3) + 1) for _ in range(2))
        program.append((code, jt, jf, k))
    return program


@OF_THE_TESTS
@needs_kernel
def test_run_agrees_with_the_kernel() -> None:
    rng = random.Random(2)
    seen = set()
    for _ in range(80):
        head = [
            (LD_ABS, 0, 0, 0),
            (bpf.JMP | bpf.JEQ, 1, 0, CALL),
            (RET_K, 0, 0, bpf.RET_ALLOW),
            *[
                instruction
                for cell in range(4)
                for instruction in ((LD_ABS, 0, 0, 16 + 4 * cell), (bpf.ST, 0, 0, cell))
            ],
            (bpf.MISC | bpf.TAX, 0, 0, 0),
        ]
        body = random_program(rng, 16)
        # A division by an X of 0 kills the child, so that it could not report: none of those.
        for index, (code, _, _, _) in enumerate(body):
            if code == bpf.ALU | bpf.DIV | bpf.X:
                body[index] = (bpf.LD | bpf.W | bpf.LEN, 0, 0, 0)
        fold = [  # fold the high bits in, so that they count
            (bpf.MISC | bpf.TAX, 0, 0, 0),
            (bpf.ALU | bpf.RSH, 0, 0, 13),
            (bpf.ALU | bpf.XOR | bpf.X, 0, 0, 0),
        ]
        program = assemble([*head, *body, *fold, *REPORT_ERRNO], "little")
        check(program, "little")
        calls = [[rng.choice([0, 1, rng.getrandbits(64)]) for _ in range(6)] for _ in range(8)]
        mine = [
            run(program, seccomp_data(CALL, X86_64, args), "little").value & 0xFFF for args in calls
        ]
        seen.update(mine)
        assert ask_kernel(program, calls) == [min(errno, 4095) for errno in mine]
    assert len(seen) > 100


# --- libseccomp's programs -------------------------------------------------------------------


@OF_THE_TESTS
@pytest.mark.skipif(not libseccomp.is_here(), reason="needs python3-seccomp on x86_64")
def test_runs_libseccomps_programs_as_the_oracle_reads_the_policy() -> None:
    numbers = {"read": 0, "write": 1, "socket": 41, "ioctl": 16, "openat": 257}
    tables = {"x86_64": numbers}
    rng = random.Random(4)
    values = [0, 1, 0xFFFFFFFF, 0x100000000, 2**63, 2**64 - 1, 0x1234567800000000, 0x12345678]
    policies: list[dict[str, Any]] = []
    theirs: list[tuple[int, list[libseccomp.Rule]]] = []
    for _ in range(40):
        groups = []
        rules: list[libseccomp.Rule] = []
        for name in rng.sample(sorted(numbers), 4):
            arguments = []
            compares: list[libseccomp.Comparison] = []
            for argument in rng.sample(range(6), rng.randrange(4)):
                operation = rng.choice([*libseccomp.OPERATIONS])
                value = rng.choice(values)
                mask = value | 0xF0F0
                arguments.append(
                    {"argument": argument, "operation": operation, "value": value, "mask": mask}
                )
                operands = [mask, value] if operation == "MaskedEqual" else [value]
                compares.append((argument, libseccomp.OPERATIONS[operation], operands))
            entry = {"name": name, "arguments": arguments}
            groups.append({"action": "allow", "names_with_args": [entry]})
            rules.append((bpf.RET_ALLOW, numbers[name], compares))
        policies.append(
            {"default_action": "errno(1)", "bad_arch_action": "kill_thread", "syscalls": groups}
        )
        theirs.append((0x00050001, rules))
    answers = set()
    programs = libseccomp.programs(theirs, level=2, bad_arch=0)
    for policy, program in zip(policies, programs, strict=True):
        check(program, "little")
        meaning = oracle.Meaning(policy, tables, "x86_64")
        for _ in range(300):
            nr = rng.choice([*numbers.values(), 5, 0x40000000])
            arch = rng.choice([X86_64] * 9 + [0x40000003])
            args = [rng.choice(values) ^ rng.choice([0, 0, 0, 1, 2**32]) for _ in range(6)]
            data = seccomp_data(nr, arch, args)
            value = run(program, data, "little").value
            answers.add(value)
            assert value == meaning.decide(arch, nr, args), (policy, hex(nr), args)
    assert answers == {bpf.RET_ALLOW, 0x00050001, 0}
