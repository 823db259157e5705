"""Origins of values in aarch64 code, one instruction back."""

from __future__ import annotations

import pytest
from arm64_images import CODE, image_of_words
from seccompgen.scan.arm64 import Arm64
from seccompgen.scan.processor import Lost, Moved, Register
from seccompgen.scan.unknown import Why


@pytest.mark.parametrize(
    ("load", "why"),
    [(0xC8DFFC20, Why.MEMORY), (0xF8BFC020, Why.MEMORY), (0x88DFFC20, Why.NARROW)],
    ids=["ldar", "ldapr", "ldar of half a word"],
)
def test_an_atomic_load_is_a_load(load: int, why: Why) -> None:
    image, machine = image_of_words([load]), Arm64()
    code = machine.disassemble(image, CODE, CODE + 4)
    assert machine.before(image, code, 0, Register("x0")) == Lost(why)


def test_the_kernel_preserves_the_return_address() -> None:
    """So ``br x30`` after a call of the kernel is a return, as in the clone of busybox."""
    image, machine = image_of_words([0xD4000001]), Arm64()
    code = machine.disassemble(image, CODE, CODE + 4)
    assert machine.before(image, code, 0, Register("x30")) == Moved((Register("x30"),))
    assert isinstance(machine.before(image, code, 0, Register("x0")), Lost)


@pytest.mark.parametrize(
    ("branch", "taken", "not_taken"),
    [
        pytest.param(0x34000048, True, False, id="cbz w8"),
        pytest.param(0xB4000048, True, False, id="cbz x8"),
        pytest.param(0x35000048, False, True, id="cbnz w8"),
        pytest.param(0x34000049, False, False, id="cbz w9"),
        pytest.param(0x36000048, False, False, id="tbz w8, #0"),
    ],
)
def test_a_branch_shows_that_a_number_is_zero(branch: int, taken: bool, not_taken: bool) -> None:
    image, machine = image_of_words([branch]), Arm64()
    code = machine.disassemble(image, CODE, CODE + 4)
    shown = [machine.shows_zero(code, 0, "x8", jumping=jumping) for jumping in (True, False)]
    assert shown == [taken, not_taken]
