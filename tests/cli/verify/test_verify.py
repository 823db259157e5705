"""``verify`` and ``equiv`` from outside: what is proved, what is not, and what is said of it."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from command import inside, seccompgen
from verify_command import ALLOW, EDITED, EPERM, POLICY, PROVED, RAW, changed, failed, raw, said

if TYPE_CHECKING:
    from pathlib import Path

# --- proved --------------------------------------------------------------------------------------


def test_a_policy_its_module_and_its_raw_programs_are_proved(here: Path) -> None:
    words = ("worker.yml", "worker.py", "./worker.py", "pkg/worker", "pkg/worker/__init__.py")
    run = seccompgen("verify", *words, cwd=here)
    assert said(run) == (
        0,
        [
            f"worker.yml: {PROVED}",
            f"worker.py: {PROVED}, against worker.yml",
            f"pkg/worker: {PROVED}, against worker.yml",
        ],
        [],
    )
    for abi in ("aarch64", "s390x"):
        file = f"worker.{abi}.bpf"
        run = seccompgen("verify", file, "--policy", "worker.yml", "--arch", abi, cwd=here)
        proved = f"{file}: proved for {abi} (classes and z3), against worker.yml"
        assert said(run) == (0, [proved], [])


@pytest.mark.parametrize("method", ["classes", "z3"])
def test_one_abi_by_one_method(here: Path, method: str) -> None:
    run = inside("verify", "worker.py", "--arch", "arm64", "--method", method, cwd=here)
    assert said(run) == (0, [f"worker.py: proved for aarch64 ({method}), against worker.yml"], [])


def test_comments_do_not_count(here: Path) -> None:
    module = here / "worker.py"
    text = re.sub(r'(?m)"  # .*$', '"  # ret  allow', module.read_text())
    assert text != module.read_text()
    module.write_text(text)
    assert inside("verify", "worker.py", cwd=here).code == 0


# --- refuted -------------------------------------------------------------------------------------

REFUTATION = """\
mutant.py: proved for s390x (classes and z3), against worker.yml
mutant.py: refuted for aarch64
  socket(AF_UNIX) on aarch64: policy says allow, program says errno(EPERM)
  policy: by rule 2, worker.yml:7:12
  program: by these instructions
      0  ld   arch
      1  jeq  AUDIT_ARCH_AARCH64      -> aarch64 calls
      3  ld   nr
      4  jeq  198 socket              -> socket
      6  ld   args[0].lo
      7  jeq  1                                                   ; family == AF_UNIX
      8  ret  errno(EPERM)
