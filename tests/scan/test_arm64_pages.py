"""Addresses of aarch64 code, which a page and an offset make in two instructions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from arm64_images import CODE, image_of_words
from seccompgen.scan.arm64 import Arm64
from seccompgen.scan.image import AddressRange, Landing
from seccompgen.scan.processor import EffectKind
from seccompgen.scan.ways import Context, Harmless, Imports, ways_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE, TWO = 0x3000, 0x4000
X0_ONE, X0_TWO, X19_ONE, X19_TWO = 0xD0000000, 0xF0000000, 0xD0000013, 0xF0000013
X0_FIRST = 0xF0FFFFE0  # adrp x0, 0
ADD_X0, ADD_X1, ADD_X19 = 0x91004000, 0x91004001, 0x91004273  # add x0, x0, #0x10, ...
LOAD_X1 = 0xF9400401  # ldr x1, [x0, #8]
LOAD_X0, LOAD_X9 = 0xF9400400, 0xF9400409
MOVE_X19, SUM_X9 = 0xAA0003F3, 0x8B090129  # mov x19, x0; add x9, x9, x9
CALL, RET, BR_X9, NOP = 0x94000400, 0xD65F03C0, 0xD61F0120, 0xD503201F


def made(
    code: Sequence[int],
    kind: EffectKind,
    pad: int = 0,
    *,
    begins: bool = True,
    relocatable: bool = True,
    slots: tuple[AddressRange, ...] = (),
    count: int = 0,
) -> set[int]:
    """Return what ``code`` makes; it goes on after exceptions at the instruction ``pad``.

    The function has ``count`` instructions, or all.
    """
    image = replace(
        image_of_words(code),
        landings={CODE: (Landing(CODE, CODE + 4 * pad, CODE + 4 * pad),)} if pad else {},
        frames=frozenset({CODE} if begins else ()),
        relocatable=relocatable,
        slot_tables=slots,
    )
    machine = Arm64()
    instructions = machine.disassemble(image, CODE, CODE + 4 * (count or len(code)))
    return {one.value for one in machine.events(image, instructions) if one.kind is kind}


@pytest.mark.parametrize(
    ("code", "references"),
    [
        pytest.param([X0_ONE, LOAD_X1, X0_TWO, ADD_X0, RET], {TWO + 16}, id="the nearest"),
        pytest.param([X0_FIRST, ADD_X1, RET], {16}, id="the first page of a file"),
        pytest.param(
            [0xB4000063, X0_ONE, 0x14000002, X0_TWO, ADD_X1, RET],  # cbz x3; b
            {ONE + 16, TWO + 16},
            id="where two ways meet",
        ),
        pytest.param(
            [X0_ONE, BR_X9, X0_TWO, RET, ADD_X1, RET],
            {ONE + 16},
            id="where a table may lead",
        ),
        pytest.param(
            [X19_ONE, X0_TWO, CALL, ADD_X19, ADD_X0, X19_TWO, X0_ONE, RET],
            {ONE + 16},
            id="what a call keeps, not what it changes",
        ),
    ],
)
def test_an_offset_is_added_to_the_pages_that_may_be_there(
    code: list[int], references: set[int]
) -> None:
    assert made(code, EffectKind.REFERENCE) == references


def test_a_pointer_that_was_loaded_is_no_page() -> None:
    """Else what nginx calls through one of its tables would be each import beside the table."""
    loads = [X0_ONE, LOAD_X0, LOAD_X1, RET]
    assert made(loads, EffectKind.LOAD) == {ONE + 8}
    assert made([X19_ONE, MOVE_X19, ADD_X19, RET], EffectKind.REFERENCE) == set()


@pytest.mark.parametrize(
    ("code", "pad"),
    [
        pytest.param([X19_ONE, SUM_X9, BR_X9, ADD_X19, RET], 0, id="a table"),
        pytest.param([X19_ONE, SUM_X9, BR_X9, MOVE_X19, CALL, ADD_X19, RET], 0, id="a call"),
        pytest.param([X19_ONE, CALL, MOVE_X19, RET, ADD_X19, RET], 4, id="a pad"),
        pytest.param([X19_ONE, CALL, MOVE_X19, NOP, ADD_X19, RET], 4, id="into a pad"),
        pytest.param([0xD0000009, CALL, 0x91004121, RET], 0, id="a call of what keeps x9"),
    ],
)
def test_a_page_also_counts_behind(code: list[int], pad: int) -> None:
    """A call may never return, so that a table leads to what is behind it."""
    assert made(code, EffectKind.REFERENCE, pad) == {ONE + 16}


@pytest.mark.parametrize(
    ("code", "pad"),
    [
        pytest.param([X0_ONE, CALL, RET, ADD_X0, RET], 3, id="a pad, of what calls change"),
        pytest.param([0xD0000001, CALL, 0x91004021, RET], 0, id="a call, which may return in x1"),
        pytest.param([X19_ONE, LOAD_X9, BR_X9, MOVE_X19, CALL, ADD_X19, RET], 0, id="a pointer"),
        pytest.param([X19_ONE, NOP, MOVE_X19, CALL, ADD_X19, RET], 0, id="a call, without tables"),
    ],
)
def test_no_page_counts_behind(code: list[int], pad: int) -> None:
    assert made(code, EffectKind.REFERENCE, pad) == set()


@pytest.mark.parametrize(
    "read",
    [0xB4000040, 0xEB00003F],
    ids=["cbz x0", "cmp x1, x0"],
)
def test_what_is_compared_is_no_page(read: int) -> None:
    """So what is in x0 came from the call, which has returned."""
    code = [X0_ONE, SUM_X9, BR_X9, CALL, read, ADD_X0, RET]
    assert made(code, EffectKind.REFERENCE) == set()
    assert made([*code[:4], ADD_X0, RET], EffectKind.REFERENCE) == {ONE + 16}


def test_the_sum_of_half_a_page_is_no_address() -> None:
    half = 0x11004000  # add w0, w0, #0x10
    assert made([X0_ONE, half, RET], EffectKind.REFERENCE) == set()
    assert made([X0_ONE, half, RET], EffectKind.REFERENCE, relocatable=False) == {ONE + 16}


KEEP, KEEP_HALF, AGAIN, ENTER, LEAVE = 0xF90007E0, 0xB9000BE0, 0xF94007E0, 0xD10043FF, 0x910083FF
"""str x0, [sp, #8]; str w0, [sp, #8]; ldr x0, [sp, #8]; sub sp, sp, #16; add sp, sp, #32"""
SAVE, FRAME, KEEP_BY_FRAME, AGAIN_BY_SP = 0xA9BE7BFD, 0x910003FD, 0xF9000FA0, 0xF9400FE0
"""stp x29, x30, [sp, #-32]!; mov x29, sp; str x0, [x29, #24]; ldr x0, [sp, #24]"""


@pytest.mark.parametrize(
    ("code", "references"),
    [
        pytest.param([X0_ONE, KEEP, CALL, AGAIN, ADD_X0, LEAVE, RET], {ONE + 16}, id="a word"),
        pytest.param([X0_ONE, KEEP, X0_TWO, 0xA94003E1, ADD_X0, RET], {ONE + 16}, id="ldp x1, x0"),
        pytest.param([X0_ONE, 0xA90107E0, CALL, RET], set(), id="stp, never loaded"),
        pytest.param([X0_ONE, KEEP, 0xF90007FF, AGAIN, ADD_X0, RET], set(), id="overwritten"),
        pytest.param([X0_ONE, KEEP, LEAVE, AGAIN, ADD_X0, RET], set(), id="freed"),
        pytest.param([X0_ONE, 0xF2A00020, ADD_X0, RET], {ONE + 16}, id="movk x0, #1, lsl #16"),
        pytest.param(
            [SAVE, FRAME, X0_ONE, KEEP_BY_FRAME, CALL, AGAIN_BY_SP, ADD_X0, RET],
            {ONE + 16},
            id="by the frame's address",
        ),
        pytest.param(
            [SAVE, FRAME, ENTER, X0_ONE, KEEP_BY_FRAME, CALL, 0xF94017E0, ADD_X0, RET],
            {ONE + 16},
            id="ldr x0, [sp, #40], 16 bytes below the frame",
        ),
    ],
)
def test_a_page_is_followed_in_the_stack(code: list[int], references: set[int]) -> None:
    """Compilers keep pages there where they lack registers, as over calls."""
    assert made(code, EffectKind.REFERENCE) == references
    assert made(code, EffectKind.PAGE) == set()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param([X0_ONE, 0xF9000040, RET], id="str x0, [x2]"),
        pytest.param([X0_ONE, KEEP_HALF, RET], id="the half of it"),
        pytest.param([X0_ONE, 0x9E670000, RET], id="fmov d0, x0"),
        pytest.param([X0_ONE, 0x9A820001, RET], id="csel x1, x0, x2, eq"),
        pytest.param([X0_ONE, 0xF8408401, RET], id="ldr x1, [x0], #8"),
        pytest.param([X0_ONE, KEEP, 0xB9400BE0, RET], id="ldr w0, [sp, #8]"),
        pytest.param([X0_ONE, KEEP, 0x3DC003E0, RET], id="ldr q0, [sp]"),
        pytest.param([X0_ONE, KEEP, ENTER, AGAIN, RET], id="the stack grows"),
        pytest.param([X0_ONE, KEEP, CALL, AGAIN, 0xF9000040, RET], id="loaded and stored"),
        pytest.param(
            [SAVE, FRAME, 0xCB2363FF, X0_ONE, KEEP_BY_FRAME, AGAIN, RET], id="sub sp, sp, x3"
        ),
        pytest.param([X0_ONE, 0xB4000061, 0xD2800020, RET, 0xF9000040, RET], id="behind a jump"),
        pytest.param([X0_ONE, 0x14000002, RET, 0xF9000040, RET], id="behind b"),
        pytest.param([X0_ONE, SUM_X9, BR_X9, X0_TWO, RET, 0xF9000040, RET], id="behind a table"),
    ],
)
def test_a_page_that_is_stored_elsewhere_stands_for_all_of_it(code: list[int]) -> None:
    assert made(code, EffectKind.PAGE) == {ONE}


