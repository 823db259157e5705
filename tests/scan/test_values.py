"""Whichever way a number takes to the kernel: it is found, or said to be unknown."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from c_programs import compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.unknown import Why

TABLES = shipped_tables()
ALWAYS = {"restart_syscall"}

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

EXIT = "enter(60, 0, 0, 0); __builtin_unreachable();"


def scanned(path: Path) -> Scan:
    return scan(path, TABLES, (), (), Path("/"))


def names(found: Scan) -> set[str]:
    return set(found.names) - ALWAYS


OPTIMISED = pytest.mark.parametrize("optimise", ["-O0", "-O1", "-O2", "-Os"])
LINKED = pytest.mark.parametrize("link", ["-no-pie", "-static-pie"])


@pytest.mark.few(11, "follows many programs")
@OPTIMISED
@LINKED
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("void _start(void) {" + EXIT + "}", {"exit"}, id="constant"),
        pytest.param(
            "FAR long wrap(long nr, long a) { return enter(nr, a, 0, 0); }"
            "FAR void more(void) { wrap(39, 0); }"
            "void _start(void) { wrap(1, 1); more(); " + EXIT + "}",
            {"write", "getpid", "exit"},
            id="wrapper",
        ),
        pytest.param(
            "FAR long last(long a, long b, long c, long d, long e, long f, long nr)"
            "{ return enter(nr, a, b, c); }"
            "FAR long both(long nr, long a) { return last(a, 0, 0, 0, 0, 0, nr); }"
            "void _start(void) { both(3, 1); last(0, 0, 0, 0, 0, 0, 39); " + EXIT + "}",
            {"close", "getpid", "exit"},
            id="on the stack",
        ),
        pytest.param(
            "FAR void wrap(long nr) { enter(nr, 0, 0, 0); }"
            "void _start(void) { long argc = *(long *)__builtin_frame_address(0);"
            "wrap(argc > 3 ? 1 : argc > 1 ? 3 : 39); " + EXIT + "}",
            {"write", "close", "getpid", "exit"},
            id="one of several",
        ),
        pytest.param(
            "volatile int n; FAR void f(void) { n++; }"
            "FAR void loop(int nr) { while (n < 3) { f(); enter(nr, 0, 0, 0); } }"
            "void _start(void) { loop(24); " + EXIT + "}",
            {"sched_yield", "exit"},
            id="kept over calls in a loop",
        ),
        pytest.param(
            "volatile int n; FAR void f(int i) { int nr; switch (i) {"
            "case 0: nr = 0; break; case 1: nr = 1; break; case 2: nr = 39; break;"
            "case 3: nr = 3; break; case 4: nr = 24; break; case 5: nr = 102; break;"
            "case 6: n++; nr = 104; break; default: nr = 107; }"
            "n += i; enter(nr, 0, 0, 0); }"
            "void _start(void) { f(n); " + EXIT + "}",
            {
                *("read", "write", "getpid", "close", "sched_yield"),
                *("getuid", "getgid", "geteuid", "exit"),
            },
            id="chosen by a switch",
            marks=[],
        ),
        pytest.param(
            "FAR void hidden(void) { enter(39, 0, 0, 0); }"
            "void (*volatile pointer)(void) = hidden;"
            "void _start(void) { pointer(); " + EXIT + "}",
            {"getpid", "exit"},
            id="by a pointer in data",
        ),
        pytest.param(
            "FAR void hidden(void) { enter(39, 0, 0, 0); }"
            "FAR void call(void (*f)(void)) { f(); }"
            "void _start(void) { call(hidden); " + EXIT + "}",
            {"getpid", "exit"},
            id="by a pointer in code",
        ),
        pytest.param(
            "FAR void unused(void) { enter(39, 0, 0, 0); }void _start(void) {" + EXIT + "}",
            {"exit"},
            id="not what nobody calls",
        ),
    ],
)
def test_numbers_are_found(
    tmp_path: Path, source: str, expected: set[str], optimise: str, link: str
) -> None:
    found = scanned(compiled(tmp_path, source, optimise, link))
    # Values in a table, which gcc makes of some switches and choices, are no constants of code.
    if found.unknown:
        assert {one.why for one in found.unknown} <= {Why.MEMORY, Why.NARROW, Why.COMPUTED}
        assert optimise != "-O0"
        assert names(found) <= expected
    else:
        assert names(found) == expected


@pytest.mark.few(16, "follows many programs")
@OPTIMISED
@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param(
            "volatile long n; void _start(void) { enter(n, 0, 0, 0); " + EXIT + "}",
            Why.MEMORY,
            id="from memory",
        ),
        pytest.param(
            "FAR long wrap(long nr) { return enter(nr, 0, 0, 0); }"
            "long (*volatile pointer)(long) = wrap;"
            "void _start(void) { pointer(39); " + EXIT + "}",
            Why.POINTER,
            id="handed over by a pointer",
        ),
        pytest.param(
            "volatile long n; FAR long number(void) { return n; }"
            "void _start(void) { enter(number(), 0, 0, 0); " + EXIT + "}",
            Why.RETURNED,
            id="returned",
        ),
        pytest.param(
            "FAR void change(int *p) { *p = 39; }"
            "void _start(void) { int nr = 1; change(&nr); enter(nr, 0, 0, 0); " + EXIT + "}",
            Why.STORED,
            id="changed through a pointer",
        ),
        pytest.param(
            'void _start(void) { __asm__("int $0x80" :: "a"(20)); ' + EXIT + "}",
            Why.FOREIGN,
            id="by int 0x80",
        ),
        pytest.param(
            "void _start(void) { enter(999, 0, 0, 0); " + EXIT + "}",
            Why.NO_CALL,
            id="of no call",
        ),
    ],
)
def test_what_cannot_be_known_is_said(tmp_path: Path, source: str, why: Why, optimise: str) -> None:
    found = scanned(compiled(tmp_path, source, optimise))
    assert why in {one.why for one in found.unknown}, found.unknown
    assert "exit" in names(found)
    assert not names(found) & {"getpid", "write"} or optimise == "-O0"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(
            "test %rax, %rax; je 1f; mov $1, %eax; 1: syscall", {"read", "write"}, id="je"
        ),
        pytest.param("cmp $0, %eax; je 1f; mov $1, %eax; 1: syscall", {"read", "write"}, id="cmp"),
        pytest.param("test %eax, %eax; jne 1f; syscall; 1:", {"read"}, id="not taken"),
        pytest.param("test %al, %al; je 1f; mov $1, %eax; 1: syscall", None, id="part"),
        pytest.param("cmp $1, %rax; je 1f; mov $1, %eax; 1: syscall", None, id="not zero"),
        pytest.param("test %rdi, %rdi; je 1f; mov $1, %eax; 1: syscall", None, id="another"),
        pytest.param("test %rdi, %rax; je 1f; mov $1, %eax; 1: syscall", None, id="bits"),
        pytest.param("test %rax, %rax; jne 1f; mov $1, %eax; 1: syscall", None, id="all but zero"),
        pytest.param(
            "test %rdi, %rdi; js 2f; test %rax, %rax; 2: je 1f; mov $1, %eax; 1: syscall",
            None,
            id="entered between test and branch",
        ),
    ],
)
def test_a_branch_shows_that_a_number_is_zero(
    tmp_path: Path, code: str, expected: set[str] | None
) -> None:
    """As in musl's readv(), which may call read(): its number, 0, is what was compared."""
    source = f"""
    volatile long n;
    void _start(void) {{ __asm__("mov n(%rip), %rax; {code}"); {EXIT} }}
    """
    found = scanned(compiled(tmp_path, source, "-O1"))
    if expected is None:
        assert {one.why for one in found.unknown} == {Why.MEMORY}
    else:
        assert (names(found), found.unknown) == (expected | {"exit"}, ())


