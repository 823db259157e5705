"""Ways from one instruction to code: what is not understood is unknown, never nothing."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from c_programs import compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.binary import read_binary
from seccompgen.scan.elf import image_of
from seccompgen.scan.layout import machine_for
from seccompgen.scan.processor import EffectKind
from seccompgen.scan.unknown import Why
from seccompgen.scan.ways import WAYS

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

HIDDEN = """
__asm__(".text; .type hidden,@function; hidden: mov $39,%eax; syscall; ret; .size hidden,.-hidden");
extern void hidden(void);
"""
STARTS = 'void _start(void) { __asm__ volatile("{way}"); enter(60, 0, 0, 0); }}'
WAYS_THERE = {
    EffectKind.CALL: "call hidden",
    EffectKind.JUMP: "jmp hidden",
    EffectKind.CALL_SLOT: "call *hidden@GOTPCREL(%rip)",
    EffectKind.JUMP_SLOT: "jmp *hidden@GOTPCREL(%rip)",
    EffectKind.REFERENCE: "lea hidden(%rip), %rax; call *%rax",
    EffectKind.LOAD: "mov hidden@GOTPCREL(%rip), %rax; call *%rax",
}


def scanned(directory: Path, way: str) -> Scan:
    source = HIDDEN + STARTS.replace("{way}", way).replace("}}", "}")
    # Relaxed, a call through a slot is a direct one.
    path = compiled(directory, source, "-O1", "-static-pie", "-Wl,--no-relax")
    return scan(path, shipped_tables(), (), (), Path("/"))


@pytest.mark.parametrize("kind", WAYS_THERE, ids=lambda kind: kind.name)
def test_each_way_is_followed_or_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: EffectKind
) -> None:
    found = scanned(tmp_path, WAYS_THERE[kind])
    assert "getpid" in found.names
    assert not found.unknown
    monkeypatch.delitem(WAYS, kind)
    without = scanned(tmp_path, WAYS_THERE[kind])
    assert any(one.why.leads_on for one in without.unknown)


def test_an_address_that_is_compared_first_still_counts_as_taken(tmp_path: Path) -> None:
    """The two ways have the same fields, and once the second was taken for the first."""
    functions = "".join(
        f".type {name},@function; {name}: {code}; ret; .size {name},.-{name};"
        for name, code in (
            ("calls", "mov %edi,%eax; syscall"),
            ("compares", "lea calls(%rip), %rdx; cmp %rdx, %rdi; mov $0, %edx"),
            ("taker", "call *%rdi"),
        )
    )
    way = "call compares; mov $39, %edi; call calls; lea calls(%rip), %rdi; call taker"
    source = f'__asm__(".text; {functions}");' + STARTS.replace("{way}", way).replace("}}", "}")
    path = compiled(tmp_path, source, "-O1", "-static-pie", "-Wl,--no-relax")
    found = scan(path, shipped_tables(), (), (), Path("/"))
    assert [one.why for one in found.unknown] == [Why.POINTER]


HANDED_ON = {
    "to what is called": (
        "taker: call *%rdi; ret",
        "mov hidden@GOTPCREL(%rip), %rdi; call taker",
    ),
    "to the caller": (
        "taker: mov hidden@GOTPCREL(%rip), %rax; ret",
        "call taker; call *%rax",
    ),
    "over a call that preserves it": (
        "taker: ret",
        "mov hidden@GOTPCREL(%rip), %rbx; call taker; call *%rbx",
    ),
}


@pytest.mark.parametrize(("taker", "way"), HANDED_ON.values(), ids=HANDED_ON)
def test_a_pointer_that_a_register_hands_on_is_followed(
    tmp_path: Path, taker: str, way: str
) -> None:
    """Calls on aarch64 and x86_64 hand main to the C library so."""
    function = f'__asm__(".text; .type taker,@function; {taker}; .size taker,.-taker");'
    path = compiled(
        tmp_path,
        HIDDEN + function + STARTS.replace("{way}", way).replace("}}", "}"),
        *("-O1", "-static-pie", "-Wl,--no-relax"),
    )
    found = scan(path, shipped_tables(), (), (), Path("/"))
    assert "getpid" in found.names


def test_what_jumps_to_an_import_and_does_more_is_no_stub(tmp_path: Path) -> None:
    """A function of three instructions that enters the kernel and goes on elsewhere."""
    source = (
        "extern void outside(void);"
        '__asm__(".text; .type f,@function; f: mov $39,%eax; syscall;'
        ' jmp *outside@GOTPCREL(%rip); .size f,.-f");'
        "extern void f(void); void _start(void) { f(); enter(60, 0, 0, 0); }"
    )
    path = compiled(
        tmp_path,
        source,
        "-O1",
        "-static-pie",
        "-Wl,--no-relax",
        "-Wl,--unresolved-symbols=ignore-all",
    )
    assert "getpid" in scan(path, shipped_tables(), (), (), Path("/")).names


def test_only_a_linker_makes_stubs_that_push_a_number(tmp_path: Path) -> None:
    """Other jumps through a word may be reached in any way, so their callers count."""
    source = (
        "volatile long n;"
        '__asm__(".text; .type stub,@function; stub: jmp *n(%rip); push $0x1000;'
        " .byte 0xe9; .long stub - . - 4;"
        " .size stub,.-stub; .skip 16; .type f,@function; f: jmp *n(%rip); ret; .skip 16;"
        ' .size f,.-f");'
        "void _start(void) { enter(60, 0, 0, 0); }"
    )
    image = image_of(read_binary(compiled(tmp_path, source)))
    places = {one.name: one.address for one in image.functions}
    machine = machine_for(image.abi)
    assert machine.is_lazy_stub(image, places["stub"])
    assert not machine.is_lazy_stub(image, places["f"])


def test_a_call_out_of_all_code_is_unknown(tmp_path: Path) -> None:
    found = scanned(tmp_path, "call . + 0x10000000")
    assert [one.why for one in found.unknown if one.why.leads_on]


WRAPPER = """
__asm__(".text; .type w,@function; w: mov %rdi,%rax; syscall; ret; .size w,.-w;"
        ".section .rodata; .balign 4; places: .long 1f - places, 2f - places, 1f - places; .text;"
        ".type user,@function; user: push %rbx; {user}; .size user,.-user;"
        ".type after,@function; after: ret; .size after,.-after;");
