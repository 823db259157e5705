"""Calls of newer kernels that a filter kills by its default: one note, with their releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen import compile  # noqa: A004 - its name there
from seccompgen.core.errors import InputError
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import Severity
from seccompgen.lint.companions import shipped_companions
from seccompgen.lint.upgrade import upgrade_of

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

NAMES = "names: [read, write, exit_group, rt_sigreturn, restart_syscall]"


def found(
    place: Path, head: str, before: str | None = "linux:6.10", after: str = "linux:6.12"
) -> list[Finding]:
    path = place / "policy.yml"
    arches = "" if "arches" in head else "arches: [x86_64]\n"
    path.write_text(f"{arches}{head}\nsyscalls:\n- {{action: allow, {NAMES}}}\n")
    upgrade = upgrade_of(before, after)
    report = lint_filter(path, shipped_tables(), upgrade=upgrade)
    return [one for one in report.findings if one.kind.value == "newer-kernel"]


@pytest.mark.parametrize(
    ("action", "verb"),
    [("kill_process", "kills"), ("kill_thread", "kills"), ("trap", "traps")],
)
def test_it_is_one_note_with_each_call_and_its_release(
    action: str, verb: str, tmp_path: Path
) -> None:
    (one,) = found(tmp_path, f"default_action: {action}")
    assert one.message == (
        f"Linux 6.10 lacks a call that Linux 6.12 has and this filter {verb}: 6.11 uretprobe"
    )
    assert one.severity is Severity.NOTE
    assert one.fix.startswith("set `kernel: v6.10`, so that they get ENOSYS")
    assert one.witness is not None
    assert one.position is not None
    assert one.witness.ret & 0x7FFF_0000 in {0, 0x3_0000}


def test_the_fix_mends_it(tmp_path: Path) -> None:
    assert found(tmp_path, "default_action: kill_process\nkernel: v6.10") == []
    (later,) = found(tmp_path, "default_action: kill_process\nkernel: v6.11", "linux:6.9")
    assert "6.10 mseal; 6.11 uretprobe" in later.message


@pytest.mark.parametrize("action", ["errno(EPERM)", "errno(ENOSYS)", "allow", "log"])
def test_who_survives_is_told_nothing(action: str, tmp_path: Path) -> None:
    assert found(tmp_path, f"default_action: {action}\nunknown_action: kill_process") == []


def test_what_a_rule_kills_is_meant(tmp_path: Path) -> None:
    rules = "default_action: kill_process\nsyscalls:\n- {action: kill_process, names: [uretprobe]}"
    path = tmp_path / "named.yml"
    path.write_text(f"arches: [x86_64]\n{rules}\n- {{action: allow, {NAMES}}}\n")
    upgrade = upgrade_of("linux:6.10", "linux:6.12")
    findings = lint_filter(path, shipped_tables(), upgrade=upgrade).findings
    assert "newer-kernel" not in {one.kind.value for one in findings}


def test_a_program_is_asked_as_a_policy_is(tmp_path: Path) -> None:
    (one,) = found(tmp_path, "default_action: kill_process")
    program = tmp_path / "program.bpf"
    program.write_bytes(compile(tmp_path / "policy.yml", "x86_64").to_bytes())
    upgrade = upgrade_of("linux:6.10", "linux:6.12")
    findings = lint_filter(program, shipped_tables(), upgrade=upgrade).findings
    assert one.message in {each.message for each in findings}


def test_a_base_has_its_kernel_and_a_library_has_none(tmp_path: Path) -> None:
    default = "default_action: kill_process"
    (between,) = found(tmp_path, default, "debian:12", "debian:13")
    kernels = [shipped_companions().base(f"debian:{n}")["linux"] for n in (12, 13)]
    assert between.message.startswith("Linux {} lacks 13 calls that Linux {} has".format(*kernels))
    assert found(tmp_path, default, "glibc:2.31", "glibc:2.43") == []
    (newest,) = found(tmp_path, default, None, "newest")
    assert newest.message.startswith("Linux 5.10 lacks 34 calls that later ones have")
    assert newest.message.endswith("; 7.3 fchroot")


def test_all_that_is_told_is_newer_and_all_that_is_newer_is_told(tmp_path: Path) -> None:
    tables = shipped_tables()
    since = tables.since.calls["aarch64"]
    (one,) = found(
        tmp_path, "default_action: kill_process\narches: [aarch64]", "linux:5.15", "linux:7.0"
    )
    told = {
        call: part.split()[0]
        for part in one.message.partition(": ")[2].split("; ")
        for call in part.partition(" ")[2].split(", ")
    }
    by_hand = {
        call: str(age)
        for call, age in since.items()
        if (5, 15) < (age.latest.major, age.latest.minor) <= (7, 0)
    }
    assert told == by_hand
    assert len(told) > 20


def test_calls_that_a_later_abi_began_with_are_old(tmp_path: Path) -> None:
    """Of loongarch64, which came with Linux 5.19, `read` is no new call."""
    (one,) = found(
        tmp_path, "default_action: kill_process\narches: [loongarch64]", "linux:5.18", "linux:6.5"
    )
    assert one.message.endswith("Linux 6.5 has and this filter kills: 6.5 cachestat")


def test_a_release_that_is_none_is_told_with_its_option() -> None:
    with pytest.raises(InputError, match=r"--from: 'x' is not a Linux release"):
        upgrade_of("linux:x", "newest")
    with pytest.raises(InputError, match=r"nothing in linux:6\.1 is newer than in linux:6\.12"):
        upgrade_of("linux:6.12", "linux:6.1")
