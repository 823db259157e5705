"""Computed jumps whose targets are bounded in ways of their own: read, and no further."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from c_programs import compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.unknown import Why

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

HEAD = """
__asm__(".text; .type hidden,@function; hidden: mov $39,%eax; syscall; ret; .size hidden,.-hidden;"
        ".type dies,@function; dies: call hidden; jmp 9f; .size dies,.-dies;"
        ".type last,@function; last: nop; 9: jmp 9b; .size last,.-last");
volatile long n;
"""
PIECES = " .Lfirst: mov $102, %eax; syscall; nop; .Lsecond: mov $3, %eax; syscall; nop; 3: nop"
DISPATCH = " movslq (%rdx,%rcx,4), %rax; add %rdx, %rax; jmp *%rax;" + PIECES
TABLE = '__asm__(".section .rodata; .balign 4; table: {entries}; .text");'
TWO = ".long .Lfirst - table, .Lsecond - table; "
NO_CODE, UNREAD = ".long 0x7fffff00", ".long .Lfirst + 1 - table"


def scanned(directory: Path, text: str, entries: str = TWO + NO_CODE, link: str = "") -> Scan:
    source = HEAD + TABLE.format(entries=entries)
    source += f'void _start(void) {{ __asm__ volatile("{text}"); enter(60, 0, 0, 0); for (;;); }}'
    path = compiled(directory, source, "-O2", link or "-static-pie")
    return scan(path, shipped_tables(), (), (), Path("/"))


def kinds(found: Scan) -> set[Why]:
    return {one.why for one in found.unknown}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (
            "movzbl n(%rip), %ecx; cmp $1, %ecx; ja 3f; lea .Lfirst(%rip), %rdx;"
            " lea (%rdx,%rcx,8), %rdx; jmp *%rdx;",
            True,
        ),
        (
            "mov n(%rip), %ecx; lea .Lfirst(%rip), %rdx; cmp $1, %ecx; lea (%rdx,%rcx,8), %rdx;"
            " ja 3f; jmp *%rdx;",
            True,
        ),
        (
            "mov n(%rip), %ecx; lea .Lfirst(%rip), %rdx; lea (%rdx,%rcx,8), %rdx; mov $0, %ecx;"
            " cmp $1, %ecx; ja 3f; jmp *%rdx;",
            False,
        ),
        (
            "movzbl n(%rip), %ecx; cmp $1, %ecx; ja 3f; lea .Lfirst(%rip), %rdx;"
            " lea 1(%rdx,%rcx,8), %rdx; jmp *%rdx;",
            False,
        ),
        (
            "movzbl n(%rip), %ecx; cmp $1, %ecx; ja 3f; lea .Lfirst(%rip), %rdx; add %ecx, %ecx;"
            " lea (%rdx,%rcx,4), %rdx; jmp *%rdx;",
            True,
        ),
    ],
    ids=[
        "checked before",
        "checked after",
        "another number checked",
        "between instructions",
        "doubled",
    ],
)
def test_pieces_of_code_at_equal_distances(tmp_path: Path, text: str, *, known: bool) -> None:
    """As in libffi, whose assembly stores each kind of result by eight bytes of code."""
    found = scanned(tmp_path, text + PIECES)
    assert kinds(found) == (set() if known else {Why.SUM})
    assert not known or {"getuid", "close"} <= set(found.names)


@pytest.mark.parametrize(
    ("check", "known"),
    [
        ("and $7, %ecx; cmp $1, %ecx; movaps %xmm1, %xmm0; setne %al; ja 3f;", True),
        ("and $7, %ecx; cmp $1, %ecx; add $0, %eax; ja 3f;", False),
        ("cmp $2, %rcx; jge 3f;", True),
    ],
    ids=["moves between", "other flags", "signed"],
)
def test_the_nearest_check_of_an_index(tmp_path: Path, check: str, *, known: bool) -> None:
    """Only a tight bound keeps the entry behind the table apart, which leads into the function."""
    found = scanned(tmp_path, f"{check} lea table(%rip), %rdx;{DISPATCH}", TWO + UNREAD)
    assert kinds(found) == (set() if known else {Why.SUM})


@pytest.mark.parametrize(
    ("entries", "known"),
    [(".long 0, .Lsecond - table, .Lfirst - table", True), (".long 4, .Lsecond - table", False)],
    ids=["zero", "another"],
)
def test_an_entry_of_zero_is_for_no_index(tmp_path: Path, entries: str, *, known: bool) -> None:
    text = f"cmp $2, %ecx; ja 3f; lea table(%rip), %rdx;{DISPATCH}"
    found = scanned(tmp_path, text, entries)
    assert kinds(found) == (set() if known else {Why.SUM})
    assert not known or {"getuid", "close"} <= set(found.names)


def test_an_index_may_be_negative(tmp_path: Path) -> None:
    """As in gmp, which counts up to zero, so that the table ends at what is added to its label."""
    text = "lea table(%rip), %rdx;" + DISPATCH.replace("(%rdx,%rcx,4)", "8(%rdx,%rcx,4)")
    found = scanned(tmp_path, text)
    assert not found.unknown
    assert {"getuid", "close"} <= set(found.names)


@pytest.mark.parametrize("count", [4, 3])
def test_the_next_table_may_look_like_more_entries(tmp_path: Path, count: int) -> None:
    """As in redis and jemalloc: its entries, read from this label, lead to code by chance."""
    following = f"after: .rept {count}; .long .Lfirst - after + 8; .endr;"
    following += f".long .Lsecond + 2 - after; {UNREAD}"
    text = "cmp $15, %ecx; ja 3f; lea table(%rip), %rdx; movslq (%rdx,%rcx,4), %rax;"
    text += " add %rdx, %rax; jmp *%rax; .rept 16; nop; .endr;" + PIECES.replace(
        "syscall; nop; .Lsecond", "syscall; .rept 16; nop; .endr; .Lsecond"
    )
    found = scanned(tmp_path, text, TWO + following)
    assert kinds(found) == (set() if count == 4 else {Why.SUM})


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("lea table(%rip), %rdx; jmp 4f; 5: mov n(%rip), %rdx; call hidden; 4:", True),
        ("lea table(%rip), %rdx; jmp 4f; 5: mov n(%rip), %rdx; call hidden; nop; 4:", True),
        ("lea table(%rip), %rdx; jmp 4f; 5: mov n(%rip), %rdx; jmp 4f; 4:", False),
        ("jmp 4f; 5: mov n(%rip), %rdx; call hidden; 4:", False),
        (
            "lea table(%rip), %rdx; jmp 4f; 5: mov n(%rip), %rdx; call hidden; test %eax, %eax; 4:",
            0,
        ),
    ],
    ids=["no return", "padding", "no call", "no table", "goes on"],
)
def test_the_base_of_a_table_is_the_same_on_all_ways(
    tmp_path: Path, text: str, *, known: bool
) -> None:
    """So where it would be another, a call before never returns; as in redis and postgres."""
    dispatch = DISPATCH.replace("%rdx", "%rbx") + "; cmp $5, %ecx; je 5b"
    found = scanned(tmp_path, f"cmp $1, %ecx; ja 3f; {text.replace('%rdx', '%rbx')}{dispatch}")
    assert kinds(found) == (set() if known else {Why.SUM})


@pytest.mark.parametrize(
    ("kept", "known"), [("lea table(%rip), %rax", True), ("mov n(%rip), %rax", False)]
)
def test_the_base_of_a_table_may_wait_in_the_stack(
    tmp_path: Path, kept: str, *, known: bool
) -> None:
    """Though the function hands out pointers to the stack: none is to a word of the compiler's."""
    text = (
        f"sub $64, %rsp; {kept}; mov %rax, 24(%rsp); lea 8(%rsp), %rdi; call hidden;"
        f" movq $1, (%rdi); cmp $1, %ecx; ja 3f; mov 24(%rsp), %rdx;{DISPATCH}"
    )
    assert kinds(scanned(tmp_path, text)) == (set() if known else {Why.SUM})


