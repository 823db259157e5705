"""``explain --audit`` on core dumps: the call whose signal ended a process."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest
from command import inside, said
from seccompgen.core.abis import ABIS
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    rule = "{action: allow, names: [read]}"
    policy = f"arches: [x86_64]\ndefault_action: kill_process\nsyscalls: [{rule}]\n"
    (tmp_path / "worker.yml").write_text(policy)
    return tmp_path


def core(order: str, *, wide: bool, machine: int, nr: int, arch: int, code: int = 1) -> bytes:
    """Return a core dump that has a note of another kind before its siginfo."""
    signo = (12, code, 0) if machine == 8 else (31, 0, code)
    if wide:
        info = struct.pack(f"{order}4iQiI", *signo, 0, 0x1234, nr, arch)
    else:
        info = struct.pack(f"{order}3iIiI", *signo, 0x1234, nr, arch)
    notes = b""
    for kind, content in ((1, b"registers"), (0x53494749, info.ljust(128, b"\0"))):
        padded = content.ljust(len(content) + 3 & ~3, b"\0")
        notes += struct.pack(f"{order}3I", 5, len(content), kind) + b"CORE\0\0\0\0" + padded
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if wide:
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack(f"{order}IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), 0, 4)
    else:
        head = struct.pack(f"{order}HHIIIIIHHHHHH", 4, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack(f"{order}8I", 4, 84, 0, 0, len(notes), 0, 0, 4)
    return ident + head + segment + notes


@pytest.mark.parametrize(
    ("abi", "machine", "wide"),
    [("x86_64", 62, True), ("i386", 3, False), ("s390x", 22, True), ("mips", 8, False)],
)
def test_a_core_dump_tells_its_call(here: Path, abi: str, machine: int, *, wide: bool) -> None:
    order = "<" if ABIS[abi].byte_order == "little" else ">"
    nr = shipped_tables().tables[abi].numbers["mkdir"]
    content = core(order, wide=wide, machine=machine, nr=nr, arch=ABIS[abi].audit_arch)
    (here / "core").write_bytes(content)
    run = inside("explain", "--audit", "core", "worker.yml", "--json", cwd=here)
    (one,) = json.loads(run.out)["calls"]
    assert (one["abi"], one["syscall"], one["addresses"]) == (abi, "mkdir", [0x1234])


def test_core_dumps_that_tell_nothing(here: Path) -> None:
    whole = core("<", wide=True, machine=62, nr=41, arch=0xC000003E)
    other = core("<", wide=True, machine=62, nr=41, arch=0xC000003E, code=0)
    cases = {
        whole[:200]: "a core dump whose signal is cut off",
        whole[:150]: "a core dump without the signal that caused it",
        other: "a core dump of signal 31, which no filter sent",
        whole[:16] + b"\x02" + whole[17:]: "an ELF file, but no core dump",
        whole[:40]: "no ELF file",
    }
    for content, text in cases.items():
        (here / "core").write_bytes(content)
        run = said(inside("explain", "--audit", "core", "worker.yml", cwd=here))
        assert run == (2, [], [f"core: {text}"])
