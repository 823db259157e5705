from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import kernel
import pytest
from helpers.runtime import changes, install, runtime, status
from seccompgen.architectures import ABIS, Abi, find_abi
from strategies import plain_tables

if TYPE_CHECKING:
    from pathlib import Path

WITH_FILTERS = [abi for abi in ABIS.values() if abi.filters_since is not None]
EF_MIPS_ABI2 = 0x20
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


@pytest.mark.parametrize("abi", WITH_FILTERS, ids=lambda abi: abi.name)
def test_every_abi_is_told_by_its_executables(abi: Abi) -> None:
    assert runtime._abi_of_elf(header_of(abi)) == abi.name


@pytest.mark.parametrize("abi", WITH_FILTERS, ids=lambda abi: abi.name)
def test_other_e_flags_do_not_matter(abi: Abi) -> None:
    o32 = abi.name in {"mips", "mipsel"}
    noise = 0xFFFFFFFF & ~EF_MIPS_ABI2 if o32 else 0xFFFFFFFF
    header = elf_header(abi.audit_arch & 0xFFFF, abi.bits, abi.byte_order, noise)
    assert runtime._abi_of_elf(header) == abi.name


def test_n64_is_not_taken_for_n32() -> None:
    for order, name in (("big", "mips64"), ("little", "mips64el")):
        assert runtime._abi_of_elf(elf_header(8, 64, order, 0xFFFFFFFF)) == name


def test_nothing_else_is_taken_for_an_abi() -> None:
    known = {header_of(abi)[:20] for abi in WITH_FILTERS}
    for machine in range(0x10000):
        for bits in (32, 64):
            for order in ("little", "big"):
                header = elf_header(machine, bits, order)
                if header[:20] not in known:
                    assert runtime._abi_of_elf(header) is None, header


@pytest.mark.parametrize(
    ("machine", "bits", "order"),
    [(40, 32, "big"), (183, 64, "big"), (20, 32, "little"), (94, 32, "big"), (183, 32, "little")],
    ids=["armeb", "aarch64_be", "ppcle", "xtensaeb", "aarch64_ilp32"],
)
def test_an_order_without_programs_is_refused(machine: int, bits: int, order: str) -> None:
    assert runtime._abi_of_elf(elf_header(machine, bits, order)) is None


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
    assert runtime._abi_of_elf(target.read_bytes()[:52]) == name


# Without /proc


AMBIGUOUS = {"x32", "mips", "mipsel", "mips64n32", "mips64n32el"}


def test_uname_agrees_with_the_architectures() -> None:
    reached = set()
    for machine in runtime._UNAME_MACHINES:
        native = find_abi(machine)
        assert native is not None, machine
        for abi in (native, *(ABIS[name] for name in native.siblings)):
            told = runtime._abi_of_uname(machine, abi.bits, abi.byte_order)
            assert told in {abi.name, None}, (machine, abi.name)
            reached.add(told)
        for order in ("little", "big"):
            reached.add(runtime._abi_of_uname(machine, native.bits, order))
    assert reached == {abi.name for abi in WITH_FILTERS} - AMBIGUOUS | {None}


@pytest.mark.parametrize(
    ("machine", "bits", "order", "name"),
    [
        ("x86_64", 64, "little", "x86_64"),
        ("x86_64", 32, "little", None),  # i386 or x32
        ("i686", 32, "little", "i386"),
        ("i686", 64, "little", None),
        ("aarch64", 64, "little", "aarch64"),
        ("aarch64", 32, "little", "arm"),
        ("aarch64", 64, "big", None),
        ("armv7l", 32, "little", "arm"),
        ("armv7l", 32, "big", None),
        ("riscv64", 64, "little", "riscv64"),
        ("riscv32", 32, "little", "riscv32"),
        ("s390x", 64, "big", "s390x"),
        ("s390x", 32, "big", "s390"),
        ("ppc64le", 64, "little", "ppc64le"),
        ("ppc64le", 32, "little", None),
        ("ppc64", 64, "big", "ppc64"),
        ("ppc64", 32, "big", "ppc"),
        ("mips64", 64, "little", "mips64el"),
        ("mips64", 64, "big", "mips64"),
        ("mips64", 32, "big", None),  # o32 or n32
        ("mips", 32, "big", None),  # o32, or n32 under `setarch`
        ("parisc64", 32, "big", "parisc"),
        ("parisc", 32, "big", "parisc"),
        ("m68k", 32, "big", "m68k"),
        ("sh4", 32, "little", "sh"),
        ("sh4", 32, "big", "sheb"),
        ("loongarch64", 64, "little", "loongarch64"),
        ("alpha", 64, "little", "alpha"),
        ("csky", 32, "little", "csky"),
        ("xtensa", 32, "little", "xtensa"),
        ("vax", 32, "little", None),
    ],
)
def test_uname_decides_where_one_abi_fits(
    machine: str, bits: int, order: str, name: str | None
) -> None:
    assert runtime._abi_of_uname(machine, bits, order) == name


def test_without_proc(tmp_path: Path) -> None:
    kernel.require_x86_64()
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")

    def child() -> object:
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
    monkeypatch: pytest.MonkeyPatch, header: bytes | None, machine: str, personality: str = "0"
) -> None:
    """Show the runtime this executable in /proc (None: no /proc), kernel and personality."""
    files = {}
    if header is not None:
        files = {"/proc/self/exe": header, "/proc/thread-self/personality": personality.encode()}
    monkeypatch.setitem(runtime.__dict__, "_read", lambda path, size: files.get(path, b"")[:size])
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
    pretend(monkeypatch, None, "riscv32")
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(runtime.SeccompError, match="; mount /proc, and run"):
        runtime.running_abi()


def test_the_personality_is_the_threads_own() -> None:
    kernel.require_x86_64()

    def child() -> object:
        before = runtime._personality()

        def other() -> None:
            kernel.syscall(135, 0x0040008)  # ADDR_NO_RANDOMIZE | PER_LINUX32
            seen.append(runtime._personality())

        seen: list[int] = []
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return before, seen, runtime._personality()

    assert kernel.run(child).value == [0, [0x0040008], 0]


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
    assert runtime._NUMBERS.keys() == {abi.name for abi in WITH_FILTERS}
    for name, number in runtime._NUMBERS.items():
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
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    (tmp_path / "proc/self").mkdir(parents=True)
    header = elf_header(2, 32, "big") if abi == "sparc" else header_of(ABIS[abi])
    (tmp_path / "proc/self/exe").write_bytes(header)

    def child() -> object:
        os.chroot(tmp_path)
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
