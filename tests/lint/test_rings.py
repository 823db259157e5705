"""Findings on the section io_uring: what its operations leave open, and only that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.registry import rule

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
CALLS = "exit_group, restart_syscall, rt_sigreturn"
TO_ONE = "{action: allow, names: [CONNECT], when: addr == 10.0.0.1 and port == 80}"
SOCKETS = "{action: allow, names: [SOCKET]}"
BENEATH = "{action: allow, names: [OPENAT2], when: resolve & RESOLVE_BENEATH}"


def policy(
    *operations: str, calls: str = CALLS, rules: str = "", register: str = "'@basic'"
) -> str:
    lines = [
        "arches: [x86_64, aarch64]",
        "flags: []",
        "default_action: errno",
        "syscalls:",
        f"- {{action: allow, names: [{calls}]}}",
        *rules.splitlines(),
        "io_uring:",
        "  default_action: deny",
        f"  register: [{register}]",
        "  operations:",
        "  - {action: allow, names: ['@read']}",
        *(f"  - {one}" for one in operations),
    ]
    return "\n".join([*lines, ""])


def allow(name: str) -> str:
    return f"{{action: allow, names: [{name}]}}"


CASES = {
    "connect to one": (policy(TO_ONE), ""),
    "and sockets": (policy(TO_ONE, SOCKETS), ""),
    "and sends": (policy(TO_ONE, SOCKETS, allow("SEND")), "ring-connect"),
    "and zero-copy sends": (policy(TO_ONE, SOCKETS, allow("SENDMSG_ZC")), "ring-connect"),
    "sends without new sockets": (policy(TO_ONE, allow("SEND")), ""),
    "sockets that are no inet's": (
        policy(TO_ONE, "{action: allow, names: [SOCKET], when: family == AF_UNIX}", allow("SEND")),
        "",
    ),
    "a socket by the call": (
        policy(TO_ONE, allow("SEND"), calls=f"{CALLS}, socket"),
        "ring-connect",
    ),
    "the call connects": (policy(TO_ONE, SOCKETS, calls=f"{CALLS}, connect"), "ring-connect"),
    "the call sends": (policy(TO_ONE, SOCKETS, calls=f"{CALLS}, sendmmsg"), "ring-connect"),
    "the call sends where it is connected": (
        policy(TO_ONE, SOCKETS, rules="- {action: allow, names: [sendto], when: addr == 0}"),
        "",
    ),
    "connect anywhere": (policy(allow("CONNECT"), SOCKETS, allow("SEND")), ""),
    "connect by family": (
        policy(
            "{action: allow, names: [CONNECT], when: family == AF_UNIX}", SOCKETS, allow("SEND")
        ),
        "",
    ),
    "no connect": (policy(SOCKETS, allow("SEND")), ""),
    "beneath": (policy(BENEATH), ""),
    "beneath, by value": (
        policy("{action: allow, names: [OPENAT2], when: resolve == RESOLVE_BENEATH}"),
        "",
    ),
    "beneath, and OPENAT": (policy(BENEATH, allow("OPENAT")), "ring-beneath"),
    "beneath, and chdir": (policy(BENEATH, calls=f"{CALLS}, fchdir"), "ring-beneath"),
    "beneath, and openat": (policy(BENEATH, calls=f"{CALLS}, openat"), "ring-beneath"),
    "anywhere, and chdir": (policy(allow("OPENAT2"), calls=f"{CALLS}, chdir"), ""),
    "beneath or another bit": (
        policy(
            "{action: allow, names: [OPENAT2], when: resolve & (RESOLVE_BENEATH|RESOLVE_CACHED)}",
            calls=f"{CALLS}, chdir",
        ),
        "",
    ),
    "personality": (policy(register="'@basic', PERSONALITY"), "ring-personality"),
    "messages": (policy(allow("MSG_RING")), "ring-messages"),
    "messages without a ring": (policy(register="SEND_MSG_RING"), "ring-messages"),
    "restrictions and filters": (policy(register="'@basic', RESTRICTIONS, BPF_FILTER"), ""),
    "commands": (policy(allow("URING_CMD128")), "ring-commands"),
    "a call refused by rule": (
        policy(allow("MKDIRAT"), rules="- {action: errno(EACCES), names: [mkdir]}"),
        "io-uring-way",
    ),
    "a call refused by rule, and its operation": (
        policy(rules="- {action: errno(EACCES), names: [mkdir]}"),
        "",
    ),
    "a call refused by default": (policy(allow("MKDIRAT")), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_found(tmp_path: Path, case: str) -> None:
    text, expected = CASES[case]
    (tmp_path / "ring.yml").write_text(text)
    found = lint_filter(tmp_path / "ring.yml", TABLES).findings
    codes = (one.kind.value for one in found)
    assert " ".join(one for one in codes if "ring" in one) == expected
    assert all(one.position and {*one.abis} >= {"x86_64"} for one in found)


def test_a_section_leaves_no_other_thread_to_confine(tmp_path: Path) -> None:
    text = policy().replace("flags: []\n", "")
    (tmp_path / "ring.yml").write_text(text)
    codes = [one.kind.value for one in lint_filter(tmp_path / "ring.yml", TABLES).findings]
    assert "no-tsync" not in codes
    (tmp_path / "ring.yml").write_text(text.partition("io_uring:")[0])
    codes = [one.kind.value for one in lint_filter(tmp_path / "ring.yml", TABLES).findings]
    assert "no-tsync" in codes


def test_operations_that_mirror_the_calls_are_no_other_way(tmp_path: Path) -> None:
    rules = (
        "- {action: errno(EACCES), names: [open]}\n- {action: allow, names_with_args: "
        "[{name: openat, when: not flags & O_ACCMODE}]}"
    )
    text = policy(rules=rules).replace("register:", "mirror: true\n  register:")
    (tmp_path / "ring.yml").write_text(text)
    assert inside("explain", "ring.yml", "io_uring", "OPENAT", cwd=tmp_path).out.count("mirror of")
    found = lint_filter(tmp_path / "ring.yml", TABLES).findings
    assert not any("ring" in one.kind.value for one in found)


def test_a_condition_on_the_operation_makes_it_a_note(tmp_path: Path) -> None:
    text = policy(TO_ONE, rules="- {action: errno(EACCES), names: [connect]}")
    (tmp_path / "ring.yml").write_text(text)
    run = inside("lint", "ring.yml", cwd=tmp_path)
    said = "connect is refused, but rings may do CONNECT under a condition, which is the same"
    assert f"ring.yml:12:5: note: {said}" in run.out


def test_a_module_with_a_section_is_no_ring_without_one(tmp_path: Path) -> None:
    text = policy(allow("MSG_RING"), rules="- {action: errno(EACCES), names: [mkdir]}")
    (tmp_path / "ring.yml").write_text(text)
    assert inside("build", "ring.yml", "-o", ".", cwd=tmp_path).code == 0
    found = lint_filter(tmp_path / "ring", TABLES).findings
    assert {one.kind.value for one in found} == {"ring-messages"}
    (tmp_path / "ring.yml").write_text(text.replace("MSG_RING", "MKDIRAT"))
    assert inside("build", "ring.yml", "-o", ".", cwd=tmp_path).code == 0
    found = lint_filter(tmp_path / "ring", TABLES).findings
    assert {one.kind.value for one in found} == {"io-uring-way"}


def test_the_example_of_the_page_leaves_nothing_open(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "io-uring.md").read_text()
    text = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "ring.yml").write_text(text)
    found = {one.kind.value for one in lint_filter(tmp_path / "ring.yml", TABLES).findings}
    assert not {one for one in found if "ring" in one}


def test_calls_of_rings_without_a_section_are_those_of_operations() -> None:
    known = {call for one in ring_numbers().operations.values() for call in one.calls}
    assert {one.call for one in rule("io-uring-way").bypasses[0].calls} <= known
