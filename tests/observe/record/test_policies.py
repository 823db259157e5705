"""Policies from recordings: conditions, merged policies, calls after a marker, coverage."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command import seccompgen
from hypothesis import given
from hypothesis import strategies as st
from recording import calls, confined, record, run
from running_kernel import require_x86_64
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.facts import NO_FACTS, Facts
from seccompgen.core.model import FilterFlag
from seccompgen.observe.record.answers import MOST_REFUSED
from seccompgen.observe.record.constrainable import worth
from seccompgen.observe.record.generalise import allowed_calls
from seccompgen.observe.record.merge import MOST_VALUES, merge, needs_of_calls, needs_of_policy
from seccompgen.observe.record.observations import CallNumber, Recording, RunEnd
from seccompgen.observe.record.seen import Calls
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy import load_policy, write_policy
from seccompgen.policy.implied import SIGCHLD, SIGPIPE, RunFacts, implied
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy

require_x86_64()

TABLES = shipped_tables()
X86_64, I386, AARCH64 = (ABIS[name] for name in ("x86_64", "i386", "aarch64"))
ALLOW, EPERM = 0x7FFF0000, 0x00050001
POSITION = Position("merged.yml")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "recorded.yml"


def load(policy: Path) -> ResolvedPolicy:
    return load_policy(policy, TABLES)[0]


def python(source: str) -> list[str]:
    return [sys.executable, "-I", "-c", source]


def recorded(abi_name: str, **calls_made: list[dict[int, int]]) -> Recording:
    """Return a recording of calls with these arguments."""
    table = TABLES.tables[abi_name]
    return Recording(
        {
            CallNumber(table.abi.audit_arch, table.numbers[name]): frozenset(
                tuple(sorted(arguments.items())) for arguments in made
            )
            for name, made in calls_made.items()
        },
        RunEnd(),
    )


def written(tmp_path: Path, *several: Recording) -> ResolvedPolicy:
    """Write what is made of several recordings, with arguments, and read it back."""
    parts = [needs_of_calls(allowed_calls(one, TABLES, constrained=True)) for one in several]
    needs = merge(parts, POSITION)
    from seccompgen.core.model import Action

    text = write_policy(
        "",
        needs.calls,
        Action.parse("errno"),
        TABLES,
        arches=needs.arches,
        compat_arches=needs.compat_arches,
    )
    path = tmp_path / "merged.yml"
    path.write_text(text)
    policy, notes = load_policy(path, TABLES)
    assert not [note for note in notes if "repeats" in str(note)]
    return policy


def answer(policy: ResolvedPolicy, name: str, *args: int) -> int:
    table = TABLES.tables["x86_64"]
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    a, b, c, d, e, f = padded
    call = Call(table.numbers[name], X86_64.audit_arch, (a, b, c, d, e, f))
    return meaning(policy, X86_64, TABLES).answer(call)


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
    whole = Calls(4)
    made: dict[tuple[int, ...], set[int]] = {}
    for run_ in runs:
        part = Calls(4)
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


def test_what_is_known_runs_unseen(policy: Path) -> None:
    command = python("import os; print(os.getsid(0) >= 0)")
    assert record(policy, command, "--args").code == 0
    text = policy.read_text()
    assert "  - getsid\n" in text
    policy.write_text(text.replace("  - getsid\n", ""))
    again = record(policy, command, "--args", "--merge", policy, "--json")
    assert again.code == 0, again.err
    found = json.loads(again.out.removeprefix("True\n"))["calls"]
    # Where a policy may have let the installing of filters or handlers through, it has not here.
    seen = {call["name"] for call in found} - {"prctl", "execve", "futex", "rt_sigaction"}
    assert seen == {"getsid"}
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


def test_machines_are_merged_without_running_anything(policy: Path, tmp_path: Path) -> None:
    assert record(policy, ["/bin/true"]).code == 0
    other = tmp_path / "other.yml"
    other.write_text(
        "arches: [aarch64]\ncompat_arches: [arm]\ndefault_action: errno\n"
        "syscalls:\n- {action: allow, names: [openat, ppoll]}\n"
    )
    both = tmp_path / "both.yml"
    done = seccompgen("record", "-o", both, "--merge", policy, "--merge", other)
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
    done = seccompgen("record", "-o", both, "--merge", policy, "--merge", other)
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
    needs = needs_of_policy(made, TABLES)
    assert merge([needs, needs], POSITION) == merge([needs], POSITION)


# The startup marker

MARKER = "import ctypes, os; call = ctypes.CDLL(None).syscall\n"
HARMLESS = "call(317, 1, 0, None)\n"


def test_what_comes_before_the_marker_is_left_out(policy: Path) -> None:
    source = f"{MARKER}os.sched_yield()\nopen('/dev/null')\n{HARMLESS}os.getsid(0)\n"
    seen = record(policy, python(source), "--startup-marker")
    assert seen.code == 0, seen.err
    found = {*calls(policy)}
    assert {"getsid", "exit_group"} <= found
    assert "flags" not in policy.read_text()
    assert "getrandom" in found  # of which a run shows only the first, and one a minute
    assert not found & {"seccomp", "prctl", "sched_yield", "execve", "openat", "mprotect"}
    # What a startup brings with it is known though the startup is left out.
    assert {"rt_sigreturn", "futex"} <= found


def test_the_runtimes_marker_is_one(policy: Path) -> None:
    """For programs that have no filter yet; what loading ctypes takes comes before it."""
    source = (
        "import os\nfrom seccomp_filters import _runtime\n"
        "os.sched_yield()\n_runtime.marker()\nprint(_runtime.mode()[0], os.getsid(0) >= 0)\n"
    )
    seen = record(policy, python(source), "--startup-marker")
    assert (seen.code, seen.out) == (0, "filter True\n"), seen.err  # the recorder's own
    assert {"getsid", "exit_group"} <= {*calls(policy)}
    assert not {*calls(policy)} & {"seccomp", "prctl", "sched_yield", "execve", "mprotect"}


def test_a_question_of_the_runtime_is_no_marker(policy: Path) -> None:
    """It begins with the call that a marker is; nor does it undo one that came before."""
    source = (
        "import os\nfrom seccomp_filters import _runtime\n_runtime.supported()\n"
        "os.getpriority(0, 0)\n_runtime.marker()\nos.getsid(0)\n_runtime.supported()\n"
    )
    seen = record(policy, python(source), "--startup-marker")
    assert seen.code == 0, seen.err
    found = {*calls(policy)}
    assert {"getsid", "exit_group"} <= found
    assert "getpriority" not in found
    asked = "from seccomp_filters import _runtime\n_runtime.supported()\n"
    assert record(policy, python(asked), "--startup-marker").code == 1


def test_installing_a_generated_filter_marks(policy: Path, tmp_path: Path) -> None:
    """And a program that does so, under the result, does what it did."""
    lax = tmp_path / "lax.yml"
    lax.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [ptrace]}\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sandbox import recorded as sandbox\n"
        "sandbox.install()\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "else: os._exit(0)\n"
        "print(os.getsid(0) >= 0)\n"
    )
    package = tmp_path / "sandbox"
    assert seccompgen("build", lax, "-o", package).code == 0
    (package / "__init__.py").touch()
    (package / "lax").replace(package / "recorded")
    command = [sys.executable, "-I", str(program)]
    seen = record(policy, command, "--startup-marker")
    assert (seen.code, seen.out) == (0, "True\n"), seen.err
    found = {*calls(policy)}
    assert {"getsid", "wait4", "write"} <= found
    assert not found & {"seccomp", "prctl", "execve", "openat"}
    assert seccompgen("build", policy, "-o", package).code == 0
    again = run(command)
    assert (again.returncode, again.stdout) == (0, "True\n"), again.stderr


def test_threads_from_before_the_marker_are_confined_too(policy: Path, tmp_path: Path) -> None:
    lax = tmp_path / "lax.yml"
    lax.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [ptrace]}\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, threading\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sandbox import recorded as sandbox\n"
        "installed, refused = threading.Event(), []\n"
        "def work():\n"
        "    installed.wait()\n"
        "    os.getsid(0)\n"
        "    try: sys.argv[1:] and os.getpriority(os.PRIO_PROCESS, 0)\n"
        "    except PermissionError: refused.append(5)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "sandbox.install()\n"
        "installed.set()\n"
        "thread.join()\n"
        "sys.exit(sum(refused))\n"
    )
    package = tmp_path / "sandbox"
    assert seccompgen("build", lax, "-o", package).code == 0
    (package / "__init__.py").touch()
    (package / "lax").replace(package / "recorded")
    command = [sys.executable, "-I", str(program)]
    seen = record(policy, command, "--startup-marker")
    assert (seen.code, seen.out) == (0, ""), seen.err
    assert "note: 2 threads ran when the filter was installed" in seen.err
    assert load(policy).flags == FilterFlag.TSYNC
    assert seccompgen("build", policy, "-o", package).code == 0
    again = run([*command, "more"])
    assert again.returncode == 5, again.stderr
    both = tmp_path / "both.yml"
    assert seccompgen("record", "-o", both, "--merge", policy).code == 0
    assert load(both).flags == FilterFlag.TSYNC


def test_a_process_is_as_far_as_its_parent_was(policy: Path) -> None:
    """Children that were there before the marker are not the program's after it."""
    source = (
        f"{MARKER}early = os.fork()\n"
        "if not early: os.sched_yield(); os._exit(0)\n"
        f"os.waitpid(early, 0)\n{HARMLESS}"
        "late = os.fork()\n"
        "if not late: os.getsid(0); os._exit(0)\n"
        "os.waitpid(late, 0)\n"
    )
    assert record(policy, python(source), "--startup-marker").code == 0
    assert {"getsid", "wait4"} <= {*calls(policy)}
    assert "sched_yield" not in calls(policy)


