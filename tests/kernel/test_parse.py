"""Mistakes of naive readers of the kernel's tables, and sources that are damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError, OutsideError
from seccompgen.kernel.parse import CANDIDATES, parse, parse_numbers
from seccompgen.kernel.parse.sources import NUMBER_CANDIDATES, VIEWS
from upstream import MINIATURE, NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seccompgen.core.tables import Tables

    Tree: TypeAlias = Callable[[str], dict[str, bytes]]
    TablesOf: TypeAlias = Callable[[str], Tables]
    Read: TypeAlias = Callable[[str, dict[str, bytes]], Tables]

X86_TABLE = "arch/x86/entry/syscalls/syscall_64.tbl"
ARM64_TABLE = "arch/arm64/tools/syscall_64.tbl"
HEADER = "arch/{}/include/uapi/asm/unistd.h"


def problems(tag: str, files: dict[str, bytes]) -> list[str]:
    with pytest.raises(OutsideError) as caught:
        parse(tag, files)
    return [str(item) for item in caught.value.diagnostics]


def replace(files: dict[str, bytes], path: str, old: bytes, new: bytes) -> None:
    assert files[path].count(old) == 1, (path, old)
    files[path] = files[path].replace(old, new)


def only(files: dict[str, bytes], *arches: str) -> dict[str, bytes]:
    """Return ``files`` without other architectures than x86 and these: they take time."""
    own = tuple(f"arch/{name}/" for name in ("x86", *arches))
    return {
        path: content
        for path, content in files.items()
        if path.startswith(own) or not path.startswith("arch/")
    }


@pytest.fixture
def read(kernel_tree: Path) -> Read:
    """Read changed trees; the real one without its facts, which take seconds and are as before."""
    return parse if kernel_tree == MINIATURE else parse_numbers


def test_every_abi_has_a_view() -> None:
    assert set(VIEWS) == set(ABIS)
    assert len(NUMBER_CANDIDATES) < 70
    assert len(CANDIDATES) < 1200
    assert list(CANDIDATES) == sorted(set(CANDIDATES))


# The traps of tests/data/kernel/README.md, one kind after the other.


def test_1_fields(tables_of: TablesOf) -> None:
    tables = tables_of(NEW).tables
    assert tables["x86_64"].numbers["exit"] == 60  # six fields
    assert tables["i386"].numbers["break"] == 17  # three
    assert tables["aarch64"].numbers["renameat"] == 38  # tabs and blanks
    assert tables["csky"].numbers["mseal"] == 462


def test_2_calls_that_do_nothing_have_numbers(tables_of: TablesOf) -> None:
    tables = tables_of(NEW).tables
    assert tables["x86_64"].numbers["query_module"] == 178
    assert tables["alpha"].numbers["osf_swapon"] == 199
    assert "memfd_secret" not in tables["arm"].numbers


def test_3_generic_architectures_take_their_columns(tables_of: TablesOf) -> None:
    tables = tables_of(NEW).tables
    assert tables["aarch64"].numbers["mmap"] == tables["arc"].numbers["mmap2"] == 222
    assert "mmap2" not in tables["aarch64"].numbers
    assert tables["aarch64"].numbers["getrlimit"] == 163
    assert "getrlimit" not in tables["loongarch64"].numbers
    assert tables["riscv64"].numbers["riscv_hwprobe"] == 258
    assert tables["openrisc"].numbers["or1k_atomic"] == 244
    assert "clock_gettime" in tables["arc"].numbers
    assert "clock_gettime" not in tables["riscv32"].numbers


def test_4_mips_takes_every_row_and_its_base(tables_of: TablesOf) -> None:
    tables = tables_of(NEW).tables
    assert tables["mips64"].numbers["set_mempolicy_home_node"] == 5450
    assert tables["mips"].numbers["set_mempolicy_home_node"] == 4450
    assert tables["mips64n32el"].numbers["read"] == 6000
    # Placeholders are in the headers that user space compiles against, and so are they here.
    assert tables["mips"].numbers["reserved221"] == 4221
    assert tables["mips64"].numbers["reserved177"] == 5177
    assert tables["mips"].numbers["unused59"] == 4059


def test_5_powerpc_without_spu_and_s390_until_it_went(tables_of: TablesOf) -> None:
    new, old = tables_of(NEW).tables, tables_of(OLD).tables
    assert new["ppc64"].numbers["fork"] == new["ppc"].numbers["fork"] == 2  # nospu
    assert new["ppc"].numbers["fstatat64"] == new["ppc64"].numbers["newfstatat"] == 291
    assert "fstatat64" not in new["ppc64"].numbers
    assert "s390" not in new
    assert old["s390"].numbers["chown32"] == 212
    assert old["s390x"].numbers["chown"] == 212


def test_6_names_outside_the_tables(tables_of: TablesOf) -> None:
    tables = tables_of(NEW).tables
    private = {"breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls"}
    arm = tables["arm"].numbers
    assert {arm[name] for name in private} == set(range(0xF0001, 0xF0007))
    assert arm["sync_file_range2"] == arm["arm_sync_file_range"] == 341
    for name in ("csky", "hexagon"):
        assert tables[name].numbers["sync_file_range2"] == 84
        assert "sync_file_range" not in tables[name].numbers
    alpha = tables["alpha"].numbers
    assert (alpha["umount"], alpha["getpid"]) == (alpha["umount2"], alpha["getxpid"])
    assert "time" not in tables["sparc64"].numbers
    assert tables["sparc"].numbers["time"] == 231


def test_7_x32_and_alpha(tables_of: TablesOf) -> None:
    tables = tables_of(NEW).tables
    x32 = tables["x32"].numbers
    assert x32["read"] == 0x40000000
    assert {nr & 0x3FFFFFFF for nr in x32.values()} >= set(range(512, 548))
    assert not {nr & 0x3FFFFFFF for nr in x32.values()} & {13, 15, 16, 59}
    assert not set(tables["x86_64"].numbers.values()) & set(range(512, 548))
    assert tables["alpha"].numbers["faccessat2"] == 549


def test_8_before_tables(tables_of: TablesOf) -> None:
    tables = tables_of(OLD).tables
    assert tables["aarch64"].numbers["fstat"] == tables["csky"].numbers["fstat64"] == 80
    assert tables["arc"].numbers["arc_usr_cmpxchg"] == 248
    assert tables["riscv64"].numbers["riscv_flush_icache"] == 259
    assert tables["ia64"].numbers["read"] == 1026
    bookkeeping = {"syscalls", "arch_specific_syscall"}
    for table in tables.values():
        assert not bookkeeping & set(table.numbers)
        assert all(name == name.lower() for name in table.numbers)


# Other tags, whose trees these two resemble.


def test_arm_headers_shared_out_in_three(tree: Tree, read: Read, tables_of: TablesOf) -> None:
    """v5.10 includes its common rows apart, after the others."""
    files = tree(OLD)
    replace(
        files,
        HEADER.format("arm"),
        b"#include <asm/unistd-oabi.h>\n#endif\n",
        b"#include <asm/unistd-oabi.h>\n#endif\n#include <asm/unistd-common.h>\n",
    )
    tables = read("v5.10", only(files, "arm")).tables
    for name in ("arm", "arm_oabi"):
        assert tables[name].numbers == tables_of(OLD).tables[name].numbers


def test_loongarch32_came_after_tables_did(tree: Tree, read: Read) -> None:
    files = tree(NEW)
    files[HEADER.format("loongarch")] = b"#include <asm/unistd_64.h>\n"
    replace(
        files,
        "arch/loongarch/include/uapi/asm/Kbuild",
        b"syscall-y += unistd_32.h\n",
        b"",
    )
    tables = read("v6.12", only(files, "loongarch")).tables
    assert "loongarch32" not in tables
    assert "loongarch64" in tables


@pytest.mark.parametrize(
    "link", [None, b"../../../scripts/syscall.tbl", b"../../../scripts/syscall.tbl\n"]
)
def test_link_to_the_generic_table(
    link: bytes | None, tree: Tree, read: Read, tables_of: TablesOf
) -> None:
    files = tree(NEW)
    assert ARM64_TABLE in CANDIDATES
    assert ARM64_TABLE not in files
    if link is not None:
        files[ARM64_TABLE] = link
    found = read(NEW, only(files, "arm64")).tables["aarch64"]
    assert found == tables_of(NEW).tables["aarch64"]


def test_own_table_instead_of_the_link(tree: Tree, read: Read) -> None:
    files = tree(NEW)
    files[ARM64_TABLE] = files["scripts/syscall.tbl"] + b"900 64 brand_new sys_brand_new\n"
    table = read(NEW, only(files, "arm64")).tables["aarch64"]
    assert table.numbers["brand_new"] == 900
    paths = [file.path for file in table.inputs]
    assert ARM64_TABLE in paths
    assert "scripts/syscall.tbl" not in paths


def test_link_to_nowhere(tree: Tree) -> None:
    for link in (b"../other.tbl", b"../../../../../etc/passwd", b"../tools/syscall_64.tbl"):
        files = tree(NEW)
        files[ARM64_TABLE] = link
        assert len(problems(NEW, files)) == 1


def test_columns_set_and_not_added(tree: Tree, read: Read) -> None:
    files = tree(NEW)
    files["arch/nios2/kernel/Makefile.syscalls"] = b"syscall_abis_32 := \\\n stat64\n"
    numbers = read(NEW, only(files, "nios2")).tables["nios2"].numbers
    assert "stat64" not in numbers
    assert "fstat64" in numbers
    assert "renameat" not in numbers


# Sources with holes, and files that are not what they should be.


def test_a_source_with_nothing() -> None:
    (problem,) = problems("v9.9", {})
    assert problem.endswith("does it have v9.9?")
    with pytest.raises(InputError, match="not a Linux release tag"):
        parse("latest", {})
    with pytest.raises(InputError, match="too old"):
        parse("v5.9", {})


@pytest.mark.parametrize("tag", [NEW, OLD])
def test_no_hole_goes_unnoticed(tag: str, tree: Tree, tables_of: TablesOf) -> None:
    """Without any one file that a table was made from, there is no answer at all."""
    for file in tables_of(tag).files:
        files = tree(tag)
        if file.path.startswith("arch/"):  # the others' take time and change nothing
            files = only(files, file.path.split("/")[1])
        del files[file.path]
        assert any(problem.startswith(file.path) for problem in problems(tag, files)), file.path


def test_an_architecture_that_is_gone(tree: Tree, read: Read, tables_of: TablesOf) -> None:
    files = only(tree(NEW), "sh")
    whole = set(read(NEW, files).tables)
    assert whole == {"x86_64", "x32", "i386", "sh", "sheb"} < set(tables_of(NEW).tables)
    files = {path: content for path, content in files.items() if "/sh/" not in path}
    assert set(read(NEW, files).tables) == whole - {"sh", "sheb"}


def test_a_hole_says_who_needs_it(tree: Tree) -> None:
    files = tree(NEW)
    del files["scripts/syscall.tbl"], files["arch/sh/kernel/syscalls/syscall.tbl"]
    del files["arch/parisc/include/uapi/asm/unistd.h"]
    found = problems(NEW, files)
    assert (
        "scripts/syscall.tbl: the source lacks this file, which"
        " arch/arm64/include/uapi/asm/unistd.h:2:1 includes"
    ) in found
    assert (
        "arch/parisc/include/uapi/asm/unistd.h: the source lacks this file, though it has"
        " arch/parisc/kernel/syscalls/syscall.tbl"
    ) in found


@pytest.mark.parametrize(
    "path", ["arch/arm64/kernel/Makefile.syscalls", "arch/riscv/include/uapi/asm/Kbuild"]
)
def test_a_makefile_that_is_cut_off(path: str, tree: Tree) -> None:
    """It still parses, and would select fewer calls or fewer ABIs."""
    files = tree(NEW)
    files[path] = files[path].rstrip()[:-3]
    (found,) = problems(NEW, files)
    assert found.startswith(f"{path}:")
    assert found.endswith("the file does not end with a line break; is it cut off?")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"  <!DOCTYPE html>\n<p>no\n", "this is a web page, not a source file"),
        (b"\n<html>\n", "this is a web page, not a source file"),
        (b"0 common read\n1 common \xff\n", "this is not UTF-8 text"),
        (b"0 common read\n\0\n", "this is not a text file"),
        (b"0 common read sys_read\n1 common wri", "does not end with a line break"),
        (b"Too many requests\n", "'Too' stands where a number should"),
        (b"0 common read sys_read\n", "faccessat2 is missing"),
        (b"0 common read\n438 common faccessat2\n", "faccessat2 is 438"),
        (b"439 common faccessat2\n5 marsian x\n", "does not know what ABI 'marsian' means here"),
        (b"439 common faccessat2\n1 64 x\n2 common x\n", "__NR_x is defined as '2' here"),
    ],
)
def test_damaged_table(content: bytes, problem: str, tree: Tree) -> None:
    files = tree(NEW)
    files[X86_TABLE] = content
    assert any(problem in found for found in problems(NEW, files))


def test_positions_and_every_problem_at_once(tree: Tree) -> None:
    files = tree(NEW)
    files[X86_TABLE] = b"x common a\n439 common faccessat2\n1 common\n"
    files[HEADER.format("riscv")] += b"#if 1\n#include <linux/strange.h>\n"
    found = problems(NEW, files)
    riscv = HEADER.format("riscv")
    line = files[riscv].count(b"\n")
    unknown = "<linux/strange.h> is not known to seccompgen; a newer version may know it"
    assert found == [
        f"{X86_TABLE}:1:1: 'x' stands where a number should",
        f"{X86_TABLE}:3:9: the row ends before the name of a system call",
        f"{riscv}:{line}:1: {unknown}",
        f"{riscv}:{line - 1}:1: this conditional is never closed; is the file cut off?",
    ]


@pytest.mark.parametrize("path", ["include/uapi/asm-generic/unistd.h", HEADER.format("arm")])
def test_a_header_that_is_cut_off(path: str, tree: Tree) -> None:
    files = tree(OLD)
    files[path] = files[path][: len(files[path]) // 2]
    assert problems(OLD, files)


def test_a_name_without_a_number(tree: Tree) -> None:
    files = tree(NEW)
    files[HEADER.format("sh")] += b"#define __NR_a __NR_nobody\n#define __NR_b (0 - 1)\n"
    found = problems(NEW, files)
    assert "__NR_a has no value: __NR_nobody is not defined as a number" in found[0]
    assert "__NR_b is -1, not a number of 32 bits" in found[1]
    assert len(found) == 2


def test_one_name_with_two_numbers(tree: Tree) -> None:
    files = tree(NEW)
    files[HEADER.format("arm")] += b"#define __NR_cacheflush 5\n"
    assert "cacheflush is 5 here, but 983042 elsewhere" in problems(NEW, files)[0]


def test_audit_values_are_compared(tree: Tree, read: Read) -> None:
    files = tree(NEW)
    replace(
        files, "include/uapi/linux/elf-em.h", b"#define EM_X86_64\t62", b"#define EM_X86_64\t63"
    )
    (problem,) = problems(NEW, files)
    assert "AUDIT_ARCH_X86_64 is 0xc000003f here, but seccompgen takes it for 0xc000003e" in problem
    files = tree(NEW)
    files["include/uapi/linux/audit.h"] = b"/* older than every one of them */\n"
    assert read(NEW, only(files))


def test_makefiles_that_say_too_little_or_too_much(tree: Tree) -> None:
    files = tree(NEW)
    files["scripts/Makefile.asm-headers"] = b"syscalltbl := scripts/syscall.tbl\n"
    assert any("syscall_abis_64 or syscalltbl is not set" in item for item in problems(NEW, files))
    files = tree(NEW)
    files["arch/arc/kernel/Makefile.syscalls"] += b"syshdr-args-32 := --offset 5\n"
    assert "syshdr-args-32 changes numbers" in problems(NEW, files)[0]
    files = tree(NEW)
    files["arch/arc/include/uapi/asm/Kbuild"] = b"generic-y += ucontext.h\n"
    assert "syscall-y does not list unistd_32.h" in problems(NEW, files)[0]
