"""Code that goes where no recogniser knows: each is unknown, and none is silent."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from c_programs import compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, jumps, scan
from seccompgen.scan import code as code_module
from seccompgen.scan.unknown import Why

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

HIDDEN = """
__asm__(".text; .type hidden,@function; hidden: mov $39,%eax; syscall; ret; .size hidden,.-hidden");
extern void hidden(void);
"""
EXIT = "enter(60, 0, 0, 0); __builtin_unreachable();"
ANY = "volatile long n;"

BY_TABLE = (
    ANY + "FAR long pick(long i) { long nr; switch (i) {"
    "case 0: enter(39, 0, 0, 0); return 1; case 1: enter(3, 0, 0, 0); return 4;"
    "case 2: enter(24, 0, 0, 0); return 7; case 3: enter(102, 0, 0, 0); return 8;"
    "case 4: enter(104, 0, 0, 0); return 9; case 5: enter(107, 0, 0, 0); return 2; }"
    "return 0; } void _start(void) { pick(n); " + EXIT + "}"
)


def scanned(directory: Path, source: str, *options: str) -> Scan:
    path = compiled(directory, source, *(options or ("-O2", "-static-pie")))
    return scan(path, shipped_tables(), (), (), Path("/"))


def kinds(found: Scan) -> set[Why]:
    return {one.why for one in found.unknown}


def asm(text: str, more: str = "") -> str:
    """Return a program that does ``text``, and then ends."""
    return HIDDEN + ANY + more + f'void _start(void) {{ __asm__ volatile("{text}"); {EXIT} }}'


DISTANCE = '__asm__(".data; distance: .long hidden - distance; .text");'


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        pytest.param(
            asm(
                "lea distance(%rip), %rax; movslq n(%rip), %rcx; add %rcx, %rax; call *%rax",
                DISTANCE,
            ),
            Why.SUM,
            id="call of a sum",
        ),
        pytest.param(
            asm("lea distance(%rip), %rax; add n(%rip), %rax; push %rax; ret", DISTANCE),
            Why.SUM,
            id="return to a sum",
        ),
        pytest.param(
            asm("lea 1f(%rip), %rax; add n(%rip), %rax; jmp *%rax; 1: nop"),
            Why.SUM,
            id="jump to a label and a number",
        ),
        pytest.param(
            asm("mov $-0xa00000, %rax; call *%rax"), Why.SUM, id="the vsyscall page, by a number"
        ),
        pytest.param(asm(".byte 0x06; call hidden"), Why.NO_INSTRUCTION, id="bytes unread"),
        pytest.param(asm("call . + 0x10000000"), Why.NO_WAY, id="call out of all code"),
        pytest.param(asm("lcall *n(%rip)"), Why.NO_INSTRUCTION, id="far call"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path: Path, source: str, kind: Why) -> None:
    found = scanned(tmp_path, source)
    assert kind in kinds(found), found.unknown
    assert any(one.why.leads_on for one in found.unknown)


def test_code_that_can_be_written_is_unknown(tmp_path: Path) -> None:
    found = scanned(tmp_path, "void _start(void) {" + EXIT + "}", "-O1", "-static", "-Wl,-N")
    assert Why.WRITABLE in kinds(found)


@pytest.mark.parametrize("link", ["-static-pie", "-no-pie"])
def test_a_jump_table_is_read_or_unknown(
    tmp_path: Path, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {"getpid", "close", "sched_yield", "getuid", "getgid", "geteuid", "exit"}
    found = scanned(tmp_path, BY_TABLE, "-O2", link)
    assert cases <= set(found.names)
    assert not found.unknown
    monkeypatch.setattr(jumps, "table_targets", lambda *_args: [])
    code_module.code_of.cache_clear()
    without = scanned(tmp_path, BY_TABLE, "-O2", link)
    # In place of distances, some compilers lay whole addresses, which count as taken.
    assert kinds(without) == {Why.SUM} or cases <= set(without.names)


LOOSE = (
    "cmp ${bound}, %ecx; ja 3f; lea loose(%rip), %rdx; movslq (%rdx,%rcx,4), %rax;"
    " add %rdx, %rax; jmp *%rax; first: mov $39, %eax; syscall; second: mov $3, %eax; syscall;"
    " 3: nop"
)
LAYS_TABLE = (
    '__asm__(".section .rodata; .balign 4; loose: .long first - loose, second - loose; {after};'
    ' .text");'
)


@pytest.mark.parametrize(
    ("bound", "after", "known"),
    [
        ("2", ".long 0x7fffff00", True),
        ("9", "other: .long first - other + 5, second - other", True),
        ("2", ".long first + 1 - loose", False),
        ("2", "other: .long first + 2 - loose", False),
        ("0x7fffffff", ".long 0x7fffff00", True),
    ],
    ids=["other data", "another table", "code unread", "code unread, once more", "no bound at all"],
)
def test_a_table_may_end_before_its_index_does(
    tmp_path: Path, bound: str, after: str, *, known: bool
) -> None:
    """Unless its end leads into the function, as code that was not read as such does."""
    source = asm(LOOSE.format(bound=bound), LAYS_TABLE.format(after=after))
    found = scanned(tmp_path, source)
    assert kinds(found) == (set() if known else {Why.SUM})
    assert {"getpid", "close"} <= set(found.names)


def test_a_mask_of_all_bits_bounds_nothing(tmp_path: Path) -> None:
    """As in ripgrep, whose allocator rounds a number down before it jumps by it."""
    masked = LOOSE.format(bound="9").replace("lea", "and $-8, %rcx; lea")
    source = asm(masked, LAYS_TABLE.format(after=".long 0x7fffff00"))
    assert not scanned(tmp_path, source).unknown


OWN_TABLE = (
    "cmp $1, %esi; ja 3f; lea own(%rip), %rdx; movslq (%rdx,%rsi,4), %rax; add %rdx, %rax;"
    " jmp *%rax; own1: nop; own2: nop; 3: {find}; movslq (%rdi,%rcx,4), %rax; add %rdi, %rax;"
    " jmp *%rax"
)
TABLES_THERE = (
    '__asm__(".section .rodata; own: .long own1 - own, own2 - own; .text");'
    + DISTANCE
    + "extern int distance; int *volatile handed = &distance;"
)


@pytest.mark.parametrize(
    ("find", "known"),
    [
        ("lea own(%rip), %rdi", True),
        ("mov handed(%rip), %rdi", False),
        ("lea own(%rip), %rdi; test %ecx, %ecx; je 4f; mov handed(%rip), %rdi; 4: nop", False),
        ("lea own(%rip), %r8; call hidden; mov %r8, %rdi", True),
        ("lea own(%rip), %rdx; call hidden; mov %rdx, %rdi", False),
    ],
    ids=["its own", "another's", "either", "kept over a call", "perhaps returned by a call"],
)
def test_a_table_of_another_function_is_unknown(tmp_path: Path, find: str, *, known: bool) -> None:
    """Though the function has one of its own, which could be taken for it."""
    source = asm(OWN_TABLE.format(find=find), TABLES_THERE)
    found = scanned(tmp_path, source)
    assert kinds(found) == (set() if known else {Why.SUM})


@pytest.mark.parametrize(
    "declared",
    [
        "struct { char c; void (*f)(void); } __attribute__((packed)) s = {1, hidden};",
        'unsigned s __attribute__((aligned(4))); __asm__(".data; .balign 4; .long hidden; .text");',
    ],
    ids=["packed", "four bytes"],
)
def test_pointers_anywhere_in_data_count(tmp_path: Path, declared: str) -> None:
    source = HIDDEN + declared + "void _start(void) {" + EXIT + "}"
    assert "getpid" in scanned(tmp_path, source, "-O1", "-no-pie").names


def test_a_relative_table_of_functions_counts(tmp_path: Path) -> None:
    source = asm("lea distance(%rip), %rax; movslq (%rax), %rcx; add %rcx, %rax", DISTANCE)
    assert "getpid" in scanned(tmp_path, source).names


@pytest.mark.parametrize(
    "code", ["0xc4,0xe2,0xf5,0xb4,0xc2", "0xf3,0x0f,0xa6,0xe0"], ids=["AVX-IFMA", "PadLock"]
)
def test_new_instructions_on_vectors_are_stepped_over(tmp_path: Path, code: str) -> None:
    """Behind one there is a call; gnutls hashes by those of PadLock."""
    source = asm(f".byte {code}; call hidden")
    found = scanned(tmp_path, source)
    assert "getpid" in found.names
    assert not found.unknown


@pytest.mark.parametrize(
    ("link", "compare"),
    [
        ("-static-pie", "cmp w@GOTPCREL(%rip), %rax"),
        ("-no-pie", "cmp $w, %rax"),
        ("-no-pie", "cmp $w + 1, %rax"),
        ("-static-pie", "lea w(%rip), %rcx; cmp %rax, %rcx; mov $0, %ecx"),
    ],
)
def test_a_function_that_is_only_compared_is_not_taken(
    tmp_path: Path, link: str, compare: str
) -> None:
    """As in libc, which compares where a signal came with a function that enters the kernel."""
    source = (
        '__asm__(".text; .type w,@function; w: mov %rdi,%rax; syscall; ret; .size w,.-w;"'
        '".type one,@function; one: mov $39, %edi; call w; ret; .size one,.-one");'
        f'void _start(void) {{ __asm__ volatile("call one; {compare}"); {EXIT} }}'
    )
    found = scanned(tmp_path, source, "-O2", link, "-Wl,--no-relax")
    assert not found.unknown
    assert "getpid" in found.names


def test_padding_after_a_comparison_uses_no_address(tmp_path: Path) -> None:
    """As in musl's libc.so, whose code without symbols belongs to the function before it."""
    source = (
        '__asm__(".text; .type m,@function; m: ret; .Lw: mov %rdi,%rax; syscall; ret; .size m,.-m;"'
        '".type one,@function; one: mov $39, %edi; call .Lw; ret; .size one,.-one");'
        'void _start(void) { __asm__ volatile("call one; lea .Lw(%rip), %rcx; cmp %rax, %rcx;"'
        f'"jmp 1f; nopl (%rcx); 1: mov $0, %ecx"); {EXIT} }}'
    )
    found = scanned(tmp_path, source)
    assert not found.unknown
    assert "getpid" in found.names