def test_without_a_marker_nothing_is_written(policy: Path) -> None:
    seen = record(policy, ["/bin/true"], "--startup-marker")
    assert seen.code == 1
    assert "no process called seccomp(SECCOMP_SET_MODE_FILTER" in seen.err
    assert not policy.exists()


# Coverage


def test_what_is_worth_constraining_is_found_by_its_name() -> None:
    def found(name: str, abi: str, facts: Facts = TABLES.facts) -> tuple[int, int] | None:
        about = worth(name, ABIS[abi], facts)
        return (about.index, about.width) if about else None

    assert found("clone", "x86_64") == (0, 32)
    assert found("clone", "s390x") == (1, 32)  # behind the stack
    assert found("mmap", "x86_64") == (2, 64)
    assert found("mmap", "ppc") == (2, 32)
    assert found("mmap", "i386") is None  # all arguments are in memory
    assert found("getpid", "x86_64") is None
    # Without prototypes, what is known by heart.
    assert found("clone", "s390x", NO_FACTS) is None
    assert found("mmap", "ppc", NO_FACTS) == (2, 64)


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
    assert re.search(rf"/subprocess.py:\d+ in Popen._execute_child, {script}:11 in start", line)


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
    assert told_of == f"{policy}: 2 of 2 rules reached; 1001 calls refused"


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


def test_a_policy_lets_through_what_it_was_recorded_from(policy: Path) -> None:
    command = python("import json")
    assert record(policy, command, "--args").code == 0
    done = seccompgen("record", "--against", policy, "--", *command)
    assert done.code == 0, done.err
    assert done.err.endswith("rules reached; 0 calls refused\n")
