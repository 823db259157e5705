"""LXC's profiles: what liblxc itself makes of them, and what it skips without a word.

``answers`` has liblxc's programs for our samples, made as ``ecosystem/test_lxc.py`` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import lxc_machines
import pytest
from corpus import SHARED
from libseccomp_abis import guarded
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.core.program import decode
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.formats import load_policy, translate
from seccompgen.formats.lxc.reader import MACHINES
from seccompgen.verify import Code, Proof, meaning, prove

if TYPE_CHECKING:
    from seccompgen.core.errors import Diagnostic
    from seccompgen.verify import Meaning

DATA = Path(__file__).parents[1] / "data" / "formats" / "lxc"
CORPUS = SHARED / "lxc"
FILES = [*sorted(DATA.glob("*.seccomp")), *sorted(CORPUS.glob("*"))]
X86_64 = ABIS["x86_64"]
ALLOW, KILL, ERRNO = 0x7FFF0000, 0, 0x50000


def answer(file: Path) -> Path:
    """Return the file with liblxc's program for ``file``."""
    if file.parent == DATA:
        return DATA / "answers" / f"{file.stem}.bpf"
    return SHARED / "answers" / "lxc" / f"{file.name}.bpf"


def read(text: str, abi: str = "x86_64") -> tuple[Meaning, list[Diagnostic]]:
    """Return the meaning of a profile on one machine, and what is noted about it."""
    draft = translate(text.encode(), "a.seccomp", Reading(abis=(abi,)), TABLES)
    assert draft
    policy, notes = load_policy(draft.document(), TABLES)
    return meaning(policy, ABIS[abi], TABLES), [*draft.notes, *notes]


def asked(means: Meaning, abi: str, name: str, *args: int) -> int:
    return means.answer(named_call(abi, name, *args))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_profile_means_what_liblxc_makes_of_it(file: Path) -> None:
    """On every call and all arguments, of all three ABIs."""
    policy, _ = load_policy(file, TABLES)
    theirs = Code(decode(answer(file).read_bytes(), X86_64), X86_64.byte_order)
    found = prove(meaning(policy, X86_64, TABLES), theirs)
    assert isinstance(found, Proof), found


