"""Jump tables of aarch64 code, from encoded instructions: no compiler for it is needed."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from arm64_images import image_of_words
from seccompgen.scan.arm64 import Arm64
from seccompgen.scan.image import AddressRange, FunctionSymbol
from seccompgen.scan.index_bounds import targets_near_label
from seccompgen.scan.jumps import table_targets
from seccompgen.scan.paths import FunctionBody
from seccompgen.scan.processor import Register

CODE, TABLE = AddressRange(0x1000, 0x1030), AddressRange(0x2000, 0x2010)
JUMP, DEFAULT = 7, 9
FIRST = 0x1020
COPY, SUM = 0x2A0003E2, 0x11000402  # mov w2, w0; add w2, w0, #1


RET, NOP = 0xD65F03C0, 0xD503201F
ENTRIES = struct.pack("<4i", 0, 4, 8, 12)


def function(code: list[int], table: bytes, checks: int) -> FunctionBody:
    """Return a function of ``code``, in which ``checks`` is the index of a branch to DEFAULT."""
    image = image_of_words(code, table)
    instructions = Arm64().disassemble(image, CODE.start, CODE.end)
    addresses = [one[0] for one in instructions]
    leads = {addresses[checks]: addresses[DEFAULT]}
    sources = {to: [at] for at, to in leads.items()}
    return FunctionBody(image, CODE, instructions, addresses, sources, leads, lambda _: False, ())


def by_index(index: int) -> FunctionBody:
    """Return a function that jumps by a table of four, at ``index``, if w0 is at most 2."""
    code = [
        0x7100081F,  # cmp w0, #2
        0x54000108,  # b.hi, to DEFAULT
        0xB0000001,  # adrp x1, TABLE
        0x100000A4,  # adr x4, FIRST
        index,
        0xB8A27823,  # ldrsw x3, [x1, x2, lsl #2]
        0x8B030083,  # add x3, x4, x3
        0xD61F0060,  # br x3, which is JUMP
        *(NOP, RET, NOP, NOP),
    ]
    return function(code, ENTRIES, 1)


@pytest.mark.parametrize(
    ("index", "entries"),
    [
        pytest.param(COPY, 3, id="a copy of what was compared"),
        pytest.param(SUM, 4, id="another number, so the whole table"),
    ],
)
def test_a_table_is_read_as_far_as_its_index_is_checked(index: int, entries: int) -> None:
    targets = table_targets(Arm64(), by_index(index), JUMP, lambda _: False)
    assert targets == [FIRST + 4 * n for n in range(entries)]


def of_llvm(most: int, branch: int = 0x54000108, between: int = NOP) -> FunctionBody:
    """Return a function that jumps by a table of bytes if w0 is at most ``most``."""
    code = [
        0x7100001F | most << 10,  # cmp w0, #most
        branch,  # b.hi, to DEFAULT
        0xB0000001,  # adrp x1, TABLE
        0x100000A4,  # adr x4, FIRST
        0x38606823,  # ldrb w3, [x1, x0]
        between,
        0x8B030883,  # add x3, x4, x3, lsl #2
        0xD61F0060,  # br x3, which is JUMP
        *(NOP, RET, NOP, RET),
    ]
    return function(code, bytes([0, 2, 1, 3, 40]), 1)


def test_a_shifted_entry_counts_instructions() -> None:
    """LLVM's form, in clang, rustc and zig; as bytes, the entry 2 leads nowhere."""
    targets = table_targets(Arm64(), of_llvm(3), JUMP, lambda _: False)
    assert targets == [FIRST, FIRST + 8, FIRST + 4, FIRST + 12]


def test_narrow_entries_that_lead_out_of_the_function_are_no_end() -> None:
    assert table_targets(Arm64(), of_llvm(4), JUMP, lambda _: False) == []


@pytest.mark.parametrize(("size", "entries"), [(0x30, 4), (0x2C, 4), (0x34, 0), (0, 0)])
def test_narrow_entries_end_where_a_symbol_says_that_the_function_does(
    size: int, entries: int
) -> None:
    """LLVM extends an index of a byte by a mask, which says nothing of how many entries there are.

    If the function may be longer than what was read, entries that seem to lead out of it may be of
    the table.
    """
    body = of_llvm(255, AND)
    symbols = (FunctionSymbol(CODE.start, size, "function"),)
    body = body._replace(image=replace(body.image, functions=symbols))
    assert len(table_targets(Arm64(), body, JUMP, lambda _: False)) == entries


