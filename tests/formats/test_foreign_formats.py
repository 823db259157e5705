"""kafel's policies, traces and audit records: what they come to, ways to get them wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from corpus import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import OURS, Reading
from seccompgen.filters.combine.convert import convert
from seccompgen.formats import load_policy, translate
from seccompgen.formats.detect import detect
from seccompgen.policy.stock import stock_policies
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
FORMATS = ROOT / "tests" / "data" / "formats"
ALLOW, LOG, ERRNO, TRAP, TRACE, NOTIFY, PROCESS, THREAD = (
    0x7FFF0000, 0x7FFC0000, 0x50000, 0x30000, 0x7FF00000, 0x7FC00000, 0x80000000, 0,
)  # fmt: skip
OWN = {
    "kafel/web.kafel": "kafel",
    "kafel/jail.cfg": "kafel",
    "strace/server.strace": "strace",
    "audit/audit.log": "audit",
    "audit/recorded.log": "audit",
}


def answer(file: Path, name: str, *args: int, abi: str = "x86_64", by: str = "") -> int:
    """Return what the policy in ``file`` answers to a call; ``by`` is the ABI that makes it."""
    policy, _ = load_policy(file, TABLES)
    return meaning(policy, ABIS[abi], TABLES).answer(named_call(by or abi, name, *args))


def written(tmp_path: Path, text: str, name: str = "a.kafel") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def refused(file: Path, reading: Reading | None = None) -> list[str]:
    """Return the errors of ``file``, with their places."""
    with pytest.raises(InputError) as found:
        load_policy(file, TABLES, reading or Reading())
    return [str(one).removeprefix(f"{file}:") for one in found.value.diagnostics]


@pytest.mark.parametrize("name", OWN)
def test_converts_to_the_same(name: str) -> None:
    """`convert` proves that what it writes means what it read."""
    assert "syscalls:" in convert(FORMATS / name, TABLES).text


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("read", (1, 0, 100), ALLOW),
        ("read", (2, 0, 100), PROCESS),
        ("read", (1, 0, 1 << 32), PROCESS),
        ("read", (0x10, 0, 1 << 32), ALLOW),
        ("read", (1 << 32 | 2, 0, 100), ALLOW),  # declared arguments have 64 bits
        ("write", (1,), ALLOW),
        ("write", (1 << 32,), PROCESS),  # the kernel's fd has 32
        ("openat", (0, 0, 0x80000), ALLOW),
        ("openat", (0, 0, 1), ERRNO | 13),
        ("lseek", (0, 1 << 32, 0), PROCESS),
        ("lseek", (0, (1 << 32) - 1, 1), ALLOW),
        ("lseek", (0, 0, 2), PROCESS),
        ("socket", (10,), ALLOW),
        ("socket", (3,), PROCESS),
        ("accept4", (0, 0, 0, 0x800), ALLOW),
        ("accept4", (0xFFFFFFFF,), PROCESS),
        ("accept4", (0xFFFFFFFFFFFFFFFF,), ALLOW),
        ("connect", (), LOG),
        ("ptrace", (), TRAP | 7),
        ("mount", (), THREAD),
        ("424", (), THREAD),
        ("425", (5,), PROCESS),
        ("425", (6,), THREAD),
        ("bpf", (), NOTIFY),
        ("exit_group", (), ALLOW),
        ("9999", (), PROCESS),
    ],
)
def test_kafel_answers(name: str, args: Sequence[int], expected: int) -> None:
    assert answer(FORMATS / "kafel" / "web.kafel", name, *args) == expected


def test_kafel_knows_no_x32_and_kills_other_architectures() -> None:
    file = FORMATS / "kafel" / "web.kafel"
    assert answer(file, "read", 1, by="x32") == PROCESS
    assert answer(file, "read", 1, by="i386") == THREAD


def test_kafel_is_for_the_abi_that_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, "ALLOW { socket { family == 1 }, read } DEFAULT KILL")
    policy, notes = load_policy(file, TABLES, Reading(abis=("i386", "aarch64")))
    assert [one.name for one in policy.arches] == ["i386", "aarch64"]
    assert not notes
    # On i386 socketcall is another number, of which the rule says nothing.
    means = meaning(policy, ABIS["i386"], TABLES)
    assert means.answer(Call(102, 0x40000003, (1, 0, 0, 0, 0, 0), 0)) == THREAD
    assert means.answer(Call(359, 0x40000003, (1, 0, 0, 0, 0, 0), 0)) == ALLOW


KAFEL_ERRORS = {
    "ALLOW { read { fd == buf } }": ["1:19: the rule compares arguments with each other"],
    "ALLOW { read { (fd | count) == 1 } }": ["1:20: the rule compares arguments"],
    "ALLOW { raed, read { fdd == 1, } }": [
        "1:9: kafel knows no system call 'raed' on x86_64 (did you mean 'read'?)",
        "1:22: neither an argument nor a #define: 'fdd'",
    ],
    "ALLOW { fstat, uprobe, newfstat }": [
        "1:9: kafel knows no system call 'fstat' on x86_64: write 'newfstat', which is",
        "1:16: kafel knows no system call 'uprobe' on x86_64: write SYSCALL[336], which is",
    ],
    "POLICY unused { ALLOW { raed } } ALLOW { read }": [
        "1:25: kafel knows no system call 'raed' on x86_64"
    ],
    "ALLOW { read ON sparc, write ON { x86, i386 } }": [
        "1:17: kafel knows no architecture 'sparc'",
        "1:40: the architecture is named twice",
    ],
    "// nothing": ["1:1: there is no statement, which kafel refuses"],
    "ALLOW { read } ERRNO(70000) { write }": ["1:22: ERRNO(70000): the kernel delivers 0 to 4095"],
    "ALLOW { read\nALLOW { write } POLICY a { USE b }": [
        "2:1: expected ',' or '}' here, not 'ALLOW'",
        "2:32: there is no policy 'b' above",
    ],
    "DEFAULT KILL DEFAULT LOG": ["1:14: a second default action"],
    "#define A 1\n#define A 2\nALLOW { read }": ["2:9: 'A' is defined again, as another number"],
    "ALLOW { read } /* ": ["1:16: a comment without an end"],
    "/* kafel sees no end here: **/ ALLOW { read }": ["1:1: a comment without an end"],
    "ALLOW { read } $ DEFAULT 089": [
        "1:16: '$' is no part of kafel's language",
        "1:26: 089 is no octal number, as what begins with 0 is",
        "1:26: expected an action such as ALLOW here, not '089'",
    ],
    "ALLOW { SYSCALL[0x40000001] }": ["1:9: 0x40000001 is a call of another ABI than x86_64"],
    'ALLOW { read }\n#include "no.inc"\n': ["2:1: cannot read "],
    "ALLOW { read(a, a, b, c, d, e, f, g) }": [
        "1:17: a second argument 'a'",
        "1:32: a system call has at most six arguments",
    ],
}


@pytest.mark.parametrize("text", KAFEL_ERRORS)
def test_kafel_errors_have_their_places(text: str, tmp_path: Path) -> None:
    found = refused(written(tmp_path, text), Reading("kafel"))
    assert len(found) == len(KAFEL_ERRORS[text]), found
    for one, expected in zip(found, KAFEL_ERRORS[text], strict=True):
        assert one.startswith(expected)


def test_an_include_of_itself_ends(tmp_path: Path) -> None:
    file = written(tmp_path, '#include "a.kafel"\nALLOW { read }\n')
    assert "includes deeper than 16" in refused(file)[0]


def test_what_never_matches_is_left_out_with_a_note(tmp_path: Path) -> None:
    text = (
        "POLICY b { LOG { write } } ALLOW { read, read { fd == 1 }, kill { pid < 0 } } DEFAULT KILL"
    )
    _, notes = load_policy(written(tmp_path, text), TABLES, Reading(abis=("x86_64",)))
    assert [str(one.position).rpartition("/")[2] for one in notes] == [
        "a.kafel:1:8", "a.kafel:1:42", "a.kafel:1:60",
    ]  # fmt: skip


def test_places_in_a_configuration_of_nsjail(tmp_path: Path) -> None:
    config = 'name: "x"\nseccomp_string: "ALLOW { read }\\n DEFAULT" " KIL"\n'
    found = refused(written(tmp_path, config, "jail.cfg"))
    assert found == ["2:46: expected an action such as ALLOW here, not 'KIL'"]
    written(tmp_path, "ALLOW { read } DEFAULT KILL", "own.policy")
    named = written(tmp_path, 'seccomp_policy_file: "own.policy"\n', "other.cfg")
    assert answer(named, "read") == ALLOW


def test_a_trace_is_what_was_called() -> None:
    file = FORMATS / "strace" / "server.strace"
    for name in ("read", "wait4", "451", "rt_sigreturn", "futex", "exit_group"):
        assert answer(file, name) == ALLOW, name
    assert answer(file, "fcntl64", by="i386") == ALLOW
    assert answer(file, "exit_group", by="i386") == ALLOW
    for name in ("write", "fcntl", "socket"):
        assert answer(file, name) == ERRNO | 1, name


@pytest.mark.parametrize(
    "before",
    ["", "17 ", "[pid    17] ", "17<server> ", "10:11:12 ", "17 10:11:12.123456 ",
     "1700000000.123456 ", "     0.000123 ", "[00007f0000001234] ", "[  257] ",
     "10:11:12 (+     0.000123) "],
)  # fmt: skip
@pytest.mark.parametrize(
    "call", ['openat(3, "a(b) = 4", 0) = 3', "openat(3,  <unfinished ...>", "openat(3) = ?"]
)
def test_what_strace_puts_before_calls(before: str, call: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"{before}{call}\n+++ exited with 0 +++\n", "a.strace")
    assert detect(file.read_bytes()) == "strace"
    assert answer(file, "openat") == ALLOW
    assert answer(file, "read") == ERRNO | 1


def test_audit_records_are_calls_of_their_architecture() -> None:
    file = FORMATS / "audit" / "audit.log"
    for name in ("socket", "openat", "ptrace", "9999", "exit_group"):
        assert answer(file, name) == ALLOW, name
    assert answer(file, "socketcall", by="i386") == ALLOW
    assert answer(file, "socket", by="i386") == ERRNO | 1
    assert answer(file, "read") == ERRNO | 1


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("read(0) = 0\nthis is a program's output\nnope(1) = 2\n", [
            "2:1: no line of strace: \"this is a program's output\"",
            "3:1: no call of x86_64 is 'nope'",
        ]),
        ("type=SECCOMP msg=audit(1.2:3): arch=c000003e sig=0\n"
         "type=SECCOMP msg=audit(1.2:3): arch=deadbeef syscall=1 sig=0\n", [
            "1:1: the record has no arch= or no syscall=: it is cut off",
            "2:1: unknown arch=deadbeef",
        ]),
    ],
)  # fmt: skip
def test_other_errors_have_their_places(text: str, errors: list[str], tmp_path: Path) -> None:
    found = refused(written(tmp_path, text, "a.log"))
    assert len(found) == len(errors), found
    assert all(one.startswith(expected) for one, expected in zip(found, errors, strict=True)), found


def test_formats_are_told_apart() -> None:
    for name, expected in OWN.items():
        assert detect((FORMATS / name).read_bytes()) == expected, name


def test_our_own_policies_are_ours() -> None:
    own = [
        *stock_policies().values(),
        *(file for file in (ROOT / "tests").rglob("*.yml") if FORMATS not in file.parents),
        *(ROOT / "examples").rglob("*.yml"),
        *(ROOT / "policies").rglob("*.y*ml"),
    ]
    assert len(own) > 10
    found = {file: detect(file.read_bytes()) for file in own}
    assert {file for file, one in found.items() if one != OURS} == set()


def test_the_corpus_is_told_apart() -> None:
    if not SHARED.is_dir():
        pytest.skip("the corpus ../shared is not here")
    own = SHARED / "go-seccomp-bpf" / "seccomp.yml"
    assert detect(own.read_bytes()) == OURS
    for file in SHARED.rglob("*"):
        if file.suffix in {".policy", ".json"}:
            found = detect(file.read_bytes())
            assert found in {OURS, "minijail", "oci"}, file


def test_what_is_nothing_names_the_formats(tmp_path: Path) -> None:
    found = refused(written(tmp_path, "just some words\n", "a.policy"))
    assert "kafel" in found[-1]
    assert "--from" in found[-1]
    assert "--from" not in "".join(refused(written(tmp_path, "syscalls: 5\n", "b.yml")))


WORDS = st.sampled_from(
    ["ALLOW", "DENY", "ERRNO(1)", "POLICY a", "USE a", "DEFAULT", "{", "}", "(", ")", ",", "&&",
     "!", "read", "fd", "==", "|", "&", "0", "-1", "0x10", "SYSCALL[1]", "#define A 1",
     '#include "a"', "\n", "\n  ",
     "read(0) = 1", "type=SECCOMP", "arch=c000003e", "syscall=5", "17 ", "<unfinished ...>", "/*",
     'seccomp_string: "', '"', "\\", "type=1326 arch=x86_64 syscall=read"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(st.lists(WORDS, max_size=30).map(" ".join), st.text(max_size=60)),
    form=st.sampled_from(["kafel", "strace", "audit", None]),
)
def test_arbitrary_text_is_a_policy_or_an_error(text: str, form: str | None) -> None:
    try:
        draft = translate(text.encode(), "nowhere/a", Reading(form), TABLES)
    except InputError as error:
        assert all(one.position for one in error.diagnostics)
    else:
        assert draft is None or draft.document()
