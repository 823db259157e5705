"""`disasm` of filters for rings: each operation's program behind the filter for calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside
from seccompgen.core.abis import ABIS
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.filters.find.ring_programs import ring_programs_of
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
arches: [x86_64, s390x]
default_action: errno
syscalls: []
io_uring:
  default_action: deny
  operations:
  - {action: allow, names: [READ]}
  - {action: allow, names: [CONNECT], when: family == AF_INET and port == 5432}
"""
CONNECT = """\
operation CONNECT on x86_64: 6 instructions
    0  ld   family
    1  jeq  2 AF_INET              else refuse
    2  ld   port
    3  jeq  0x3815 5432            -> permit
    4  ret  refuse
    5  ret  permit
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    (tmp_path / "db.yml").write_text(POLICY)
    assert inside("build", "db.yml", "-o", ".", cwd=tmp_path).code == 0
    return tmp_path


def raw(place: Path, name: str) -> bytes:
    programs = ring_programs_of(load_filter(place / "db.yml", shipped_tables()), ABIS[name])
    return next(one.to_bytes() for one in programs if one.operation.name == "CONNECT")


@pytest.mark.parametrize("file", ["db", "db.yml"])
def test_operations_come_last_and_asm_takes_them_for_comments(place: Path, file: str) -> None:
    text = inside("disasm", file, cwd=place).out
    heads = [line for line in text.splitlines() if line.startswith(("abi ", "; operation"))]
    assert [head.split()[1] for head in heads[:2]] == ["x86_64", "s390x"]
    assert [head.removeprefix("; operation ") for head in heads[2:]] == [
        f"{name} on {abi}: {count}"
        for abi in ("x86_64", "s390x")
        for name, count in (("CONNECT", "6 instructions"), ("READ", "1 instruction"))
    ]
    assert ("; io_uring rule 2, db.yml:8:5" in text) == (file == "db.yml")
    (place / "again.s").write_text(text)
    assert inside("asm", "again.s", "-o", "raw", cwd=place).code == 0
    for abi in ("x86_64", "s390x"):
        run = inside("equiv", "db", f"raw/again.{abi}.bpf", "--arch", abi, cwd=place)
        assert f"proved for {abi}" in run.out.splitlines()[0]


def test_raw_instructions_of_an_operation(place: Path) -> None:
    (place / "connect.bpf").write_bytes(raw(place, "x86_64"))
    words = ("disasm", "connect.bpf", "--context", "io_uring", "--arch", "x86_64")
    assert inside(*words, "--operation", "CONNECT", cwd=place).out == CONNECT
    (found,) = json.loads(inside(*words, "--operation", "CONNECT", "--json", cwd=place).out)
    assert (found["operation"], len(found["instructions"])) == ("CONNECT", 6)
    for more, said in (
        ((), "name with --operation what they are for, such as CONNECT"),
        (("--operation", "CONECT"), "unknown operation 'CONECT' (did you mean 'CONNECT'?)"),
    ):
        run = inside(*words, *more, cwd=place)
        assert (run.code, said in run.err) == (2, True), run.err


def test_what_the_kernel_would_refuse_is_an_error(place: Path) -> None:
    beyond = raw(place, "x86_64").replace(b"\x20\0\0\0\x14", b"\x20\0\0\0\x28")  # offset 40
    (place / "connect.bpf").write_bytes(beyond)
    words = ("disasm", "connect.bpf", "--context", "io_uring", "--arch", "x86_64")
    run = inside(*words, "--operation", "CONNECT", cwd=place)
    assert run.code == 2
    assert "no word of struct io_uring_bpf_ctx at offset 40" in run.err


def test_context_is_for_raw_instructions(place: Path) -> None:
    run = inside("disasm", "db.yml", "--context", "io_uring", cwd=place)
    assert (run.code, "--context is for raw instructions" in run.err) == (2, True)
    run = inside("disasm", "db.yml", "--operation", "READ", cwd=place)
    assert (run.code, "--operation needs --context io_uring" in run.err) == (2, True)
