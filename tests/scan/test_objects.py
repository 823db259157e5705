"""Data objects: pointers in them count if something refers to them, and only then."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from c_programs import HEAD
from seccompgen.core.abis import ABIS
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.binary import read_binary
from seccompgen.scan.kept import Kept
from seccompgen.scan.objects import divided
from seccompgen.scan.relocations import Relocated, relocate
from seccompgen.scan.result import Lead
from seccompgen.scan.scanner import Questions, ScanOptions
from seccompgen.scan.symbol_tables import read_symbols

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="only files for x86_64 are divided"
)

TABLES = shipped_tables()
OBJECT = """
#define KEPT __attribute__((used, visibility("hidden")))
FAR static long hidden(void) { return enter(163, 0, 0, 0); }
FAR static long other(void) { return enter(155, 0, 0, 0); }
typedef long (*function)(void);
KEPT function before[2] = {other, other};
KEPT function object[2] = {hidden, hidden};
KEPT function after[64] = {other};
"""
STARTS = 'void _start(void) {{ __asm__ volatile("{0}"); enter(60, 0, 0, 0); }}'
REFERS = {
    "its address": "lea object(%rip), %rax",
    "a field": "mov object+8(%rip), %rax",
    "a call of a field": "call *object+8(%rip)",
    "its end": "lea object+16(%rip), %rax",
    "the entry before it": "lea object-8(%rip), %rax",
    "where the object before it starts": "lea object-16(%rip), %rax",
    "far before it": "lea object-100(%rip), %rax",
    "two words at once": "movups object(%rip), %xmm0",
    "a slot": "mov object@GOTPCREL(%rip), %rax",
    "bytes that are no instruction": ".byte 0x06",
}
"""Ways to refer to an object; assembled without the linker's relaxation."""


def built(path: Path, source: str, *options: str) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    flags = ("-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O1", "-fPIC", *options)
    if not {"-shared", "-no-pie"} & set(options):
        flags += ("-static-pie", "-Wl,--no-relax,--build-id")
    subprocess.run(
        ["gcc", *flags, "-x", "c", "-o", path, "-"],
        input=HEAD + source,
        text=True,
        check=True,
    )
    return path


def scanned(path: Path, root: Path = Path("/"), *libraries: Path) -> Scan:
    return scan(path, TABLES, libraries, (), root)


def test_what_nothing_refers_to_does_not_count(tmp_path: Path) -> None:
    program = built(tmp_path / "program", OBJECT + STARTS.format("nop"))
    assert scanned(program).names == ("exit", "restart_syscall")
    subprocess.run(["strip", program], check=True)
    assert {"acct", "pivot_root"} <= set(scanned(program).names)


@pytest.mark.parametrize("way", REFERS.values(), ids=REFERS)
def test_code_refers_to_an_object(tmp_path: Path, way: str) -> None:
    found = scanned(built(tmp_path / "program", OBJECT + STARTS.format(way)))
    assert "acct" in found.names


def test_a_fixed_address_reaches_one_object(tmp_path: Path) -> None:
    way = STARTS.format("mov object(%rip), %rax")
    assert "pivot_root" not in scanned(built(tmp_path / "program", OBJECT + way)).names


DATA = {
    "another object": "KEPT function *first = object;",
    "a chain": "KEPT function *second = object; KEPT function **first = &second;",
    "the end of it": "KEPT function *first = object + 2;",
}


@pytest.mark.parametrize("pointers", DATA.values(), ids=DATA)
def test_an_object_refers_to_another(tmp_path: Path, pointers: str) -> None:
    used = built(tmp_path / "used", OBJECT + pointers + STARTS.format("mov first(%rip), %rax"))
    assert "acct" in scanned(used).names
    unused = built(tmp_path / "unused", OBJECT + pointers + STARTS.format("nop"))
    assert "acct" not in scanned(unused).names


ALWAYS = {
    "a section that code walks through": (
        '__attribute__((used, section("hooks"))) function *hook = object;'
    ),
    "an initialiser": '__attribute__((used, section(".init_array"))) function *hook = object;',
    "thread-local data": "KEPT __thread function *hook = object;",
    "a section with a label without a size": (
        '__asm__(".pushsection .data.rel.ro,\\"aw\\"; .quad 1; table: .quad object;"'
        '".type sized,@object; .size sized,8; sized: .quad 1; .popsection");'
    ),
    "what an unwinder reads": (
        '__asm__(".pushsection .data.rel.local.DW.ref.x,\\"aw\\"; .type DW.ref.x,@object;"'
        '".size DW.ref.x,8; DW.ref.x: .quad object; .popsection");'
    ),
}


