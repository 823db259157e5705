"""``intersect``, ``union`` and ``subtract`` from outside: what is refused, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from combine_command import ALLOW, ERRNO, KILL, LD_ARG, LD_NR, ONE, TWO, raw, refused
from command import inside, said, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([LD_NR, (0x04, 0, 0, 3), (0x15, 0, 1, 9), ERRNO, ALLOW], "instruction 1 computes with"),
        ([LD_ARG, (0x16, 0, 0, 0)], "instruction 1 answers with a part of the call"),
        ([LD_ARG, (0x07, 0, 0, 0), (0x1D, 0, 1, 0), ERRNO, ALLOW], "instruction 2 compares two"),
        ([(0x20, 0, 0, 8), (0x15, 0, 1, 9), ERRNO, ALLOW], "it looks at the instruction pointer"),
        ([(0x20, 0, 0, 4), (0x25, 0, 1, 9), ERRNO, ALLOW], "other than for equality"),
        ([LD_NR, (0x45, 0, 1, 1), KILL, ALLOW], "by the lowest bits of their numbers"),
        ([(0x06, 0, 0, 0x12340001)], "it answers 0x12340001, which is no action"),
    ],
)
def test_a_filter_that_does_what_cannot_be_combined_is_named(
    here: Path, program: Sequence[tuple[int, int, int, int]], message: str
) -> None:
    name = raw(here / "foreign.bpf", *program)
    args = ("--arch", "x86_64", "--name", "x", "-o", "out")
    (line,) = refused(here, "intersect", "one.yml", name, *args)
    assert line.startswith("foreign.bpf: x86_64: cannot be combined: ")
    assert message in line
    assert line.endswith("; stack this filter, or leave it out")
    (line,) = refused(here, "subtract", name, "one.yml", "--action", "trap", *args)
    assert line.endswith("; leave it out")


def test_all_filters_that_cannot_be_combined_for_one_reason_are_named(here: Path) -> None:
    """The second does the same elsewhere, which nobody would get to know before the first goes."""
    shift = (0x64, 0, 0, 1)
    first = raw(here / "first.bpf", LD_NR, shift, (0x15, 0, 1, 2), ERRNO, ALLOW)
    second = raw(here / "second.bpf", LD_NR, (0x15, 1, 0, 0), shift, (0x15, 0, 1, 2), ERRNO, ALLOW)
    lines = refused(
        here, "intersect", first, "one.yml", second, "--arch", "x86_64", "--name", "x", "-o", "out"
    )
    assert lines == [
        f"{file}: x86_64: cannot be combined: instruction {at} computes with a part of the call; "
        "stack this filter, or leave it out"
        for file, at in (("first.bpf", 1), ("second.bpf", 2))
    ]


@pytest.mark.parametrize(
    ("args", "messages"),
    [
        ("one.yml", ["there is only one.yml: name at least two filters, or a directory that has"]),
        ("", ["name at least two filters, or a directory that has them"]),
        ("out one.yml", ["out: no filters in this directory"]),
        ("nope.yml one.yml gone.py", ["cannot read nope.yml: No such", "cannot read gone.py: No"]),
        ("one.yml raw.bpf", ["raw.bpf: say with --arch which ABI these instructions are for"]),
        ("one.yml two.yml --arch s390x", ["two.yml: not for s390x: its arches leave that out"]),
        ("one.yml two.yml --arch vax", ["unknown architecture 'vax'"]),
        ("one.yml bad.yml", ["bad.yml:4:35: unknown system call 'reed' (did you mean 'read'?)"]),
        (
            "big.yml arm.yml",
            [
                "there is no ABI that all of these filters have a program for",
                "big.yml: is for s390x",
                "arm.yml: is for aarch64",
            ],
        ),
        (
            "one.yml sync.yml asks.yml late.yml",
            [
                "sync.yml: flags differ from those of one.yml; one program is installed in one way",
                "asks.yml: flags differ from those of one.yml; one program is installed in one way",
                "late.yml: flags and no_new_privs differ from those of one.yml; one program is",
            ],
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_all_that_is_wrong(
    here: Path, args: str, messages: list[str]
) -> None:
    raw(here / "raw.bpf", ALLOW)
    default = "default_action: errno"
    (here / "big.yml").write_text(ONE.replace("x86_64, ", ""))
    (here / "arm.yml").write_text(TWO.replace("x86_64, ", ""))
    (here / "bad.yml").write_text(TWO.replace("write", "reed"))
    (here / "sync.yml").write_text(ONE.replace(default, f"{default}\nflags: [tsync]"))
    late = f"{default}\nflags: [tsync]\nno_new_privs: false"
    (here / "late.yml").write_text(ONE.replace(default, late))
    lines = refused(here, "intersect", *args.split(), "--name", "x", "-o", "out")
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(message), line


@pytest.mark.parametrize(
    "name", ["", "class", "a b", "../up", "_runtime", "_explain", "tables", "1st", "ü "]
)
def test_a_name_that_is_no_module_is_refused(here: Path, name: str) -> None:
    assert refused(here, "union", "one.yml", "two.yml", "--name", name) == [
        f"--name {name}: cannot be the name of a Python module; choose another"
    ]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("", "--action: '' is not an action; write allow, errno(EACCES), kill_process ..."),
        ("errno(EPREM)", "--action: unknown errno 'EPREM' (did you mean 'EPERM'?); write a name"),
        ("kill", "--action: unknown action 'kill'"),
        ("errno(4096)", "--action: errno(4096): the kernel delivers 0 to 4095 here"),
        ("allow", "--action allow takes nothing away; name an action that refuses, or log"),
    ],
)
def test_an_action_that_is_none_or_takes_nothing_away_is_refused(
    here: Path, action: str, message: str
) -> None:
    args = ("subtract", "two.yml", "one.yml", "--action", action, "--name", "x")
    (line,) = refused(here, *args)
    assert line.startswith(message)


@pytest.mark.parametrize("first", ["two.yml", "two", "two.bpf"])
def test_subtracting_from_what_has_no_refusal_of_its_own_asks_for_one(
    here: Path, first: str
) -> None:
    assert inside("build", "two.yml", "-o", ".", cwd=here).code == 0
    raw(here / "two.bpf", ALLOW)
    args = ("subtract", first, "one.yml", "--arch", "x86_64", "--name", "x")
    assert refused(here, *args) == [
        f"{first}: choose the answer to the calls that are taken away with --action, for "
        "example --action 'errno(EPERM)'"
    ]
    assert inside(*args, "--action", "log", "-o", "out", cwd=here).code == 0


def test_user_notif_without_a_listener_is_refused_in_modules(here: Path) -> None:
    args = ("subtract", "two.yml", "one.yml", "--action", "user_notif", "--name", "x")
    before = snapshot(here)
    result = inside(*args, "-o", "out", cwd=here)
    assert said(result)[:2] == (2, [])
    assert result.err.splitlines()[-1] == (
        "x: it answers user_notif, and then needs the flag new_listener, which its parts do not "
        "have; write flags: [new_listener] in their policies"
    )
    assert snapshot(here) == before
    # Raw instructions have no flags: who installs them may give some.
    assert inside(*args, "--format", "bpf", "-o", "out", cwd=here).code == 0


def test_the_file_of_somebody_else_is_not_overwritten(here: Path) -> None:
    (here / "out" / "x.py").write_text("print('mine')\n")
    before = snapshot(here)
    result = inside("union", "one.yml", "two.yml", "--name", "x", "-o", "out", cwd=here)
    foreign = "out/x.py: is not seccompgen's to overwrite: rename it, or choose another directory"
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith(foreign)
    assert snapshot(here) == before


def test_no_part_is_overwritten_with_the_whole(here: Path) -> None:
    assert inside("build", "one.yml", "two.yml", "-o", "pkg", cwd=here).code == 0
    raw(here / "raw.x86_64.bpf", LD_NR, (0x15, 0, 1, 0), ERRNO, ALLOW)
    before = snapshot(here)
    advice = "is one of the filters, and would be replaced: choose another --name, or directory"
    result = inside("intersect", "pkg", "--name", "one", "-o", "pkg", cwd=here)
    assert (result.code, result.err.splitlines()[-1]) == (2, f"pkg/one: {advice}")
    args = ("--arch", "x86_64", "--format", "bpf", "--name", "raw")
    result = inside("intersect", "one.yml", "raw.x86_64.bpf", *args, cwd=here)
    assert (result.code, result.err) == (2, f"raw.x86_64.bpf: {advice}\n")
    assert snapshot(here) == before


def test_a_file_name_cannot_break_out_of_a_comment(here: Path) -> None:
    for suffix in (".bpf", ".yml", ".py"):
        odd = here / f"x\nimport os\n#{suffix}"
        raw(odd, ALLOW)
        assert refused(here, "union", "one.yml", odd.name, "--arch", "x86_64", "--name", "y") == [
            f"unprintable characters in {odd.name!r}: rename the file"
        ]
    raw(here / "\udcff.bpf", ALLOW)
    (line,) = refused(here, "union", "one.yml", "\udcff.bpf", "--arch", "x86_64", "--name", "y")
    assert line.startswith("unprintable characters in '\\udcff.bpf'")


def test_a_program_that_the_kernel_would_find_too_long_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seccompgen.filters.combine.combined.BPF_MAXINSNS", 16)
    for operation, advice in (("intersect", "stack the filters, or combine fewer"), ("union", "")):
        args = (operation, "one.yml", "two.yml", "--name", "x", "-o", "out")
        if operation == "union":
            monkeypatch.setattr("seccompgen.filters.combine.combined.BPF_MAXINSNS", 4)
            advice = "combine fewer"  # noqa: PLW2901 - the other case
        (line,) = refused(here, *args)
        assert line.startswith("x: the program for x86_64 has ")
        assert line.endswith(f"; {advice}")


def test_a_place_where_nothing_can_be_written_is_outside(here: Path) -> None:
    before = snapshot(here)
    args = ("union", "one.yml", "two.yml", "--name", "x", "-o")
    result = inside(*args, "one.yml", cwd=here)
    assert (result.code, result.err) == (3, "one.yml is not a directory\n")
    result = inside(*args, "one.yml/sub", cwd=here)
    assert result.code == 3
    assert result.err.splitlines()[-1] == "cannot write one.yml/sub/_explain.py: Not a directory"
    assert snapshot(here) == before
