"""Rows of small libraries that are compiled here, with fallbacks that are known."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.companions import LibraryRelease
from seccompgen.scan.binary import read_binary

from companions.compare import compare, rows
from companions.library import Library
from companions.methods import methods
from companions.table_files import render

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint.companions import Companion

pytest.importorskip("capstone")
pytest.importorskip("elftools")
if shutil.which("gcc") is None:
    pytest.skip("there is no gcc here", allow_module_level=True)

_HEAD = """
#define ENTER(n, a, b, c) ({ long r; register long r10 __asm__("r10") = 0; \\
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) \\
                     : "rcx", "r11", "memory"); r; })
extern __thread int error_number;
__thread int error_number;
#define FAILS(r) ({ long r_ = (r); if ((unsigned long)r_ > -4096UL) \\
    { error_number = -r_; r_ = -1; } r_; })
enum { READ = 0, MADVISE = 28, CLONE = 56, ACCESS = 21, GETUID = 102, CLONE3 = 435,
       CLOSE_RANGE = 436, FACCESSAT = 269, FACCESSAT2 = 439, CLOSE = 3, EXECVE = 59,
       TGKILL = 234 };
"""

_OLD = f"""{_HEAD}
long thread(long a) {{ return FAILS(ENTER(CLONE, a, 0, 0)); }}
long closes(long a) {{ return ENTER(CLOSE, a, 0, 0); }}
long may(long a) {{ return FAILS(ENTER(FACCESSAT, a, 0, 0)); }}
long only(long a) {{ return ENTER(ACCESS, a, 0, 0); }}
long odd(long a) {{ return ENTER(ACCESS, a, 0, 0); }}
long aside(long a) {{ return ENTER(CLONE, a, 0, 0); }}
long same(long a) {{ return ENTER(GETUID, a, 0, 0); }}
void advise(long a) {{ ENTER(MADVISE, a, 4096, 4); }}
long spawn(long a) {{ return ENTER(CLONE, a, 0, 0); }}
long dies(long a) {{ return ENTER(CLONE, a, 0, 0); }}
"""

_NEW = f"""{_HEAD}
static __attribute__((noinline)) long newest(long a) {{ return FAILS(ENTER(CLONE3, a, 0, 0)); }}
long thread(long a)
{{
    long r = newest(a);
    if (r != -1 || error_number != 38) return r;
    return FAILS(ENTER(CLONE, a, 0, 0));
}}
long closes(long a)
{{
    if (ENTER(CLOSE_RANGE, a, 0, 0) == 0) return 0;
    return ENTER(CLOSE, a, 0, 0);
}}
long may(long a)
{{
    long r = ENTER(FACCESSAT2, a, 0, 0);
    if (r == -38 || r == -1) return FAILS(ENTER(FACCESSAT, a, 0, 0));
    return r;
}}
long only(long a) {{ return ENTER(FACCESSAT2, a, 0, 0); }}
long odd(long a)
{{
    long r = ENTER(FACCESSAT2, a, 0, 0);
    __asm__("bswap %0" : "+r"(r));
    return r == 0x1234 ? ENTER(ACCESS, a, 0, 0) : r;
}}
extern long *place(void);
long aside(long a)
{{
    *place() = ENTER(CLONE3, a, 0, 0);
    return *place() == -38 ? ENTER(CLONE, a, 0, 0) : 0;
}}
long same(long a) {{ return ENTER(GETUID, a, 0, 0); }}
void advise(long a) {{ ENTER(MADVISE, a, 4096, 102); }}
static __attribute__((noinline, noreturn)) void child(long a)
{{
    ENTER(CLOSE_RANGE, a, 0, 4);
    for (;;) ENTER(EXECVE, a, 0, 0);
}}
static __attribute__((noinline, noreturn)) void end(long a)
{{
    for (;;) ENTER(TGKILL, a, 0, 6);
}}
long spawn(long a)
{{
    long r = ENTER(CLONE, a, 0, 0);
    if (r == 0) child(a);
    return r;
}}
long dies(long a)
{{
    long r = ENTER(CLONE, a, 0, 0);
    if (r == -11) end(a);
    return r;
}}
"""

_RELEASES = tuple(LibraryRelease("small", one, (f"base:{one}",), ()) for one in ("1", "2"))


def _compiled(directory: Path, source: str) -> Path:
    directory.mkdir()
    (directory / "small.c").write_text(source)
    command = ["gcc", "-O2", "-shared", "-fPIC", "-ftls-model=initial-exec", "-nostdlib"]
    command += ["-o", "small.so", "small.c"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"gcc compiles no library for x86_64 here: {done.stderr.splitlines()[-1]}")
    return directory / "small.so"


def _made(old: Path, new: Path) -> tuple[Companion, ...]:
    tables = shipped_tables()
    table = tables.tables["x86_64"]
    releases = {"1": Library([old], table), "2": Library([new], table)}
    return tuple(rows("small", {"x86_64": compare(releases, tables)}))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("small")
    return _compiled(directory / "1", _OLD), _compiled(directory / "2", _NEW)


@pytest.fixture(scope="module")
def made(files: tuple[Path, Path]) -> tuple[Companion, ...]:
    return _made(*files)


@pytest.mark.parametrize(
    ("function", "call", "fallback"),
    [
        ("thread", "clone3", "ENOSYS>clone"),
        ("closes", "close_range", "any>close"),
        ("may", "faccessat2", "ENOSYS EPERM>faccessat"),
        ("only", "faccessat2", "none"),
        ("odd", "faccessat2", "unknown"),
        ("aside", "clone3", "unknown"),
    ],
)
def test_it_is_found_on_which_errno_a_function_falls_back(
    made: tuple[Companion, ...], function: str, call: str, fallback: str
) -> None:
    (row,) = [one for one in made if function in one.functions and one.call == call]
    assert str(row.fallback) == fallback
    assert row.releases == ("2",)


def test_a_constant_is_of_the_releases_that_pass_it(made: tuple[Companion, ...]) -> None:
    constants = {
        one.constant: one.releases for one in made if one.functions == ("advise",) and one.constant
    }
    assert constants == {
        "behavior=MADV_DONTNEED": ("1",),
        "behavior=MADV_GUARD_INSTALL": ("2",),
    }


def test_a_function_that_starts_a_program_counts_for_its_caller_and_one_that_ends_does_not(
    made: tuple[Companion, ...],
) -> None:
    calls = {one.call for one in made if "spawn" in one.functions}
    assert calls == {"clone", "close_range", "execve"}
    assert not [one for one in made if "dies" in one.functions]


def test_a_function_that_stays_as_it_is_has_no_row(made: tuple[Companion, ...]) -> None:
    assert not [one for one in made if "same" in one.functions]


def test_made_again_it_is_the_same_to_the_byte(
    files: tuple[Path, Path], made: tuple[Companion, ...]
) -> None:
    assert render(made, _RELEASES) == render(_made(*files), _RELEASES)


def test_functions_that_python_offers_have_the_names_that_python_has_for_them(
    tmp_path: Path,
) -> None:
    source = """
    typedef struct { const char *name; void *function; int flags; const char *text; } Method;
    static long one(void) { return 1; }
    static long two(void) { return 2; }
    static Method methods[] = {
        {"copy_file_range", one, 3, "text"}, {"pidfd_open", two, 130, 0}, {0, 0, 0, 0},
    };
    struct { long head[5]; const char *name; const char *text; long size; Method *methods; }
        module = {{1}, "posix", 0, -1, methods};
    """
    binary = read_binary(_compiled(tmp_path / "python", source))
    found = methods(binary)
    assert list(found) == ["posix.copy_file_range", "posix.pidfd_open"]
    assert all(map(binary.in_code, found.values()))
