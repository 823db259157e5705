from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import threading
import types
from typing import TYPE_CHECKING

import privileges
import pytest
import running_kernel as kernel
from runtime_template import changes, install, questions, runtime, status
from seccompgen.core.abis import ABIS, Abi
from strategies import plain_tables

if TYPE_CHECKING:
    from pathlib import Path

WITH_FILTERS = [abi for abi in ABIS.values() if abi.filters_since is not None]
EF_MIPS_ABI2 = 0x20
NR_OPENAT = 257
ORDERS = {"little": "<", "big": ">"}


def elf_header(machine: int, bits: int, order: str, flags: int = 0) -> bytes:
    """Return an executable's first 52 bytes (elf(5))."""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "little" else 2, 1]) + bytes(9)
    address = "I" if bits == 32 else "Q"
    layout = f"{ORDERS[order]}HHI3{address}I"
    return (ident + struct.pack(layout, 2, machine, 1, 0, 0, 0, flags) + bytes(52))[:52]


def header_of(abi: Abi) -> bytes:
    # An audit value is e_machine with bits for width and order (audit.h); n32's own bit says
    # what EF_MIPS_ABI2 says.
    flags = EF_MIPS_ABI2 if abi.audit_arch & 0x20000000 else 0
    return elf_header(abi.audit_arch & 0xFFFF, abi.bits, abi.byte_order, flags)


def abi_of_elf(header: bytes) -> str | None:
    row = questions._row_of_elf(header)
    return None if row is None else row[0]


@pytest.mark.parametrize("abi", WITH_FILTERS, ids=lambda abi: abi.name)
def test_every_abi_is_told_by_its_executables(abi: Abi) -> None:
    assert abi_of_elf(header_of(abi)) == abi.name


@pytest.mark.parametrize("abi", WITH_FILTERS, ids=lambda abi: abi.name)
def test_other_e_flags_do_not_matter(abi: Abi) -> None:
    o32 = abi.name in {"mips", "mipsel"}
    noise = 0xFFFFFFFF & ~EF_MIPS_ABI2 if o32 else 0xFFFFFFFF
    header = elf_header(abi.audit_arch & 0xFFFF, abi.bits, abi.byte_order, noise)
    assert abi_of_elf(header) == abi.name


def test_n64_is_not_taken_for_n32() -> None:
    for order, name in (("big", "mips64"), ("little", "mips64el")):
        assert abi_of_elf(elf_header(8, 64, order, 0xFFFFFFFF)) == name


@pytest.mark.long("tries interpreters, sandboxes or moments one by one")
def test_nothing_else_is_taken_for_an_abi() -> None:
    known = {header_of(abi)[:20] for abi in WITH_FILTERS}
    for machine in range(0x10000):
        for bits in (32, 64):
            for order in ("little", "big"):
                header = elf_header(machine, bits, order)
                if header[:20] not in known:
                    assert abi_of_elf(header) is None, header


@pytest.mark.parametrize(
    ("machine", "bits", "order"),
    [(40, 32, "big"), (183, 64, "big"), (20, 32, "little"), (94, 32, "big"), (183, 32, "little")],
    ids=["armeb", "aarch64_be", "ppcle", "xtensaeb", "aarch64_ilp32"],
)
def test_an_order_without_programs_is_refused(machine: int, bits: int, order: str) -> None:
    assert abi_of_elf(elf_header(machine, bits, order)) is None


@pytest.mark.parametrize(
    ("option", "name"), [("-m64", "x86_64"), ("-m32", "i386"), ("-mx32", "x32")]
)
def test_what_a_compiler_writes(option: str, name: str, tmp_path: Path) -> None:
    kernel.require_x86_64()
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc")
    source, target = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text("int a;")
    subprocess.run([gcc, option, "-c", source, "-o", target], check=True)
    assert abi_of_elf(target.read_bytes()[:52]) == name


# What the build calls itself


