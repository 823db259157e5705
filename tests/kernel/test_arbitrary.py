"""Whatever bytes upstream, the lock or the matrix hold: tables, or an error with a position."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seccompgen.core.errors import SeccompgenError
from seccompgen.core.tables import Tables
from seccompgen.kernel.lockfile import load, render_lock, render_matrix
from seccompgen.kernel.parse import parse
from upstream import NEW

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "arch/x86/entry/syscalls/syscall_64.tbl"
HEADER = "arch/x86/include/uapi/asm/unistd.h"
CONSTANTS = "include/uapi/linux/fcntl.h"
FEW = frozenset({"audit", "elf-em", "fcntl", "ioctl", "sched", "socket", "unistd"})
"""The headers of include/uapi/linux that are enough here: all of them take seconds an example."""
NAMES = ("lock", "csv")

# The fixtures are read-only, so one for all examples is right.
ARBITRARY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

PIECES = st.sampled_from(
    [
        b"#if", b"#ifdef __x86_64__\n", b"#elif 1\n", b"#else\n", b"#endif\n", b"#define ",
        b"#undef __NR_read\n", b"#include <asm/unistd_64.h>\n", b"#include <linux/strange.h>\n",
        b"#include <asm/unistd_x32.h>\n", b"__NR_read", b"__NR_write ", b"__NR_x(a) ", b"/*",
        b"*/", b"//", b"\\\n", b"\n", b" ", b"\t", b"(", b")", b"1", b"0x", b"99999999999999999999",
        b"<<", b"/", b"%", b"?", b":", b"&&", b"||", b"!", b"~", b"defined", b"\xff", b"\0", b'"',
        b"'", b"439 common faccessat2\n", b"5 common read\n", b"6 64 read\n", b"[[", b"]", b"=",
        b"[abis]\n", b"files", b"tag = 1\n", b",", b"<!doctype html>", b"../../x",
        "٣".encode(), b"\r\n", b"x32,", b"4294967296",
    ]
)  # fmt: skip


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Replace a stretch of a file by something else; often a short one, sometimes all."""
    start = draw(st.floats(0, 1))
    length = draw(st.one_of(st.integers(0, 40), st.integers(0, 1 << 17)))
    new = draw(st.one_of(st.lists(PIECES, max_size=12).map(b"".join), st.binary(max_size=60)))

    def apply(content: bytes) -> bytes:
        at = int(start * len(content))
        return content[:at] + new + content[at + length :]

    return apply


def x86(files: dict[str, bytes]) -> dict[str, bytes]:
    few = {f"include/uapi/linux/{name}.h" for name in FEW}
    return {path: content for path, content in files.items() if "/x86/" in path or path in few}


@ARBITRARY
@given(
    change=damage(),
    path=st.sampled_from([TABLE, HEADER, CONSTANTS, "include/uapi/linux/audit.h"]),
)
def test_mutated_upstream_files(
    tree: Callable[[str], dict[str, bytes]], change: Callable[[bytes], bytes], path: str
) -> None:
    files = x86(tree(NEW))
    files[path] = change(files[path])
    try:
        tables = parse(NEW, files)
    except SeccompgenError as error:
        assert error.diagnostics
    else:
        assert set(tables.tables) == {"x86_64", "x32", "i386"}


@ARBITRARY
@given(pieces=st.lists(PIECES, max_size=60), path=st.sampled_from([TABLE, HEADER]))
def test_made_up_upstream_files(
    tree: Callable[[str], dict[str, bytes]], pieces: list[bytes], path: str
) -> None:
    files = x86(tree(NEW)) | {path: b"".join(pieces)}
    try:
        parse(NEW, files)
    except SeccompgenError as error:
        assert error.diagnostics


@ARBITRARY
@given(change=damage())
def test_mutated_generic_makefiles(
    tree: Callable[[str], dict[str, bytes]], change: Callable[[bytes], bytes]
) -> None:
    everything = tree(NEW)
    files = x86(everything) | {
        path: content
        for path, content in everything.items()
        if "/arc/" in path or "scripts" in path
    }
    for path in ("arch/arc/kernel/Makefile.syscalls", "arch/arc/include/uapi/asm/Kbuild"):
        mutated = files | {path: change(files[path])}
        try:
            parse(NEW, mutated)
        except SeccompgenError as error:
            assert error.diagnostics


@ARBITRARY
@given(change=damage())
def test_mutated_locks_and_matrices(
    tables_of: Callable[[str], Tables], change: Callable[[bytes], bytes]
) -> None:
    whole = tables_of(NEW)
    tables = Tables(whole.tag, {name: whole.tables[name] for name in ("x86_64", "arm")})
    matrix = render_matrix(tables)
    lock = render_lock(tables, matrix)
    mutated = change(matrix)
    digest = hashlib.sha256(mutated).hexdigest().encode()
    with_its_hash = re.sub(rb'(\[matrix\]\nsha256 = ")[0-9a-f]+', rb"\g<1>" + digest, lock)
    for candidate in ((change(lock), matrix), (with_its_hash, mutated), (lock, mutated)):
        try:
            loaded = load(*candidate, NAMES)
        except SeccompgenError as error:
            assert all(item.position for item in error.diagnostics)
        else:
            assert render_matrix(loaded) == candidate[1]


@ARBITRARY
@given(lock=st.one_of(st.binary(), st.lists(PIECES).map(b"".join)), matrix=st.binary())
def test_made_up_locks(lock: bytes, matrix: bytes) -> None:
    try:
        load(lock, matrix, NAMES)
    except SeccompgenError as error:
        assert all(item.position for item in error.diagnostics)
