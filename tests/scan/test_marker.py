"""``--after NAME``: what can still run once a function of the program has been called."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from c_programs import HEAD, compiled
from seccompgen.core.errors import InputError
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import scan
from seccompgen.scan.result import Caveat
from seccompgen.scan.scanner import Questions

if TYPE_CHECKING:
    from seccompgen.scan import Scan

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="it has code for x86_64")

TABLES = shipped_tables()
START = """
#undef FAR
#define FAR __attribute__((noinline, noipa, used))
typedef long (*function)(void);
FAR static long start(long (*begin)(void)) { return enter(60, begin(), 0, 0); }
long begin(void) __asm__("main");
__attribute__((used, noreturn)) static void run(void) { start(begin); for (;;) {} }
void _start(void) { run(); }
FAR long marker(void) { return enter(39, 0, 0, 0); }
FAR static long early(void) { return enter(163, 0, 0, 0); }
FAR static long late(void) { return enter(155, 0, 0, 0); }
FAR static void keep(function one) { __asm__ volatile("" ::"r"(one)); }
FAR static long numbered(long nr) { return enter(nr, 0, 0, 0); }
FAR static long leads(void) { return marker() + 1; }
FAR long _setjmp(void) { return 0; }
"""
"""early() makes acct, late() pivot_root, marker() getpid."""
LEFT_OUT = {
    "before": "long begin(void) { early(); marker(); return late(); }",
    "a loop before": (
        "long begin(void) { for (int i = 0; i < 9; i++) early(); marker(); return late(); }"
    ),
    "up the stack": (
        "FAR static long outer(void) { early(); leads(); return 1; }"
        "long begin(void) { early(); outer(); return late(); }"
    ),
    "one branch": (
        "long begin(void) { if (keep(0), enter(39, 0, 0, 0) > 5) { early(); marker(); return 1; }"
        "marker(); return late(); }"
    ),
    "its address is made later": ("long begin(void) { early(); keep(leads); return late(); }"),
    "a function that makes its address": (
        "FAR static void setting(void) { keep(leads); late(); }"
        "long begin(void) { early(); setting(); return 1; }"
    ),
    "a part that is apart jumps back": (
        '__asm__(".text; .type main,@function; main: call early; jmp apart; 1: call late; ret;"'
        '".pushsection .text.unlikely,\\"ax\\"; .type apart,@function;"'
        '"apart: call marker; jmp 1b; .size apart,.-apart; .popsection; .size main,.-main");'
    ),
    "another number before": "long begin(void) { numbered(163); marker(); return numbered(155); }",
    "a tail call": (
        "FAR static long outer(void) { early(); return marker(); }"
        "long begin(void) { outer(); return late() + 1; }"
    ),
}
COUNTS = {
    "after": "long begin(void) { marker(); return early(); }",
    "a loop around it": "long begin(void) { for (;;) { early(); if (marker() > 5) return 1; } }",
    "called again": "long begin(void) { early(); marker(); return early() + 1; }",
    "by a function that runs again": (
        "FAR static long both(void) { early(); marker(); return 1; }"
        "long begin(void) { both(); both(); return 1; }"
    ),
    "up the stack": "long begin(void) { leads(); return early(); }",
    "further up the stack": (
        "FAR static long outer(void) { leads(); return 1; }"
        "long begin(void) { outer(); return early(); }"
    ),
    "after a tail call": (
        "FAR static long outer(void) { return marker(); }"
        "long begin(void) { outer(); return early(); }"
    ),
    "a handler, whose address was made before": (
        "long begin(void) { keep(early); marker(); return 1; }"
    ),
    "a handler by a function that is over": (
        "FAR static void setting(void) { keep(early); }"
        "long begin(void) { setting(); marker(); return 1; }"
    ),
    "a handler in data": (
        "__attribute__((used)) function table[] = {early};"
        'long begin(void) { __asm__ volatile("" :: "r"(table)); marker(); return 1; }'
    ),
    "after its address was made": "long begin(void) { keep(marker); return early(); }",
    "after the address of a function that leads to it": (
        "long begin(void) { keep(leads); return early(); }"
    ),
    "up from where its address was made": (
        "FAR static void setting(void) { keep(leads); }"
        "long begin(void) { setting(); return early(); }"
    ),
    "the address is made twice": (
        '__asm__(".text; .type main,@function; main: jmp 2f;"'
        '"1: lea leads(%rip), %rdi; call keep; ret;"'
        '"2: lea leads(%rip), %rdi; call keep; call early; jmp 1b; .size main,.-main");'
    ),
    "a function that returns again": (
        "long begin(void) { if (_setjmp()) early(); marker(); return 1; }"
    ),
    "a number from a call that is under way": (
        "FAR static long outer(long nr) { marker(); return enter(nr, 0, 0, 0); }"
        "long begin(void) { outer(163); return 1; }"
    ),
    "a jump back from a part that is apart": (
        '__asm__(".text; .type main,@function; main: sub $8, %rsp; jmp apart;"'
        '"1: call early; add $8, %rsp; ret;"'
        '".pushsection .text.unlikely,\\"ax\\"; .type apart,@function;"'
        '"apart: call marker; jmp 1b; .size apart,.-apart; .popsection; .size main,.-main");'
    ),
    "a copy of the marker": (
        'FAR long clone(void) __asm__("marker.constprop.0"); long clone(void) { return 1; }'
        "long begin(void) { clone(); early(); marker(); return 1; }"
    ),
    "recursion": (
        "FAR static long again(long n) { if (n < 3) early(); marker(); if (n) again(n - 1);"
        "return 1; } long begin(void) { again(5); return 1; }"
    ),
    "a label whose address was made": (
        '__asm__(".text; .local spot; .comm spot,8,8; .type main,@function; main:"'
        '"lea 1f(%rip), %rax;"'
        '"mov %rax, spot(%rip); jmp 2f; 1: call early; ret; 2: call marker; jmp *spot(%rip);"'
        '".size main,.-main");'
    ),
    "what a call at the end runs on into": (
        '__asm__(".text; .type outer,@function; outer: call marker; .size outer,.-outer;"'
        '".type next,@function; next: call early; ret; .size next,.-next;"'
        '".type main,@function; main: call outer; ret; .size main,.-main");'
    ),
}


def after(directory: Path, source: str, *options: str, marker: str = "marker") -> Scan:
    """Compile and scan a program."""
    path = compiled(directory, source, *options, head=HEAD + START)
    return scan(path, TABLES, (), (), directory, asked=Questions(after=marker))


@pytest.mark.parametrize("linking", ["-static-pie", "-no-pie"])
@pytest.mark.parametrize("source", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_only_comes_before_is_left_out(source: str, linking: str, tmp_path: Path) -> None:
    found = after(tmp_path, source, "-O1", "-fPIE", linking)
    assert {"getpid", "exit"} <= set(found.names)
    assert ("acct" in found.names, "pivot_root" in found.names) == (False, True)
    assert (found.unknown, Caveat.ANY_TIME in found.caveats) == ((), False)


@pytest.mark.parametrize("linking", ["-static-pie", "-no-pie"])
@pytest.mark.parametrize("source", COUNTS.values(), ids=COUNTS)
def test_what_can_come_after_counts(source: str, linking: str, tmp_path: Path) -> None:
    found = after(tmp_path, source, "-O1", "-fPIE", linking)
    assert {"acct", "getpid", "exit"} <= set(found.names)
    assert Caveat.ANY_TIME not in found.caveats


def test_a_function_in_data_may_be_called_at_any_time(tmp_path: Path) -> None:
    source = (
        "__attribute__((used)) function table[] = {leads};"
        'long begin(void) { early(); __asm__ volatile("" :: "r"(table)); return 1; }'
    )
    found = after(tmp_path, source, "-O1", "-fno-pie", "-no-pie")
    assert "acct" in found.names
    assert Caveat.ANY_TIME in found.caveats


@pytest.mark.parametrize(
    ("source", "marker", "problem"),
    [
        ("long begin(void) { return marker(); }", "markr", "did you mean 'marker'?"),
        ("long begin(void) { return marker(); }", "nothing", "has no function 'nothing'; a strip"),
        ("long begin(void) { return marker(); }", "accept", "does not call accept() itself: name"),
        ("long begin(void) { return early(); }", "marker", "no code that can run calls marker"),
        (
            "long begin(void) { return marker(); }"
            "FAR void main_again(void) { start(begin); } FAR void other(void) { keep(begin); }"
            "__attribute__((used)) function table[] = {(function)other};",
            "marker",
            "main() cannot be found",
        ),
    ],
)
def test_what_cannot_be_told_is_an_error(
    source: str, marker: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        after(tmp_path, source, "-O1", "-fno-pie", "-no-pie", marker=marker)
    assert problem in str(caught.value)


def test_the_marker_is_imported(tmp_path: Path) -> None:
    """Accept is both calls that accept connections, and counts itself."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    source = (
        "extern long accept4(void); FAR static long serve(void) { return accept4() + late(); }"
        "long begin(void) { early(); return serve() + 1; }"
    )
    library = "long accept4(void) { return enter(288, 0, 0, 0); }"
    (tmp_path / "library.c").write_text(HEAD + library)
    (tmp_path / "program.c").write_text(HEAD + START + source)
    plain = ["gcc", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O1", "-fPIC"]
    for words in (["-shared", "-o", "libmade.so", "library.c"], ["program.c", "-L.", "-lmade"]):
        subprocess.run([*plain, *words], check=True, cwd=tmp_path)
    path = tmp_path / "a.out"
    found = scan(path, TABLES, (), (tmp_path,), Path("/"), asked=Questions(after="accept"))
    assert {"accept4", "pivot_root"} <= set(found.names)
    assert "acct" not in found.names


def test_a_call_that_never_returns_does_not_run_on(tmp_path: Path) -> None:
    """As the start of aarch64's programs ends, before a label that jumps to main()."""
    source = (
        '__asm__(".text; .type never,@function; never: jmp never; .size never,.-never;"'
        '".type main,@function; main: call marker; call never; behind: call early; ret;");'
    )
    assert "acct" not in after(tmp_path, source, "-O1", "-static-pie").names
