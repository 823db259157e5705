"""Words of files without relocations: those that may be addresses, and those that cannot be."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from c_programs import compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.unknown import Why

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86_64 assembly")

TABLES = shipped_tables()
CODE = """
__asm__(".text\\n.globl _start, hands_on\\n.type _start, @function\\n.type hands_on, @function\\n"
  "_start: .cfi_startproc\\n mov $39, %eax\\n call hands_on\\n mov $60, %eax\\n call hands_on\\n"
  " hlt\\n .cfi_endproc\\n.size _start, . - _start\\n"
  "hands_on: .cfi_startproc\\n syscall\\n ret\\n .cfi_endproc\\n.size hands_on, . - hands_on\\n");
"""
"""A program that hands two numbers to a function that makes calls."""
OF_GO = """
const char info[] = "\\xff Go buildinf:";
__asm__(".section .gopclntab, \\"a\\"\\n .long 0xFFFFFFF1\\n .byte 0, 0, 1, 8\\n"
  " .quad COUNT, 0, _start, 104, 0, 0, 0, 72\\n .long 0, 16, hands_on - _start, 24, 0, 0, 0, 2\\n"
  " .asciz \\"a\\", \\"b\\"\\n.text");
"""
"""Go's table of COUNT functions."""


def scanned(directory: Path, source: str, *options: str) -> Scan:
    return scan(compiled(directory, source, "-O1", "-no-pie", *options), TABLES, (), (), Path("/"))


def is_taken(found: Scan) -> bool:
    assert {"getpid", "exit"} <= set(found.names)
    assert {one.why for one in found.unknown} <= {Why.POINTER}
    return bool(found.unknown)


@pytest.mark.parametrize(
    ("functions", "word", "taken"),
    [
        (2, ".balign 4; .long hands_on", False),
        (2, ".balign 8; .byte 1; .quad hands_on", False),
        (2, ".balign 8; .quad hands_on", True),
        (1, ".balign 4; .long hands_on", True),
        (1, ".balign 8; .byte 1; .quad hands_on", True),
    ],
)
def test_gos_functions_are_taken_by_whole_words_only(
    tmp_path: Path, functions: int, word: str, taken: bool
) -> None:
    """Its data has offsets of all functions; what is not in its table, C may have packed."""
    source = CODE + OF_GO.replace("COUNT", str(functions))
    found = scanned(tmp_path, f'{source}\n__asm__(".data; {word}; .text");')
    assert found.is_go
    assert is_taken(found) == taken


def test_gos_table_has_no_pointers(tmp_path: Path) -> None:
    table = OF_GO.replace("COUNT", "1").replace('\\"b\\"', '\\"b\\"\\n .balign 4\\n .long hands_on')
    assert not is_taken(scanned(tmp_path, CODE + table))


def test_an_exported_function_is_not_taken(tmp_path: Path) -> None:
    """A library that imports it, or dlsym(), takes it: by its name."""
    library = tmp_path / "lib.so"
    flags = ("-shared", "-nostdlib", "-Wl,-soname,lib.so", "-x", "c", "-o", library, "-")
    subprocess.run(["gcc", *flags], input="int one(void) { return 1; }", text=True, check=True)
    source = tmp_path / "program.c"
    source.write_text(CODE)
    program = tmp_path / "program"
    link = ("-no-pie", "-rdynamic", "-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN")
    subprocess.run(["gcc", "-nostdlib", *link, "-o", program, source, library], check=True)
    found = scan(program, TABLES, (), (tmp_path,), Path("/"))
    assert any(one.endswith("lib.so") for one, _ in found.files)
    assert not is_taken(found)
