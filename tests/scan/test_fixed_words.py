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
  "hands_on: .cfi_startproc\\n syscall\\n ret\\n .cfi_endproc\\n.size hands_on, . - hands_on\\n"
  "end:");
"""
"""A program that hands two numbers to a function that makes calls."""
OF_GO = """
const char info[] = "\\xff Go buildinf:";
__asm__(".section .gopclntab, \\"a\\"\\n table: .long 0xFFFFFFF1\\n .byte 0, 0, 1, 8\\n"
  " .quad COUNT, 0, TEXT, 108, 0, 0, 0, 72\\n .long 0, 20, hands_on - _start, 28, end - _start\\n"
  " .long 0, 0, 0, 2\\n .asciz \\"a\\", \\"b\\"\\n.text");
"""
"""Go's table of COUNT functions, which begin at TEXT."""
MODULE = """
__asm__(".section .go.module, \\"a\\"\\n .quad table\\n .fill 19, 8, 0\\n"
  " .quad _start, LAST, _start\\n.text");
"""
"""Go's description of a program whose code ends at LAST."""


def of_go(count: int, text: str = "_start") -> str:
    return OF_GO.replace("COUNT", str(count)).replace("TEXT", text)


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
    source = CODE + of_go(functions)
    found = scanned(tmp_path, f'{source}\n__asm__(".data; {word}; .text");')
    assert found.is_go
    assert is_taken(found) == taken


@pytest.mark.parametrize(("last", "listed"), [("end", True), ("hands_on", False)])
def test_since_go_1_26_the_module_says_where_code_begins(
    tmp_path: Path, last: str, listed: bool
) -> None:
    """Only if its other words agree with the table, all functions are known."""
    source = CODE + of_go(2, "0") + MODULE.replace("LAST", last)
    found = scanned(tmp_path, source + '__asm__(".data; .balign 4; .long hands_on; .text");')
    assert is_taken(found) != listed


def test_a_program_with_gos_table_is_of_go_without_build_information(tmp_path: Path) -> None:
    without = "\n".join(line for line in of_go(2).splitlines() if "buildinf" not in line)
    assert scanned(tmp_path, CODE + without).is_go


@pytest.mark.parametrize(("form", "taken"), [("0xFFFFFFF1", False), ("0xFFFFFFF9", True)])
def test_without_gos_table_each_word_may_be_a_pointer(
    tmp_path: Path, form: str, taken: bool
) -> None:
    """With the table, no function begins where the word points to."""
    code = CODE.replace(".cfi_startproc", "").replace(".cfi_endproc", "")
    inner = code.replace("hands_on: ", "hands_on: nop; inner: ")
    source = inner + of_go(2).replace("0xFFFFFFF1", form)
    word = '__asm__(".data; .balign 8; .quad inner; .text");'
    found = scanned(tmp_path, source + word, "-fno-asynchronous-unwind-tables", "-s")
    assert is_taken(found) == taken


def test_gos_table_has_no_pointers(tmp_path: Path) -> None:
    table = of_go(1).replace('\\"b\\"', '\\"b\\"\\n .balign 4\\n .long hands_on')
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
