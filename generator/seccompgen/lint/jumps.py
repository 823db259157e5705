"""Jumps of a program that always have the same outcome: masks that never match, and the like.

For a policy such tests are reported when it is read: our compiler omits them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
)
from seccompgen.verify import Code
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.program import Instruction
    from seccompgen.lint.finding import Finding, Witness
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.view import FilterView

_CONDITIONAL = {JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, JMP_JSET_K}


def decided_jumps(rule: LintRule, view: FilterView, *, taken: bool) -> Iterator[Finding]:
    """Yield a finding for each test that is always true if ``taken``, or else never."""
    if not isinstance(view.side, Code):
        return
    instructions = view.side.instructions
    targets = {
        at + 1 + distance
        for at, one in enumerate(instructions)
        if one.code in _CONDITIONAL
        for distance in (one.jt, one.jf)
        if distance
    }
    for at, one in enumerate(instructions):
        before = instructions[at - 1] if at and at not in targets else None
        text = (_always if taken else _never)(one, before) if one.jt != one.jf else ""
        if text:
            yield rule.finding(
                f"the test is {'always' if taken else 'never'} true: {text}",
                "compare with what is meant, or drop the test",
                view=view,
                witness=_reaching(view, view.side, at),
                instruction=at,
            )


def _always(one: Instruction, _: Instruction | None) -> str:
    return "everything is at least 0" if one.code == JMP_JGE_K and one.k == 0 else ""


def _never(one: Instruction, before: Instruction | None) -> str:
    if one.code == JMP_JEQ_K and before and before.code == ALU_AND_K and one.k & ~before.k:
        return f"{one.k:#x} has bits outside the mask {before.k:#x}"
    if one.code == JMP_JSET_K and one.k == 0:
        return "it tests no bits"
    return "nothing is more than 0xffffffff" if one.code == JMP_JGT_K and one.k == U32 else ""


def _reaching(view: FilterView, code: Code, at: int) -> Witness | None:
    """Return a call that reaches an instruction, if one with all arguments 0 does; else None."""
    for number in view.table.names:
        call = Call(number & U32, view.arch)
        if at in code.run(call)[1]:
            return view.witness(call)
    return None