def test_a_function_that_only_an_unseen_way_leads_to_has_no_number(tmp_path: Path) -> None:
    """Compared, never called: still its number is not nothing."""
    source = (
        '__asm__(".text; .type w,@function; w: mov %rdi,%rax; syscall; ret; .size w,.-w");'
        "extern void w(void); volatile long n; void _start(void) {"
        '__asm__ volatile("lea w(%rip), %rax; cmp %rax, %rbx; mov $0, %rax");' + EXIT + "}"
    )
    found = scanned(tmp_path, source)
    assert Why.NO_CALLER in kinds(found), found.unknown


COPIED = "sub $64, %rsp; lea n(%rip), %rcx; {copy}; call *{at}(%rsp); add $64, %rsp"


@pytest.mark.parametrize(
    ("copy", "at", "known"),
    [
        ("movdqu (%rcx), %xmm0; movaps %xmm0, 16(%rsp)", 24, True),
        ("movups (%rcx), %xmm1; movdqa %xmm1, %xmm0; movups %xmm0, 16(%rsp)", 16, True),
        ("movq (%rcx), %xmm0; movhps 8(%rcx), %xmm0; movaps %xmm0, 16(%rsp)", 24, True),
        ("mov (%rcx), %rax; movq %rax, %xmm0; punpcklqdq %xmm0, %xmm0; movaps %xmm0, (%rsp)", 8, 1),
        ("movdqu (%rcx), %xmm0; movhps %xmm0, 16(%rsp)", 16, True),
        ("movdqu (%rcx), %xmm0; paddq %xmm1, %xmm0; movaps %xmm0, 16(%rsp)", 24, False),
        ("movdqu (%rcx), %xmm0; movaps %xmm0, 16(%rsp)", 20, False),
        ("movdqu (%rcx), %xmm0; call hidden; movaps %xmm0, 16(%rsp)", 24, True),
        ("movdqu (%rcx), %xmm0; pshufd $0, (%rcx), %xmm0; movaps %xmm0, 16(%rsp)", 24, False),
        ("movd (%rcx), %xmm0; movaps %xmm0, 16(%rsp)", 16, False),
    ],
)
def test_a_word_is_whole_that_a_vector_register_copied(
    tmp_path: Path, copy: str, at: int, *, known: bool
) -> None:
    """As in cmake, redis and ripgrep, whose structures of two words hold a function."""
    found = scanned(tmp_path, asm(COPIED.format(copy=copy, at=at)))
    assert kinds(found) == (set() if known else {Why.SUM})