@pytest.mark.parametrize(
    ("text", "link", "known"),
    [
        ("movabs $0x8000000000000000, %rbx", "-static-pie", True),
        ("movabs $0x8000000000000000, %rbx", "-no-pie", False),
        ("mov $-0xa00000, %rbx", "-static-pie", False),
    ],
    ids=["no address", "perhaps one", "the kernel's"],
)
def test_a_constant_leads_to_no_code(tmp_path: Path, text: str, link: str, *, known: bool) -> None:
    """As in Rust's code, in which a register is a length on one way, and a function on another."""
    source = f"{text}; cmpl $1, n(%rip); je 1f; mov n(%rip), %rbx; 1: call *%rbx; 3: nop;" + PIECES
    found = scanned(tmp_path, source.replace("; 3: nop", "", 1), link=link)
    assert kinds(found) == (set() if known else {Why.SUM})


def test_a_word_that_is_exchanged_is_whole(tmp_path: Path) -> None:
    found = scanned(tmp_path, "mov n(%rip), %rbx; xchg %rax, %rbx; call *%rax;" + PIECES)
    assert not found.unknown


@pytest.mark.parametrize("called", ["dies", "hidden"])
def test_a_function_that_only_jumps_on_may_never_return(tmp_path: Path, called: str) -> None:
    """The jump's base would be unknown behind the call, if that returned."""
    text = f"mov n(%rip), %rdx; cmpl $7, n(%rip); jne 4f; jmp 6f; 4: call {called};"
    text += " 6: lea table(%rip), %rdx; jmp 8f; 7: mov n(%rip), %rdx; call " + called
    text += f"; mov %rdx, %rdx; 8: cmp $1, %ecx; ja 3f;{DISPATCH}; cmp $9, %ecx; je 7b"
    found = scanned(tmp_path, text)
    assert kinds(found) == (set() if called == "dies" else {Why.SUM})


