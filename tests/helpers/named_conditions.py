"""Random conditions on arguments, of values that have names, or nearly."""

from __future__ import annotations

from hypothesis import strategies as st
from known_facts import known_facts
from seccompgen.core.model import U32, U64, Comparison, Op

_NAMED = sorted({one.value for one in known_facts().constants.values() if one.value is not None})


@st.composite
def comparisons_of(draw: st.DrawFn, arguments: int) -> Comparison:
    """Return one test of one argument, of values that may have names."""
    width = draw(st.sampled_from((32, 64)))
    ones = (1 << width) - 1
    number = st.one_of(
        st.sampled_from(_NAMED),
        st.lists(st.sampled_from(_NAMED), min_size=2, max_size=3).map(
            lambda some: some[0] | some[1] | some[-1]
        ),
        st.sampled_from((0, 1, 1 << 31, U32, 1 << 32, U64, 0xFFFF, ~3, ~0x10020000)),
        st.integers(0, U64),
    ).map(lambda value: value & ones)
    op = draw(st.sampled_from(Op))
    mask = ones
    if op is Op.MASKED_EQ:
        mask = (
            draw(st.one_of(st.sampled_from((3, 0xF, 0xFF, 0xFFFF, 0o170000, U32)), number)) & ones
        )
    value = draw(number)
    if op is Op.MASKED_EQ and draw(st.booleans()):
        value &= mask
    return Comparison(draw(st.integers(0, arguments - 1)), op, value, mask, width)