@pytest.mark.parametrize(
    ("marks", "makes", "entries"),
    [
        pytest.param((), NOP, 4, id="nothing, so what leads to instructions"),
        pytest.param((TABLE.start, TABLE.start + 3), NOP, 3, id="a symbol"),
        pytest.param((TABLE.start - 1,), NOP, 4, id="a symbol of what is before"),
        pytest.param((), 0x91000822, 2, id="add x2, x1, #2"),
        pytest.param((TABLE.start + 1,), 0x91000822, 1, id="the nearest"),
    ],
)
def test_a_table_of_llvm_without_a_check_ends_where_other_data_begins(
    marks: tuple[int, ...], makes: int, entries: int
) -> None:
    """The values of an enum need no check; the next bytes may be those of another function."""
    body = of_llvm(3, NOP, makes)
    body = body._replace(image=replace(body.image, data_marks=marks), leads={}, sources={})
    targets = table_targets(Arm64(), body, JUMP, lambda _: False)
    assert targets == [FIRST + 4 * n for n in (0, 2, 1, 3)[:entries]]


AND = 0x92401C00
"""and x0, x0, #0xff"""


@pytest.mark.parametrize(("register", "entries"), [(1, 0), (2, 4), (7, 4)])
def test_a_call_preserves_the_base_of_a_table_if_c_returns_nothing_there(
    register: int, entries: int
) -> None:
    """As in libpcre2: gcc knows which registers the functions of its file change."""
    call = 0x94000400  # bl, far away
    code = [
        0x7100081F,  # cmp w0, #2
        0x54000108,  # b.hi, to DEFAULT
        0xB0000000 | register,  # adrp, TABLE
        call,
        0x10000083,  # adr x3, FIRST
        0xB8A07800 | register << 5,  # ldrsw x0, [register, x0, lsl #2]
        0x8B000060,  # add x0, x3, x0
        0xD61F0000,  # br x0, which is JUMP
        *(NOP, RET, NOP, NOP),
    ]
    targets = table_targets(Arm64(), function(code, ENTRIES, 1), JUMP, lambda _: False)
    assert len(targets) == entries


B_LS = 0x54000109
"""Branches away if w0 is at most the number; behind it, w0 is greater."""


def test_a_check_counts_only_on_the_side_that_it_limits() -> None:
    targets = table_targets(Arm64(), of_llvm(2, B_LS), JUMP, lambda _: False)
    assert len(targets) == 4


@pytest.mark.parametrize(
    ("sums", "targets"),
    [
        pytest.param([0x8B000C21, 0xD61F0020], [16, 24], id="add x1, x1, x0, lsl #3; br x1"),
        pytest.param([0x8B204C21, 0xD61F0020], [], id="add x1, x1, w0, uxtw #3, which is unread"),
        pytest.param([0x8B001021, 0xD61F0020], [16, 32], id="add x1, x1, x0, lsl #4; br x1"),
        pytest.param([0x0B000C21, 0xD61F0020], [], id="add w1, w1, w0, lsl #3, half an address"),
        pytest.param([0x8B000C22, 0xD61F0020], [16], id="add x2, x1, x0, lsl #3, another"),
        pytest.param([0x8B008021, 0xD61F0020], [], id="far away"),
        pytest.param([0xA9400402, 0xD61F0020], [], id="ldp x2, x1, [x0], words of memory"),
        pytest.param([0x94000000, 0xD61F0020], [], id="a call, which changes x1"),
    ],
)
def test_pieces_of_code_at_equal_distances_are_found(sums: list[int], targets: list[int]) -> None:
    """As in libffi, whose assembly stores each kind of result by sixteen bytes of code."""
    mask, label = 0x12000000, 0x10000061  # and w0, w0, #1; adr x1, to the fifth word
    body = function([mask, label, *sums, *[NOP, RET] * 4], b"", 4)
    found = targets_near_label(Arm64(), body, 3, Register("x1"))
    assert found == [CODE.start + one for one in targets]
