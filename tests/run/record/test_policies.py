"""Policies from recordings: conditions, what a run brings with it, merged policies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from command import seccompgen
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_policies import (
    ALLOW,
    EPERM,
    HARMLESS,
    MARKER,
    TABLES,
    answer,
    load,
    python,
    recorded,
    written,
)
from recording import calls, confined, record, run
from running_kernel import require_x86_64
from seccompgen.core.abis import ABIS
from seccompgen.core.facts import NO_FACTS, Facts
from seccompgen.policy.implied import SIGCHLD, SIGPIPE, RunFacts, implied
from seccompgen.run.record.constrainable import MOST_VALUES, constrainable_argument
from seccompgen.run.record.exact_calls import allowed_by, merge
from seccompgen.run.record.known import known_policy
from seccompgen.run.record.seen import CallKeys

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()


# Arguments


def test_values_are_listed_and_other_ones_refused(tmp_path: Path) -> None:
    made = written(tmp_path, recorded("x86_64", socket=[{0: 1}, {0: 10}]))
    assert [answer(made, "socket", family) for family in (1, 10, 2)] == [ALLOW, ALLOW, EPERM]
    # The kernel reads an int: what the high half holds makes no difference.
    assert answer(made, "socket", 1 << 32 | 10) == ALLOW


def test_protections_never_mix(tmp_path: Path) -> None:
    read, write, execute = 1, 2, 4
    made = written(tmp_path, recorded("x86_64", mmap=[{2: 3}, {2: 5}, {2: 0}]))
    assert answer(made, "mmap", 0, 0, write) == ALLOW
    assert answer(made, "mmap", 0, 0, read | execute) == ALLOW
    assert answer(made, "mmap", 0, 0, write | execute) == EPERM
    assert answer(made, "mmap", 0, 0, 1 << 40) == EPERM


def test_a_part_of_what_was_seen_needs_no_rule(tmp_path: Path) -> None:
    made = written(tmp_path, recorded("x86_64", mprotect=[{2: 1}, {2: 0}, {2: 3}, {2: 5}]))
    assert len([rule for rule in made.rules if rule.name == "mprotect"]) == 2


@pytest.mark.long("records programs, and runs them under the result")
def test_too_many_values_say_nothing(tmp_path: Path) -> None:
    values = [{1: request} for request in range(MOST_VALUES + 1)]
    made = written(tmp_path, recorded("x86_64", ioctl=values, read=[{}]))
    assert answer(made, "ioctl", 0, 0xDEAD) == ALLOW
    fewer = written(tmp_path, recorded("x86_64", ioctl=values[:-1]))
    assert answer(fewer, "ioctl", 0, 0xDEAD) == EPERM


def test_an_argument_that_is_something_else_on_an_abi_is_left_alone(tmp_path: Path) -> None:
    """On i386 mmap takes one pointer to all of its arguments."""
    made = written(tmp_path, recorded("i386", mmap=[{2: 0}]), recorded("x86_64", mmap=[{2: 1}]))
    assert answer(made, "mmap", 0, 0, 7) == ALLOW


@pytest.mark.long("records programs, and runs them under the result")
@settings(max_examples=25)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "mprotect": st.lists(st.integers(0, 15), min_size=1, max_size=6),
                "ioctl": st.lists(st.integers(0, 6), min_size=1, max_size=6),
            }
        ),
        min_size=1,
        max_size=3,
    )
)
def test_merged_runs_allow_what_each_did_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, runs: list[dict[str, list[int]]]
) -> None:
    directory = tmp_path_factory.mktemp("merged")
    made = written(
        directory,
        *(
            recorded(
                "x86_64",
                mprotect=[{2: value} for value in one["mprotect"]],
                ioctl=[{1: value} for value in one["ioctl"]],
            )
            for one in runs
        ),
    )
    flags = {value for one in runs for value in one["mprotect"]}
    values = {value for one in runs for value in one["ioctl"]}
    for value in range(16):
        wanted = ALLOW if any(value & ~whole == 0 for whole in flags) else EPERM
        assert answer(made, "mprotect", 0, 0, value) == wanted
        assert answer(made, "ioctl", 0, value) == (ALLOW if value in values else EPERM)


@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), max_size=20), max_size=4))
def test_so_many_arguments_of_a_call_are_kept(runs: list[list[tuple[int, int]]]) -> None:
    """Of each process, and of all together; where there are more, none."""
    whole = CallKeys(4)
    made: dict[tuple[int, ...], set[int]] = {}
    for run_ in runs:
        part = CallKeys(4)
        for nr, value in run_:
            part.add((1, nr, value))
            made.setdefault((1, nr), set()).add(value)
            assert len(part.keys) <= 8
        whole.update(part)
    wanted: set[tuple[int, ...]] = set()
    for call, values in made.items():
        wanted |= {call} if len(values) > 4 else {(*call, value) for value in values}
    assert whole.keys == wanted


def test_a_call_with_many_values_is_allowed_with_any(policy: Path) -> None:
    source = f"{MARKER}for request in range(300): call(16, 0, request)\nos.getsid(0)\n"
    assert record(policy, python(source), "--args").code == 0
    made = load(policy)
    assert answer(made, "ioctl", 0, 0xDEAD) == ALLOW
    assert answer(made, "prctl", 0xDEAD) == EPERM


# What is implied


@pytest.mark.parametrize(
    ("called", "facts", "brings"),
    [
        ({"read"}, {}, {"exit_group"}),
        ({"rt_sigaction"}, {}, {"exit_group", "rt_sigreturn", "sigreturn"}),
        ({"set_tid_address"}, {}, {"exit_group", "futex", "futex_time64", "restart_syscall"}),
        ({"poll"}, {}, {"exit_group", "restart_syscall"}),
        ({"read"}, {"threads": True}, {"exit_group", "exit", "madvise", "sched_yield"}),
        (
            {"rt_sigaction"},
            {"processes": True},
            {"exit_group", "rt_sigreturn", "sigreturn", "rt_sigsuspend", "wait4"},
        ),
        ({"read"}, {"late": True}, {"exit_group", "getrandom"}),
        ({"read"}, {"catches": {SIGCHLD}}, {"exit_group"}),
        (
            {"read"},
            {"catches": {SIGCHLD}, "processes": True},
            {"exit_group", "wait4", "kill where u32(arg1) == 0x11"},
        ),
        (
            {"read"},
            {"catches": {SIGPIPE}},
            {
                "exit_group",
                "getpid",
                "gettid",
                "tgkill where u32(arg2) == 0xd",
                "tkill where u32(arg1) == 0xd",
            },
        ),
    ],
)
def test_what_a_run_brings_with_it(
    called: set[str], facts: dict[str, Any], brings: set[str]
) -> None:
    """On i386, which has both calls by which handlers return, and both widths of time."""
    found = implied(RunFacts(called, **facts), TABLES.tables["i386"].numbers)
    texts = {" where ".join([one.name, *map(str, one.conditions)]): one.why for one in found}
    assert {*texts} == brings
    assert all(texts.values())


# Merging


@pytest.mark.long("records programs, and runs them under the result")
def test_runs_are_merged(policy: Path) -> None:
    first_run, second_run = (
        python(f"import os; print({source} is not ...)")
        for source in ("os.sched_yield()", "os.getsid(0)")
    )
    assert record(policy, first_run).code == 0
    first = {*calls(policy)}
    merged = record(policy, second_run, "--merge", policy)
    assert merged.code == 0, merged.err
    assert {*calls(policy)} == first | {"getsid"}
    for command in (first_run, second_run):
        again = run(confined(policy, command))
        assert again.stdout == "True\n", again.stderr


@pytest.mark.long("records programs, and runs them under the result")
def test_what_is_known_runs_unseen(policy: Path) -> None:
    command = python("import os; print(os.getsid(0) >= 0)")
    assert record(policy, command, "--args").code == 0
    text = policy.read_text()
    assert "  - getsid\n" in text
    policy.write_text(text.replace("  - getsid\n", ""))
    again = record(policy, command, "--args", "--merge", policy, "--json")
    assert again.code == 0, again.err
    found = json.loads(again.out.removeprefix("True\n"))["calls"]
    # Always asked: what may install filters or handlers, and the end, at which the code is read.
    asked = {"prctl", "execve", "exit_group", "futex", "rt_sigaction"}
    assert {call["name"] for call in found} - asked == {"getsid"}
    assert policy.read_text() == text


def test_a_marker_is_seen_whatever_is_known(policy: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.yml"
    known.write_text(
        "arches: [x86_64]\ndefault_action: errno\n"
        "syscalls: [{action: allow, names: [seccomp, prctl, read]}]\n"
    )
    source = f"{MARKER}{HARMLESS}os.getsid(0)\n"
    seen = record(policy, python(source), "--startup-marker", "--merge", known)
    assert seen.code == 0, seen.err
    assert "getsid" in calls(policy)


@pytest.mark.long("records programs, and runs them under the result")
def test_machines_are_merged_without_running_anything(policy: Path, tmp_path: Path) -> None:
    assert record(policy, ["/bin/true"]).code == 0
    other = tmp_path / "other.yml"
    other.write_text(
        "arches: [aarch64]\ncompat_arches: [arm]\ndefault_action: errno\n"
        "syscalls:\n- {action: allow, names: [openat, ppoll]}\n"
    )
    both = tmp_path / "both.yml"
    done = seccompgen("record", "--exact", "-o", both, "--merge", policy, "--merge", other)
    assert done.code == 0, done.err
    merged = load(both)
    assert [abi.name for abi in merged.arches] == ["x86_64", "aarch64"]
    assert [abi.name for abi in merged.compat_arches] == ["arm"]
    assert {*calls(both)} == {*calls(policy), "openat", "ppoll"}
    assert seccompgen("build", both, "-o", tmp_path / "out").code == 0


def test_numbers_without_a_name_are_merged(policy: Path, tmp_path: Path) -> None:
    policy.write_text(
        "arches: [x86_64]\ndefault_action: errno\nsyscalls:\n"
        "- {action: allow, names: [read, -1]}\n"
        "- {action: allow, names: [600], arches: [x86_64]}\n"
        "- {action: allow, names: [601], arches: [x86_64], when: arg0 == 7}\n"
    )
    other = tmp_path / "other.yml"
    other.write_text(
        "arches: [aarch64]\ndefault_action: errno\nsyscalls:\n"
        "- {action: allow, names: [600, 700], arches: [aarch64]}\n"
    )
    both = tmp_path / "both.yml"
    done = seccompgen("record", "--exact", "-o", both, "--merge", policy, "--merge", other)
    assert done.code == 0, done.err
    rules = {
        (rule.name, *(abi.name for abi in load(both).arches if rule.applies_to(abi)))
        for rule in load(both).rules
    }
    assert {one for one in rules if one[0] != "read"} == {
        ("-1", "x86_64"),
        ("600", "x86_64", "aarch64"),
        ("601", "x86_64"),
        ("700", "aarch64"),
    }
    assert "when: arg0 == 7" in both.read_text()


def test_only_what_allows_is_merged(policy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [ptrace]}\n")
    done = seccompgen("record", "-o", policy, "--merge", other)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"{other}:1:17: allow by default: only what a policy allows by its rules merges",
        f"{other}:3:27: errno(1) for 'ptrace': only rules that allow merge",
    ]
    assert not policy.exists()


def test_merging_what_was_merged_changes_nothing(tmp_path: Path) -> None:
    made = written(tmp_path, recorded("x86_64", mmap=[{2: 3}, {2: 5}], socket=[{0: 1}]))
    calls = allowed_by(known_policy(made, exact=True), TABLES)
    assert merge([calls, calls]) == merge([calls])


def test_what_is_worth_constraining_is_found_by_its_name() -> None:
    def found(name: str, abi: str, facts: Facts = TABLES.facts) -> tuple[int, int] | None:
        about = constrainable_argument(name, ABIS[abi], facts)
        return (about.index, about.width) if about else None

    assert found("clone", "x86_64") == (0, 32)
    assert found("clone", "s390x") == (1, 32)  # behind the stack
    assert found("mmap", "x86_64") == (2, 64)
    assert found("mmap", "ppc") == (2, 32)
    assert found("mmap", "i386") is None  # all arguments are in memory
    assert found("getpid", "x86_64") is None
    assert found("clone", "x86_64", NO_FACTS) is None  # nothing says where it is
