"""Bytecode is told from what its source compiles to, whoever wrote it."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from seccompgen.filters.find import bytecode
from seccompgen.filters.find.bytecode import is_of_source

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = rb'''"""Says what it is."""
import os
NAMES = {"a", "b", "c", "d"}
class One:
    """One."""
    def f(self, x: int = 1 << 70) -> object:
        assert x
        return [y for y in (1.5, 2j, b"bytes", "s\u00e9", None, ..., True) if y in {"p", "q", "r"}]
'''


def of(content: bytes, source: bytes, level: int) -> bool:
    return is_of_source(content, ast.parse(source), level)


def made_of(source: bytes) -> bytes:
    code = compile(source, "somewhere", "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_an_import_writes_is_of_its_source(tmp_path: Path, level: int) -> None:
    """In another process, with another order of sets, from another place."""
    (tmp_path / "one.py").write_bytes(SOURCE)
    options = [f"-{'O' * level}"] if level else []
    command = [sys.executable, *options, "-c", "import one"]
    env = {"PYTHONHASHSEED": "5", "PYTHONPATH": str(tmp_path)}
    subprocess.run(command, check=True, cwd="/", env=env)
    (written,) = (tmp_path / "__pycache__").iterdir()
    content = written.read_bytes()
    assert [of(content, SOURCE, n) for n in range(3)] == [n == level for n in range(3)]


@pytest.mark.parametrize(
    "change",
    [
        (b'"b"', b'"x"'), (b"1.5", b"1.25"), (b"2j", b"3j"), (b"<< 70", b"<< 71"),
        (b"bytes", b"bites"),
        (b'"r"', b'"z"'), (b"is.", b"was."), (b"assert x", b"assert not x"), (b"One:", b"Two:"),
        (b"import os", b"import re"), (b"None", b"False"), (b"x: int", b"y: int"),
    ],
    ids=repr,
)  # fmt: skip
def test_any_other_source_is_told(change: tuple[bytes, bytes]) -> None:
    assert SOURCE.count(change[0]) == 1
    assert of(made_of(SOURCE), SOURCE, 0)
    assert not of(made_of(SOURCE.replace(*change)), SOURCE, 0)


def test_what_another_python_wrote_is_not_compared() -> None:
    assert not of(b"\x61\r\r\n" + made_of(SOURCE)[4:], SOURCE, 0)


def test_no_bytes_are_too_strange(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short, changed in each byte, deep, huge, or references to references."""

    def loads(_: bytes) -> object:
        raise AssertionError("marshal trusts what it reads")

    monkeypatch.setattr(marshal, "loads", loads)
    whole = made_of(SOURCE)
    for at in range(16, len(whole), 5):
        assert not of(whole[:at], SOURCE, 0)
        of(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :], SOURCE, 0)
        of(whole[:at] + b"\xff" + whole[at + 1 :], SOURCE, 0)
    assert not of(whole + b"N", SOURCE, 0)
    doubled = b"\xa9\x02" + b"N" * 2
    for n in range(200):
        doubled = b")\x02" + doubled + b"r" + struct.pack("<i", n)
    bomb = b")\x40" + b"".join(
        b"\xa9\x02" + (b"r" + struct.pack("<i", n - 1) if n else b"N") * 2 for n in range(64)
    )
    for data in (
        b")\x01" * 100_000 + b"N",
        doubled,
        bomb,
        b"(\xff\xff\xff\x7f",
        b"s\xff\xff\xff\xff",
    ):
        assert not of(whole[:16] + data, SOURCE, 0)


def test_a_reference_to_what_it_is_in_is_none() -> None:
    """A tuple that holds itself is none that a compiler writes, and has no one form."""
    reader = bytecode._CodeReader(b"\xa9\x01r\0\0\0\0", 100)
    with pytest.raises(bytecode._OtherError):
        reader.all()