"""
DIFFERENCE = "socket(AF_UNIX) on aarch64: policy says allow, program says errno(EPERM)"


def test_an_instruction_that_was_changed_is_refuted_by_a_call(here: Path, mutant: str) -> None:
    run = seccompgen("verify", mutant, cwd=here)
    assert run.out == REFUTATION
    assert (run.code, run.err) == (1, f"mutant.py: {DIFFERENCE}\nmutant.py: {EDITED}\n")


def test_a_refutation_in_json(here: Path, mutant: str) -> None:
    run = inside("verify", mutant, "--json", cwd=here)
    assert run.code == 1
    assert json.loads(run.out) == {
        "programs": [
            {
                "file": "mutant.py",
                "abi": "aarch64",
                "policies": ["worker.yml"],
                "report_only": False,
                "result": "refuted",
                "text": DIFFERENCE,
                "call": {
                    "nr": 198,
                    "arch": 0xC00000B7,
                    "instruction_pointer": 0,
                    "args": [1, 0, 0, 0, 0, 0],
                },
                "sides": [
                    {
                        "name": "policy",
                        "ret": ALLOW,
                        "rule": {"label": "rule 2", "position": "worker.yml:7:12"},
                        "path": [],
                    },
                    {
                        "name": "program",
                        "ret": EPERM,
                        "rule": None,
                        "path": [0, 1, 3, 4, 6, 7, 8],
                    },
                ],
                "one_answer": True,
                "indistinguishable": [],
            },
            {
                "file": "mutant.py",
                "abi": "s390x",
                "policies": ["worker.yml"],
                "report_only": False,
                "result": "proved",
                "methods": ["classes", "z3"],
                "assuming": [],
                "one_answer": True,
                "indistinguishable": [],
            },
        ],
        "stale": [f"mutant.py: {EDITED}"],
    }


def test_one_refuted_file_does_not_hide_the_others(here: Path, mutant: str) -> None:
    run = inside("verify", "worker.py", mutant, "worker.yml", cwd=here)
    assert run.code == 1
    told = [line for line in run.out.splitlines() if not line.startswith(" ")]
    assert told == [
        "worker.py: proved for 2 ABIs (classes and z3), against worker.yml",
        *(line for line in REFUTATION.splitlines() if not line.startswith(" ")),
        "worker.yml: proved for 2 ABIs (classes and z3)",
    ]


def test_what_was_edited_elsewhere_is_told_beside_the_proof(here: Path, mutant: str) -> None:
    run = inside("verify", mutant, "--arch", "s390x", cwd=here)
    assert said(run) == (1, [REFUTATION.splitlines()[0]], [f"mutant.py: {EDITED}"])


def test_a_program_that_looks_at_nothing_is_refuted_as_well(here: Path) -> None:
    raw(here / "open.bpf", (0x06, 0, 0, ALLOW))
    options = ("--policy", "worker.yml", "--arch", "aarch64")
    run = inside("verify", "open.bpf", *options, cwd=here)
    assert run.code == 1
    assert run.out.splitlines()[-3:] == [
        "  policy: by default_action, worker.yml:2:17",
        "  program: by these instructions",
        "      0  ret  allow",
    ]


def test_a_program_of_another_abi_is_refuted(here: Path) -> None:
    changed(here / "worker.yml", "[aarch64, s390x]", "[aarch64, x86_64]")
    options = ("--policy", "worker.yml", "--arch", "x86_64")
    run = inside("verify", "worker.aarch64.bpf", *options, cwd=here)
    assert (run.code, run.out.splitlines()[0]) == (1, "worker.aarch64.bpf: refuted for x86_64")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "plain.bpf --policy worker.yml",
            "plain.bpf: say with --arch which ABI these instructions are for",
        ),
        (
            f"{RAW} --arch arm64",
            f"{RAW}: name the policy of these instructions with --policy",
        ),
        (
            f"{RAW} --arch s390x --policy worker.yml",
            f"{RAW}: s390x is big-endian, but these instructions are not: are they for another "
            "ABI?",
        ),
        (
            f"{RAW} --arch x86_64 --policy worker.yml",
            f"{RAW}: worker.yml is not for x86_64: its arches leave that out",
        ),
        (
            "odd.bpf --arch x86_64 --policy worker.yml",
            "odd.bpf: x86_64: 7 bytes are not a whole number of 8-byte instructions",
        ),
        (
            "empty.bpf --arch x86_64 --policy worker.yml",
            "empty.bpf: x86_64: 0 instructions; the kernel takes 1 to 4096",
        ),
        (
            "refused.bpf --arch aarch64 --policy worker.yml",
            "refused.bpf: aarch64: instruction 0: division by zero",
        ),
        ("worker.py --arch x86_64", "worker.py: no program for x86_64"),
        ("worker.yml --arch x86_64", "worker.yml: not for x86_64: its arches leave that out"),
        ("worker.py --arch arm46", "unknown architecture 'arm46' (did you mean 'arm64'?)"),
        (
            "worker.yml --policy worker.yml",
            "worker.yml: is itself a policy; --policy is for .py and .bpf files",
        ),
        (
            "worker.py --policy nowhere.yml",
            "cannot read nowhere.yml: No such file or directory",
        ),
        (
            "--policy worker.yml",
            "--policy needs a FILTER; a project's modules have policies of their own",
        ),
        (
            "",
            "name a policy or a filter: there is no pyproject.toml with [tool.seccompgen] here",
        ),
    ],
)
def test_what_is_not_understood_is_told_with_what_to_do(
    here: Path, words: str, message: str
) -> None:
    (here / "odd.bpf").write_bytes(bytes(7))
    (here / "empty.bpf").touch()
    raw(here / "refused.bpf", (0x34, 0, 0, 0), (0x06, 0, 0, ALLOW))
    raw(here / "plain.bpf", (0x06, 0, 0, ALLOW))  # no test of arch, which would tell the ABI
    assert failed(inside("verify", *words.split(), cwd=here)) == (2, [message])


# --- a project -----------------------------------------------------------------------------------


@pytest.mark.long("runs commands on many filters")
def test_without_files_it_verifies_the_project(here: Path) -> None:
    (here / "pyproject.toml").write_text(
        '[tool.seccompgen]\npolicies = "seccomp"\noutput = "out"\n'
    )
    (here / "seccomp").mkdir()
    shutil.move(here / "pkg", here / "out")
    shutil.move(here / "worker.yml", here / "seccomp")
    module, other = here / "out" / "worker", here / "out" / "other_one"
    proved = f"{module}: {PROVED}, against {here / 'seccomp' / 'worker.yml'}"
    assert said(seccompgen("verify", cwd=here / "seccomp")) == (0, [proved], [])
    # A module that is missing, and one that is stale, do not hide the others.
    (here / "seccomp" / "other-one.yml").write_text(POLICY)
    missing = f"{other}: is missing; seccompgen build writes it"
    assert said(seccompgen("verify", cwd=here)) == (1, [proved], [missing])
    (here / "seccomp" / "worker.yml").write_text(f"{POLICY}\n")
    policy = here / "seccomp" / "worker.yml"
    stale = f"{module}: stale: not made from {policy} as it is now; generate it again"
    run = seccompgen("verify", "--json", cwd=here)
    assert (run.code, run.err.splitlines()) == (1, [missing, stale])
    told = json.loads(run.out)
    assert [(one["abi"], one["result"]) for one in told["programs"]] == [
        ("aarch64", "proved"),
        ("s390x", "proved"),
    ]
    assert told["stale"] == [missing, stale]
    run = seccompgen("verify", "--policy", "seccomp/worker.yml", cwd=here)
    assert (run.code, "--policy needs a FILTER" in run.err) == (2, True)
