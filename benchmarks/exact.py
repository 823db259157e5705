"""Measurements without a clock: a program's figures, and a check that it is right at all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import corpus
import interpreter
from probes import argument_vectors

from benchmarks.results import Problem

if TYPE_CHECKING:
    from benchmarks.policies import Entry
    from benchmarks.results import Cell

NUMBERS = range(601)
"""As the corpus's figures are defined; no table reaches further."""
I386 = 0x40000003
X32_BIT = 0x40000000


def measured(entry: Entry, program: bytes) -> Cell:
    """Return the figures of ``program``, or what is wrong with it."""
    problem = disagreement(entry, program)
    return problem or corpus.figures(entry, program)


def disagreement(entry: Entry, program: bytes) -> Problem | None:
    """Return a call that ``program`` answers otherwise than ``entry`` does, None if there is none.

    Tried are arguments on both sides of every comparison of every call.
    """
    try:
        interpreter.check(program, "little")
    except interpreter.Refused as error:
        return Problem("wrong", f"the kernel refuses the program: {error}")
    rng = random.Random(0)
    for nr in NUMBERS:
        rules = entry["rules"].get(str(nr), [])
        conjunctions = [c for condition, _ in rules for c in condition or [[]]]
        arguments = [[corpus.as_argument(atom) for atom in c] for c in conjunctions]
        satisfied = [corpus.satisfying(c) for c in conjunctions]
        for args in [*satisfied, *argument_vectors(arguments, rng)]:
            data = interpreter.seccomp_data(nr, corpus.X86_64, args)
            value = interpreter.run(program, data, "little").value
            expected = corpus.direct(entry, nr, args)
            if value != expected:
                call = f"{nr}({', '.join(f'{argument:#x}' for argument in args)})"
                return Problem("wrong", f"{call} gives {action(value)}, not {action(expected)}")
    return None


def lets_others_in(program: bytes) -> bool:
    """Say whether ``program`` allows some call of i386 or x32, which the policy is not for."""
    others = [(I386, nr) for nr in NUMBERS] + [(corpus.X86_64, nr | X32_BIT) for nr in NUMBERS]
    return any(
        interpreter.run(program, interpreter.seccomp_data(nr, arch), "little").value
        == interpreter.RET_ALLOW
        for arch, nr in others
    )


def action(value: int) -> str:
    """Spell a SECCOMP_RET value as policies do."""
    if value & ~0xFFFF == 0x00050000:
        return f"errno({value & 0xFFFF})"
    return corpus.ACTIONS.get(value, f"{value:#x}")
