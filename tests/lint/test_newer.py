"""Newer releases of libraries, by small tables of companions: what counts, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import Severity
from seccompgen.lint.companions import Companion, Companions, Fallback, LibraryRelease, Retry
from seccompgen.lint.introduced import introduced_by
from seccompgen.lint.later_forms import is_later_form
from seccompgen.lint.registry import kinds
from seccompgen.lint.upgrade import Upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

UNKNOWN = Fallback(known=False)
ON_ENOSYS = Fallback((Retry(("ENOSYS",), "clone"),))
ON_ANY = Fallback((Retry(("any",), "clone"),))
BOTH, NEW = ("1.0", "2.0"), ("2.0",)
Row: TypeAlias = "tuple[str, str, str, Fallback | None, tuple[str, ...]]"
"""A function, a call, a constant, a fallback, and the releases."""


def table(*rows: Row) -> Companions:
    """Return a table of a library with two releases; rows are of one function each."""
    made = [Companion("glibc", ("x86_64",), (row[0],), *row[1:]) for row in rows]
    # Functions that tell what is rare: of many, few make other calls than this.
    for n in range(40):
        made.append(Companion("glibc", ("x86_64",), (f"f{n}",), "futex", "", UNKNOWN, BOTH))
        made.append(Companion("glibc", ("x86_64",), (f"f{n}",), f"getuid{n}", "", UNKNOWN, NEW))
    releases = tuple(LibraryRelease("glibc", one, (), ()) for one in BOTH)
    return Companions(tuple(made), releases)


def found(
    tmp_path: Path, companions: Companions, policy: str, *, asked: bool = True
) -> list[Finding]:
    path = tmp_path / "p.yml"
    path.write_text(f"arches: [x86_64]\n{policy}")
    upgrade = Upgrade(companions, None, {"glibc": "2.0"}, asked=asked)
    report = lint_filter(path, shipped_tables(), upgrade=upgrade)
    return [one for one in report.findings if one.kind in kinds("upgrades")]


def allowing(names: str, default: str = "errno(EPERM)") -> str:
    return f"default_action: {default}\nsyscalls:\n- {{action: allow, names: [{names}]}}\n"


def start(fallback: Fallback) -> Companions:
    """Return a table in which ``start`` begins to make clone3 before clone."""
    return table(("start", "clone", "", UNKNOWN, BOTH), ("start", "clone3", "", fallback, NEW))


def test_what_is_known_is_told_without_being_asked(tmp_path: Path) -> None:
    # What the hand-written wrong-fallback says of clone3 is not said twice.
    rows = [
        ("ask", "pwrite64", "", UNKNOWN, BOTH),
        ("ask", "pwritev2", "", Fallback((Retry(("ENOSYS",), "pwrite64"),)), NEW),
    ]
    (one,) = found(tmp_path, table(*rows), allowing("pwrite64"), asked=False)
    assert one.severity is Severity.WARNING
    assert one.message == (
        "from glibc 2.0 on ask calls pwritev2 first, and pwrite64 only after ENOSYS: this filter "
        "answers EPERM"
    )
    assert one.fix == "answer pwritev2 with errno(ENOSYS)"
    assert one.witness is not None
    assert found(tmp_path, start(ON_ENOSYS), allowing("clone"), asked=False) == []


@pytest.mark.parametrize(
    ("fallback", "default", "count"),
    [
        (ON_ENOSYS, "errno(EPERM)", 1),
        (ON_ENOSYS, "errno(ENOSYS)", 0),
        (ON_ANY, "errno(EPERM)", 0),
        (ON_ANY, "kill_process", 1),
        (UNKNOWN, "errno(EPERM)", 1),
        (UNKNOWN, "errno(ENOSYS)", 0),
        (Fallback(), "errno(EPERM)", 1),
    ],
)
def test_the_answer_decides(tmp_path: Path, fallback: Fallback, default: str, count: int) -> None:
    policy = allowing("clone", default)
    assert len(found(tmp_path, start(fallback), policy)) == count
    assert found(tmp_path, start(fallback), allowing("clone, clone3", default)) == []


def test_who_does_not_permit_the_older_call_does_not_use_the_function(tmp_path: Path) -> None:
    assert found(tmp_path, start(ON_ENOSYS), allowing("read, write")) == []


def test_most_of_a_function_is_enough_and_little_is_not(tmp_path: Path) -> None:
    rows = [("work", name, "", UNKNOWN, BOTH) for name in ("acct", "mount", "sync", "chroot")]
    companions = table(*rows, ("work", "bpf", "", UNKNOWN, NEW))
    three = allowing("acct, mount, sync", "kill_process")
    (one,) = found(tmp_path, companions, three)
    assert one.severity is Severity.WARNING
    assert "work calls bpf besides" in one.message
    (one,) = found(tmp_path, companions, allowing("acct, mount, sync"))
    assert one.severity is Severity.NOTE
    assert found(tmp_path, companions, allowing("acct, mount", "kill_process")) == []


def test_a_constant_is_found_where_others_were_passed(tmp_path: Path) -> None:
    rows = [
        ("free", "madvise", "", UNKNOWN, BOTH),
        ("free", "madvise", "behavior=MADV_DONTNEED", None, BOTH),
        ("free", "madvise", "behavior=MADV_FREE", None, NEW),
    ]
    policy = (
        "default_action: errno\nsyscalls:\n- action: allow\n  names_with_args:\n"
        "  - {name: madvise, when: behavior == MADV_DONTNEED}\n"
    )
    (one,) = found(tmp_path, table(*rows), policy)
    assert (one.kind.value, one.fix) == ("newer-argument", "permit madvise with behavior=MADV_FREE")
    assert one.witness is not None
    assert one.witness.call.args[2] == 8  # MADV_FREE
    assert found(tmp_path, table(*rows), policy.replace("== MADV_DONTNEED", "!= 3")) == []
    assert found(tmp_path, table(*rows), policy.replace("MADV_DONTNEED", "MADV_COLD")) == []


def test_what_all_begin_to_do_is_a_note_at_most(tmp_path: Path) -> None:
    rows: list[Row] = [(f"g{n}", "acct", "", UNKNOWN, BOTH) for n in range(30)]
    rows += [("g1", "sync", "", UNKNOWN, BOTH), ("g1", "mount", "", UNKNOWN, BOTH)]
    rows += [(f"g{n}", "bpf", "", UNKNOWN, NEW) for n in range(30)]
    killing = allowing("acct, sync, mount", "kill_process")
    assert {one.severity for one in found(tmp_path, table(*rows), killing)} == {Severity.NOTE}
    assert found(tmp_path, table(*rows), allowing("acct, sync, mount")) == []


@pytest.mark.parametrize(
    ("older", "newer", "extends"),
    [
        ("fstat", "newfstatat", False),
        ("lstat", "newfstatat", False),
        ("nanosleep", "clock_nanosleep", False),
        ("select", "pselect6", False),
        ("clone", "clone3", True),
        ("access", "faccessat2", True),
        ("pwrite64", "pwritev2", True),
        ("futex", "futex_time64", True),
    ],
)
def test_later_forms_by_name(older: str, newer: str, *, extends: bool) -> None:
    assert is_later_form(newer, older)
    assert is_later_form(newer, older, extends=True) == extends


@pytest.mark.parametrize(
    ("older", "newer"), [("read", "readlink"), ("close", "close_range"), ("clone3", "clone")]
)
def test_no_later_form(older: str, newer: str) -> None:
    assert not is_later_form(newer, older)


def test_a_recording_says_which_release_introduced_a_call() -> None:
    x86_64 = ABIS["x86_64"]
    assert (
        introduced_by(start(UNKNOWN), "clone3", x86_64)
        == "glibc 2.0's start; older ones call clone"
    )
    assert introduced_by(start(UNKNOWN), "clone", x86_64) == ""
    assert introduced_by(start(UNKNOWN), "clone3", ABIS["s390x"]) == ""


@pytest.mark.parametrize(
    ("having", "when"),
    [
        (("2.0", "3.0", "4.0"), "from glibc 2.0 on start"),
        (("2.0", "3.0"), "in glibc 2.0 to 3.0 start"),
        (("2.0", "4.0"), "in glibc 2.0, and from 4.0 on start"),
        (("3.0",), "in glibc 3.0 start"),
    ],
)
def test_the_releases_that_make_a_call_are_told_with_their_gaps(
    having: tuple[str, ...], when: str, tmp_path: Path
) -> None:
    known = ("1.0", "2.0", "3.0", "4.0")
    small = start(ON_ENOSYS)
    rows = [one._replace(releases=having if one.call == "clone3" else known) for one in small.rows]
    releases = tuple(LibraryRelease("glibc", one, (), ()) for one in known)
    path = tmp_path / "p.yml"
    path.write_text(f"arches: [x86_64]\n{allowing('clone')}")
    upgrade = Upgrade(Companions(tuple(rows), releases), None, {"glibc": "4.0"})
    report = lint_filter(path, shipped_tables(), upgrade=upgrade)
    (one,) = [each for each in report.findings if each.kind in kinds("upgrades")]
    assert one.message.startswith(when)
