"""Files that are broken, foreign or no programs: one clear line each, and nothing written."""

from __future__ import annotations

import os
import random
import shutil
import struct
from pathlib import Path

import pytest
from c_programs import compiled
from command import inside, said, seccompgen, snapshot
from seccompgen.core.errors import SeccompgenError
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import scan

TABLES = shipped_tables()
DYNAMIC = Path("/bin/cat")
SOURCE = 'void _start(void) { __asm__("mov $60, %eax; syscall"); __builtin_unreachable(); }'


def refusal(path: Path) -> str:
    """Return the one line that scan says about ``path``; it must end with code 2."""
    before = snapshot(path.parent) if path.parent.name.startswith("test_") else {}
    code, out, err = said(inside("scan", str(path), "-o", "policy.yml", cwd=path.parent))
    assert (code, out) == (2, []), err
    assert len(err) == 1
    assert not before or snapshot(path.parent) == before
    assert err[0].startswith(f"{path}: ")
    return err[0].removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no ELF file"),
        (b"hello\n", "is no ELF file"),
        (b"#! /usr/bin/env  x\nexit", "is a script: scan its interpreter, /usr/bin/env x, and the"),
        (b"#!", "is a script: scan its interpreter, and the programs that it starts"),
        (b"\x7fELF", "is a broken ELF file: "),
        (b"\x7fELF" + bytes(60), "is a broken ELF file: "),
        (b"\x7fELF\x02\x01\x01" + bytes(200), "is for none (64 bits); "),
    ],
)
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert refusal(path).startswith(expected)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    assert refusal(tmp_path / "directory") == "cannot be read: Is a directory"
    assert refusal(tmp_path / "nothing") == "cannot be read: No such file or directory"
    os.mkfifo(tmp_path / "pipe")
    assert refusal_of_pipe(tmp_path / "pipe") == "cannot be read: not a regular file"
    (tmp_path / "loop").symlink_to("loop")
    assert refusal_of_pipe(tmp_path / "loop").startswith("cannot be read: Too many levels")


def test_a_command_that_is_no_path_is_told_its_own(tmp_path: Path) -> None:
    """A stranger types the name of a command: where the shell finds it, its program may be."""
    code, out, err = said(inside("scan", "sh", cwd=tmp_path))
    assert (code, out) == (2, [])
    found = shutil.which("sh")
    assert err == [f"sh: cannot be read: No such file or directory (did you mean {found}?)"]
    assert said(inside("scan", "none-such", cwd=tmp_path))[2][0].endswith("or directory")


def refusal_of_pipe(path: Path) -> str:
    """As ``refusal``, beside what no snapshot can be taken of."""
    code, out, err = said(inside("scan", str(path), "-o", "policy.yml", cwd=path.parent))
    assert (code, out, len(err)) == (2, [], 1)
    assert not (path.parent / "policy.yml").exists()
    return err[0].removeprefix(f"{path}: ")


def header(content: bytes, **fields: int) -> bytes:
    """Return the program with fields of its ELF header replaced."""
    places = {"bits": (4, "B"), "order": (5, "B"), "kind": (16, "<H"), "machine": (18, "<H")}
    changed = bytearray(content)
    for name, value in fields.items():
        offset, form = places[name]
        struct.pack_into(form, changed, offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"machine": 243}, "is for riscv (64 bits); scan reads x86_64, aarch64 and i386 code"),
        ({"kind": 1}, "is an object file: link it first"),
        ({"kind": 4}, "is a core dump"),
        ({"kind": 77}, "is no program or library"),
    ],
)
def test_other_machines_and_kinds_are_refused(
    tmp_path: Path, fields: dict[str, int], expected: str
) -> None:
    path = compiled(tmp_path, SOURCE)
    path.write_bytes(header(path.read_bytes(), **fields))
    assert refusal(path) == expected


def test_a_32_bit_program_is_refused(tmp_path: Path) -> None:
    """By hand, since not every gcc makes one: a header, a segment of code, and no more."""
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    head = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    load = struct.pack("<8I", 1, 0, 0x8048000, 0x8048000, 0x60, 0x60, 5, 0x1000)
    path = tmp_path / "file"
    path.write_bytes(ident + head + load + b"\xb8\x01\0\0\0\xcd\x80" + bytes(5))
    assert refusal(path) == (
        "is a 32-bit x86 program; of these, scan reads those of Go only, without C"
    )


def outcome(path: Path, content: bytes) -> bool:
    """Scan ``content``; return whether it went well. Any other exception fails the test."""
    path.write_bytes(content)
    try:
        scan(path, TABLES, (), (), Path("/"))
    except SeccompgenError as error:
        (only,) = error.diagnostics
        assert len(str(only).splitlines()) == 1
        return False
    return True


def test_a_program_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = compiled(tmp_path, SOURCE).read_bytes()
    assert outcome(tmp_path / "whole", content)
    for size in {*range(0, 600, 7), *range(600, len(content), 251), len(content) - 1}:
        assert not outcome(tmp_path / "cut", content[:size]), size


@pytest.mark.skipif(not DYNAMIC.exists(), reason="there is no /bin/cat")
def test_a_system_program_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = DYNAMIC.read_bytes()
    for size in range(64, len(content), len(content) // 40):
        assert not outcome(tmp_path / "cut", content[:size]), size


@pytest.mark.long("follows many programs")
def test_damaged_programs_never_raise_anything_else(tmp_path: Path) -> None:
    content = compiled(tmp_path, SOURCE, "-O2", "-static-pie").read_bytes()
    rng = random.Random(1)
    for offset in (*range(64 + 56 * 8), *range(0, len(content), 211)):
        damaged = bytearray(content)
        for at in (offset, min(offset + rng.randrange(4), len(content) - 1)):
            damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        outcome(tmp_path / "damaged", bytes(damaged))


def test_a_library_that_is_not_found_is_named(tmp_path: Path) -> None:
    if not DYNAMIC.exists():
        pytest.skip("there is no /bin/cat")
    run = seccompgen("scan", DYNAMIC, "--root", tmp_path, "-o", tmp_path / "policy.yml")
    assert run.code == 2
    assert run.err.startswith(f"{DYNAMIC}: is started by /lib")
    assert "--root" in run.err
    assert not (tmp_path / "policy.yml").exists()


@pytest.mark.long("follows many programs")
def test_a_path_that_is_no_text_is_shown_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"odd \xff")
    path.write_bytes(compiled(tmp_path, SOURCE).read_bytes())
    for options in ((), ("--json",)):
        run = seccompgen("scan", *options, path, env={"PYTHONIOENCODING": "utf-8:strict"})
        assert run.code == 0, run.err
        assert (r"odd \udcff" if options else r"odd \xff") in run.out


GO_TABLE = """
void _start(void);
const char info[] = "\\xff Go buildinf:";
__attribute__((section(".gopclntab"))) const struct {
  unsigned magic; unsigned char zero[2], unit, word;
  unsigned long count, files; void (*text)(void); unsigned long names, units, paths, lines, table;
  unsigned entry, offset, of_entry, name; char names_[12];
} table = {0xFFFFFFF1, {0, 0}, 1, 8, 1, 0, _start, 88, 0, 0, 0, 72, 0, 8, 0, 0, "a\\033[31m\\n"};
void _start(void) { enter(60, 0, 0, 0); for (;;); }
"""


def test_the_names_of_gos_table_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    found = scan(compiled(tmp_path, GO_TABLE, "-O1", "-s"), TABLES, (), (), Path("/"))
    assert found.is_go
    assert {site.function for site in found.sites} == {r"a\x1b[31m\n"}
