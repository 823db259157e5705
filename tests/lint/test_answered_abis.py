"""What is refused through one ABI that a filter answers for, and permitted through another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from running_kernel import IS_X86_64, i386_call, install_raw, run, syscall
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import Severity
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

OURS = 1234
"""An errno that no call gives by itself."""
POLICY = f"""\
default_action: allow
arches: [x86_64]
compat_arches: [{{others}}]
syscalls:
- {{{{action: errno, names: [acct]}}}}
- {{{{action: errno({OURS}), arches: [{{abi}}], names: [{{names}}]}}}}
"""


def differing(path: Path, form: str, abi: str, others: str, names: str) -> list[Finding]:
    path.write_text(POLICY.format(others=others, abi=abi, names=names))
    return [one for one in findings(path, form) if one.kind.value == "foreign-abi"]


@pytest.mark.parametrize("form", FORMS)
def test_a_rule_for_one_abi_alone(tmp_path: Path, form: str) -> None:
    names = "ptrace, swapon, swapoff, sethostname, reboot"
    found = differing(tmp_path / "policy.yml", form, "x86_64", "i386, x32", names)
    assert {one.abis for one in found} == {("i386",), ("x32",)}
    for one in found:
        assert one.severity is Severity.WARNING
        # Nobody knows of a program if it answers for x32, which has the audit value of x86_64.
        told = "ptrace, swapon, swapoff, reboot and 1 more are permitted through"
        guessed = form == "program" and one.abis == ("x32",)
        assert one.message.startswith("ptrace is refused through" if guessed else told)
        assert one.witness
        assert one.beside
        assert (one.witness.ret, one.beside.ret) == (0x7FFF0000, 0x50000 | OURS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("abi", "others", "names"),
    [
        ("i386", "i386", "modify_ldt"),  # for faults that the kernel has there alone
        ("x86_64, i386", "i386", "ptrace"),
        ("x86_64", "i386", "newfstatat"),
    ],
)
def test_what_is_refused_through_all_of_them(
    tmp_path: Path, form: str, abi: str, others: str, names: str
) -> None:
    found = differing(tmp_path / "policy.yml", form, abi, others, names)
    assert [one.severity for one in found if one.severity is not Severity.NOTE] == []


@pytest.mark.parametrize(
    ("name", "when", "shown"),
    [
        ("mmap", "prot & PROT_EXEC", "mmap2, mmap"),
        ("socket", "family == AF_INET", "socketcall, socket"),
    ],
)
def test_another_call_that_does_the_same_there(
    tmp_path: Path, name: str, when: str, shown: str
) -> None:
    path = tmp_path / "policy.yml"
    text = (
        "default_action: allow\narches: [x86_64]\ncompat_arches: [i386]\nmultiplexed: allow\n"
        f"syscalls:\n- {{action: errno, arches: [x86_64], names: [{name}], when: {when}}}\n"
    )
    path.write_text(text)
    (found,) = (one for one in findings(path, tables=shipped_tables()) if one.abis == ("i386",))
    assert found.message.startswith(f"{shown} are permitted through i386")


@pytest.mark.parametrize(("when", "bad"), [("", True), (", when: family == AF_INET6", False)])
def test_calls_that_are_refused_in_part(tmp_path: Path, when: str, *, bad: bool) -> None:
    """What has conditions through both ABIs, with whatever values, is left to its author."""
    path = tmp_path / "policy.yml"
    path.write_text(
        "default_action: allow\narches: [x86_64]\ncompat_arches: [i386]\nmultiplexed: errno\n"
        f"syscalls:\n- {{action: errno, arches: [x86_64], names: [socket]{when}}}\n"
        "- {action: errno, arches: [i386], names: [socket], when: family == AF_INET}\n"
    )
    found = [one for one in findings(path, tables=shipped_tables()) if one.abis == ("i386",)]
    assert ("foreign-abi" in {one.kind.value for one in found}) is bad


def test_another_call_is_told_of_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(
        "default_action: allow\narches: [x86_64]\ncompat_arches: [i386]\nmultiplexed: allow\n"
        "syscalls:\n- {action: errno, names: [socket], when: family == AF_INET}\n"
    )
    found = [one for one in findings(path, tables=shipped_tables()) if one.abis == ("i386",)]
    assert [one.kind.value for one in found] == ["multiplexed-way"]


def test_calls_of_each_abi_without_another_meaning(tmp_path: Path) -> None:
    """An allowlist that names calls for one ABI, as libraries there need them, is none."""
    path = tmp_path / "policy.yml"
    path.write_text(
        "default_action: errno\narches: [x86_64]\ncompat_arches: [i386]\nsyscalls:\n"
        "- {action: allow, names: [exit_group, rt_sigreturn, read, openat]}\n"
        "- {action: allow, arches: [i386], names: [open, socketcall]}\n"
        "- {action: errno(ENOSYS), arches: [x86_64], names: [statx]}\n"
    )
    assert [one for one in findings(path) if one.kind.value == "foreign-abi"] == []


def test_the_kernel_makes_them(tmp_path: Path) -> None:
    if not IS_X86_64:
        pytest.skip("needs a 64-bit Python on Linux x86_64")
    i386 = i386_call()
    path = tmp_path / "policy.yml"
    (found,) = differing(path, "policy", "x86_64", "i386", "getpgid")
    (program,) = build_policy(path, shipped_tables()).programs
    assert found.witness
    assert found.beside
    native, other = found.beside.call, found.witness.call

    def made() -> list[bool]:
        install_raw(program.to_bytes())
        return [syscall(native.nr, *native.args) == (-1, OURS), i386(other.nr, *other.args) > 0]

    assert run(made).value == [True, True]
