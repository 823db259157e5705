"""Addresses of aarch64 code, which a page and an offset make in two instructions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from arm64_images import CODE, image_of_words
from seccompgen.scan.arm64 import Arm64
from seccompgen.scan.processor import EffectKind

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE, TWO = 0x3000, 0x4000
X0_ONE, X0_TWO, X19_ONE, X19_TWO = 0xD0000000, 0xF0000000, 0xD0000013, 0xF0000013
ADD_X0, ADD_X1, ADD_X19 = 0x91004000, 0x91004001, 0x91004273  # add x0, x0, #0x10, ...
LOAD_X1 = 0xF9400401  # ldr x1, [x0, #8]
LOAD_X0, LOAD_X9 = 0xF9400400, 0xF9400409
MOVE_X19, SUM_X9 = 0xAA0003F3, 0x8B090129  # mov x19, x0; add x9, x9, x9
CALL, RET, BR_X9, NOP = 0x94000400, 0xD65F03C0, 0xD61F0120, 0xD503201F


def made(code: Sequence[int], kind: EffectKind, pad: int = 0, *, begins: bool = True) -> set[int]:
    """Return what ``code`` makes; it goes on after exceptions at the instruction ``pad``."""
    image = image_of_words(code)
    image = replace(image, landings={CODE: (CODE + 4 * pad,)} if pad else {})
    image = image if begins else replace(image, frames=frozenset())
    machine = Arm64()
    instructions = machine.disassemble(image, CODE, CODE + 4 * len(code))
    return {one.value for one in machine.events(image, instructions) if one.kind is kind}


@pytest.mark.parametrize(
    ("code", "references"),
    [
        pytest.param([X0_ONE, LOAD_X1, X0_TWO, ADD_X0, RET], {TWO + 16}, id="the nearest"),
        pytest.param(
            [0xB4000063, X0_ONE, 0x14000002, X0_TWO, ADD_X1, RET],  # cbz x3; b
            {ONE + 16, TWO + 16},
            id="where two ways meet",
        ),
        pytest.param(
            [X0_ONE, LOAD_X1, X0_TWO, BR_X9, ADD_X1, RET],
            {ONE + 16, TWO + 16},
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
    ("between", "pad"),
    [([BR_X9], 0), ([CALL], 4), ([NOP, CALL, NOP], 6), ([SUM_X9, BR_X9, MOVE_X19, CALL], 0)],
    ids=["a table", "a pad", "a pad that code runs into", "a table behind a call"],
)
def test_each_page_counts_where_control_may_come_from_elsewhere(
    between: list[int], pad: int
) -> None:
    code = [X19_ONE, NOP, MOVE_X19, *between, ADD_X19, RET]
    assert made(code, EffectKind.REFERENCE, pad) == {ONE + 16}


@pytest.mark.parametrize("end", [[], [LOAD_X9, BR_X9], [CALL]], ids=["", "a pointer", "a call"])
def test_no_page_counts_where_it_is_known_whence_control_comes(end: list[int]) -> None:
    code = [X19_ONE, NOP, MOVE_X19, CALL, ADD_X19, RET, *end]
    assert made(code, EffectKind.REFERENCE) == set()


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
