"""constants.csv: what is written is read again, and anything else is refused with its place."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from seccompgen.core.errors import InputError
from seccompgen.core.facts import NO_FACTS, Constant
from seccompgen.kernel import shipped
from seccompgen.kernel.constants_file import WrittenConstants, read, render
from seccompgen.kernel.shipped import SHIPPED, load_tables, shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

ABIS = ("x86_64", "arm", "alpha")
SMALL = {
    "AT_FDCWD": Constant("AT_FDCWD", -100),
    "O_DIRECTORY": Constant("O_DIRECTORY", 65536, {"arm": 16384, "alpha": 32768}),
    "ONLY_HERE": Constant("ONLY_HERE", None, {"arm": 1, "alpha": 1}),
    "TCGETS2": Constant("TCGETS2", 2, {"alpha": None}),
    "USBDEVFS_BULK32": Constant("USBDEVFS_BULK32", None, {}, "struct x is not known"),
}
TEXT = """\
name,value,elsewhere,reason
AT_FDCWD,-100,,
ONLY_HERE,,arm+alpha=1,
O_DIRECTORY,65536,arm=16384 alpha=32768,
TCGETS2,2,alpha=,
USBDEVFS_BULK32,,,struct x is not known
"""


def test_small_constants_come_back() -> None:
    assert render(SMALL).decode() == TEXT
    assert read(TEXT.encode(), "c.csv", ABIS) == SMALL


def test_what_was_written_is_read_name_by_name() -> None:
    found = WrittenConstants(TEXT.encode(), "c.csv", ABIS)
    assert found["TCGETS2"] == SMALL["TCGETS2"]
    assert found["AT_FDCWD"] == SMALL["AT_FDCWD"]  # in any order
    assert (dict(found), [*found], len(found)) == (SMALL, sorted(SMALL), len(SMALL))
    for absent in ("TCGETS", "TCGETS22", "AAA", "ZZZ", "", "TCGETS2,2"):
        assert absent not in found


def test_a_changed_value_is_one_changed_line() -> None:
    changed = {**SMALL, "AT_FDCWD": Constant("AT_FDCWD", -101)}
    old, new = (set(render(one).splitlines()) for one in (SMALL, changed))
    assert (old - new, new - old) == ({b"AT_FDCWD,-100,,"}, {b"AT_FDCWD,-101,,"})


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name,", "nome,", "c.csv:1:1: the first line should be 'name,value,elsewhere,reason'"),
        (",,\nONLY", ",\nONLY", "c.csv:2:1: a row is a name, a value"),
        ("AT_FDCWD", "ZZ", "c.csv:3:1: 'ONLY_HERE' is not in its place: rows are sorted by name"),
        ("AT_FDCWD", "ONLY_HERE", "c.csv:3:1: 'ONLY_HERE' is not in its place"),
        ("arm+alpha", "arm+alpa", "c.csv:3:12: 'alpa' is no ABI of the lock (did you mean"),
        ("arm+alpha=1", "arm+arm=1", "c.csv:3:12: arm has two values"),
        ("alpha=32768", "arm=32768", "c.csv:4:29: arm has two values"),
        ("65536", "0x10000", "c.csv:4:1: a row is a name, a value"),
        ("65536", "99999999999999999999", "c.csv:4:13: 99999999999999999999 does not fit into"),
        ("-100", "-9999999999999999999", "c.csv:2:10: -9999999999999999999 does not fit into"),
        ("65536", "065536", "c.csv:4:1: a row is"),
        ("65536", "٣", "c.csv:4:1: a row is"),
        ("=16384 alpha", "=16384  alpha", "c.csv:4:1: a row is"),
        ("is not known\n", "is not known", "c.csv:6:40: the last line is cut off"),
        ("is not", 'is "not"', "c.csv:6:1: a row is"),
        ("is not", "is, not", "c.csv:6:1: a row is"),
        (TEXT, "", "c.csv:1:1: the last line is cut off"),
    ],
)
def test_anything_else_is_refused_with_its_place(old: str, new: str, problem: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError) as caught:
        read(TEXT.replace(old, new, 1).encode(), "c.csv", ABIS)
    assert str(caught.value.diagnostics[0]).startswith(problem)


def test_all_errors_come_at_once_up_to_a_hundred() -> None:
    with pytest.raises(InputError) as caught:
        read((TEXT.splitlines()[0] + "\n" + "x\n" * 1000).encode(), "c.csv", ABIS)
    assert len(caught.value.diagnostics) == 100


def test_no_utf8_is_refused_at_its_place() -> None:
    with pytest.raises(InputError, match=r"c\.csv:2:3: not UTF-8 text"):
        read(b"name,value,elsewhere,reason\nAT\xff,1,,\n", "c.csv", ABIS)


def _copy(directory: Path) -> Path:
    directory.mkdir()
    for file in SHIPPED.iterdir():
        if file.suffix in {".csv", ".toml"}:
            (directory / file.name).write_bytes(file.read_bytes())
    return directory


@pytest.mark.long("reads many headers")
def test_shipped_constants_are_read_when_they_are_asked_for() -> None:
    tables = shipped_tables()
    assert not isinstance(tables.facts.constants, dict)
    assert tables.facts.constants == load_tables(SHIPPED).facts.constants
    assert tables.facts.inputs == load_tables(SHIPPED).facts.inputs
    assert tables.facts.inputs["include/linux/socket.h"].size > 1000


@pytest.mark.long("reads many headers")
def test_a_doctored_file_is_refused(tmp_path: Path) -> None:
    place = _copy(tmp_path / "tables")
    file = place / "constants.csv"
    file.write_text(file.read_text().replace("\nAT_FDCWD,-100,", "\nAT_FDCWD,-101,"))
    run = seccompgen("constants", "AT_FDCWD", "--tables", place)
    assert run.code == 1
    assert run.err.startswith(f"{file}: the content is not what {place / 'kernel.lock.toml'} says")
    # With the lock's hash made to fit, it is another table, and no error; nonsense stays one.
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lock = place / "kernel.lock.toml"
    lock.write_text(re.sub(r'(?m)^constants = ".*"$', f'constants = "{digest}"', lock.read_text()))
    assert "-101" in seccompgen("constants", "AT_FDCWD", "--tables", place).out
    file.write_text(file.read_text().replace("\nAT_FDCWD,-101,", "\nAT_FDCWD,one,"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lock.write_text(re.sub(r'(?m)^constants = ".*"$', f'constants = "{digest}"', lock.read_text()))
    run = seccompgen("constants", "AT_FDCWD", "--tables", place)
    assert run.code == 2
    assert re.match(rf"{re.escape(str(file))}:\d+:1: a row is a name, a value", run.err)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    place = _copy(tmp_path / "tables")
    (place / "constants.csv").unlink()
    run = seccompgen("syscalls", "read", "--tables", place)
    assert run.code == 2
    assert f"cannot read tables: {place / 'constants.csv'}: No such file" in run.err


def test_a_lock_from_before_has_no_facts_of_its_tag(tmp_path: Path) -> None:
    place = _copy(tmp_path / "tables")
    lock = place / "kernel.lock.toml"
    lock.write_text(lock.read_text().partition("\n[facts]\n")[0])
    assert load_tables(place).facts == replace(NO_FACTS, since=shipped_tables().facts.since)
    run = seccompgen("constants", "AT_FDCWD", "--tables", place)
    assert run.code == 1
    assert "have no constants: write them anew" in run.err


def test_shipped_facts_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _copy(tmp_path / "tables")
    (place / "constants.csv").write_text("name,value\n")
    monkeypatch.setattr(shipped, "SHIPPED", place)
    tables = shipped.shipped_tables()
    assert tables.tables["x86_64"].numbers["read"] == 0
    with pytest.raises(Exception, match=r"constants\.csv: the content is not what"):
        len(tables.facts.constants)
