"""``verify`` and ``equiv`` where one prover or the kernel sees less: undecided, and said so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside, seccompgen
from verify_command import (
    ALLOW,
    EPERM,
    INSTALL,
    NOT_BY_CLASSES,
    ONE_ANSWER,
    PROVED,
    RAW,
    changed,
    failed,
    raw,
    said,
    sum_is,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_undecided_is_neither_yes_nor_no(tmp_path: Path) -> None:
    for name, addend in (("a.bpf", 5), ("b.bpf", 6)):
        sum_is(tmp_path / name, addend, 60 + addend)
    asked = ("equiv", "a.bpf", "b.bpf", "--arch", "x86_64")
    assert said(seccompgen(*asked, cwd=tmp_path)) == (
        0,
        ["a.bpf = b.bpf: proved for x86_64 (z3)"],
        [],
    )
    run = seccompgen(*asked, "--method", "classes", cwd=tmp_path)
    error = f"a.bpf = b.bpf: {NOT_BY_CLASSES}; without --method, z3 is asked as well"
    assert said(run) == (3, ["a.bpf = b.bpf: undecided for x86_64"], [error])
    run = seccompgen(*asked, "--method", "classes", "--json", cwd=tmp_path)
    assert (run.code, run.err) == (3, f"{error}\n")
    assert json.loads(run.out) == {
        "programs": [
            {
                "file": "a.bpf = b.bpf",
                "abi": "x86_64",
                "policies": [],
                "report_only": False,
                "result": "undecided",
                "text": NOT_BY_CLASSES.removeprefix("x86_64: "),
            }
        ],
        "stale": [],
    }


@pytest.mark.long("runs commands on many filters")
def test_what_is_undecided_does_not_hide_what_is_refuted(here: Path) -> None:
    sum_is(here / "sum.bpf", 5, 65)
    raw(here / "open.bpf", (0x06, 0, 0, ALLOW))
    options = ("--policy", "worker.yml", "--arch", "aarch64", "--method", "classes")
    run = inside("verify", "sum.bpf", "open.bpf", RAW, *options, cwd=here)
    assert run.code == 1
    assert [line for line in run.out.splitlines() if not line.startswith(" ")] == [
        "sum.bpf: undecided for aarch64",
        "open.bpf: refuted for aarch64",
        f"{RAW}: proved for aarch64 (classes), against worker.yml",
    ]
    assert [line.split(": ")[0] for line in run.err.splitlines()] == ["open.bpf", "sum.bpf"]


def test_without_z3_classes_decide_alone(here: Path, no_z3: dict[str, str]) -> None:
    run = seccompgen("verify", "worker.py", cwd=here, env=no_z3)
    assert said(run) == (0, ["worker.py: proved for 2 ABIs (classes), against worker.yml"], [])


def test_without_z3_it_cannot_be_asked_for(here: Path, no_z3: dict[str, str]) -> None:
    run = seccompgen("verify", "worker.py", "--method", "z3", cwd=here, env=no_z3)
    assert failed(run) == (3, [f"worker.py: aarch64: z3 is not installed; {INSTALL}"])


def test_without_z3_what_needs_it_is_told(tmp_path: Path, no_z3: dict[str, str]) -> None:
    sum_is(tmp_path / "a.bpf", 5, 65)
    run = seccompgen("equiv", "a.bpf", "a.bpf", "--arch", "x86_64", cwd=tmp_path, env=no_z3)
    assert said(run) == (
        3,
        ["1: a.bpf = 2: a.bpf: undecided for x86_64"],
        [f"1: a.bpf = 2: a.bpf: {NOT_BY_CLASSES}; {INSTALL}"],
    )


# --- what the kernel does not read ---------------------------------------------------------------

IGNORE = "  # lint: ignore[ignored-bits]: so that there is something to see\n"
BEYOND = "    arguments: [{argument: 0, operation: Equal, value: 1, width: 64}]\n"
PAIR = (
    "socket(AF_UNIX) on {0} gets errno(EPERM), socket(AF_UNIX|0x100000000) on {0} gets allow; the "
    "kernel does not read bit 32 of argument 0"
)


def socket_of_64_bits(path: Path) -> None:
    head = "arches: [x86_64, s390x]\ndefault_action: allow\nmultiplexed: allow\nsyscalls:\n"
    rule = f"- action: errno(EPERM)\n  names_with_args:\n{IGNORE}  - name: socket\n{BEYOND}"
    path.write_text(head + rule)


@pytest.mark.long("runs commands on many filters")
def test_calls_that_the_kernel_cannot_tell_apart_get_one_answer(here: Path) -> None:
    run = inside("verify", "worker.yml", "worker.py", "pkg/worker", cwd=here)
    assert (run.code, run.out.splitlines()[-1]) == (0, ONE_ANSWER)
    assert run.out.count(ONE_ANSWER) == 1
    run = inside("verify", "pkg/worker", "--json", cwd=here)
    told = json.loads(run.out)["programs"]
    assert [(one["one_answer"], one["indistinguishable"]) for one in told] == [(True, [])] * 2
    # It is about programs beside the kernel, not beside each other.
    run = inside("equiv", "worker.yml", "worker.py", cwd=here)
    assert (run.code, ONE_ANSWER in run.out) == (0, False)


def test_a_policy_may_insist_on_bits_that_the_kernel_does_not_read(here: Path) -> None:
    socket_of_64_bits(here / "wide.yml")
    run = inside("verify", "wide.yml", "worker.yml", cwd=here)
    assert (run.code, run.err) == (0, "")
    apart = "calls that the kernel cannot tell apart get different answers"
    assert run.out.splitlines() == [
        "wide.yml: proved for 2 ABIs (classes and z3)",
        f"worker.yml: {PROVED}",
        f"wide.yml: {apart} on x86_64, s390x",
        f"  {PAIR.format('x86_64')}",
    ]
    told = json.loads(inside("verify", "wide.yml", "--json", cwd=here).out)["programs"]
    assert [one["one_answer"] for one in told] == [False, False]
    (pair,) = told[1]["indistinguishable"]
    s390x = {"nr": 359, "arch": 0x80000016, "instruction_pointer": 0}
    assert pair == {
        "argument": 0,
        "bit": 32,
        "calls": [
            {**s390x, "args": [1, 0, 0, 0, 0, 0], "ret": EPERM},
            {**s390x, "args": [1 << 32 | 1, 0, 0, 0, 0, 0], "ret": ALLOW},
        ],
    }


def test_programs_of_others_are_held_to_what_the_kernel_reads(here: Path) -> None:
    socket_of_64_bits(here / "wide.yml")
    assert inside("build", "wide.yml", "--format", "bpf", "-o", ".", cwd=here).code == 0
    changed(here / "wide.yml", "width: 64", "width: 32")
    run = inside(*("verify", "wide.s390x.bpf", "--arch", "s390x", "--policy", "wide.yml"), cwd=here)
    assert run.code == 1
    assert run.out.endswith(f"on s390x\n  {PAIR.format('s390x')}\n")


def test_what_is_undecided_of_the_kernels_view_is_said(here: Path, no_z3: dict[str, str]) -> None:
    sum_is(here / "sum.bpf", 5, 65)
    words = ("verify", "sum.bpf", "--policy", "worker.yml", "--arch", "aarch64")
    run = seccompgen(*words, cwd=here, env=no_z3)
    text = "it is undecided if calls that the kernel cannot tell apart get one answer"
    assert f"sum.bpf: {text} on aarch64\n  cannot be decided: instruction" in run.out
    run = seccompgen(*words, "--json", cwd=here, env=no_z3)
    assert json.loads(run.out)["programs"][0]["one_answer"] is None
