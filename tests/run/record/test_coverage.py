"""A workload beside a policy: rules that nothing reached, and calls that it would refuse."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command import seccompgen
from recorded_policies import HARMLESS, MARKER, python
from recording import record
from running_kernel import require_x86_64
from seccompgen.run.record.policy_answers import MOST_REFUSED

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()


@pytest.mark.long("records programs, and runs them under the result")
def test_a_workload_beside_a_policy(policy: Path) -> None:
    """Rules that nothing reached, and calls that would have been refused, are told."""
    policy.write_text(
        "arches: [x86_64]\n"
        "default_action: kill_process\n"
        "syscalls:\n"
        "- action: errno(EACCES)\n"
        "  names_with_args:\n"
        "  - {name: socket, arguments: [{argument: 0, operation: Equal, value: 2, width: 32}]}\n"
        "  - {name: socket, arguments: [{argument: 0, operation: Equal, value: 10, width: 32}]}\n"
        "- action: allow\n"
        "  names: [ptrace, socket, getsid]\n"
        "- action: log\n"
        "  names: [execve, brk, mmap, munmap, mprotect, openat, read, close, pread64]\n"
    )
    command = python("import os, socket; socket.socket(2).close(); os.getsid(0)")
    done = seccompgen("record", "--against", policy, "--json", "--", *command)
    assert done.code == 1
    report = json.loads(done.out)
    assert [(one["name"], one["condition"]) for one in report["unreached"]] == [
        ("socket", "family == AF_INET6"),
        ("ptrace", ""),
        ("socket", ""),
    ]
    assert f"{policy}:6:12: socket(AF_INET) on x86_64: errno(EACCES) by rule 1" in report["refused"]
    assert any("exit_group" in one and "default_action" in one for one in report["refused"])
    told = seccompgen("record", "--against", policy, "--", *command)
    assert told.code == 1
    assert f"{policy}:9:11: nothing called ptrace\n" in told.err
    assert f"{policy}: 11 of 14 rules reached" in told.err
    words: list[str | Path] = ["record", "--skip-unreached", "--against", policy, "--", *command]
    lines = [line for line in told.err.splitlines() if not line.startswith("    ")]
    short = [line for line in seccompgen(*words).err.splitlines() if not line.startswith("    ")]
    assert short == [line for line in lines if ": nothing called " not in line] != lines
    alone = seccompgen("record", "--skip-unreached", "-o", policy, "--", *command)
    assert (alone.code, alone.err) == (2, "--skip-unreached is for --against\n")


@pytest.mark.long("records programs, and runs them under the result")
def test_what_would_be_refused_is_told_as_by_run_trace(policy: Path, tmp_path: Path) -> None:
    """The same calls with the same arguments, rules and places, each kind of call by itself."""
    policy.write_text(
        "default_action: allow\n"
        "syscalls:\n"
        "- action: errno(EACCES)\n"
        "  names:\n"
        "  - getpriority\n"
        "  - unlink\n"
        "- {action: errno(EIO), names: [execve]}\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        """import contextlib, os, subprocess, threading

def forget(name):
    with contextlib.suppress(OSError):
        os.unlink(name)

for name in ["one", "two", "one"] + ["three"] * 300:
    forget(name)
def start():
    with contextlib.suppress(OSError):
        subprocess.run(["/bin/true"])
