"""The number of instructions that run for a call whose arguments are unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.filter_summary import Executed
from seccompgen.core.model import U32
from seccompgen.core.word import ARCH, NR
from seccompgen.verify import machine
from seccompgen.verify.machine import Branch, Registers, Return, ValueDomain, step

if TYPE_CHECKING:
    from seccompgen.core.word import Word
    from seccompgen.verify import Code

_Value: TypeAlias = int | None
"""A value of 32 bits; None if it depends on the arguments."""


def executed_for(code: Code, nr: int, audit_arch: int) -> Executed:
    """Return how many instructions run for the call ``nr`` under an audit value."""

    def word(which: Word) -> _Value:
        return {NR: nr & U32, ARCH: audit_arch}.get(which.field)

    def computed(operation: int, a: _Value, operand: _Value) -> _Value:
        if a is None or operand is None:
            return None
        return machine.ARITHMETIC[operation](a, operand) & U32

    values: ValueDomain[_Value] = ValueDomain(int, word, computed)
    # Jumps lead forward, so whatever leads to an instruction was looked at before it is.
    waiting: dict[int, dict[Registers[_Value], Executed]] = {0: {values.start: Executed(0, 0)}}
    ends: list[Executed] = []
    while waiting:
        for registers, before in waiting.pop(min(waiting)).items():
            after = Executed(before.least + 1, before.most + 1)
            for end in _ends(step(code, registers, values)):
                if isinstance(end, Return):
                    ends.append(after)
                else:
                    there = waiting.setdefault(end.at, {})
                    other = there.get(end, after)
                    there[end] = Executed(
                        min(other.least, after.least), max(other.most, after.most)
                    )
    return Executed(min(one.least for one in ends), max(one.most for one in ends))


def _ends(
    here: Registers[_Value] | Branch[_Value] | Return[_Value],
) -> list[Registers[_Value] | Return[_Value]]:
    if not isinstance(here, Branch):
        return [here]
    if here.a is None or here.operand is None:
        return [here.true, here.false]
    return [here.true if machine.JUMPS[here.operation](here.a, here.operand) else here.false]
