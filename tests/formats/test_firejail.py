"""Profiles of firejail: what it makes of them is measured, by its own programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from corpus import SHARED
from firejail_filters import compared, installed
from longer import few_and_many
from proving import TABLES
from seccompgen.core.abis import ABIS, X32_SYSCALL_BIT
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.model import Action
from seccompgen.core.problems import Problem
from seccompgen.filters.combine.convert import convert
from seccompgen.formats import load_policy
from seccompgen.formats.firejail import words
from seccompgen.formats.firejail.lists import CallNames
from seccompgen.verify import Proof, meaning, prove
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from seccompgen.core.errors import Diagnostic

DATA = Path(__file__).parents[1] / "data" / "formats" / "firejail"
PROFILES = SHARED / "firejail"
ANSWERS = SHARED / "answers" / "firejail"
X86_64 = ABIS["x86_64"]


def said(text: str, path: Path, *outside: Path) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
    """Return the answers to calls, such as ``i386 socket 2``, by a profile, and its notes."""
    path.write_text(text)
    policy, notes = load_policy(path, TABLES, Reading("firejail", outside=outside))
    sense = meaning(policy, X86_64, TABLES)

    class Answers(dict[str, str]):
        def __missing__(self, asked: str) -> str:
            abi, name, *numbers = asked.split()
            args = tuple(int(n, 0) for n in (*numbers, *"000000"))[:6]
            if abi == "x32":
                number = X32_SYSCALL_BIT + int(name)
            else:
                number = int(name) if name.isdigit() else TABLES.tables[abi].numbers[name]
            answer = sense.answer(Call(number, ABIS[abi].audit_arch, args, 0))  # type: ignore[arg-type] # six
            names = ("allow", "errno(EPERM)", "kill_thread", "log", "errno(EOPNOTSUPP)")
            more = ("errno(ENOSYS)", "errno(ENOENT)")
            return next(n for n in names + more if Action.parse(n).ret(X86_64) == answer)

    return Answers(), notes


def kinds(notes: tuple[Diagnostic, ...]) -> list[tuple[Problem, int, int]]:
    return [
        (one.kind, one.position.line, one.position.column)
        for one in notes
        if one.position and isinstance(one.kind, Problem)
    ]


# --- the owner's programs ---------------------------------------------------------------------


@few_and_many(6, 25, "wanted")
def test_profiles_of_others_mean_what_firejail_makes_of_them(wanted: int) -> None:
    """A profile that names a file which is not there is left out: firejail had it installed."""
    if not ANSWERS.exists():
        pytest.skip("no profiles of others beside the project")
    proved = 0
    for folder in sorted(ANSWERS.rglob("seccomp.list")):
        profile = PROFILES / folder.parents[1].relative_to(ANSWERS)
        owner = profile.relative_to(PROFILES).parts[0].removeprefix("inc-")
        outside = tuple(filter(Path.exists, (PROFILES / f"inc-{owner}", PROFILES / "inc")))
        try:
            policy, notes = load_policy(profile, TABLES, Reading("firejail", outside=outside))
        except InputError as error:
            assert {one.kind for one in error.diagnostics} == {Problem.UNREADABLE_FILE}
            continue
        apart = any(one.kind is Problem.TOOLS_DIFFER and "i386" in one.message for one in notes)
        ours = compared(meaning(policy, X86_64, TABLES), without_i386=apart)
        theirs = compared(*installed(folder.parent), without_i386=apart)
        assert isinstance(prove(ours, theirs), Proof), profile
        proved += 1
        if proved == wanted:
            return
    raise AssertionError(proved)


def test_the_answers_to_our_profiles() -> None:
    """Measured: they are those of firejail 0.9.74."""
    for name, expected in {
        "viewer": "x86_64 chroot=allow; x86_64 clock_settime=errno(EPERM); "
        "x86_64 tee=errno(ENOENT); x86_64 vmsplice=kill_thread; "
        "x86_64 socket 1=allow; x86_64 socket 2=allow; "
        "x86_64 socket 10=errno(EOPNOTSUPP); x86_64 socket 0x100000001=allow; i386 0=errno(EPERM); "
        "x86_64 mmap 0 0 6=errno(EPERM); x86_64 mmap 0 0 5=allow; x32 0=errno(EPERM); "
        "x86_64 mprotect 0 0 4=errno(EPERM); x86_64 mprotect 0 0 0x400000000=allow; "
        "x86_64 unshare 0x80=errno(EPERM); x86_64 clone 0x80=allow; x86_64 setns 0 0=errno(EPERM); "
        "x86_64 clone 0x10000000=errno(EPERM); x86_64 clone3=errno(ENOSYS); "
        "x86_64 setns 0 0x20000000=allow; x86_64 bind=allow",
        "worker": "x86_64 read=allow; x86_64 unlink=errno(EPERM); x86_64 execve=allow; "
        "x86_64 exit_group=allow; x86_64 kill=errno(EPERM); x32 0=errno(EPERM); "
        "x86_64 999=errno(EPERM); i386 unlink=allow; i386 socket 2=errno(EOPNOTSUPP); "
        "i386 socketcall 1=allow; x86_64 socket 2=errno(EOPNOTSUPP)",
        "tool": "x86_64 ptrace=allow; x86_64 kexec_load=kill_thread; i386 ptrace=allow; "
        "i386 kexec_load=errno(ENOSYS); i386 chown32=errno(ENOSYS); i386 chown=allow; "
        "x86_64 personality=allow; x86_64 mount=errno(ENOSYS)",
    }.items():
        file = DATA / f"{name}.profile"
        policy, _ = load_policy(file, TABLES)
        assert policy
        answers, _ = said(file.read_text(), file)
        for one in expected.split("; "):
            asked, _, answer = one.partition("=")
            assert answers[asked] == answer, (name, one)


# --- what a list does not say -------------------------------------------------------------------


def test_what_is_ignored_is_noted_at_its_place(tmp_path: Path) -> None:
    text = "seccomp.drop acct,!@clock,nosuch,open:EFOO,$999,!kill:ENOENT\n"
    answers, notes = said(text, tmp_path / "a.profile")
    assert [column for *_, column in sorted(kinds(notes), key=lambda one: one[2])] == [
        *(19, 27, 34, 44, 49)
    ]
    assert {kind for kind, *_ in kinds(notes)} == {Problem.IGNORED_TEXT}
    assert answers["x86_64 acct"] == "errno(EPERM)"
    assert answers["x86_64 open"] == answers["x86_64 kill"] == "allow"


def test_read_has_no_negative(tmp_path: Path) -> None:
    answers, notes = said("seccomp.drop !read,!write,write\n", tmp_path / "a.profile")
    assert kinds(notes) == [(Problem.OPPOSITE_EFFECT, 1, 14)]
    assert (answers["x86_64 read"], answers["x86_64 write"]) == ("errno(EPERM)", "allow")
    answers, notes = said("seccomp.keep !read,!write,write\n", tmp_path / "a.profile")
    assert kinds(notes) == [(Problem.OPPOSITE_EFFECT, 1, 14)]
    assert (answers["x86_64 read"], answers["x86_64 write"]) == ("allow", "errno(EPERM)")


@pytest.mark.parametrize(
    ("text", "expected", "i386_acct"),
    [
        ("seccomp\nseccomp.32 acct\n", [(Problem.IGNORED_TEXT, 2, 1)], "errno(EPERM)"),
        ("seccomp.32.drop kill\nseccomp !kill\n", [(Problem.IGNORED_TEXT, 1, 1)], "errno(EPERM)"),
        ("seccomp.drop kill\nseccomp.32.drop kill\n", [], "allow"),
        ("seccomp.32.keep kill\n", [(Problem.OPPOSITE_EFFECT, 1, 1)], "allow"),
        ("seccomp.drop read\nseccomp.drop open\n", [(Problem.IGNORED_TEXT, 1, 1)], "allow"),
        ("seccomp a,!kill\nseccomp.keep read\n", [(Problem.IGNORED_TEXT, 1, 1)], "allow"),
        ("restrict-namespaces\n", [(Problem.MISSING_PART, 1, 1)], "allow"),
        ("restrict-namespaces\nseccomp-error-action ENOSYS\n", [], "allow"),
        ("seccomp.drop kill,execve\n", [(Problem.OTHER_FILTER, 1, 19)], "allow"),
    ],
)
def test_which_lists_count(
    tmp_path: Path, text: str, expected: list[tuple[Problem, int, int]], i386_acct: str
) -> None:
    answers, notes = said(text, tmp_path / "a.profile")
    places = [(kind, line, 1 if column < 15 else column) for kind, line, column in kinds(notes)]
    ignored = {Problem.IGNORED_TEXT} if "seccomp a" in text else set()
    assert [one for one in places if one[0] not in ignored or one in expected][: len(expected)] == (
        expected
    )
    assert answers["i386 acct"] == i386_acct


def test_namespaces_of_i386_are_restricted_by_a_list_alone(tmp_path: Path) -> None:
    for value, answer in (("", "allow"), (" user,net", "errno(EPERM)")):
        answers, _ = said(f"restrict-namespaces{value}\n", tmp_path / "a.profile")
        assert answers["x86_64 unshare 0x10000000"] == "errno(EPERM)"
        assert answers["i386 unshare 0x10000000"] == answer


def test_jumps_over_more_than_255_refusals_miss(tmp_path: Path) -> None:
    """Measured: of @system-service firejail refuses 64 calls less than it has."""
    answers, notes = said("seccomp.drop @system-service\n", tmp_path / "a.profile")
    assert (Problem.MISSING_PART, 1, 14) in kinds(notes)
    group = {*words.groups()["system-service"]} & CallNames.of("x86_64", TABLES).numbers.keys()
    missed = [call for call in group if answers[f"x86_64 {call}"] == "allow"]
    assert len(missed) - len({"execve", "execveat", "prctl"} & group) == 64


def test_a_list_that_is_too_long_for_the_kernel_is_an_error(tmp_path: Path) -> None:
    """Measured: firejail runs the program without that filter."""
    for count, wrong in ((500, False), (600, True)):
        profile = tmp_path / "a.profile"
        profile.write_text(f"noroot\nseccomp.keep {','.join(['@chown'] * count)}\n")
        if wrong:
            with pytest.raises(InputError) as caught:
                load_policy(profile, TABLES)
            (fault,) = caught.value.diagnostics
            assert fault.kind is Problem.LONG_PROGRAM
            assert str(fault.position) == f"{profile}:2:1"
        else:
            load_policy(profile, TABLES)


# --- other lines --------------------------------------------------------------------------------


def test_ignore_takes_later_lines_away(tmp_path: Path) -> None:
    text = "protocol unix\nignore  seccomp\nseccomp !kill\nseccomp.drop acct\nignore protocol\n"
    answers, _ = said(text, tmp_path / "a.profile")
    assert answers["x86_64 acct"] == "errno(EPERM)"
    assert answers["x86_64 mount"] == "allow"
    assert answers["x86_64 socket 2"] == "errno(EOPNOTSUPP)"


def test_files_are_found_next_to_the_profile_and_where_it_is_allowed(tmp_path: Path) -> None:
    """``/etc/firejail`` is the profile's own directory here."""
    system = tmp_path / "system"
    profiles = tmp_path / "profiles"
    for directory in (system, profiles):
        directory.mkdir()
    (system / "base.inc").write_text("include base.local\nseccomp.drop acct\n")
    (profiles / "base.local").write_text("ignore seccomp.drop\n")
    text = "include /etc/firejail/base.inc\ninclude disable-common.inc\nprotocol unix\n"
    answers, notes = said(text, profiles / "a.profile", system)
    assert answers["x86_64 acct"] == "allow"
    assert kinds(notes) == [(Problem.SOURCE_MISSING, 2, 1)]
    assert "disable-common.inc" in notes[0].message
    with pytest.raises(InputError) as caught:
        said(text, profiles / "a.profile")
    assert [str(one).partition(": ")[0] for one in caught.value.diagnostics] == [
        f"{profiles / 'a.profile'}:1:9"
    ]


