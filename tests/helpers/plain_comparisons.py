"""The meaning of a comparison, written down without the compiler's sets."""

from __future__ import annotations

from seccompgen.core.model import U32, Comparison, Op


def holds(test: Comparison, arg: int) -> bool:
    """Say what a comparison means, in the plainest way."""
    if test.width == 32:
        arg &= U32
    if test.op not in {Op.ANY_BITS, Op.NO_BITS}:
        arg &= test.mask
    match test.op:
        case Op.EQ:
            return arg == test.value
        case Op.NE:
            return arg != test.value
        case Op.LT:
            return arg < test.value
        case Op.LE:
            return arg <= test.value
        case Op.GT:
            return arg > test.value
        case Op.GE:
            return arg >= test.value
        case Op.MASKED_EQ:
            return arg == test.value
        case Op.ANY_BITS:
            return arg & test.value != 0
        case Op.NO_BITS:
            return arg & test.value == 0