@pytest.mark.parametrize(
    ("code", "references"),
    [
        pytest.param([X0_ONE, 0xAA0003E1, 0x91004021, RET], {ONE + 16}, id="mov x1, x0"),
        pytest.param([0xD0000009, 0xD63F0020, 0x91004121, RET], set(), id="blr does not keep x9"),
        pytest.param(
            [0xD0000009, 0x94000003, 0x91004121, RET, 0xD0000010, 0xD61F0220],
            set(),
            id="nor does an import",
        ),
        pytest.param([X0_ONE, 0xF8606841, RET], set(), id="ldr x1, [x2, x0] is of no page"),
    ],
)
def test_a_page_is_followed_in_registers(code: list[int], references: set[int]) -> None:
    assert made(code, EffectKind.REFERENCE) == references
    assert made(code, EffectKind.PAGE) == set()


@pytest.mark.parametrize(
    ("part", "pages"),
    [
        pytest.param([ADD_X0, RET], {ONE}, id="add"),
        pytest.param([0xB4000063, X0_TWO, RET, LOAD_X1, RET], {ONE}, id="ldr, behind a jump"),
        pytest.param([0xB5000083, RET], {ONE}, id="and further"),
        pytest.param([BR_X9], {ONE}, id="a table"),
        pytest.param([NOP] * 1024, {ONE}, id="too much"),
        pytest.param([X0_TWO, ADD_X0, RET], set(), id="another value"),
        pytest.param([0xB4000043, CALL, RET], set(), id="nothing"),
        pytest.param([0xD503245F, 0xD0000010, BR_X9], set(), id="an import's stub, bti c"),
    ],
)
def test_a_page_may_be_used_in_a_part_that_is_elsewhere(part: list[int], pages: set[int]) -> None:
    """A register may also hold it still where it goes on in another function."""
    code = [X0_ONE, 0x14000001, *part]
    assert made(code, EffectKind.PAGE, count=2) == pages


