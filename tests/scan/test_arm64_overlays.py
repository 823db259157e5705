"""Data between the functions of aarch64 code, whose address a function makes."""

from __future__ import annotations

from dataclasses import replace

from arm64_images import CODE, image_of_words
from seccompgen.scan.analysis import alone, analyse

RET, NO_INSTRUCTION, FAR = 0xD65F03C0, 0x00070E15, 0x16000000  # b, to far before the file


def overlays(code: list[int]) -> list[int]:
    """Return the overlays of a function that makes the address of ``code``, and goes on there."""
    first = [0x10000060, RET]  # adr x0, to the third word of all that follows
    image = image_of_words([*first, RET, *code])
    image = replace(image, frames=frozenset({CODE, CODE + 8}))
    return [one.start for one in analyse((image,), alone, None)[0].overlays]


def test_a_table_between_functions_is_no_code() -> None:
    """libcrypto has some whose words decode as jumps out of the file."""
    assert overlays([FAR, NO_INSTRUCTION, RET]) == []


def test_code_between_functions_is_code() -> None:
    assert overlays([0xD503201F, RET, NO_INSTRUCTION, FAR]) == [CODE + 12]