@pytest.mark.parametrize("count", [4, 3])
def test_a_table_ends_where_the_function_has_another(tmp_path: Path, count: int) -> None:
    """As in Rust, which checks no index of an enum: on the way behind, a register is no pointer."""
    following = f"after: .rept {count}; .long 7f - after + 8; .endr; {UNREAD}"
    text = (
        "lea after(%rip), %rsi; mov n(%rip), %ecx; lea 1(%rcx,%rcx,2), %rbx; lea table(%rip), %rdx;"
        f"{DISPATCH}; lea hidden(%rip), %rbx; 7: call *%rbx; .rept 16; nop; .endr"
    )
    found = scanned(tmp_path, text, TWO + following)
    assert kinds(found) == (set() if count == 4 else {Why.SUM})


@pytest.mark.parametrize(
    ("made", "known"),
    [("add %rdx, %rax", True), ("mov n(%rip), %rax; lea 1(%rax,%rax), %rax", False)],
)
def test_the_target_of_a_jump_may_wait_in_the_stack(
    tmp_path: Path, made: str, *, known: bool
) -> None:
    text = (
        "cmp $1, %ecx; ja 3f; lea table(%rip), %rdx; movslq (%rdx,%rcx,4), %rax;"
        f" {made}; sub $64, %rsp; mov %rax, 24(%rsp); lea 8(%rsp), %rdi;"
        f" cmpl $9, n(%rip); je 4f; call hidden; movq $1, (%rdi); 4: jmp *24(%rsp);{PIECES}"
    )
    assert kinds(scanned(tmp_path, text)) == (set() if known else {Why.SUM})


@pytest.mark.parametrize(("between", "known"), [("", True), (" 6:", False)])
def test_one_register_is_the_base_of_its_own_table(
    tmp_path: Path, between: str, *, known: bool
) -> None:
    """So the entries of one of two tables are not read relative to the other."""
    other = f"other: {TWO}{NO_CODE}".replace("- table", "- other")
    text = (
        "cmp $1, %ecx; ja 3f; lea table(%rip), %rdx; cmpl $7, n(%rip); je 4f;"
        " lea other(%rip), %rdx; cmpl $8, n(%rip); je 6f; 4:" + DISPATCH
    )
    text = text.replace("%rax; add", f"%rax;{between} add")
    text = text if between else text.replace("je 6f", "je 4f")
    found = scanned(tmp_path, text, f"{TWO}{NO_CODE}; .skip 64; {other}")
    assert kinds(found) == (set() if known else {Why.SUM})