extern void w(void), user(void); void (*volatile pointer)(void);
"""
JUMPS = (
    "cmp $2, %ecx; ja 1f; lea places(%rip), %rdx; movslq (%rdx,%rcx,4), %rax; add %rdx, %rax;"
    " jmp *%rax; 1: mov $39, %edi; call *%rbx; 2: mov $102, %edi; call *%rbx"
)


@pytest.mark.parametrize(
    ("user", "only_called"),
    [
        pytest.param("mov w@GOTPCREL(%rip), %rbx; {jumps}; pop %rbx; ret", True, id="a slot"),
        pytest.param("lea w(%rip), %rbx; {jumps}; pop %rbx; ret", True, id="its address"),
        pytest.param("lea w(%rip), %rbx; {jumps}; call after; nop", True, id="a last call"),
        pytest.param(
            "lea w(%rip), %rbx; {jumps}; mov %rbx, pointer(%rip); pop %rbx; ret", False, id="stored"
        ),
        pytest.param(
            "lea w(%rip), %rbx; {jumps}; pop %rbx; ret; 3: lea w(%rip), %rax;"
            " mov %rax, pointer(%rip); ret",
            False,
            id="stored elsewhere",
        ),
        pytest.param(
            "lea w(%rip), %rdi; mov %rdi, %rbx; {jumps}; pop %rbx; ret", True, id="copied"
        ),
        pytest.param(
            "lea w(%rip), %rdi; mov %rdi, %rbx; call after; {jumps}; pop %rbx; ret",
            False,
            id="copied and passed",
        ),
        pytest.param(
            "lea w(%rip), %rbx; {jumps}; mov %rbx, %r9; movabs $0x1234567890, %rbx;"
            " mov %rbx, pointer(%rip); pop %rbx; ret",
            True,
            id="in a register that returns nothing",
        ),
        pytest.param(
            "lea w(%rip), %rbx; {jumps}; mov %rbx, %rdx; pop %rbx; ret",
            False,
            id="perhaps returned",
        ),
    ],
)
def test_a_function_that_a_register_only_calls_is_not_taken(
    tmp_path: Path, user: str, *, only_called: bool
) -> None:
    """Rust's library loads ``syscall`` once and calls it often, also behind jumps by tables."""
    source = WRAPPER.replace("{user}", user.replace("{jumps}", JUMPS))
    source += "void _start(void) { user(); enter(60, 0, 0, 0); }"
    path = compiled(tmp_path, source, "-O1", "-static-pie", "-Wl,--no-relax")
    found = scan(path, shipped_tables(), (), (), Path("/"))
    assert [one.why for one in found.unknown] == ([] if only_called else [Why.POINTER])
    assert not only_called or {"getpid", "getuid"} <= set(found.names)


def test_a_function_that_is_called_after_an_exception_is_called_there(tmp_path: Path) -> None:
    """Where the register of a cleanup holds the pointer that the function loaded before.

    In the cleanup of another call the register holds something else, and that is stored.
    """
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    source = r"""
    extern "C" { void w(long); void thrower(); void *volatile sink; void *__gxx_personality_v0; }
    __asm__(".text; .globl w; .type w,@function; w: mov %rdi,%rax; syscall; ret; .size w,.-w;"
            ".globl thrower; .type thrower,@function; thrower: ret; .size thrower,.-thrower;"
            ".globl _Unwind_Resume; .type _Unwind_Resume,@function; _Unwind_Resume: hlt;"
            ".size _Unwind_Resume,.-_Unwind_Resume;"
            ".globl _start; .type _start,@function; _start: .cfi_startproc;"
            ".cfi_personality 0x9b,ref; .cfi_lsda 0x1b,.Llsda;"
            "mov w@GOTPCREL(%rip), %rbx; .Lbegin: call thrower; .Lend:"
            "mov $60, %edi; call *%rbx; lea sink(%rip), %rbx; .Lother: call thrower; .Lafter: hlt;"
            ".Lkept: mov %rbx, sink(%rip); hlt;"
            ".Lpad: mov $39, %edi; call *%rbx; hlt; .cfi_endproc; .size _start,.-_start;"
            ".section .gcc_except_table,\"a\"; .Llsda: .byte 0xff, 0xff, 1, 8;"
            ".uleb128 .Lbegin-_start, .Lend-.Lbegin, .Lpad-_start, 0;"
            ".uleb128 .Lother-_start, .Lafter-.Lother, .Lkept-_start, 0;"
            ".section .data.rel,\"aw\"; .balign 8; ref: .quad __gxx_personality_v0; .text");
    """
    (tmp_path / "program.cc").write_text(source)
    flags = ("-nostdlib", "-static-pie", "-Wl,--no-relax", "-O1")
    path = tmp_path / "program"
    subprocess.run(["g++", *flags, "-o", path, path.with_suffix(".cc")], check=True)
    found = scan(path, shipped_tables(), (), (), Path("/"))
    assert {"getpid", "exit"} <= set(found.names)
    assert not found.unknown
