"""Jumps of a program that are decided before any call: masks that never match, and the like.

Of a policy the same is told when it is read (`noted`): our compiler leaves such tests out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.problems import Problem
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
)
from seccompgen.lint.finding import Finding, Severity
from seccompgen.verify import Code
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.program import Instruction
    from seccompgen.lint.finding import Witness
    from seccompgen.lint.view import FilterView

_CONDITIONAL = {JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, JMP_JSET_K}


def decided_jumps(view: FilterView) -> Iterator[Finding]:
    """Yield the jumps of a program that always, or never, go their true way."""
    if not isinstance(view.side, Code):
        return
    instructions = view.side.instructions
    targets = {
        at + 1 + way
        for at, one in enumerate(instructions)
        if one.code in _CONDITIONAL
        for way in (one.jt, one.jf)
        if way
    }
    for at, one in enumerate(instructions):
        before = instructions[at - 1] if at and at not in targets else None
        told = _decided(one, before)
        if told is None:
            continue
        kind, text = told
        yield Finding(
            kind,
            Severity.WARNING,
            text,
            "compare with what is meant, or leave the test out",
            (view.abi.name,),
            witness=_reaching(view, view.side, at),
            instruction=at,
            programs=(view.program.name,),
        )


def _decided(one: Instruction, before: Instruction | None) -> tuple[Problem, str] | None:
    """Return what is to be said of a jump, None if its answer hangs on the call."""
    if one.jt == one.jf:
        return None
    if one.code == JMP_JEQ_K and before and before.code == ALU_AND_K and one.k & ~before.k:
        text = f"{one.k:#x} has bits outside of the mask {before.k:#x}: the test is never true"
        return Problem.MASK_NEVER_MATCHES, text
    if one.code == JMP_JSET_K and one.k == 0:
        return Problem.MASK_NEVER_MATCHES, "no bits are asked for: the test is never true"
    if one.code == JMP_JGT_K and one.k == U32:
        return Problem.MASK_NEVER_MATCHES, "nothing is more than 0xffffffff: the test is never true"
    if one.code == JMP_JGE_K and one.k == 0:
        return Problem.ALWAYS_TRUE, "everything is at least 0: the test is always true"
    return None


def _reaching(view: FilterView, code: Code, at: int) -> Witness | None:
    """Return a call that comes to an instruction, if one without arguments does."""
    for number in view.table.names:
        call = Call(number & U32, view.arch)
        if at in code.run(call)[1]:
            return view.witness(call)
    return None
