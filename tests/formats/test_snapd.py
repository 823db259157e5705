"""snapd's policies: what snap-seccomp's two filters answer together, and what it ignores.

``answers`` has its programs for our samples, made as ``ecosystem/test_snapd.py`` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import snapd_programs
from corpus import SHARED
from longer import long_but
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy, translate
from seccompgen.formats.detect import detect
from seccompgen.verify import Proof, meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from seccompgen.core.errors import Diagnostic
    from seccompgen.verify import Meaning

DATA = Path(__file__).parents[1] / "data" / "formats" / "snapd"
CORPUS = SHARED / "snapd"
ANSWERED = [
    *sorted(DATA.glob("[!c]*.src")),
    *sorted(
        one
        for one in CORPUS.glob("*.src")
        if (SHARED / "answers" / "snapd" / f"{one.name}.bin2").exists()
        and one.name != "whole_classic.src"
    ),
]
KEPT = [one for one in ANSWERED if one.parent == DATA or "whole_d" in one.name]
ALLOW, KILL, LOG, EPERM, EACCES = 0x7FFF0000, 0, 0x7FFC0000, 0x50001, 0x5000D


def read(text: str, abi: str = "x86_64") -> tuple[Meaning, list[Diagnostic]]:
    """Return the meaning of a policy on one machine, and what is noted about it."""
    draft = translate(text.encode(), "a.src", Reading("snapd", abis=(abi,)), TABLES)
    assert draft
    policy, notes = load_policy(draft.document(), TABLES)
    return meaning(policy, ABIS[abi], TABLES), [*draft.notes, *notes]


def asked(means: Meaning, abi: str, name: str, *args: int) -> int:
    return means.answer(named_call(abi, name, *args))


@pytest.mark.parametrize("file", long_but(KEPT, ANSWERED, "proves many policies"))
def test_a_policy_means_what_snapd_makes_of_it(file: Path, tmp_path: Path) -> None:
    """On every call and all arguments, with the numbers of users on the machine that made it."""
    text = file.read_text().replace("u:daemon", "1").replace("g:daemon", "1")
    (tmp_path / file.name).write_text(text)
    policy, _ = load_policy(tmp_path / file.name, TABLES, Reading("snapd"))
    found = snapd_programs.proved(policy, snapd_programs.answers(file))
    assert isinstance(found, Proof), found


@pytest.mark.long("reads many policies")
def test_the_corpus_is_read() -> None:
    """Each file is, or says why not: only a name that snapd fills in."""
    if not CORPUS.is_dir():
        pytest.skip("no ../shared/corpus/snapd here")
    for file in CORPUS.glob("*.src"):
        try:
            load_policy(file, TABLES, Reading("snapd"))
        except InputError as error:
            assert {one.message[:2] for one in error.diagnostics} <= {"u:", "g:", "th"}, error


def test_of_the_two_filters_the_stricter_answer_counts() -> None:
    text = "open\n~open 5\n~execve\nread 1\n~read - 2\nwrite 1\n~write\n"
    means, _ = read(text)
    assert [asked(means, "x86_64", "open", n) for n in (4, 5)] == [ALLOW, EACCES]
    assert asked(means, "x86_64", "execve") == EPERM
    assert [asked(means, "x86_64", "read", *args) for args in ((1, 0), (1, 2), (0, 2))] == [
        ALLOW, EACCES, EPERM
    ]  # fmt: skip
    assert [asked(means, "x86_64", "write", n) for n in (1, 0)] == [EACCES, EPERM]
    assert means.answer(Call(TABLES.tables["x32"].numbers["read"], 0xC000003E)) == KILL
    means, _ = read("@complain\n" + text)
    assert [asked(means, "x86_64", "open", n) for n in (4, 5)] == [ALLOW, EACCES]
    assert [asked(means, "x86_64", name) for name in ("execve", "mount")] == [EACCES, LOG]
    assert [asked(means, "x86_64", "read", *args) for args in ((1, 0), (1, 2), (0, 2))] == [
        ALLOW, EACCES, EACCES
    ]  # fmt: skip


def test_an_unrestricted_policy_has_no_filter() -> None:
    """Its lines are not even looked at."""
    means, notes = read("read\n \nopen -1 # c\n @unrestricted\t\n~write\n")
    assert {asked(means, "x86_64", "write"), means.answer(Call(1, 0x1234))} == {ALLOW}
    assert [one.position and one.position.line for one in notes] == [4]


def test_socketcall_is_allowed_whatever_the_rule_asks() -> None:
    means, _ = read("socket AF_UNIX\nshmctl - 1\n")
    assert [asked(means, "i386", "socket", n) for n in (1, 2)] == [ALLOW, EPERM]
    assert [asked(means, "i386", "socketcall", n) for n in (1, 2)] == [ALLOW, EPERM]
    assert [asked(means, "i386", "ipc", 24, n) for n in (1, 2)] == [ALLOW, EPERM]


def test_ids_are_compared_by_32_bits_and_all_else_by_64() -> None:
    means, _ = read("setuid -1\nchown - u:root g:root\nopen - 4294967295\n")
    assert asked(means, "x86_64", "setuid", 0x5_FFFFFFFF) == ALLOW
    assert asked(means, "x86_64", "chown", 0, 1 << 32) == ALLOW
    assert [asked(means, "x86_64", "open", 0, n) for n in (0xFFFFFFFF, 0x5_FFFFFFFF)] == [
        ALLOW, EPERM
    ]  # fmt: skip


def test_constants_are_the_machines_own() -> None:
    """Also for calls through the other ABI."""
    means, _ = read("~ioctl - TIOCSTI\nioctl\nptrace PTRACE_GETREGS\n", "ppc64le")
    value = TABLES.facts.value("TIOCSTI", ABIS["ppc64le"])
    assert value
    assert asked(means, "ppc64le", "ioctl", 0, value) == EACCES
    means, _ = read("ptrace PTRACE_GETREGS\n", "aarch64")  # which the kernel has no value for
    assert [asked(means, abi, "ptrace", 12) for abi in ("aarch64", "arm")] == [ALLOW] * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("opne", "no call is named 'opne' (did you mean 'open'?)"),
        ("@restricted", "no call is named '@restricted'"),
        ("~ open", "no call is named ''"),
        ("nosuch # it is not read\nnosuch2", "no call is named 'nosuch', 'nosuch2'"),
    ],
)
def test_what_snapd_ignores_is_noted(line: str, said: str) -> None:
    _, notes = read(f"read\n{line}\n")
    (found,) = (one for one in notes if one.kind is Problem.IGNORED_TEXT)
    assert said in found.message
    assert found.position
    assert (found.position.line, found.position.column) == (2, 1)


def test_what_else_is_noted() -> None:
    _, notes = read("open - |0\n~open - |O_CREAT\n")
    assert [one.kind for one in notes] == [Problem.ALWAYS_TRUE, Problem.TOOLS_DIFFER]


def test_rules_that_libseccomp_confuses_are_noted() -> None:
    """Also with ``!``: of these two it allows 0 and 2, which neither does."""
    _, notes = read("open !2 !2\nopen !0\n")
    assert [one.kind for one in notes] == [Problem.CONFLICTING_SETTINGS]
    _, notes = read("open !2 5\nread !1\nread !2\nwrite |4 1\nwrite 5\n")
    assert not notes


def test_all_errors_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        translate((DATA / "invalid" / "arguments.src").read_bytes(), "a", Reading("snapd"), TABLES)
    lines = [one.position.line for one in caught.value.diagnostics if one.position]
    assert sorted({*lines}) == [*range(2, 13)]


def test_a_line_at_which_snapd_stops_is_an_error() -> None:
    with pytest.raises(InputError, match="a:2:1: a line of 64 KiB"):
        text = f"read\n# {'x' * (1 << 16)}\nwrite\n@unrestricted\n"
        translate(text.encode(), "a", Reading("snapd"), TABLES)


@pytest.mark.parametrize(
    "text",
    [
        "# Description: x\nread\nseccomp\nnet none\n",
        "read: 1\n",
        "include x\nseccomp\ncaps.drop all\n",
        "read\nwrite\nopen\n",
        "a.b\n~x\n",
        "",
    ],
)
def test_what_is_not_snapds_is_not_taken_for_it(text: str) -> None:
    assert detect(text.encode()) != "snapd"
    assert detect(b"# Description: x\n\n~read - |5\n  write\r\n") == "snapd"
