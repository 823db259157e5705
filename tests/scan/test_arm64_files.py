"""What ELF files of aarch64 say of their code, in files of this machine that are said to be such.

No compiler for aarch64 is needed: the instructions are words, and only the headers are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from c_programs import compiled
from seccompgen.scan.binary import read_binary
from seccompgen.scan.code import code_of
from seccompgen.scan.elf import image_of

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.scan.image import Image

NOP, RET, MOV = ".long 0xd503201f;", ".long 0xd65f03c0;", ".long 0xaa0003e0;"


def image_from(directory: Path, code: str, link: str = "-static") -> Image:
    """Return the image of a program with the assembly ``code``."""
    source = f"__asm__({code!r});".replace("'", '"') + "void _start(void) { for (;;); }"
    path = compiled(directory, source, link)
    content = bytearray(path.read_bytes())
    content[18:20] = bytes([183, 0])  # EM_AARCH64
    path.write_bytes(content)
    return image_of(read_binary(path))


def test_a_symbol_that_marks_data_for_disassemblers_is_no_function(tmp_path: Path) -> None:
    """In sections that are not loaded, their values are no addresses, but may look like some."""
    marks = ("$d.1", "$x", "$done")
    image = image_from(tmp_path, "".join(f".text; {one}: nop;" for one in marks))
    assert {one.name for one in image.functions} & {*marks} == {"$done"}


def test_marks_of_data_that_is_loaded_are_known(tmp_path: Path) -> None:
    """A false one would end a jump table too early: those of other sections are no addresses."""
    sections = (".rodata", ".comment", ".text", ".data")
    code = "".join(f".section {one}; .byte 1; $d.{i}: .byte 2;" for i, one in enumerate(sections))
    image = image_from(tmp_path, code + "$x: .byte 3; $done: .byte 4; .text")
    assert [image.read(one - 1, 2) for one in image.data_marks] == [b"\1\2"] * 2
    assert not any(map(image.in_code, image.data_marks))


def framed(code: str) -> str:
    return f".cfi_startproc; {code} .cfi_endproc;"


@pytest.mark.parametrize(
    ("first", "second", "link", "lost", "goes_on"),
    [
        pytest.param(framed(MOV + NOP), True, "-static", True, False, id="lost"),
        pytest.param(framed(MOV) + NOP, True, "-static", False, True, id="a nop behind the frame"),
        pytest.param(framed(MOV + NOP), False, "-static", False, True, id="before no frame"),
        pytest.param(framed(MOV + NOP), True, "-static-pie", False, True, id="relocatable"),
        pytest.param(framed(NOP + MOV), True, "-static", False, True, id="no nop"),
        pytest.param(framed(RET + NOP), True, "-static", True, False, id="behind a return"),
    ],
)
def test_a_call_of_what_is_not_there_ends_a_function(
    tmp_path: Path, first: str, link: str, *, second: bool, lost: bool, goes_on: bool
) -> None:
    """As in busybox, whose functions for a cancelled thread lack the one that ends it."""
    rest = "second: " + (framed(RET) if second else RET)
    image = image_from(tmp_path, f".text; first: {first} {rest}", link)
    start = next(one.address for one in image.functions if one.name == "first")
    assert image.lost_calls == ({start + 4} if lost else set())
    facts = code_of(image).facts(start, start + 8)
    assert facts.goes == ((start + 8,) if goes_on else ())
