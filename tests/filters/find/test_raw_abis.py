"""Raw instructions tell their ABI where they begin by comparing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.program import Instruction, encode
from seccompgen.filters.find.loaded_filter import load_filter

if TYPE_CHECKING:
    from pathlib import Path

LD_ARCH, LD_NR = Instruction(0x20, 0, 0, 4), Instruction(0x20, 0, 0, 0)
ALLOW, KILL = Instruction(0x06, 0, 0, 0x7FFF0000), Instruction(0x06, 0, 0, 0)


def jeq(jt: int, jf: int, value: int) -> Instruction:
    return Instruction(0x15, jt, jf, value)


def one(abi: str) -> tuple[Instruction, ...]:
    return (LD_ARCH, jeq(0, 1, ABIS[abi].audit_arch), ALLOW, KILL)


def sides(tmp_path: Path, program: tuple[Instruction, ...], order: str = "x86_64") -> list[str]:
    file = tmp_path / "a.bpf"
    file.write_bytes(encode(program, ABIS[order]))
    return list(load_filter(file, TABLES).sides)


@pytest.mark.parametrize("abi", ["x86_64", "i386", "aarch64", "s390x", "mips64", "mips64el", "ppc"])
def test_one_value_is_one_abi(abi: str, tmp_path: Path) -> None:
    assert sides(tmp_path, one(abi), abi) == [abi]


def test_several_values_are_several_abis(tmp_path: Path) -> None:
    x86, i386, arm64 = (ABIS[name].audit_arch for name in ("x86_64", "i386", "aarch64"))
    both = (LD_ARCH, jeq(2, 0, x86), jeq(1, 0, arm64), KILL, ALLOW)
    assert sides(tmp_path, both) == ["x86_64", "aarch64"]
    # i386 comes beside x86_64, in the program of that.
    assert sides(tmp_path, (LD_ARCH, jeq(2, 0, x86), jeq(1, 0, i386), KILL, ALLOW)) == ["x86_64"]


@pytest.mark.parametrize(
    "program",
    [
        (LD_NR, jeq(0, 1, ABIS["x86_64"].audit_arch), ALLOW, KILL),
        (LD_ARCH, jeq(0, 1, 0x12345678), ALLOW, KILL),
        (ALLOW,),
        (LD_ARCH, LD_NR, jeq(0, 1, ABIS["x86_64"].audit_arch), ALLOW, KILL),
    ],
)
def test_others_have_to_be_told(program: tuple[Instruction, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say with --arch which ABI"):
        sides(tmp_path, program)