thread = threading.Thread(target=start)
thread.start()
thread.join()
"""
    )
    command = [sys.executable, str(script)]
    told = seccompgen("record", "--against", policy, "--json", "--", *command)
    found = {one["seen"][0]["syscall"]: one for one in json.loads(told.out)["refusals"]}
    assert {name: one["times"] for name, one in found.items()} == {"unlink": 303, "execve": 1}
    traced = seccompgen("run", "--permissive", "--json", policy, "--", *command)
    by_run = [json.loads(line) for line in traced.err.splitlines()]

    def alike(one: dict[str, Any]) -> str:
        differing = {"pid", "tid", "times"}
        kept = {key: value for key, value in one.items() if key not in differing}
        return json.dumps(kept | {"args": one["args"][0]["text"]}, sort_keys=True)

    seen = [one for kind in found.values() for one in kind["seen"]]
    assert {alike(one) for one in seen} == {alike(one) for one in by_run}
    assert [(one["args"][0]["text"], one["times"]) for one in found["unlink"]["seen"]] == [
        ('"three"', 197),
        ('"one"', 2),
        ('"two"', 1),
    ]
    shown = seccompgen("record", "--against", policy, "--", *command).err.splitlines()
    heading = shown.index(f"{policy}:6:5: unlink() on x86_64: errno(EACCES) by rule 1, 303 times")
    assert re.fullmatch(
        r'    python\S*\[\d+\] unlink\("three"\), 197 of the first 200, '
        rf"at {script}:5 in forget, {script}:8 in <module>, unlink\+0x\S+ \(/\S+\+0x\S+\)",
        shown[heading + 1],
    )
    (line,) = (line for line in shown if line.startswith("    ") and "execve(" in line)
    assert re.search(
        rf"/subprocess.py:\d+ in Popen.(_execute_child|_posix_spawn), {script}:11 in start", line
    )


@pytest.mark.long("records programs, and runs them under the result")
def test_what_is_told_of_refusals_does_not_grow_with_what_is_called(policy: Path) -> None:
    policy.write_text(
        "default_action: allow\n"
        "syscalls:\n"
        "- action: errno(EACCES)\n"
        "  names_with_args:\n"
        "  - name: getsid\n"
        "    arguments: [{argument: 0, operation: GreaterThan, value: 50000}]\n"
        "- {action: errno(EIO), names_with_args: [{name: getsid, arguments: "
        "[{argument: 0, operation: Equal, value: 7}]}]}\n"
    )
    source = (
        "import os\nfor pid in [*range(50001, 51001), 7, 8]:\n"
        "    try: os.getsid(pid)\n"
        "    except OSError: pass\n"
    )
    told = seccompgen("record", "--against", policy, "--", *python(source))
    first, *apart, more, told_of = (
        line for line in told.err.splitlines() if line.startswith(f"{policy}:")
    )
    assert first == f"{policy}:7:49: getsid(7) on x86_64: errno(EIO) by rule 2"
    assert len(apart) == MOST_REFUSED
    assert more == (
        f"{policy}:5:11: getsid({50001 + MOST_REFUSED:#x}) on x86_64, and with other arguments: "
        f"errno(EACCES) by rule 1, {1000 - MOST_REFUSED} times"
    )
    assert told_of == f"{policy}: 2 of 2 rules reached; 1,001 calls refused"


def test_what_came_before_the_marker_is_not_looked_at(policy: Path) -> None:
    policy.write_text("default_action: allow\nsyscalls: [{action: errno, names: [getppid]}]\n")
    source = (
        f"{MARKER}[os.getppid() for _ in range(300)]\n{HARMLESS}"
        "def after(): os.getppid()\nafter()\n"
    )
    options: list[str | Path] = ["--startup-marker", "--against", policy, "--json"]
    told = seccompgen("record", *options, "--", *python(source))
    (one,) = json.loads(told.out)["refusals"]
    assert one["times"] == 1
    assert [frame["python"][0] for frame in one["seen"]] == ["<string>:4 in after"]


def test_a_call_that_a_rule_says_is_absent_is_not_refused(policy: Path) -> None:
    """Recordings have such rules, by which libraries go on by other calls."""
    policy.write_text(
        "default_action: errno(ENOSYS)\nsyscalls: [{action: errno(ENOSYS), names: [mmap]}]\n"
    )
    told = seccompgen("record", "--against", policy, "--json", "--", "/bin/true")
    report = json.loads(told.out)
    assert (told.code, report["unreached"]) == (1, [])
    names = {line.split(": ")[1].partition("(")[0] for line in report["refused"]}
    assert "munmap" in names
    assert "mmap" not in names


@pytest.mark.long("records programs, and runs them under the result")
def test_a_policy_lets_through_what_it_was_recorded_from(policy: Path) -> None:
    command = python("import json")
    assert record(policy, command, "--args").code == 0
    done = seccompgen("record", "--against", policy, "--", *command)
    assert done.code == 0, done.err
    assert done.err.endswith("rules reached; 0 calls refused\n")
