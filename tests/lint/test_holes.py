"""Known holes that a filter leaves open: exactly those, through every way to the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shields import shields
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import Finding, Severity
from seccompgen.render.findings import witnesses

from website.shields_page import PAGE, shields_page

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "default_action: allow\nflags: [tsync]\n"
MULTIPLEXED = "- {action: errno, names: [socketcall, ipc], optional: true}\n"
RING = "- {action: errno, names: [io_uring_setup]}\n"
UNSEEN = MULTIPLEXED + RING
RULES = tuple(dict.fromkeys(rule for one in shields() for rule in one.refuse))
AF_ALG = "- {action: errno, names: [socket], when: family == AF_ALG, multiplexed: allow}\n"


def refused(rule: str) -> str:
    call, _, when = rule.partition(" when ")
    condition = f", when: '{when}', multiplexed: allow" if when else ""
    return f"- {{action: errno, names: [{call}], optional: true{condition}}}\n"


def holes(path: Path, rules: str, head: str = HEAD + "arches: [x86_64]\n") -> list[Finding]:
    (path / "policy.yml").write_text(f"{head}syscalls:\n{rules}")
    found = lint_filter(path / "policy.yml", shipped_tables(), holes=True).findings
    return [one for one in found if one.kind.value == "open-hole"]


def about(cve: str, found: list[Finding]) -> list[Finding]:
    return [one for one in found if cve in one.message]


def shown(one: Finding) -> str:
    return witnesses(one, shipped_tables())[0][1]


def test_refusing_each_rule_closes_each_hole_on_every_abi(tmp_path: Path) -> None:
    assert holes(tmp_path, MULTIPLEXED + "".join(map(refused, RULES)), HEAD) == []


@pytest.mark.few(5, "lints a policy of all other rules")
@pytest.mark.parametrize("rule", RULES)
def test_permitting_one_rule_opens_its_holes_alone(tmp_path: Path, rule: str) -> None:
    """But a ring makes the calls that others refuse."""
    arches = "[i386]" if rule.startswith("timerfd_settime64") else "[x86_64]"
    others = "".join(refused(one) for one in RULES if one != rule)
    found = holes(tmp_path, MULTIPLEXED + others, f"{HEAD}arches: {arches}\n")
    own = [one for one in found if one.message.startswith(f"{rule} is permitted:")]
    opened = {one.name for one in shields() if about(next(iter(one.holes)), own)}
    assert opened == {one.name for one in shields() if rule in one.refuse}
    assert (len(found) > len(own)) == (rule == "io_uring_setup")


def test_a_comparison_of_64_bits_leaves_a_hole_open(tmp_path: Path) -> None:
    """Docker's profile of 2026 had it."""
    wide = """\
- action: errno
  names_with_args:
  - {name: socket, arguments: [{argument: 0, operation: Equal, value: AF_ALG, width: 64}]}
"""
    (one,) = about("CVE-2026-31431", holes(tmp_path, UNSEEN + wide))
    assert "in part" in one.message
    assert shown(one) == "socket(AF_ALG|0x100000000) on x86_64: allow"
    assert one.severity is Severity.WARNING
    assert about("CVE-2026-31431", holes(tmp_path, UNSEEN + AF_ALG)) == []


def test_calls_that_make_the_same_unseen_leave_it_open(tmp_path: Path) -> None:
    (one,) = about("CVE-2026-31431", holes(tmp_path, RING + AF_ALG, f"{HEAD}arches: [i386]\n"))
    assert shown(one) == "socketcall(SYS_SOCKET) on i386: allow"
    (one,) = about("CVE-2026-31431", holes(tmp_path, AF_ALG))
    assert shown(one) == "io_uring_setup() on x86_64: allow"


def test_each_abi_of_the_kernel_counts(tmp_path: Path) -> None:
    head = f"{HEAD}arches: [x86_64]\nbad_arch_action: allow\n"
    found = about("CVE-2026-31431", holes(tmp_path, UNSEEN + AF_ALG, head))
    assert {abi for one in found for abi in one.abis} == {"i386", "x32"}
    assert {shown(one) for one in found} == {"socket(AF_ALG) on i386: allow"}


def test_a_hole_that_needs_a_capability_is_a_note_without_user_namespaces(tmp_path: Path) -> None:
    closed = "- {action: errno, names: [unshare, clone, clone3, setns]}\n"
    (one,) = about("CVE-2024-1086", holes(tmp_path, UNSEEN + closed))
    assert one.severity is Severity.NOTE
    assert "with CAP_NET_ADMIN" in one.message
    (one,) = about("CVE-2024-1086", holes(tmp_path, UNSEEN))
    assert one.severity is Severity.WARNING


def test_a_supervisor_decides_for_itself(tmp_path: Path) -> None:
    trace = "- {action: trace(1), names: [mq_notify]}\n"
    assert about("CVE-2017-11176", holes(tmp_path, trace)) == []


def test_the_command_reports_holes_if_asked(tmp_path: Path) -> None:
    policy = tmp_path / "worker.yml"
    policy.write_text(f"{HEAD}arches: [aarch64]\nsyscalls: []\n")
    words = ("lint", policy, "--select", "open-hole")
    assert seccompgen(*words).out == "no findings\n"
    told = seccompgen(*words, "--shields", "--format", "sarif")
    assert told.code == 1
    (run,) = json.loads(told.out)["runs"]
    assert {one["ruleId"] for one in run["results"]} == {"open-hole"}
    first = run["results"][0]["properties"]
    assert first["witness"]["answer"] == "allow"
    assert first["abis"] == ["aarch64"]


def test_the_page_is_made_from_the_table() -> None:
    """``make pages`` writes it."""
    assert PAGE.read_text() == shields_page()