@pytest.mark.parametrize(
    ("multiarch", "bits", "order", "name"),
    [
        ("x86_64-linux-gnu", 64, "little", "x86_64"),
        ("x86_64-linux-musl", 64, "little", "x86_64"),
        ("x86_64-linux-android", 64, "little", "x86_64"),
        ("x86_64-linux-gnux32", 32, "little", "x32"),
        ("x86_64-linux-muslx32", 32, "little", "x32"),
        ("i386-linux-gnu", 32, "little", "i386"),
        ("i686-linux-android", 32, "little", "i386"),
        ("aarch64-linux-gnu", 64, "little", "aarch64"),
        ("arm-linux-gnueabihf", 32, "little", "arm"),
        ("arm-linux-musleabi", 32, "little", "arm"),
        ("riscv64-linux-gnu", 64, "little", "riscv64"),
        ("loongarch64-linux-gnu", 64, "little", "loongarch64"),
        ("s390x-linux-gnu", 64, "big", "s390x"),
        ("s390-linux-gnu", 32, "big", "s390"),
        ("powerpc64le-linux-gnu", 64, "little", "ppc64le"),
        ("powerpc64-linux-gnu", 64, "big", "ppc64"),
        ("powerpc-linux-gnu", 32, "big", "ppc"),
        ("mips-linux-gnu", 32, "big", "mips"),
        ("mipsel-linux-gnu", 32, "little", "mipsel"),
        ("mipsisa32r6el-linux-gnu", 32, "little", "mipsel"),
        ("mips64-linux-gnuabi64", 64, "big", "mips64"),
        ("mips64el-linux-gnuabi64", 64, "little", "mips64el"),
        ("mips64-linux-gnuabin32", 32, "big", "mips64n32"),
        ("mips64el-linux-gnuabin32", 32, "little", "mips64n32el"),
        ("mipsisa64r6el-linux-gnuabin32", 32, "little", "mips64n32el"),
        ("hppa-linux-gnu", 32, "big", "parisc"),
        ("m68k-linux-gnu", 32, "big", "m68k"),
        ("sh4-linux-gnu", 32, "little", "sh"),
        ("alpha-linux-gnu", 64, "little", "alpha"),
        # Nothing that Linux has filters for, or that the interpreter itself contradicts.
        ("aarch64_be-linux-gnu", 64, "big", None),
        ("aarch64_ilp32-linux-gnu", 32, "little", None),
        ("armeb-linux-gnueabi", 32, "big", None),
        ("sparc64-linux-gnu", 64, "big", None),
        ("x86_64-linux-gnu", 64, "big", None),
        ("i386-linux-gnu", 64, "little", None),
        ("x86_64-gnu", 64, "little", None),
        ("x86_64", 64, "little", None),
        ("62-linux-gnu", 64, "big", None),
        ("317-linux-gnu", 64, "little", None),
        ("64-linux-gnu", 64, "little", None),
        ("little-linux-gnu", 64, "little", None),
        ("-linux-gnu", 64, "little", None),
        ("", 64, "little", None),
        (None, 64, "little", None),
    ],
)
def test_the_name_of_the_build_decides(
    multiarch: str | None,
    bits: int,
    order: str,
    name: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, None, "vax", multiarch=multiarch, bits=bits, order=order)
    if name is None:
        with pytest.raises(runtime.SeccompError, match=f"a {bits}-bit {order}-endian program"):
            runtime.running_abi()
    else:
        assert runtime.running_abi() == name


def test_the_build_is_asked_before_any_file_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None, "x86_64", multiarch="x86_64-linux-gnu")
    monkeypatch.delattr(questions, "_read")
    assert runtime.running_abi() == "x86_64"


def test_a_filter_that_kills_who_opens_files_lets_another_in() -> None:
    kernel.require_x86_64()

    def child() -> object:
        kernel.install_raw(kernel.on_call(NR_OPENAT, kernel.KILL_PROCESS))
        return install(kernel.always(kernel.ALLOW))

    assert kernel.run(child).value == -1


def test_words_of_builds_are_told_apart_from_machines() -> None:
    """Else an e_machine of one row could be taken for the name of another."""
    rows = [row.split() for row in runtime._ABIS.split(";")]
    machines, words = {row[3] for row in rows}, {word for row in rows for word in row[4:]}
    assert not machines & words
    told = [(row[2], word) for row in rows for word in row[3:]]
    assert len(told) == len(set(told))


# Without /proc


def test_without_proc(tmp_path: Path) -> None:
    kernel.require_x86_64()
    privileges.require()

    def child() -> object:
        privileges.gain()
        os.chroot(tmp_path)
        assert not os.path.exists("/proc")  # noqa: PTH110 - pathlib may have to be loaded
        return runtime.running_abi(), install(kernel.always(kernel.ALLOW))

    assert kernel.run(child).value == ["x86_64", -1]


# The running interpreter


def test_setarch_does_not_mislead() -> None:
    kernel.require_x86_64()

    def child() -> object:
        kernel.syscall(135, 8)  # personality(PER_LINUX32)
        before = status()
        install(kernel.always(kernel.ALLOW))
        return os.uname().machine, runtime.running_abi(), changes(before)["filters"]

    assert kernel.run(child).value == ["i686", "x86_64", 1]


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    header: bytes | None,
    machine: str,
    personality: str = "0",
    *,
    multiarch: str | None = None,
    bits: int = 64,
    order: str = "little",
) -> None:
    """Show the runtime this executable in /proc (None: no /proc), kernel, personality and build."""
    build = types.SimpleNamespace(name="cpython", **{"_multiarch": multiarch} if multiarch else {})
    monkeypatch.setattr(sys, "implementation", build)
    monkeypatch.setattr(sys, "maxsize", 2 ** (bits - 1) - 1)
    monkeypatch.setattr(sys, "byteorder", order)
    files = {}
    if header is not None:
        files = {"/proc/self/exe": header, "/proc/thread-self/personality": personality.encode()}
    monkeypatch.setitem(questions.__dict__, "_read", lambda path, size: files.get(path, b"")[:size])
    uname = os.uname_result(("Linux", "host", "6.18", "#1", machine))
    monkeypatch.setattr(os, "uname", lambda: uname)


