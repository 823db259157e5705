"""Checks of what ``explain --audit`` tells of records like those in tests/data/audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from command import ROOT, inside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DATA = ROOT / "tests" / "data" / "audit"
_CALLS = (
    *(("mkdirat", "kill_process", 9), ("unlinkat", "kill_thread", 11), ("symlinkat", "trap", 13)),
    *(("linkat", "errno", 15), ("fchmodat", "log", 17), ("renameat2", "trace", 19)),
    *(("personality", "errno", 22), ("personality", "errno", 25)),
)
"""The calls of kernels.txt in their order, and answer and line of the rule in kernels.yml."""


def told(log: str, place: Path, policy: str) -> list[dict[str, Any]]:
    """Return what is told of each record of a log, whose text a file in ``place`` gets."""
    (place / "kept.log").write_text(log)
    words = ("explain", "--audit", "--follow", "kept.log", str(DATA / policy), "--json")
    run = inside(*words, cwd=place)
    assert (run.code, run.err) == (0, "")
    events = [json.loads(line) for line in run.out.splitlines()]
    return [one for one in events if "syscall" in one]


def assert_kernel_told(lines: Sequence[str], abi: str, place: Path) -> None:
    """Check what is told of the lines that a kernel logged of the calls of kernels.txt."""
    found = told("\n".join([*lines, ""]), place, "kernels.yml")
    assert [(one["abi"], one["syscall"], one["recorded"]) for one in found] == [
        (abi, call, answer) for call, answer, _ in _CALLS
    ]
    for one, (_, _, line) in zip(found, _CALLS, strict=True):
        assert line in {rule["rule"]["line"] for rule in one["rules"]}
        assert one["other_filter"] is None


def assert_cases_told(log: str, place: Path) -> None:
    """Check what is told of a log that has a record of each of cases.json, in their order."""
    cases: list[dict[str, Any]] = json.loads((DATA / "cases.json").read_text())
    by_policy = {name: told(log, place, name) for name in ("refused.yml", "refused.conf")}
    assert {len(found) for found in by_policy.values()} == {len(cases)}
    for n, case in enumerate(cases):
        one = by_policy[case["source"]][n]
        assert (one["abi"], one["syscall"]) == (case["abi"], case["call"])
        assert one["other_filter"] is None
        if case["line"]:
            assert case["line"] in {rule["rule"]["line"] for rule in one["rules"]}
        else:
            assert {rule["rule"]["label"] for rule in one["rules"]} == {"bad_arch_action"}
