"""Report-only filters: the enforced program with log for each refusal, in every form."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from interpreter import run, seccomp_data
from seccompgen.core.errors import InputError
from seccompgen.core.model import ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.program import RET_K
from seccompgen.pipeline.build import build_policy, shipped_tables
from seccompgen.pipeline.files import filter_files
from seccompgen.pipeline.reporting import report_only_filters

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.built import Built
    from seccompgen.core.program import CompiledProgram

TABLES = shipped_tables()
GO_FILE = "worker_report_only/install_linux.go"
EVERYTHING = """\
arches: [x86_64, s390x]
compat_arches: [i386]
default_action: errno(EPERM)
unknown_action: errno(ENOSYS)
bad_arch_action: kill_process
syscalls:
- {action: allow, names: [read, write, exit_group]}
- {action: log, names: [chmod]}
- {action: errno(0), names: [tgkill], when: sig == SIGINT}
- {action: trap(7), names: [mkdir]}
- {action: trace(9), names: [rename]}
- {action: kill_thread, names: [rmdir]}
- {action: allow, names: [mprotect], when: not prot & PROT_EXEC}
"""
PLAIN = """\
arches: [x86_64]
default_action: errno(EPERM)
unknown_action: UNKNOWN
bad_arch_action: BAD
syscalls:
- {action: allow, names: [read, write, execve, exit_group]}
"""


def built(place: Path, text: str) -> Built:
    (place / "worker.yml").write_text(text)
    return build_policy(place / "worker.yml", TABLES)


def test_only_refusals_differ(tmp_path: Path) -> None:
    enforced = built(tmp_path, EVERYTHING)
    (reports,) = report_only_filters([enforced], TABLES)
    assert reports.policy.name == "worker_report_only"
    for one, other in zip(enforced.programs, reports.programs, strict=True):
        assert {*other.actions} == {ActionKind.LOG.value, ActionKind.ALLOW.value}
        pairs = zip(one.instructions, other.instructions, strict=True)
        differ = [pair for pair in pairs if pair[0] != pair[1]]
        assert differ
        for before, after in differ:
            assert before.code == RET_K
            assert after == replace(before, k=ActionKind.LOG.value)
        answers = {answered(one, other, seed) for seed in range(400)}
        allow, log = ActionKind.ALLOW, ActionKind.LOG
        assert answers == {(True, allow), (True, log), (False, log)}


def answered(one: CompiledProgram, other: CompiledProgram, seed: int) -> tuple[bool, ActionKind]:
    """Return if a call by chance is made under the first, and what the second answers."""
    draw = random.Random(seed)
    arch = draw.choice([one.abi.audit_arch, one.abi.audit_arch, 0x40000003, 5])
    numbers = TABLES.tables[one.abi.name].numbers
    named = [numbers[name] for name in ("read", "chmod", "tgkill", "mkdir", "mprotect")]
    nr = draw.choice([*named, draw.randrange(500), 0x40000000 + draw.randrange(500)])
    args = [draw.choice([0, 2, 4]) for _ in range(6)]
    data = seccomp_data(nr, arch, args, byte_order=one.abi.byte_order)
    first, second = (run(p.to_bytes(), data, p.abi.byte_order).value for p in (one, other))
    return ActionKind(first & 0xFFFF0000).lets_through, ActionKind(second & 0xFFFF0000)


@pytest.mark.parametrize(
    ("action", "flags"), [("user_notif", "[new_listener]"), ("trap", "[new_listener]")]
)
def test_a_supervisor_cannot_be_left_out(tmp_path: Path, action: str, flags: str) -> None:
    text = PLAIN.replace("UNKNOWN", "errno(ENOSYS)").replace("BAD", "kill_process")
    text += f"- {{action: {action}, names: [openat]}}\nflags: {flags}\n"
    with pytest.raises(InputError) as caught:
        report_only_filters([built(tmp_path, text)], TABLES)
    found = caught.value.diagnostics
    assert {one.kind for one in found} == {Problem.NOT_REPORT_ONLY}
    assert len(found) == 1 + (action == "user_notif")


@pytest.mark.parametrize(
    ("form", "unknown", "bad", "name", "says"),
    [
        ("bpf", "errno(ENOSYS)", "kill_process", "worker_report_only.x86_64.bpf", b""),
        ("c", "errno(ENOSYS)", "kill_process", "worker_report_only.h", b"_REPORT_ONLY 1"),
        ("rust", "errno(ENOSYS)", "kill_process", "worker_report_only.rs", b"REPORT_ONLY: bool"),
        ("go", "errno(ENOSYS)", "kill_thread", GO_FILE, b"ReportOnly"),
        ("oci", "errno(EPERM)", "kill_thread", "worker_report_only.x86_64.json", b"SCMP_ACT_LOG"),
        ("spo", "errno(EPERM)", "kill_thread", "worker_report_only.x86_64.yml", b"SCMP_ACT_LOG"),
        ("seccompiler", "errno(EPERM)", "kill_process", "worker_report_only.x86_64.json", b'"log"'),
        ("systemd", "errno(ENOSYS)", "kill_thread", "worker_report_only.conf", b"SystemCallLog=~"),
    ],
)  # fmt: skip
def test_every_form_is_named_for_it(
    tmp_path: Path, form: str, unknown: str, bad: str, name: str, says: bytes
) -> None:
    text = PLAIN.replace("UNKNOWN", unknown).replace("BAD", bad)
    reports = report_only_filters([built(tmp_path, text)], TABLES, form)
    files = filter_files(reports, TABLES, tmp_path, form)
    assert all("worker_report_only" in str(path) for path in files)
    content = files[tmp_path / name]
    assert says in content
    if form not in {"bpf", "seccompiler", "spo", "oci"}:
        assert b"REPORT ONLY" in content
    noted = [one for one in reports[0].notes if one.kind is Problem.REPORT_ONLY]
    assert bool(noted) is (form in {"oci", "spo", "seccompiler", "systemd"})


def test_a_drop_in_leaves_alone_what_the_unit_refuses(tmp_path: Path) -> None:
    text = PLAIN.replace("UNKNOWN", "errno(ENOSYS)").replace("BAD", "kill_thread")
    reports = report_only_filters([built(tmp_path, text)], TABLES, "systemd")
    (content,) = filter_files(reports, TABLES, tmp_path, "systemd").values()
    settings = [line.partition("=")[0] for line in content.decode().splitlines()[2:]]
    assert {*settings} == {"SystemCallLog"}


def test_minijail_logs_nothing(tmp_path: Path) -> None:
    text = PLAIN.replace("UNKNOWN", "kill_process").replace("BAD", "kill_process")
    with pytest.raises(InputError, match="logs nothing"):
        report_only_filters([built(tmp_path, text)], TABLES, "minijail")
