"""minijail's policies: read as their own tools read them, and written so."""

from __future__ import annotations

import json
from pathlib import Path

import corpus
import pytest
from command import inside
from hypothesis import example, given, settings
from hypothesis import strategies as st
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.filters.combine.convert import convert
from seccompgen.formats import load_policy, translate
from seccompgen.formats.detect import detect
from seccompgen.policy.document import read_document
from seccompgen.verify import Proof, meaning, prove
from seccompgen.verify.call import Call

DATA = Path(__file__).parents[1] / "data" / "formats" / "minijail"
CROSVM = corpus.SHARED / "crosvm"
X86_64 = ABIS["x86_64"]
ALLOW, ERRNO, KILL, TRAP, LOG = 0x7FFF0000, 0x50000, 0, 0x30000, 0x7FFC0000
READING = Reading("minijail", abis=("x86_64",))
needs_corpus = pytest.mark.skipif(not CROSVM.is_dir(), reason="no ../shared/corpus/crosvm here")


def answers(text: str, *calls: tuple[str, tuple[int]], abi: str = "x86_64") -> list[int]:
    """Return what a policy answers to calls by name, with their arguments."""
    reading = Reading("minijail", abis=(abi,))
    draft = translate(text.encode(), "demo.policy", reading, TABLES)
    assert draft
    policy, _ = load_policy(draft.document(), TABLES)
    means = meaning(policy, ABIS[abi], TABLES)
    return [means.answer(named_call(abi, name, *args)) for name, args in calls]


def errors(text: str, reading: Reading = READING) -> list[str]:
    with pytest.raises(InputError) as caught:
        translate(text.encode(), "demo.policy", reading, TABLES)
    return [str(one) for one in caught.value.diagnostics]


# --- others' -------------------------------------------------------------------------------------


@needs_corpus
@pytest.mark.parametrize("abi", ["x86_64", "aarch64"])
def test_constants_are_minijails(abi: str) -> None:
    """But NSIG, which C libraries count otherwise than the kernel."""
    theirs = json.loads((CROSVM / abi / "constants.json").read_text())["constants"]
    ours = {name: TABLES.facts.value(name, ABIS[abi]) for name in theirs}
    known = {name: value for name, value in ours.items() if value is not None}
    other = {name for name, value in known.items() if (value - theirs[name]) % (1 << 64)}
    assert len(known) > 1900
    assert other <= {"NSIG"}


@pytest.mark.long("reads many policies")
def test_ours_mean_what_an_independent_reader_finds() -> None:
    read = sorted(corpus.OURS.glob("*.policy"))
    for path in read:
        policy, _ = load_policy(path, TABLES, READING)
        told = corpus.translated(corpus.ours()[path.stem]) | {"bad_arch_action": "kill_thread"}
        if told["default_action"] != "kill_thread":  # which x32's calls get as well
            limited = [{**group, "arches": ["x86_64"]} for group in told["syscalls"]]
            told |= {"compat_arches": ["x32"], "syscalls": limited}
        other, _ = load_policy(read_document(json.dumps(told).encode(), "told.json"), TABLES)
        found = prove(meaning(policy, X86_64, TABLES), meaning(other, X86_64, TABLES))
        assert isinstance(found, Proof), (path, found)
    assert len(read) == 5


# --- the grammar ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["service", "denied"])
def test_the_whole_grammar_converts(name: str) -> None:
    """``convert`` proves that what it writes means what it read."""
    found = convert(DATA / f"{name}.policy", TABLES)
    assert found.text.count("- action: ") > 1
    assert bool(found.profile) == (name == "service")


