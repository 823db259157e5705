"""Words of `struct seccomp_data`: halves of its fields, and where a program finds them."""

from __future__ import annotations

import struct

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.program import word_offset
from seccompgen.core.word import ARGS, FIELDS, WORDS, Word, argument_words


def test_each_half_of_each_field_is_a_word() -> None:
    halves = [(word.field, word.is_high) for word in WORDS]
    assert halves == [(field, high) for field in range(FIELDS) for high in (False, True)]
    assert [Word.low(field) for field in range(FIELDS)] == list(WORDS[::2])
    assert [Word.high(field) for field in range(FIELDS)] == list(WORDS[1::2])


@pytest.mark.parametrize("abi", ["x86_64", "s390x"])
@pytest.mark.parametrize("argument", range(6))
def test_words_of_arguments_lie_where_the_abi_has_them(abi: str, argument: int) -> None:
    value = 0x0123456789ABCDEF
    fields = [value if n == argument else 0 for n in range(6)]
    order = "<" if ABIS[abi].byte_order == "little" else ">"
    data = struct.pack(f"{order}IIQ6Q", 0, 0, 0, *fields)
    words = argument_words(argument)
    assert words == (Word.low(ARGS + argument), Word.high(ARGS + argument))
    assert [word.argument for word in words] == [argument, argument]
    assert [word.of(value) for word in words] == [0x89ABCDEF, 0x01234567]
    for word in words:
        (there,) = struct.unpack_from(f"{order}I", data, word_offset(word, ABIS[abi]))
        assert there == word.of(value)
