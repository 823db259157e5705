"""Numbers that pass through memory in known libraries, also without their symbols."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from c_programs import HEAD, compiled
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan
from seccompgen.scan.unknown import Why

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

EXIT = "enter(60, 0, 0, 0); __builtin_unreachable();"
MUSL = """
struct request { int id, nr; };
FAR void each(void (*f)(struct request *), struct request *r) { f(r); }
FAR void do_set(struct request *r) { enter(r->nr, r->id, 0, 0); }
FAR void set(int nr, int id) { struct request r = {id, nr}; each(do_set, &r); }
void _start(void) { set(105, 0); set(%d, 0); %s }
"""
GLIBC = """
struct request { int nr, id; };
FAR void all(struct request *r) { enter(r->nr, r->id, 0, 0); }
volatile int many;
FAR void set_user(int id) {
  struct request r = {105, id};
  if (many) all(&r); else enter(105, id, 0, 0);
}
FAR void set_group(int id) {
  struct request r = {%d, id};
  if (many) all(&r); else enter(%d, id, 0, 0);
}
void _start(void) { set_user(0); set_group(0); %s }
"""


def scanned(directory: Path, source: str) -> Scan:
    path = compiled(directory, source, "-O2", "-static-pie", "-s")
    return scan(path, shipped_tables(), (), (), Path("/"))


@pytest.mark.parametrize("source", [MUSL, GLIBC], ids=["musl", "glibc"])
@pytest.mark.parametrize("number", [106, 39])
def test_requests_for_all_threads_are_of_few_kinds(
    tmp_path: Path, source: str, number: int
) -> None:
    """setuid and its like; a function that also makes other calls is another."""
    holes = (number, EXIT) if source is MUSL else (number, number, EXIT)
    found = scanned(tmp_path, source % holes)
    if number == 106:
        assert not found.unknown
        assert {"setuid", "setgid"} <= set(found.names)
    else:
        assert {one.why for one in found.unknown} == {Why.NARROW}


WRAPPER = """
__asm__(".globl syscall; .type syscall,@function; syscall: mov %rdi,%rax; syscall; ret");
"""
LIBCAP = """
extern long syscall(long, ...);
static long by_three(long nr, long a, long b, long c) { return syscall(nr, a, b, c); }
static struct { long (*three)(long, long, long, long); } calls = {by_three};
void cap_set_syscall(void *f) { calls.three = f; }
volatile long number;
void (*volatile other)(void *);
static long mark;
void cap_also(void) { other(&mark); }
long cap_set(long a) { return calls.three(126, a, 0, 0); }
long cap_other(long a) { return calls.three(%s, a, 0, 0); }
"""


LIBSECCOMP = """
extern long syscall(long, ...);
static int kept = %s, other;
static const char *volatile table;
__attribute__((noipa)) static int resolve(const char *const *names, const char *name) {
  const char *volatile *one = (const char *volatile *)names;
  return (*one)[0] - name[0];
}
__attribute__((noipa)) static int check(void) {
  int found = resolve((const char *const *)&table, "%s");
  if (found < 0) return 0;
  if (syscall(found, 0, 1, 0) < 0) %s = found;
  return 1;
}
void cap_also(void) { kept = -1; }
long cap_set(long a) { return check(); }
long cap_other(long a) { return check() ? syscall(kept, 1, a, 0) : 0; }
"""


def of_library(directory: Path, name: str, source: str) -> Scan:
    """Scan a program that calls the library ``name``, which calls a libc's syscall()."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    library, libc = directory / name, directory / "libthe.so"
    shared = ("gcc", "-nostdlib", "-ffreestanding", "-O2", "-fPIC", "-shared", "-xc", "-")
    for path, text in ((libc, WRAPPER), (library, source)):
        named = ("-o", path, f"-Wl,-soname={path.name}")
        subprocess.run([*shared, *named], input=text, text=True, check=True)
    used = "extern long cap_set(long), cap_other(long); extern void cap_also(void);"
    source = f"{HEAD}{used} void _start(void) {{ cap_set(0); cap_other(0); cap_also(); {EXIT} }}"
    program = directory / "program"
    options = ("-nostdlib", "-ffreestanding", "-O1", "-pie", "-Wl,--no-as-needed", "-xc", "-")
    linked = ("-xnone", library, libc, "-o", program, f"-Wl,--dynamic-linker={libc}")
    subprocess.run(["gcc", *options, *linked], input=source, text=True, check=True)
    return scan(program, shipped_tables(), (), (directory,), Path("/"))


