"""Places in text: lines and columns count from 1, columns in characters."""

from __future__ import annotations

import pytest
from seccompgen.core.errors import InputError, Position
from seccompgen.io.reading import decode_text


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("", 1, 1), ("ab", 1, 3), ("a\n", 2, 1), ("a\n\nbc", 3, 3), ("\u00e4\u20ac", 1, 3)],
)
def test_the_place_after_a_text(text: str, line: int, column: int) -> None:
    assert Position.after("f", text) == Position("f", line, column)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"\xff", "f:1:1"),
        (b"a\nb\xff", "f:2:2"),
        ("\u00e4\u20ac".encode() + b"\xff", "f:1:3"),
        (b"\xef\xbb\xbfab\xff", "f:1:3"),  # a byte order mark is no character of the text
    ],
)
def test_the_place_of_a_byte_that_is_no_text(content: bytes, place: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_text(content, "f")
    assert str(caught.value) == f"{place}: not UTF-8 text"
