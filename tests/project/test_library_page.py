"""The library's page: its examples do what they show; no name of go-seccomp-bpf is missing."""

from __future__ import annotations

import contextlib
import doctest
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import seccompgen
from command import ROOT
from running_kernel import IS_X86_64

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "library.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
GO = {
    "seccomp": """
        Action Action.MarshalText Action.String Action.Unpack ActionAllow ActionErrno
        ActionKillProcess ActionKillThread ActionLog ActionTrace ActionTrap ArgumentConditions
        ArgumentConditions.Validate BitsNotSet BitsSet Condition Condition.Argument
        Condition.Operation Condition.Value Equal Filter Filter.Flag Filter.NoNewPrivs Filter.Policy
        FilterFlag FilterFlag.MarshalText FilterFlag.String FilterFlagLog FilterFlagTSync
        GreaterOrEqual GreaterThan Index Jump Label LessOrEqual LessThan LoadFilter
        NameWithConditions NameWithConditions.Conditions NameWithConditions.Name NewProgram NotEqual
        Operation Operation.Unpack Operations Policy Policy.Assemble Policy.DefaultAction
        Policy.Dump
        Policy.Syscalls Policy.Validate Program Program.Assemble Program.JmpIf Program.JmpIfTrue
        Program.LdHi Program.LdLo Program.NewLabel Program.Ret Program.SetLabel SetNoNewPrivs
        Supported SyscallGroup SyscallGroup.Action SyscallGroup.Assemble SyscallGroup.Names
        SyscallGroup.NamesWithCondtions SyscallWithConditions SyscallWithConditions.Assemble
        SyscallWithConditions.Conditions SyscallWithConditions.Num
    """,
    "arch": """
        AARCH64 ARM AuditArch AuditArch.String GetInfo I386 Info Info.ID Info.Name Info.SeccompMask
        Info.SyscallNames Info.SyscallNumbers LOONGARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64
        MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X X32 X86_64
    """,
}
"""What the packages of go-seccomp-bpf export, after v1.4.0."""


def rows(package: str) -> list[list[str]]:
    _, _, table = PAGE.partition(f"| package `{package}` |")
    lines = table.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("page", "least"), [("docs/library.md", 30), ("docs/tour.md", 5)])
def test_the_examples_do_what_they_show(page: str, least: int, tmp_path: Path) -> None:
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```python\n(>>>.*?)^```", text, re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("".join(blocks), {}, page, page, 0)
    assert len(examples.examples) > least
    told: list[str] = []
    with contextlib.chdir(tmp_path):
        doctest.DocTestRunner().run(examples, out=told.append)
    assert not told, "".join(told)


@pytest.mark.skipif(not IS_X86_64, reason="asks this machine's kernel")
def test_the_filter_shown_is_in_force() -> None:
    (code,) = [block for block in BLOCKS if ".install()" in block]
    code += "import subprocess\ntry:\n    subprocess.run(['true'])\nexcept PermissionError:\n"
    code += "    print('refused')\n"
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout == "refused\n"


@pytest.mark.parametrize("package", GO)
def test_every_name_of_the_model_is_there(package: str) -> None:
    named = [name for row in rows(package) for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(named) == sorted(GO[package].split())


@pytest.mark.parametrize("package", GO)
def test_every_name_given_instead_exists(package: str) -> None:
    names = {name: getattr(seccompgen, name) for name in seccompgen.__all__}
    for row in rows(package):
        for expression in re.findall(r"`([^`]+)`", row[1]):
            head, _, field = expression.partition(".")
            fields = getattr(names.get(head), "__dataclass_fields__", {})
            assert field in fields or eval(expression, names) is not None, expression


def test_the_page_names_all_that_is_exported() -> None:
    told = PAGE + (ROOT / "docs" / "policy.md").read_text()
    unsaid = {
        *("ActionKind", "CompiledProgram", "Diagnostic", "Difference", "Instruction", "Method"),
        *("Objective", "Optimize", "Position", "Profile", "Proof", "SeccompError", "Tables"),
        *("SeccompgenError", "Verdict"),
    }
    for name in {*seccompgen.__all__} - unsaid:
        assert name in told, name