def test_a_profile_is_written_beside(tmp_path: Path) -> None:
    for path in filter(Path.is_file, DATA.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    run = inside("convert", "service.policy", "-o", "service.yml", cwd=tmp_path)
    assert run.code == 0, run.err
    assert (tmp_path / "service.profile").read_text() == "futex: 7\nread: 120000\nwrite: 4096\n"


CASES = [
    ("read: arg0 == 3", [(3, ALLOW), (1 << 32 | 3, KILL)]),
    ("read: arg0 in 5", [(4, ALLOW), (0, ALLOW), (6, KILL), (1 << 40, KILL)]),
    ("read: arg0 & ~5", [(4, KILL), (6, ALLOW), (1 << 63, ALLOW)]),
    ("read: arg0 == AT_FDCWD", [((1 << 64) - 100, ALLOW), ((1 << 32) - 100, KILL)]),
    ("read: arg0 < -1", [((1 << 64) - 2, ALLOW), ((1 << 64) - 1, KILL)]),
    ("read: arg0 >= 010 && arg0 != 9 || arg0 == 1", [(8, ALLOW), (9, KILL), (1, ALLOW), (2, KILL)]),
    ("read: arg0 == (1|2|~-9)", [(11, ALLOW), (8, KILL)]),
    ("read: !(arg0 == 1 || arg0 == 2)", [(1, KILL), (2, KILL), (3, ALLOW)]),
    ("read: arg0 == 1; return EBADF", [(1, ALLOW), (2, ERRNO | 9)]),
    ("read: {arg0 == 1; return EBADF}", [(1, ERRNO | 9), (2, KILL)]),
    ("read: return SIGSYS", [(1, ERRNO | 31)]),
    ("read[arch=armv7]: return EIO\nread: arg0 == 1", [(1, ALLOW), (2, KILL)]),
    ("{read[arch=armv7,x86_64], no_call[arch=armv7]}: arg0 == 1", [(1, ALLOW), (2, KILL)]),
    ("read: arg0 == 1; log", [(1, LOG), (2, KILL)]),
    ("read: {arg0 == 1, arg0 < 5; trap, return 7}", [(1, ALLOW), (2, TRAP), (5, ERRNO | 7)]),
    ("read: arg0 == 1\nread: arg0 < 3; trap", [(1, ALLOW), (2, TRAP), (3, KILL)]),
    ("@default trap\nread: arg0 == 1\n@default kill-process", [(1, ALLOW), (2, 0x80000000)]),
    ("@denylist\nread: arg0 == 1; return 5", [(1, ERRNO | 5), (2, ALLOW)]),
    ("@denylist\n{write, read}: return EPERM # no\n", [(0, ERRNO | 1)]),
    ("read[arch=x86_64,arm64]: 1\nread[arch=arm]: trap", [(0, ALLOW)]),
    ("read: \\\n  arg0 == 1 || \\\n  arg0 == 2", [(1, ALLOW), (2, ALLOW), (3, KILL)]),
    ("read: return 5000\n", [(0, ERRNO | 4095)]),
    ("read: { arg0 == 1; trap, arg0 >= 0; allow }", [(1, TRAP), (2, ALLOW)]),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_statements_mean(text: str, expected: list[tuple[int, int]]) -> None:
    assert answers(text, *[("read", (value,)) for value, _ in expected]) == [
        answer for _, answer in expected
    ]
    assert detect(text.encode()) == "minijail"


def test_words_of_32_bits_and_calls_that_socketcall_makes() -> None:
    text = "connect: arg0 == ~0x10\nread: arg0 < -1"
    calls = [
        ("connect", (0xFFFFFFEF,)),
        ("socketcall", (3,)),
        ("read", (0xFFFFFFFE,)),
        ("read", (0xFFFFFFFF,)),
    ]
    assert answers(text, *calls, abi="i386") == [ALLOW, KILL, ALLOW, KILL]


def test_private_calls_of_arm_have_a_prefix() -> None:
    """67 of ChromiumOS's policies for arm have it."""
    calls = [("set_tls", (0,)), ("read", (0,))]
    assert answers("ARM_set_tls: 1", *calls, abi="arm") == [ALLOW, KILL]
    (said,) = errors("ARM_read: 1", Reading("minijail", abis=("arm",)))
    assert "no call 'ARM_read'" in said


def test_calls_of_x32_get_the_default_action() -> None:
    draft = translate(b"@denylist\nread: return 1", "demo.policy", READING, TABLES)
    assert draft
    policy, _ = load_policy(draft.document(), TABLES)
    means = meaning(policy, X86_64, TABLES)
    zero = (0,) * 6
    assert means.answer(Call(0x40000000, X86_64.audit_arch, zero)) == ALLOW
    assert means.answer(Call(0, ABIS["i386"].audit_arch, zero)) == KILL


def test_where_its_tools_differ_there_is_a_note(tmp_path: Path) -> None:
    path = tmp_path / "demo.policy"
    path.write_text("read: arg0 == 1; return 5\nwrite: arg0 == 1\nwrite: arg0 == 2\n")
    _, notes = load_policy(path, TABLES, READING)
    differ = [one for one in notes if one.kind is Problem.TOOLS_DIFFER]
    assert [one.position.line for one in differ if one.position] == [1, 3]
    path.write_text("read: { arg0 == 1; trap, allow }\nwrite: { arg0 == 1, allow }\n")
    _, notes = load_policy(path, TABLES, READING)
    (told,) = [one for one in notes if one.kind is Problem.TOOLS_DIFFER]
    assert "forgets the conditions" in told.message
    assert str(told.position).endswith("demo.policy:1:26")


def test_abis_are_those_that_have_all_calls(tmp_path: Path) -> None:
    path = tmp_path / "demo.policy"
    path.write_text("openat: 1\n")
    both, _ = load_policy(path, TABLES)
    assert [abi.name for abi in both.arches] == ["x86_64", "aarch64"]
    path.write_text("open: 1\n")
    one, _ = load_policy(path, TABLES)
    assert [abi.name for abi in one.arches] == ["x86_64"]


# --- what is wrong -------------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once_with_its_place() -> None:
    text = """open: argnn ==
notasyscall: 1
read 1
write: arg9 == 1
close: arg0 == NOT_A_CONSTANT
dup: return 5a
dup2: return EWRONG
poll: 1
poll: trap
fstat: {1, trap}
stat: arg0 == 0x1ffffffffffffffff
lseek: arg0 == (1|2
mmap: 2
@default allow
@include nothing
@include ./nothing.policy
@frobnicate
brk: 1 1
pipe: 089
$
"""
    found = errors(text)
    assert [int(one.split(":")[1]) for one in found] == [*range(1, 8), *range(9, 21)]
    assert (
        found[1]
        == "demo.policy:2:1: x86_64 has no call 'notasyscall' (did you mean 'afs_syscall'?)"
    )
    assert found[7] == "demo.policy:9:1: poll is decided always at demo.policy:8:1 already"
    assert "did you mean" in errors("raed: 1")[0]


def test_includes_that_never_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text("@include ./b.policy\nread: 1\n")
    (tmp_path / "b.policy").write_text("@include ./a.policy\n")
    with pytest.raises(InputError) as caught:
        load_policy(tmp_path / "a.policy", TABLES, READING)
    assert [one.kind for one in caught.value.diagnostics] == [Problem.CIRCULAR_INCLUDE]


def test_a_denylist_is_one_in_all_its_files(tmp_path: Path) -> None:
    """Calls that an included allowlist leaves out would be permitted."""
    more, path = tmp_path / "more.policy", tmp_path / "demo.policy"
    path.write_text("@denylist\nread: return 1\n@include ./more.policy\n")
    more.write_text("close: return 1\n")
    with pytest.raises(InputError, match="a denylist is one in all its files"):
        load_policy(path, TABLES, READING)
    more.write_text("@denylist\nclose: return 1\n")
    load_policy(path, TABLES, READING)


def test_a_default_refuses() -> None:
    for action in ("allow", "trace", "log"):
        (told,) = errors(f"@default {action}\nread: 1")
        assert f"a default of {action} lets through what nobody named" in told


def test_a_denylist_says_what_is_returned() -> None:
    assert len(errors("@denylist\nread: 1\nwrite: arg0 == 1\nclose: trap\n")) == 3


PIECES: tuple[str, ...] = (
    "read",
    ":",
    "arg0",
    "==",
    "&",
    "in",
    "1",
    "(",
    ")",
    "{",
    "}",
    "~",
    "|",
    "||",
    ";",
    ",",
)
PIECES += ("return", "EPERM", "[", "]", "arch", "=", "x86_64", "\\\n", "\n", "@default", "!", "099")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join) | st.text(max_size=60))
@example("read: arg0 == " + "(" * 2000)
@example("read: arg0 == " + "~" * 2000 + "1")
def test_no_text_is_a_traceback(text: str) -> None:
    try:
        draft = translate(text.encode(), "demo.policy", READING, TABLES)
        assert draft
        load_policy(draft.document(), TABLES)
    except InputError as error:
        assert all(one.kind for one in error.diagnostics)
