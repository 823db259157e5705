"""Small changes to programs, each in one field, and what becomes of each.

A mutant that no kernel takes is refused. Any other is killed, if the prover shows a call on which
the interpreter agrees that it is not what it was; or it is equivalent, which takes z3 to refute
that any call differs, and the interpreter not to find one where it would most likely show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import interpreter
from interpreter import ABS, ACCEPTED, ALU, CONDITIONAL_JUMPS, DATA_SIZE, JA, JMP, LD, RET, U32, W
from proving import ran
from seccompgen.core.program import Instruction
from seccompgen.core.word import ARCH, NR, WORDS, Word
from seccompgen.verify import Code, Difference, Method, Proof, kernel_objections, prove
from seccompgen.verify.call import Call, word_at

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.verify.stack import FilterSemantics

LD_ABS = LD | W | ABS


class Mutant(NamedTuple):
    """``code`` is what ``what`` made of a program at ``place``."""

    place: int
    what: str
    code: Code


def mutants(code: Code) -> Iterator[Mutant]:
    """Yield ``code`` with each field of each instruction changed to its neighbours."""
    for place, one in enumerate(code.instructions):
        for changed in dict.fromkeys(_neighbours(one)):
            if changed != one:
                yield Mutant(place, f"{one} to {changed}", _changed(code, place, changed))


def _changed(code: Code, place: int, one: Instruction) -> Code:
    before, after = code.instructions[:place], code.instructions[place + 1 :]
    return Code((*before, one, *after), code.byte_order)


def _neighbours(one: Instruction) -> Iterator[Instruction]:
    """Yield ``one`` with another code of its class, other targets and other constants.

    What a field means is left to the code: jt and jf count in conditional jumps only.
    """
    code, jt, jf, k = one.code, one.jt, one.jf, one.k
    for other in sorted(ACCEPTED):
        if other & 0x07 == code & 0x07:
            yield Instruction(other, jt, jf, k)
    if code in CONDITIONAL_JUMPS:
        for n in (jt - 1, jt + 1, 0):
            yield Instruction(code, n % 256, jf, k)
        for n in (jf - 1, jf + 1, 0):
            yield Instruction(code, jt, n % 256, k)
        yield Instruction(code, jf, jt, k)
    values = {k - 1, k + 1, *(k ^ 1 << bit for bit in (0, 1, 7, 16, 30, 31))}
    if code == LD_ABS:
        values |= {k - 4, k + 4}
    if code == JMP | JA:
        values |= {0}
    for n in sorted(values):
        yield Instruction(code, jt, jf, n & U32)


def fate(
    means: FilterSemantics, original: Code, mutant: Code, answers: Sequence[tuple[Call, int]]
) -> tuple[str, Difference | None]:
    """Return what becomes of ``mutant``, having asserted that it is so.

    ``means`` is what ``original`` was proved to be; ``answers`` are its answers to some calls.
    """
    objections = kernel_objections(mutant.instructions)
    assert bool(objections) == _is_refused(mutant)
    if objections:
        return "refused", None
    found = prove(means, mutant)
    if isinstance(found, Difference):
        assert found.left == ran(original, found.call).value
        assert found.right == ran(mutant, found.call).value
        assert found.left != found.right
        return "killed", found
    assert prove(original, mutant, [Method.Z3]) == Proof((Method.Z3,))
    for call, answer in answers:
        assert ran(mutant, call).value == answer, call
    return "equivalent", None


def _is_refused(mutant: Code) -> bool:
    program = [(i.code, i.jt, i.jf, i.k) for i in mutant.instructions]
    try:
        interpreter.check(interpreter.assemble(program, mutant.byte_order), mutant.byte_order)
    except interpreter.Refused:
        return True
    return False


def answered(code: Code, calls: Iterable[Call]) -> list[tuple[Call, int]]:
    return [(call, ran(code, call).value) for call in calls]


# --- programs of all kinds -----------------------------------------------------------------------

CONSTANTS = (0, 1, 2, 3, 4, 5, 8, 0xF0, 0x40000000, 0x7FFFFFFF, 0x80000000, U32)
ANSWERS = (
    *(0x80000000, 0x00000000, 0x00030000, 0x00050000, 0x00050001, 0x7FC00000, 0x7FF00000),
    *(0x7FF00007, 0x7FFC0000, 0x7FFF0000, 0x00051234, 0x12345678, 0xFFFFFFFF),
)
"""Every action, with data and without; and such as the kernel has none for."""
PLAIN_CODES = (LD_ABS,) * 5 + tuple(sorted(CONDITIONAL_JUMPS - {JMP | 0x18})) + (ALU | 0x50,) * 3


def random_program(rng: random.Random, byte_order: interpreter.ByteOrder, *, plain: bool) -> Code:
    """Return a program that the kernel takes.

    If ``plain`` it does little but load, mask and compare with constants; else anything.
    """
    while True:
        length = rng.randint(2, 16)
        some = [rng.choice(CONSTANTS) for _ in range(3)]
        body = [_random(rng, length - n - 1, some, plain=plain) for n in range(length)]
        last = Instruction(RET, 0, 0, rng.choice(ANSWERS))
        first = Instruction(LD_ABS, 0, 0, rng.choice(_OFFSETS))
        kept = [Instruction(0x02, 0, 0, cell) for cell in (0, 1)] if rng.random() < 0.5 else []
        if not plain and rng.random() < 0.3:
            kept.append(Instruction(0x07, 0, 0, 0))  # the word goes to X
        instructions = (first, *kept, *body, last)
        if not kernel_objections(instructions):
            return Code(instructions, byte_order)


_OFFSETS = (0, 4, 16, 20, 24, 28, 8)


def _random(rng: random.Random, behind: int, some: list[int], *, plain: bool) -> Instruction:
    code = rng.choice(PLAIN_CODES)
    if not plain and rng.random() < 0.3:
        code = rng.choice(sorted(ACCEPTED))
    if rng.random() < 0.1:
        code = RET if plain or rng.random() < 0.8 else RET | 0x10
    jt, jf = rng.randint(0, min(behind, 6)), rng.randint(0, min(behind, 6))
    k = rng.choice(some if rng.random() < 0.8 else CONSTANTS)
    kind = code & 0x07
    if code == LD_ABS:
        k = rng.choice(_OFFSETS[:4] if rng.random() < 0.8 else range(0, DATA_SIZE, 4))
    elif code == RET:
        k = rng.choice(ANSWERS)
    elif code == JMP | JA:
        k = jt
    elif kind in {2, 3} or code in {0x60, 0x61}:
        k = rng.randint(0, 1)
    elif kind == ALU and code & 0xF0 in {0x60, 0x70}:
        k = rng.randint(0, 31)
    return Instruction(code, jt if kind == JMP else 0, jf if kind == JMP else 0, k)


def random_mutant(rng: random.Random, code: Code) -> Code:
    """Return a mutant that the kernel takes, changed in an instruction that some call reaches."""
    reached = {place for call in likely_calls(rng, [code], 20) for place in ran(code, call).path}
    while True:
        place = rng.choice(sorted(reached))
        changed = rng.choice(list(_neighbours(code.instructions[place])))
        mutant = _changed(code, place, changed)
        if mutant != code and not kernel_objections(mutant.instructions):
            return mutant


def likely_calls(rng: random.Random, codes: Sequence[Code], most: int) -> list[Call]:
    """Return calls made of words next to the constants of ``codes``, and of any others."""
    near = {k + n & U32 for code in codes for k in _constants(code) for n in (-1, 0, 1)}
    values = sorted(near | {0, U32})
    looked_at = {
        word_at(one.k, code.byte_order)
        for code in codes
        for one in code.instructions
        if one.code == LD_ABS
    }
    calls = []
    for _ in range(most):
        words = [rng.choice(values) if n in looked_at else 0 for n in WORDS]
        if rng.random() < 0.25:
            words = [rng.getrandbits(32) for _ in words]
        words[Word.high(NR)] = words[Word.high(ARCH)] = 0
        calls.append(Call.of_words(words.__getitem__))
    return calls


def _constants(code: Code) -> Iterator[int]:
    return (one.k for one in code.instructions if one.code & 0x07 in {JMP, ALU, LD})
