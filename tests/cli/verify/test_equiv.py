"""``equiv`` from outside: filters of all kinds compared, and how they differ."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside
from verify_command import ALLOW, EPERM, LD_ARG0, LD_NR, RAW, changed, failed, raw, said

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.few(2, "runs commands on many filters")
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("worker.py", "worker.yml"),
        ("pkg/worker", "worker.py"),
        ("worker.yml", RAW),
        (RAW, "worker.py"),
    ],
)
def test_filters_of_all_kinds_are_compared(here: Path, left: str, right: str) -> None:
    one = RAW in {left, right}
    run = inside("equiv", left, right, *(["--arch", "aarch64"] if one else []), cwd=here)
    abis = "aarch64" if one else "2 ABIs"
    assert said(run) == (0, [f"{left} = {right}: proved for {abis} (classes and z3)"], [])


def test_policies_that_differ_are_told_by_their_rules(here: Path) -> None:
    changed(here / "worker.yml", "[read]", "[read, write]", "other.yml")
    run = inside("equiv", "worker.yml", "other.yml", "--arch", "s390x", cwd=here)
    pair = "worker.yml = other.yml"
    text = "write() on s390x: worker.yml says errno(EPERM), other.yml says allow"
    assert said(run) == (
        1,
        [
            f"{pair}: refuted for s390x",
            "  write on s390x: worker.yml says errno(EPERM), other.yml says allow; "
            "such as write() on s390x",
            "    worker.yml: by default_action, worker.yml:2:17",
            "    other.yml: by rule 1, other.yml:4:3",
        ],
        [f"{pair}: {text}"],
    )


def test_programs_that_differ_are_told_by_their_instructions(here: Path, mutant: str) -> None:
    run = inside("equiv", mutant, "worker.py", "--json", cwd=here)
    assert run.code == 1
    refuted, proved = json.loads(run.out)["programs"]
    assert (refuted["file"], refuted["abi"]) == ("mutant.py = worker.py", "aarch64")
    assert [(one["name"], one["ret"], one["rule"]) for one in refuted["sides"]] == [
        ("mutant.py", EPERM, None),
        ("worker.py", ALLOW, None),
    ]
    assert [one["path"][-1] for one in refuted["sides"]] == [8, 9]
    assert (proved["abi"], proved["result"]) == ("s390x", "proved")


def test_abis_that_only_one_has_are_a_difference(here: Path) -> None:
    changed(here / "worker.yml", "[aarch64, s390x]", "[x86_64, aarch64]", "other.yml")
    run = inside("equiv", "worker.yml", "other.yml", cwd=here)
    advice = "--arch compares one ABI alone"
    assert failed(run) == (
        1,
        [
            f"other.yml: no program for s390x, which worker.yml has; {advice}",
            f"worker.yml: no program for x86_64, which other.yml has; {advice}",
        ],
    )
    assert inside("equiv", "worker.yml", "other.yml", "--arch", "arm64", cwd=here).code == 0
    run = inside("equiv", "worker.yml", "other.yml", "--arch", "s390x", cwd=here)
    assert failed(run) == (2, ["other.yml: not for s390x: its arches leave that out"])


@pytest.mark.long("runs commands on many filters")
def test_programs_of_others_with_scratch_memory_and_x(tmp_path: Path) -> None:
    returns = [(0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM)]
    raw(tmp_path / "plain.bpf", LD_NR, (0x15, 0, 1, 60), *returns)
    kept = [(0x02, 0, 0, 3), (0x01, 0, 0, 60), (0x60, 0, 0, 3)]  # M[3] = A; X = 60; A = M[3]
    raw(tmp_path / "kept.bpf", LD_NR, *kept, (0x1D, 0, 1, 0), *returns)
    raw(tmp_path / "lost.bpf", LD_NR, *kept[:2], (0x1D, 0, 1, 0), *returns)
    raw(tmp_path / "other.bpf", LD_ARG0, *kept, (0x1D, 0, 1, 0), *returns)
    for name in ("kept.bpf", "lost.bpf"):
        run = inside("equiv", "plain.bpf", name, "--arch", "x86_64", cwd=tmp_path)
        assert said(run) == (
            0,
            [f"plain.bpf = {name}: proved for x86_64 (classes and z3)"],
            [],
        )
    run = inside("equiv", "plain.bpf", "other.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert (run.code, run.out.splitlines()[0]) == (1, "plain.bpf = other.bpf: refuted for x86_64")


def test_instructions_of_others_are_listed_by_their_names(tmp_path: Path) -> None:
    others = [(0x07, 0, 0, 0), (0x01, 0, 0, 60), (0x02, 0, 0, 3), (0x44, 0, 0, 0x10)]
    others += [(0x0C, 0, 0, 0), (0x1D, 0, 1, 0), (0x16, 0, 0, 0), (0x06, 0, 0, ALLOW)]
    raw(tmp_path / "a.bpf", LD_NR, *others)
    run = inside("disasm", "a.bpf", "--arch", "x86_64", cwd=tmp_path)
    instructions = [line.split() for line in run.out.splitlines()[1:] if line.startswith(" ")]
    texts = [" ".join(words) for _, *words in instructions]
    assert texts[:6] == ["ld nr", "tax", "ldx #0x3c", "st M[3]", "or 0x10", "add x"]
    assert texts[6:] == ["jeq x else allow", "ret a", "ret allow"]


@pytest.mark.long("runs commands on many filters")
def test_an_argument_that_was_looked_at_is_shown_even_if_it_is_0(tmp_path: Path) -> None:
    refused = (0x06, 0, 0, EPERM)
    raw(tmp_path / "a.bpf", LD_ARG0, (0x15, 0, 1, 0), (0x06, 0, 0, ALLOW), refused)
    raw(tmp_path / "b.bpf", refused)
    run = inside("equiv", "a.bpf", "b.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert run.code == 1
    assert run.err.startswith("a.bpf = b.bpf: nr 0(0) on the unknown architecture 0x00000000: ")


def test_answers_that_no_policy_can_give_are_shown_as_numbers(tmp_path: Path) -> None:
    raw(tmp_path / "a.bpf", (0x06, 0, 0, ALLOW))
    raw(tmp_path / "b.bpf", (0x06, 0, 0, ALLOW + 5))
    run = inside("equiv", "a.bpf", "b.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert run.code == 1
    assert run.err.endswith(": a.bpf says allow, b.bpf says 0x7fff0005\n")


def test_a_filter_that_is_none_is_no_difference(here: Path) -> None:
    run = inside("equiv", "worker.yml", "nowhere.py", cwd=here)
    assert failed(run) == (2, ["cannot read nowhere.py: No such file or directory"])
    raw(here / "plain.bpf", (0x06, 0, 0, ALLOW))
    run = inside("equiv", "worker.yml", "plain.bpf", cwd=here)
    assert failed(run) == (2, ["plain.bpf: say with --arch which ABI these instructions are for"])
