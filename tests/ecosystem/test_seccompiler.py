"""seccompiler's own compiler makes of filters what our reader makes of them, and takes ours."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from drawn_seccompiler import drawn_filter
from longer import few_and_many
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.program import RET_K, Instruction, decode
from seccompgen.formats import filter_names, load_policy, translate
from seccompgen.formats.writing import write_files
from seccompgen.pipeline.build import build_policy
from seccompgen.verify import Code, Proof, meaning, prove
from seccompiler_peer import Seccompiler, is_buildable

if TYPE_CHECKING:
    from seccompgen.core.model import ResolvedPolicy

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not is_buildable(), reason="needs seccompiler's sources beside the project, cargo, crates"
    ),
]
DATA = Path(__file__).parents[1] / "data" / "formats" / "seccompiler"
ABI_NAMES = ("x86_64", "aarch64", "riscv64")


@pytest.fixture(scope="module")
def seccompiler(tmp_path_factory: pytest.TempPathFactory) -> Seccompiler:
    return Seccompiler(tmp_path_factory.mktemp("seccompiler"))


def read(text: str, abi: str, thread: str) -> ResolvedPolicy:
    reading = Reading("seccompiler", abis=(abi,), thread=thread)
    draft = translate(text.encode(), "drawn.json", reading, TABLES)
    assert draft
    return load_policy(draft.document(), TABLES)[0]


def as_the_kernel(one: Instruction) -> Instruction:
    """Return an answer with an errno as the kernel takes it: 4095 at most."""
    errno = one.k & 0xFFFF if one.code == RET_K and one.k >> 16 == 5 else 0
    return replace(one, k=one.k - errno + 4095) if errno > 4095 else one


def is_equal(policy: ResolvedPolicy, theirs: bytes, abi: str) -> bool:
    program = tuple(map(as_the_kernel, decode(theirs, ABIS["x86_64"])))
    code = Code(program, ABIS[abi].byte_order)
    return isinstance(prove(meaning(policy, ABIS[abi], TABLES), code), Proof)


@pytest.mark.parametrize("abi", ABI_NAMES)
@few_and_many(100, 600, "number")
def test_drawn_filters(abi: str, number: int, seccompiler: Seccompiler) -> None:
    """Ours refuses rules that no call reaches, which the compiler takes."""
    draw = random.Random(f"seccompiler {abi}")
    texts = [json.dumps({"main": drawn_filter(draw)}) for _ in range(number)]
    compared = 0
    for text, theirs in zip(texts, seccompiler.compiled(texts, abi), strict=True):
        try:
            ours = read(text, abi, "main")
        except InputError as error:
            assert isinstance(theirs, str) or "can never" in str(error), (text, str(error))
            continue
        assert not isinstance(theirs, str), (text, theirs)
        assert is_equal(ours, theirs["main"], abi), text
        compared += 1
    assert compared > number / 3


@pytest.mark.parametrize("abi", ABI_NAMES)
@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.name)
def test_samples(path: Path, abi: str, seccompiler: Seccompiler) -> None:
    text = path.read_text()
    (theirs,) = seccompiler.compiled([text], abi)
    assert not isinstance(theirs, str), theirs
    assert {*theirs} == {*filter_names(text.encode(), str(path), Reading("seccompiler"))}
    for thread, program in theirs.items():
        assert is_equal(read(text, abi, thread), program, abi), thread


def test_both_refuse(seccompiler: Seccompiler) -> None:
    texts = [path.read_text() for path in sorted(DATA.glob("invalid/*"))]
    for text, theirs in zip(texts, seccompiler.compiled(texts, "x86_64"), strict=True):
        assert isinstance(theirs, str), text
        with pytest.raises(InputError):
            translate(text.encode(), "a.json", Reading("seccompiler"), TABLES)


OURS = """\
default_action: kill_process
bad_arch_action: kill_process
syscalls:
- action: allow
  names: [read, write, futex]
- {action: allow, names: [socket], when: 'family in {AF_UNIX, AF_INET} and not type & 0x800'}
- {action: allow, names: [ioctl], when: cmd == FIONREAD or i32(fd) < 3}
"""


@pytest.mark.parametrize("abi", ABI_NAMES)
def test_what_we_write(abi: str, seccompiler: Seccompiler, tmp_path: Path) -> None:
    (tmp_path / "worker.yml").write_text(f"arches: [{abi}]\n{OURS}")
    built = build_policy(tmp_path / "worker.yml", TABLES)
    (content,) = write_files("seccompiler", built, TABLES, None).values()
    (theirs,) = seccompiler.compiled([content.decode()], abi)
    assert not isinstance(theirs, str), theirs
    (program,) = theirs.values()
    assert is_equal(built.policy, program, abi)


CODEX = """
accept accept4 bind connect getpeername getsockname getsockopt io_uring_enter io_uring_register
io_uring_setup listen process_vm_readv process_vm_writev ptrace recvmmsg request_key sendmmsg sendto
setsockopt shutdown
"""
"""The calls that codex 0.171.0 has seccompiler refuse whatever the arguments are."""


def test_the_filter_of_codex_is_its_policy(seccompiler: Seccompiler) -> None:
    """On aarch64: on x86_64 codex gives numbers of x32 as well, which have no names here."""
    others = {"index": 0, "type": "dword", "op": "ne", "val": 1}
    rules = [{"syscall": name, "args": [others]} for name in ("socket", "socketpair")]
    rules += [{"syscall": name} for name in CODEX.split()]
    text = {"mismatch_action": "allow", "match_action": {"errno": 1}, "filter": rules}
    (theirs,) = seccompiler.compiled([json.dumps({"main": text})], "aarch64")
    assert not isinstance(theirs, str), theirs
    policy = load_policy(ROOT / "examples" / "agents" / "codex.yml", TABLES)[0]
    assert is_equal(policy, theirs["main"], "aarch64")


@pytest.mark.parametrize("crate", ["libc", "seccompiler"])
def test_a_crate_installs_the_program_of_a_rust_module(
    crate: str, seccompiler: Seccompiler
) -> None:
    assert seccompiler.installed(crate) == "Read-only file system (os error 30)\n"
