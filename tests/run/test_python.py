"""Line tables, read as CPython itself reads them."""

from __future__ import annotations

import argparse
import json.decoder
import os
import sys
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from seccompgen.run.python_lines import line_at
from seccompgen.run.symbols import file_symbols

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = [argparse, json.decoder, typing, sys.modules[__name__]]


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_offset_has_the_line_that_cpython_says(module: types.ModuleType) -> None:
    assert module.__file__
    text = Path(module.__file__).read_text(encoding="utf-8")
    whole = compile(text, module.__file__, "exec")
    compared = 0
    for code in codes(whole):
        for start, end, line in code.co_lines():
            for offset in range(start, end, 2):
                assert line_at(code.co_linetable, code.co_firstlineno, offset) == (line or 0)
                compared += 1
    assert compared > 100


def test_what_is_beyond_the_table_has_no_line() -> None:
    code = line_at.__code__
    assert line_at(code.co_linetable, code.co_firstlineno, len(code.co_code)) == 0
    assert line_at(b"", 7, 0) == 0


def test_what_only_has_the_name_of_an_interpreter_is_not_waited_for(tmp_path: Path) -> None:
    pipe, large = tmp_path / "python3", tmp_path / "python3.12"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(1 << 40)
    for one in (pipe, large, tmp_path):
        assert file_symbols(one) is None


@pytest.mark.parametrize("head", [b"\x7fELF\x02\x01", b"\x7fELF\x01\x02", b"\x7fELF", b"#!"])
def test_a_file_whose_headers_lead_nowhere_has_no_names(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "python3"
    path.write_bytes(head.ljust(32, b"\0") + b"\xff" * 32)
    assert file_symbols(path) is None