@pytest.mark.parametrize("data", ALWAYS.values(), ids=ALWAYS)
def test_other_data_counts_always(tmp_path: Path, data: str) -> None:
    source = OBJECT + data + STARTS.format("nop")
    assert "acct" in scanned(built(tmp_path / "program", source)).names


LIBRARY = OBJECT + ("function exported[1] = {hidden}; void at_start(void) { enter(104, 0, 0, 0); }")
USES = {
    "imported": (
        "extern long exported[1]; void _start(void) { ((long (*)(void))*exported)(); }",
        1,
    ),
    "looked up": (
        "extern void at_start(void); const char *volatile name; void *dlsym(void *, const char *);"
        'void _start(void) { at_start(); dlsym(0, name); name = "exported"; }',
        1,
    ),
    "not used": ("extern void at_start(void); void _start(void) { at_start(); }", 0),
}


@pytest.mark.parametrize(("source", "counts"), USES.values(), ids=USES)
def test_another_file_refers_to_an_object(tmp_path: Path, source: str, counts: int) -> None:
    library = built(tmp_path / "libx.so", LIBRARY, "-shared")
    flags = ["-nostdlib", "-ffreestanding", "-fPIE", "-pie", "-Wl,--unresolved-symbols=ignore-all"]
    program = tmp_path / "program"
    output: list[str | Path] = ["-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2", "-o", program]
    subprocess.run(
        ["gcc", *flags, f"-Wl,-rpath,{tmp_path}", "-x", "c", "-", "-x", "none", library, *output],
        input=HEAD + source,
        text=True,
        check=True,
    )
    assert ("acct" in scanned(program).names) is bool(counts)


def test_other_files_are_not_divided(tmp_path: Path) -> None:
    """Words of other sizes count in a program at a fixed address; aarch64 has section anchors."""
    source = OBJECT + STARTS.format("nop")
    fixed = built(tmp_path / "fixed", source, "-fno-pic", "-static", "-no-pie", "-Wl,-no-pie")
    assert "acct" in scanned(fixed).names
    binary = read_binary(built(tmp_path / "program", source))
    dynamic, static = read_symbols(binary)
    assert divided(binary, static, relocate(binary, dynamic), {})
    binary.abi = ABIS["aarch64"]
    assert not divided(binary, static, Relocated(), {})


def separated(directory: Path, source: str) -> Path:
    """Build a program, strip it, and put its symbols where a system has debug files."""
    program = built(directory / "program", source)
    notes = subprocess.run(["readelf", "-n", program], capture_output=True, text=True, check=True)
    build_id = notes.stdout.rpartition("Build ID: ")[2].split()[0]
    place = directory / "usr/lib/debug/.build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    place.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", program, place], check=True)
    subprocess.run(["strip", program], check=True)
    return place


def test_a_debug_file_has_the_symbols(tmp_path: Path) -> None:
    place = separated(tmp_path, OBJECT + STARTS.format("nop"))
    program = tmp_path / "program"
    means = ScanOptions(kept=Kept(tmp_path / "kept", TABLES))
    for _ in range(2):  # the second time from the cache
        assert "acct" not in scan(program, TABLES, (), (), tmp_path, means).names
    content = place.read_bytes()
    place.write_bytes(content[: len(content) // 2])
    assert "acct" in scan(program, TABLES, (), (), tmp_path, means).names
    place.unlink()
    assert "acct" in scan(program, TABLES, (), (), tmp_path, means).names


def test_the_debug_file_of_another_file_is_not_believed(tmp_path: Path) -> None:
    place = separated(tmp_path, OBJECT + STARTS.format("nop"))
    program = tmp_path / "program"
    (tmp_path / "other").mkdir()
    other = separated(tmp_path / "other", OBJECT + STARTS.format("nop; nop"))
    place.write_bytes(other.read_bytes())
    assert "acct" in scanned(program, tmp_path).names


def test_why_says_that_a_variable_leads_there(tmp_path: Path) -> None:
    program = built(tmp_path / "program", OBJECT + STARTS.format("mov object(%rip), %rax"))
    asked = Questions(why=frozenset({"acct"}))
    found = scan(program, TABLES, (), (), Path("/"), asked=asked)
    assert [step.lead for step in found.paths["acct"].steps] == [Lead.STARTED, Lead.OBJECT]
