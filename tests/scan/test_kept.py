"""Results that scans keep: the same sooner, and never a wrong one."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from c_programs import compiled
from seccompgen.io.entry_store import deciding_files
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Kept, Scan, ScanOptions, analysis, scan, scanner
from seccompgen.scan import kept as kept_module

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

TABLES = shipped_tables()
SOURCE = "volatile long n; void _start(void) { enter(1, 1, 0, 0); enter(n, 0, 0, 0); for (;;); }"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return compiled(tmp_path, SOURCE, "-O1", "-static-pie")


def scanned(program: Path, kept: Kept) -> Scan:
    return scan(program, TABLES, (), (), Path("/"), ScanOptions(kept=kept))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return how many functions were read since."""
    counted: list[int] = []
    whole = analysis.functions_in

    def counting(images: object, job: object) -> object:
        found = whole(images, job)  # type: ignore[arg-type]
        counted.append(len(found))
        return found

    monkeypatch.setattr(analysis, "functions_in", counting)
    return lambda: sum(counted)


def test_the_second_scan_reads_no_code(
    program: Path, tmp_path: Path, read: Callable[[], int]
) -> None:
    kept = Kept(tmp_path / "kept", TABLES)
    first = scanned(program, kept)
    once = read()
    assert once > 0
    moved = Path(shutil.copy(program, tmp_path / "elsewhere"))
    second = scanned(moved, kept)
    assert read() == once
    assert second.names == first.names
    assert {one.path for one in second.sites} == {one.path for one in second.unknown}
    assert {one.path for one in second.sites} == {str(moved)}
    assert [one.why for one in second.unknown] == [one.why for one in first.unknown]
    assert {one.lost.path for one in second.unknown} == {str(moved)}


def test_a_library_is_read_once_for_two_programs(
    program: Path, tmp_path: Path, read: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole results aside, the facts of an image are enough."""
    kept = Kept(tmp_path / "kept", TABLES)
    first = scanned(program, kept)
    once = read()
    monkeypatch.setattr(kept, "result", lambda *_: None)
    assert scanned(program, kept) == first
    assert read() == once


def test_what_is_damaged_is_found_anew(
    program: Path, tmp_path: Path, read: Callable[[], int]
) -> None:
    kept = Kept(tmp_path / "kept", TABLES)
    first = scanned(program, kept)
    entries = sorted((tmp_path / "kept").iterdir())
    assert len(entries) == 2
    whole = [entry.read_bytes() for entry in entries]
    damages: tuple[Callable[[bytes], bytes], ...] = (
        lambda data: data[:-1],
        lambda data: data.replace(b"write", b"close").replace(b"[", b"(", 3),
        lambda data: data[:0],
        lambda data: data + b" ",
    )
    for damage in damages:
        for entry, content in zip(entries, whole, strict=True):
            entry.write_bytes(damage(content))
        before = read()
        assert scanned(program, kept) == first
        assert read() > before
    for entry, content in zip(entries, reversed(whole), strict=True):
        entry.write_bytes(content)  # each whole, under the name of the other
    assert scanned(program, kept) == first


def test_other_code_has_other_entries(
    program: Path, tmp_path: Path, read: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned(program, Kept(tmp_path / "kept", TABLES))
    once = read()
    monkeypatch.setattr(kept_module, "fingerprint", lambda: "another")
    scanned(program, Kept(tmp_path / "kept", TABLES))
    assert read() == 2 * once


def test_what_decides_a_scan_is_in_the_key() -> None:
    """All modules of the package but those that only find files, and what they import."""
    package = Path(scanner.__file__).parents[1]
    named = set(deciding_files(package, kept_module._ROOTS))
    finding = {"image_programs.py", "layers.py", "saved_image.py", "packages.py", "call_table.py"}
    finding |= {"cluster.py"}
    others = {path.name for path in set(package.joinpath("scan").glob("*.py")) - named}
    assert others == finding
    assert package / "core" / "tables.py" in named