@pytest.mark.parametrize("abi", ["i386", "x32", "x86_64"])
def test_the_executable_outranks_uname(abi: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, header_of(ABIS[abi]), "x86_64")
    assert runtime.running_abi() == abi


@pytest.mark.parametrize("machine", ["riscv64", "riscv"])
def test_rv32_on_a_64_bit_kernel_is_refused(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, header_of(ABIS["riscv32"]), machine)
    with pytest.raises(runtime.SeccompError, match=f"run an interpreter built for {machine}") as e:
        runtime.running_abi()
    assert (e.value.errno, e.value.cause) == (errno.ENOEXEC, "misreported_abi")


@pytest.mark.parametrize("personality", ["00000008", "00040008", "08000008", ""])
def test_rv32_is_refused_where_the_name_of_the_kernel_is_no_proof(
    personality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, header_of(ABIS["riscv32"]), "riscv32", personality)
    with pytest.raises(runtime.SeccompError, match="may be one of 64 bits") as e:
        runtime.running_abi()
    assert (e.value.errno, e.value.cause) == (errno.ENOEXEC, "misreported_abi")


def test_rv32_is_refused_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None, "riscv32", multiarch="riscv32-linux-gnu", bits=32)
    with pytest.raises(runtime.SeccompError, match="; mount /proc, and run"):
        runtime.running_abi()


def test_the_personality_is_the_threads_own() -> None:
    kernel.require_x86_64()

    def child() -> object:
        before = refused()

        def other() -> None:
            kernel.syscall(135, 0x0040008)  # ADDR_NO_RANDOMIZE | PER_LINUX32
            seen.append(refused())

        seen: list[bool] = []
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return before, seen, refused()

    def refused() -> bool:
        try:
            questions._require_native_riscv32("try", "riscv32")
        except runtime.SeccompError:
            return True
        return False

    assert kernel.run(child).value == [False, [True], False]


@pytest.mark.parametrize(
    ("abi", "machine", "personality"),
    [
        ("riscv32", "riscv32", "00000000"),
        ("riscv32", "riscv32", "00040000"),
        ("riscv64", "riscv64", "00000000"),
        ("riscv64", "riscv32", "00000008"),
        ("riscv64", "riscv64", ""),
    ],
)
def test_riscv_of_the_kernels_own_width(
    abi: str, machine: str, personality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, header_of(ABIS[abi]), machine, personality)
    assert runtime.running_abi() == abi


@pytest.mark.parametrize(
    ("header", "machine", "words"),
    [
        (elf_header(40, 32, "big"), "armv7b", "with a kernel for armv7b; run one of an ABI"),
        (None, "vax", "with a kernel for vax; mount /proc"),
        (b"#!/bin/sh\n" + bytes(42), "vax", "with a kernel for vax; mount /proc"),
    ],
    ids=["order", "no-proc", "no-elf"],
)
def test_no_abi_at_all(
    header: bytes | None, machine: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, header, machine)
    with pytest.raises(runtime.SeccompError, match=words) as caught:
        runtime.install("worker", {}, flags=0, no_new_privs=True, actions=())
    assert (caught.value.errno, caught.value.cause) == (errno.ENOEXEC, "unknown_abi")


def test_every_abi_has_its_number_of_seccomp() -> None:
    tables = plain_tables()
    numbers = {name: int(nr, 0) for name, nr, *_ in map(str.split, runtime._ABIS.split(";"))}
    assert numbers.keys() == {abi.name for abi in WITH_FILTERS}
    for name, number in numbers.items():
        # s390 is gone from the pinned tables; it shares its numbers with s390x.
        table = tables.get(name) or tables[f"{name}x"]
        assert number == table["seccomp"], name


# Another executable in /proc, shown by the file system


@pytest.mark.parametrize(
    ("abi", "cause", "words"),
    [
        (
            "i386",
            "wrong_abi",
            "this interpreter is i386, and the programs are for x86_64; add i386",
        ),
        ("aarch64", "wrong_abi", "is aarch64, and the programs are for x86_64; add aarch64"),
        ("riscv32", "misreported_abi", "a x86_64 kernel shows the calls of a riscv32"),
        ("sparc", "unknown_abi", "none is known to fit this interpreter"),
    ],
)
def test_an_interpreter_of_another_abi(abi: str, cause: str, words: str, tmp_path: Path) -> None:
    kernel.require_x86_64()
    privileges.require()
    (tmp_path / "proc/self").mkdir(parents=True)
    header = elf_header(2, 32, "big") if abi == "sparc" else header_of(ABIS[abi])
    (tmp_path / "proc/self/exe").write_bytes(header)

    def child() -> object:
        privileges.gain()
        os.chroot(tmp_path)
        del sys.implementation._multiarch
        try:
            install(kernel.always(kernel.ALLOW))
        except runtime.SeccompError as error:
            return error.errno_name, error.cause, error.strerror
        return None

    name, seen, text = kernel.run(child).value
    assert (name, seen) == ("ENOEXEC", cause)
    assert words in text


def test_this_interpreter() -> None:
    abi = ABIS[runtime.running_abi()]
    assert abi.bits == struct.calcsize("P") * 8
    assert abi.byte_order == sys.byteorder
