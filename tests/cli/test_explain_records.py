"""``explain --audit`` on what kernels, auditd, journald and systemd really wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command import ROOT, inside
from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.explainer import Explainer
from seccompgen.formats.audit.core_dump import _signal
from seccompgen.pipeline.build import shipped_tables

DATA = ROOT / "tests" / "data" / "audit"
CASES: list[dict[str, Any]] = json.loads((DATA / "cases.json").read_text())
KILLS = {"kill_process", "kill_thread"}


def records(log: str, policy: str) -> list[dict[str, Any]]:
    """Return what is told of each record of a log, in its order."""
    words = ("explain", "--audit", "--follow", log, policy, "--json")
    run = inside(*words, cwd=DATA)
    assert (run.code, run.err) == (0, "")
    told = [json.loads(line) for line in run.out.splitlines()]
    return [one for one in told if "syscall" in one]


@pytest.mark.few(1, "runs commands on many filters")
@pytest.mark.parametrize("log", ["dmesg.txt", "audit.log", "ausearch.txt", "ausearch-i.txt"])
def test_each_record_comes_back_as_the_rule_that_refused(log: str) -> None:
    told = {policy: records(log, policy) for policy in ("refused.yml", "refused.conf")}
    assert {len(one) for one in told.values()} == {len(CASES)}
    for n, case in enumerate(CASES):
        one = told[case["source"]][n]
        assert (one["abi"], one["syscall"]) == (case["abi"], case["call"]), case
        kind = case["action"].partition("(")[0]
        assert one["recorded"] == kind or (one["recorded"] == "kill" and kind in KILLS)
        assert one["other_filter"] is None, case
        rules = {rule["rule"]["line"]: rule for rule in one["rules"]}
        if case["line"]:
            assert rules[case["line"]]["action"] == case["action"]
            assert len(rules) == (2 if case["call"] == "personality" else 1)
        else:
            assert {rule["rule"]["label"] for rule in one["rules"]} == {"bad_arch_action"}
        if (case["call"], kind) == ("getpid", "kill_thread"):
            assert told["refused.yml"][n]["other_filter"] == "this one answers allow"


def test_two_logs_of_one_event_count_once() -> None:
    """The journal has what the kernel printed, and what the audit subsystem sent."""
    run = inside("explain", "--audit", "journal.json", "refused.yml", "--json", cwd=DATA)
    told = json.loads(run.out)
    assert (run.code, told["records"], told["unread"]) == (0, 2 * len(CASES), [])
    assert len(told["deaths"]) > 10


@pytest.mark.parametrize(
    ("log", "deaths"),
    [("status.txt", 2), ("coredumpctl-list.txt", 7), ("coredumpctl-info.txt", 2)],
)
def test_what_systemd_shows_tells_of_deaths_alone(log: str, deaths: int) -> None:
    run = inside("explain", "--audit", log, "refused.yml", "--json", cwd=DATA)
    told = json.loads(run.out)
    assert (run.code, told["calls"], len(told["deaths"])) == (0, [], deaths)


def test_the_siginfo_of_real_core_dumps() -> None:
    notes: dict[str, str] = json.loads((DATA / "core-siginfo.json").read_text())
    tables = shipped_tables()
    for case in CASES:
        if case["name"] in notes:
            content = bytes.fromhex(notes.pop(case["name"]))
            found = _signal(content, "<", wide=True, mips=False)
            abi = ABIS[case["abi"]]
            assert found.audit_arch == abi.audit_arch
            assert found.nr == tables.tables[abi.name].numbers[case["call"]]
    assert not notes


def test_the_policy_answers_as_it_was_recorded() -> None:
    """The explanation of a call with its arguments is what the kernel did."""
    for case in CASES:
        abi = ABIS[case["abi"]]
        explainer = Explainer(DATA / case["source"], shipped_tables(), [abi])
        told = explainer.explain([case["call"], *map(str, case["arguments"])])
        actions = {
            one.action for group in told.groups for call in group.calls for one in call.cases
        }
        assert actions == {case["action"]}, case


RULES = {
    "mkdirat": (9, "kill_process"), "unlinkat": (11, "kill_thread"), "symlinkat": (13, "trap"),
    "linkat": (15, "errno"), "fchmodat": (17, "log"), "renameat2": (19, "trace"),
    "personality": (22, "errno"),
}  # fmt: skip
"""The calls of each kernel, with the line of the rule that answered, and the action."""


@pytest.mark.long("runs commands on many filters")
def test_records_of_kernels_of_eight_architectures() -> None:
    kernels = [
        line[2:] for line in (DATA / "kernels.txt").read_text().splitlines() if line[:1] == "#"
    ]
    abis = [name.partition("-")[0] for name in kernels]
    told = records("kernels.txt", "kernels.yml")
    calls = [*RULES, "personality"]
    assert [one["abi"] for one in told] == [abi for abi in abis for _ in calls]
    assert [one["syscall"] for one in told] == calls * len(abis)
    assert len(set(abis)) == 8
    for one in told:
        line, action = RULES[one["syscall"]]
        assert (one["recorded"], one["other_filter"]) == (action, None)
        assert min(rule["rule"]["line"] for rule in one["rules"]) == line