def test_the_corpus_is_read() -> None:
    if not CORPUS.is_dir():
        pytest.skip("no ../shared/corpus/lxc here")
    assert len(FILES) > 20


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        ("\topen errno1", 1, "a tab is a part of the name"),
        ("open\t", 1, "a tab is a part of the name"),
        ("open\r", 1, "carriage return"),
        ("open#x", 1, "a comment needs a blank"),
        ("opne", 1, "no call is named 'opne' (did you mean 'open'?)"),
        ("open errno 1 read", 14, "ignores 'read'"),
        ("open kill_process", 10, "ignores '_process'"),
        ("open errno 0x10", 13, "ignores 'x10'"),
        ("open errno 65537", 6, "takes this number for 1"),
        ("open errno 1 [0,1,==,2,3]", 23, "ignores ',3' in a test"),
        ("reject_force_umount errno 1", 1, "it gives errno 13"),
        ("umount2 errno 1\nreject_force_umount", 1, "a.seccomp:3:1 decides umount2 alone"),
        ("open errno 1 " + "".join(f"[{i},1,!=]" for i in range(6)) + "[0,1,!=]",
         62, "after the sixth"),
    ],
)  # fmt: skip
def test_what_lxc_ignores_is_found_by_lint(
    line: str, column: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.seccomp").write_text(f"2\ndenylist\n{line}\n", newline="")
    report = lint_filter(tmp_path / "a.seccomp", TABLES)
    (found,) = (one for one in report.findings if one.kind.value == "ignored-text")
    assert said.removeprefix("a.seccomp") in found.message
    assert found.position
    assert (found.position.line, found.position.column) == (3 + line.count("\n"), column)
    assert report.texts


def test_lines_that_say_nothing_change_nothing() -> None:
    means, _ = read("2\ndenylist\n\tread errno 1\n   \nwrite\r\n# x\n")
    assert {asked(means, "x86_64", name) for name in ("read", "write")} == {ALLOW}


def test_a_section_limits_nothing() -> None:
    """It is looked at on machines that can run its ABI, and is then for all ABIs."""
    text = "2\nallowlist\n[x86]\nopen\n[arm]\nread\n[all]\nwrite\n"
    means, notes = read(text)
    assert [asked(means, abi, "open") for abi in ("x86_64", "i386", "x32")] == [ALLOW] * 3
    assert asked(means, "x86_64", "read") == KILL
    assert [(one.kind, one.position and one.position.line) for one in notes] == [
        (Problem.INEFFECTIVE_LIMIT, 3), (Problem.RULE_SKIPPED, 5)
    ]  # fmt: skip
    means, _ = read(text, "aarch64")
    assert [asked(means, abi, "read") for abi in ("aarch64", "arm")] == [ALLOW] * 2
    assert asked(means, "arm", "open") == KILL


@pytest.mark.parametrize("machine", ["riscv64"])
def test_a_machine_that_lxc_has_no_name_for_skips_what_is_above_all(machine: str) -> None:
    means, notes = read("2\ndenylist\nread errno 1\n[x86]\nread errno 2\n[all]\nwrite\n", machine)
    assert [asked(means, machine, name) for name in ("read", "write")] == [ALLOW, KILL]
    assert Problem.IGNORED_TEXT in {one.kind for one in notes}


@pytest.mark.parametrize(
    ("machine", "abi"), [("x86_64", "i386"), ("s390x", "s390x"), ("ppc64", "ppc")]
)
def test_what_socketcall_makes_is_not_filtered(machine: str, abi: str) -> None:
    means, notes = read("2\ndenylist\nsocket errno 1\nsemget errno 1\n", machine)
    assert {asked(means, abi, "socket"), asked(means, abi, "socketcall", 1)} == {ALLOW}
    assert {asked(means, abi, "ipc", 2), asked(means, abi, "semget")} == {ALLOW}
    told = [one for one in notes if "stays open" in one.message]
    assert [one.position and one.position.line for one in told] == [3, 4]
    means, _ = read("2\ndenylist\nsocketcall errno 1\n", machine)
    assert asked(means, abi, "socketcall", 1) == ERRNO | 1


def test_a_value_of_64_bits_is_cut_on_32_bit_abis() -> None:
    means, notes = read("2\ndenylist\nmount errno 1 [3,0x100000001,==]\n")
    assert asked(means, "i386", "mount", 0, 0, 0, 1) == ERRNO | 1
    assert asked(means, "x86_64", "mount", 0, 0, 0, 1) == ALLOW
    assert [one.kind for one in notes] == [Problem.VALUE_TOO_WIDE]


def test_a_mask_that_is_missing_is_found() -> None:
    means, notes = read("2\ndenylist\nmount errno 1 [3,1,&=]\n")
    assert asked(means, "x86_64", "mount") == ERRNO | 1
    assert [one.kind for one in notes] == [Problem.ALWAYS_TRUE]


def test_version_1_is_for_one_abi() -> None:
    means, notes = read("1\nallowlist errno 5\n0x10\n1 write\n4294967298\n1073741824\n")
    assert asked(means, "x86_64", "write") == ALLOW
    assert asked(means, "x86_64", "open") == ALLOW
    assert {asked(means, "i386", "write"), asked(means, "x32", "read")} == {KILL}
    assert [one.position and one.position.line for one in notes] == [3, 6]


RULES: list[lxc_machines.Rule] = [
    ("open", 1, ()), ("socket", 2, ()), ("kexec_load", 3, ()), ("semget", 4, ()),
    ("mount", 5, ((3, "==", 5, 0),)), ("ioctl", 6, ((1, "&=", 0x5412, 0xFFFFFFFF),)),
    ("socketcall", 7, ()), ("stat64", 8, ()), ("openat", 9, ((2, "==", 0x100000001, 0),)),
    ("chown32", 10, ()), ("clone", 11, ((0, "&=", 1 << 28, 1 << 28),)), ("recv", 12, ()),
    ("time", 13, ()), ("set_tls", 14, ()), ("msgctl", 15, ()), ("semop", 16, ()),
]  # fmt: skip


@pytest.mark.skipif(not lxc_machines.is_here(), reason="needs libseccomp of the system, on x86_64")
@pytest.mark.parametrize("machine", [one for one in MACHINES if one in lxc_machines.TOKENS])
def test_each_machine_has_the_program_that_libseccomp_makes_for_it(machine: str) -> None:
    """Of each name on each of its ABIs, with and without tests."""
    lines = [
        f"{name} errno {errno} "
        + "".join(f"[{i},{value},{op},{mask}]" for i, op, value, mask in tests)
        for name, errno, tests in RULES
    ]
    means, _ = read("\n".join(["2", "denylist", "[all]", *map(str.rstrip, lines)]), machine)
    theirs = lxc_machines.program(machine, MACHINES[machine], RULES)
    code = Code(decode(theirs, ABIS[machine]), ABIS[machine].byte_order)
    found = prove(guarded(machine, means), guarded(machine, code))
    assert isinstance(found, Proof), found


@pytest.mark.parametrize("machine", ["x32", "parisc"])
def test_a_machine_without_lxc_is_refused(machine: str) -> None:
    with pytest.raises(InputError, match=f"no {machine} machine"):
        read("2\ndenylist\n", machine)


def test_all_errors_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        translate((DATA / "invalid" / "lines.seccomp").read_bytes(), "a", Reading(), TABLES)
    lines = [one.position.line for one in caught.value.diagnostics if one.position]
    assert lines == [*range(3, 16)]