@pytest.mark.parametrize(("way", "ends"), [("nop", True), ("js 3f", False)])
def test_a_function_ends_the_process_although_other_code_follows(
    tmp_path: Path, way: str, ends: bool
) -> None:
    """As in musl's libc.so: without symbols, what follows belongs to it for all that is known."""
    source = f"""
    __asm__(".Lend: mov $60, %eax; test %rdi, %rdi; {way}; syscall; jmp .Lend; 3: ret");
    void _start(void) {{
      __asm__("js 1f; mov $1, %eax; jmp 2f; 1: call .Lend; 2: syscall"); {EXIT}
    }}
    """
    found = scanned(compiled(tmp_path, source, "-O1"))
    assert names(found) == {"write", "exit"}
    assert {one.why for one in found.unknown} == (set() if ends else {Why.RETURNED})


def test_a_site_is_where_the_number_is_given(tmp_path: Path) -> None:
    source = (
        "FAR long wrap(long nr) { return enter(nr, 0, 0, 0); }"
        "FAR void one(void) { wrap(39); } FAR void two(void) { wrap(39); wrap(3); }"
        "void _start(void) { one(); two(); " + EXIT + "}"
    )
    found = scanned(compiled(tmp_path, source, "-O1"))
    assert sorted((site.function, site.name) for site in found.sites) == [
        ("_start", "exit"),
        ("one", "getpid"),
        ("two", "close"),
        ("two", "getpid"),
    ]
