"""Words in halves of aarch64's vector registers, one instruction back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from arm64_images import CODE, image_of_words
from seccompgen.scan.arm64 import Arm64
from seccompgen.scan.processor import KnownValue, Lost, Moved, Register, Slot
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from seccompgen.scan.processor import Location, Step

LOW, HIGH = Register("v0+0"), Register("v0+8")
OTHER_LOW, OTHER_HIGH = Register("v1+0"), Register("v1+8")
X0, X1 = Register("x0"), Register("x1")
PART, MEMORY, ZERO = Lost(Why.PART), Lost(Why.MEMORY), KnownValue(0)


def before(word: int, location: Location) -> Step:
    image, machine = image_of_words([word]), Arm64()
    code = machine.disassemble(image, CODE, CODE + 4)
    return machine.before(image, code, 0, location)


def of(place: Location) -> Step:
    return Moved((place,))


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        pytest.param(0xAD400420, MEMORY, MEMORY, id="ldp q0, q1, [x1]"),
        pytest.param(0xAD4103E1, of(Slot("sp", 48)), of(Slot("sp", 56)), id="ldp q1, q0, [sp, 32]"),
        pytest.param(0x3DC007E0, of(Slot("sp", 16)), of(Slot("sp", 24)), id="ldr q0, [sp, 16]"),
        pytest.param(0xFD400BE0, of(Slot("sp", 16)), ZERO, id="ldr d0, [sp, 16]"),
        pytest.param(0xBD400020, PART, ZERO, id="ldr s0, [x1]"),
        pytest.param(0x4C40A03F, PART, PART, id="ld1 {v31.16b, v0.16b}, [x1]"),
        pytest.param(0x3D8003E0, of(LOW), of(HIGH), id="str q0, [sp]"),
        pytest.param(0x4EA11C20, of(OTHER_LOW), of(OTHER_HIGH), id="mov v0.16b, v1.16b"),
        pytest.param(0x4E181C20, of(LOW), of(X1), id="mov v0.d[1], x1"),
        pytest.param(0x6E180420, of(LOW), of(OTHER_LOW), id="mov v0.d[1], v1.d[0]"),
        pytest.param(0x9EAF0020, of(LOW), of(X1), id="fmov v0.d[1], x1"),
        pytest.param(0x4E0C1C20, PART, PART, id="mov v0.s[1], w1"),
        pytest.param(0x4E080C20, of(X1), of(X1), id="dup v0.2d, x1"),
        pytest.param(0x4E180420, of(OTHER_HIGH), of(OTHER_HIGH), id="dup v0.2d, v1.d[1]"),
        pytest.param(0x9E670020, of(X1), ZERO, id="fmov d0, x1"),
        pytest.param(0x9E6703E0, ZERO, ZERO, id="fmov d0, xzr"),
        pytest.param(0x1E604020, of(OTHER_LOW), ZERO, id="fmov d0, d1"),
        pytest.param(0x6F00E400, ZERO, ZERO, id="movi v0.2d, 0"),
        pytest.param(0x4F000420, PART, PART, id="movi v0.4s, 1"),
        pytest.param(0x4EE28420, PART, PART, id="add v0.2d, v1.2d, v2.2d"),
        pytest.param(0x1E612000, of(LOW), of(HIGH), id="fcmp d0, d1"),
        pytest.param(0x6EE28C20, PART, PART, id="cmeq v0.2d, v1.2d, v2.2d"),
        pytest.param(0x04B11000, PART, PART, id="sqadd z0.s, z0.s, z17.s"),
    ],
)
def test_only_whole_words_are_followed(word: int, low: Step, high: Step) -> None:
    assert (before(word, LOW), before(word, HIGH)) == (low, high)


@pytest.mark.parametrize(("number", "kept"), [(7, False), (8, True), (15, True), (16, False)])
def test_functions_preserve_some_lower_words(number: int, kept: bool) -> None:
    low, high = Register(f"v{number}+0"), Register(f"v{number}+8")
    assert before(0x94000000, low) == (of(low) if kept else Lost(Why.CHANGED))
    assert before(0x94000000, high) == Lost(Why.CHANGED)


@pytest.mark.parametrize(
    ("word", "origin"),
    [
        pytest.param(0x9E660020, of(OTHER_LOW), id="fmov x0, d1"),
        pytest.param(0x4E183C20, of(OTHER_HIGH), id="mov x0, v1.d[1]"),
        pytest.param(0x0E0C3C20, Lost(Why.COMPUTED, "mov"), id="mov w0, v1.s[1]"),
    ],
)
def test_a_register_gets_a_word_of_a_vector(word: int, origin: Step) -> None:
    assert before(word, X0) == origin


@pytest.mark.parametrize(
    ("word", "offset", "origin"),
    [
        pytest.param(0xAD0003E1, 0, of(OTHER_LOW), id="stp q1, q0, [sp]: the first word"),
        pytest.param(0xAD0003E1, 24, of(HIGH), id="the last"),
        pytest.param(0xAD0003E1, 4, PART, id="between two words"),
        pytest.param(0xAD0003E1, 32, of(Slot("sp", 32)), id="behind it"),
        pytest.param(0x3C8083E0, 16, of(HIGH), id="stur q0, [sp, 8]"),
        pytest.param(0xFD0003E0, 0, of(LOW), id="str d0, [sp]"),
        pytest.param(0xFD0003E0, 8, of(Slot("sp", 8)), id="behind it, too"),
    ],
)
def test_a_word_of_the_stack_may_come_from_a_vector(word: int, offset: int, origin: Step) -> None:
    assert before(word, Slot("sp", offset)) == origin