def test_all_errors_are_reported_at_once_at_their_places() -> None:
    for name, expected in {
        "words": "2:1 3:1 4:8 5:15 6:21 7:22 8:1 9:11 10:1",
        "list": "2:14 3:14 3:22 4:14 5:12",
        "include": "1:1 2:9",
        "nothing": "1:1",
        "secondary": "2:1",
    }.items():
        file = DATA / "invalid" / f"{name}.profile"
        with pytest.raises(InputError) as caught:
            load_policy(file, TABLES, Reading("firejail"))
        places = [one.position for one in caught.value.diagnostics if one.position]
        assert " ".join(f"{one.line}:{one.column}" for one in places) == expected


def test_comments_and_lines_stand_above_their_rules(tmp_path: Path) -> None:
    profile = tmp_path / "a.profile"
    profile.write_text(
        "# of the file\n\n# of noroot\nnoroot\n  # first\n# second #3\nseccomp.drop acct # here\n"
        "include b.inc\n"
    )
    (tmp_path / "b.inc").write_text("protocol  unix\n")
    text = convert(profile, TABLES).text
    assert "# first\n# second #3\n# here\n# seccomp.drop acct\n- action: errno(EPERM)\n" in text
    assert "# protocol unix\n- action: errno(EOPNOTSUPP)\n" in text
    assert "noroot" not in text


def test_it_is_read_for_x86_64_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.profile"
    file.write_text("seccomp.drop acct\n")
    with pytest.raises(InputError) as caught:
        load_policy(file, TABLES, Reading("firejail", abis=("aarch64",)))
    assert [one.kind for one in caught.value.diagnostics] == [Problem.UNKNOWN_ABI]