def test_a_part_of_a_function_may_lead_to_the_rest() -> None:
    assert made([X0_ONE, KEEP, RET], EffectKind.PAGE, begins=False) == {ONE}
    assert made([X0_ONE, ADD_X1], EffectKind.PAGE, begins=False) == {ONE}
    assert made([X0_ONE, ADD_X1], EffectKind.PAGE) == set()


def test_a_page_may_be_made_by_adr() -> None:
    """As ld does where adrp is at the end of a page (erratum 843419)."""
    adr = 0x10010000  # adr x0, #0x3000
    slots = (AddressRange(ONE, ONE + 0x100),)
    assert made([adr, LOAD_X0, RET], EffectKind.LOAD) == {ONE + 8}
    assert made([adr, ADD_X0, RET], EffectKind.REFERENCE) == {ONE, ONE + 16}
    assert made([adr, LOAD_X0, RET], EffectKind.REFERENCE, slots=slots) == set()
    assert made([adr + (1 << 29), RET], EffectKind.REFERENCE, slots=slots) == {ONE + 1}


@pytest.mark.parametrize(("begins", "pages"), [(True, set()), (False, {ONE + 16})])
def test_each_page_counts_at_what_may_be_the_middle_of_a_function(
    begins: bool, pages: set[int]
) -> None:
    code = [ADD_X19, X19_ONE, RET]
    assert made(code, EffectKind.REFERENCE, begins=begins) == pages


