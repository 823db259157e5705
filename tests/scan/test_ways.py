"""Ways from one instruction to code: what is not understood is unknown, never nothing."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from c_programs import compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.processor import EffectKind
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


def test_a_call_out_of_all_code_is_unknown(tmp_path: Path) -> None:
    found = scanned(tmp_path, "call . + 0x10000000")
    assert [one.why for one in found.unknown if one.why.leads_on]