@pytest.mark.parametrize(
    ("name", "holes", "unknown"),
    [
        ("libseccomp.so.2", ("-1", "seccomp", "kept"), set()),
        ("libsecond.so.2", ("-1", "seccomp", "kept"), {Why.RETURNED, Why.NARROW}),
        ("libseccomp.so.2", ("-1", "seccomp2", "kept"), {Why.RETURNED, Why.NARROW}),
        ("libseccomp.so.2", ("7", "seccomp", "kept"), {Why.NARROW}),
        ("libseccomp.so.2", ("-1", "seccomp", "other"), {Why.NARROW}),
    ],
    ids=["as it is", "another library", "another name", "another value", "another variable"],
)
def test_libseccomp_looks_its_call_up(
    tmp_path: Path, name: str, holes: tuple[str, ...], unknown: set[Why]
) -> None:
    """By name, in its own table; what differs from the library that was read stays unknown."""
    found = of_library(tmp_path, name, LIBSECCOMP % holes)
    assert {one.why for one in found.unknown} == unknown
    assert ("seccomp" in found.names) == (Why.RETURNED not in unknown)


@pytest.mark.parametrize(
    ("name", "number", "known"),
    [
        ("libcap.so.2", "157", True),
        ("libcap.so.2", "number", False),
        ("libpcap.so.2", "157", False),
    ],
)
def test_libcap_calls_syscall_by_pointer(
    tmp_path: Path, name: str, number: str, *, known: bool
) -> None:
    """With constants; in others the pointer might come from anywhere."""
    found = of_library(tmp_path, name, LIBCAP % number)
    assert {one.why for one in found.unknown} == (set() if known else {Why.POINTER})
    assert not known or {"capset", "prctl"} <= set(found.names)


@pytest.mark.long("Go compiles its library")
@pytest.mark.parametrize(("module", "known"), [("golang.org/x/sys", True), ("example/sys", False)])
def test_go_s_second_package_of_calls_has_a_variable_for_fcntl(
    tmp_path: Path, module: str, *, known: bool
) -> None:
    """As syscall has: golang.org/x/sys/unix, which many programs use instead."""
    if not shutil.which("go"):
        pytest.skip("there is no Go")
    package = tmp_path / "sys" / "unix"
    package.mkdir(parents=True)
    (package.parent / "go.mod").write_text(f"module {module}\n")
    (package / "fcntl.go").write_text(
        'package unix\n\nimport "syscall"\n\nvar number uintptr = 72\n\n'
        "//go:noinline\nfunc FcntlInt(fd uintptr, a, b int) syscall.Errno {\n"
        "\t_, _, errno := syscall.Syscall(number, fd, uintptr(a), uintptr(b))\n\treturn errno\n}\n"
        "\nfunc Set(to uintptr) { number = to }\n"
    )
    (tmp_path / "go.mod").write_text(
        f"module own\n\nrequire {module} v0.0.0\n\nreplace {module} => ./sys\n"
    )
    (tmp_path / "main.go").write_text(
        f'package main\n\nimport (\n\t"os"\n\t"{module}/unix"\n)\n\n'
        "func main() {\n\tif len(os.Args) > 9 {\n\t\tunix.Set(72)\n\t}\n"
        "\tos.Exit(int(unix.FcntlInt(0, 1, 2)))\n}\n"
    )
    program = tmp_path / "program"
    # No version control, and no module that is not here.
    command = ["go", "build", "-mod=mod", "-buildvcs=false", "-o", str(program), "."]
    environment = os.environ | {
        "GOPROXY": "off",
        "GOFLAGS": "",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    found = scan(program, shipped_tables(), (), (), Path("/"))
    assert "fcntl" in found.names
    assert bool(found.unknown) != known