def test_the_stub_of_an_import_hands_no_slot_out() -> None:
    """Else every program that has a stub takes the address of each import."""
    stub = [0xD0000010, 0xF9400611, 0x91002210, 0xD61F0220]  # adrp, ldr, add x16; br x17
    assert made(stub, EffectKind.LOAD) == {ONE + 8}
    assert made(stub, EffectKind.REFERENCE) == set()
    assert made([*stub[:3], RET], EffectKind.REFERENCE) == {ONE + 8}


@pytest.mark.parametrize(
    ("between", "pages"),
    [([0xA9400062], set()), ([], {ONE}), ([0xA9400801], {ONE})],
    ids=["another value", "the page", "the page, of which two words are loaded"],
)
def test_a_page_that_leaves_the_function_stands_for_all_of_it(
    between: list[int], pages: set[int]
) -> None:
    leaves = 0xB4020000  # cbz x0, far away
    assert made([X0_ONE, ADD_X1, *between, leaves, RET], EffectKind.PAGE) == pages


@pytest.mark.parametrize(("name", "pages"), [("__stack_chk_fail", set()), ("dup", {ONE + 16})])
def test_no_register_is_kept_over_a_call_that_never_returns(name: str, pages: set[int]) -> None:
    """Behind it is other code of the function, which seems to follow."""
    stub = [0xD0000010, 0xF9400611, 0x91002210, 0xD61F0220]  # adrp x16, ONE; ldr x17, ...
    code = [X19_ONE, 0x94000003, ADD_X19, RET, *stub]
    image = replace(image_of_words(code), frames=frozenset({CODE, CODE + 16}))
    image = replace(image, slots={ONE + 8: name})
    machine = Arm64()
    events = machine.events(image, machine.disassemble(image, CODE, CODE + 16))
    assert {one.value for one in events if one.kind is EffectKind.REFERENCE} == pages


def test_between_words_there_is_no_slot() -> None:
    """``add x0, x0, #1`` may seem to be of a page where it is unknown what x0 holds."""
    slots = (AddressRange(ONE, ONE + 0x100),)
    image = replace(image_of_words([RET]), slots={ONE + 8: "dup"}, slot_tables=slots)
    context = Context(image, CODE, CODE + 4)
    assert ways_of(context, EffectKind.REFERENCE, ONE + 8) == [
        Imports("dup", is_call=False, is_taken=True)
    ]
    assert ways_of(context, EffectKind.REFERENCE, ONE + 9) == [Harmless("data")]
