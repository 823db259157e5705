"""What is permitted where a run did something: more of the same, and nothing of another kind."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from longer import few_and_many
from recorded_policies import ALLOW, I386, TABLES, X86_64, answer, load, python, recorded
from recording import confined, run
from running_kernel import require_x86_64
from seccompgen.core.abis import ABIS
from seccompgen.core.model import Action, comparisons
from seccompgen.core.ring import RING_CALLS
from seccompgen.core.word import ARGS
from seccompgen.formats import load_policy
from seccompgen.kernel.powers import powers
from seccompgen.policy.implied import SIGPIPE
from seccompgen.run.ptrace import OP_SECCOMP
from seccompgen.run.record.constrainable import selectors
from seccompgen.run.record.observations import CallNumber, Recording, RunEnd, name_of
from seccompgen.run.record.power_cases import PowerCases
from seccompgen.run.record.seen import SeenCalls, Watch
from seccompgen.run.record.session import RecordRequest, policy_of
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from command import Result
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.kernel.powers import PowerLine
    from seccompgen.verify.oracle import Case

require_x86_64()
GOLDEN = Path(__file__).parent / "golden" / "by_kind.yml"
QUICK = (Phase.explicit, Phase.generate)
"""An example that fails is long to make smaller, and says enough as it is."""


def recorded_by_kind(policy: Path, command: Sequence[str | Path], *options: str | Path) -> Result:
    """Record a command as users do who name no mode."""
    words = ("record", "-o", policy, "--default-action", "kill_process", *options)
    return seccompgen(*words, "--", *command, cwd=policy.parent)


# A small run is recorded, and a richer one enforced; what is refused kills

PYTHON = """
import os, sys, threading
def save(name):
    with open(name, 'w') as file: print(os.getpid(), file=file)
save('one')
if len(sys.argv) > 1:
    os.rename('one', 'two'); os.mkdir('d'); os.rmdir('d'); os.unlink('two')
    kept = [bytearray(1 << 20) for _ in range(20)]
    threads = [threading.Thread(target=sum, args=(range(1000),)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    os.pread(os.memfd_create('x'), 1, 0); os.sync(); os.sched_getaffinity(0)
print('done')
"""
SHELL = """
echo b > one; sort one > two
if [ $# -gt 0 ]; then
  mv two three; cp three four; ln -s four five; seq 1 50000 | sort | head -n 1 > /dev/null
  rm three four five; (exit 3) & wait
fi
echo done
"""
C_PROGRAM = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    free(malloc(100));
    puts("ready");
    fflush(stdout);
    if (argc == 1)
        syscall(SYS_seccomp, 1, 0, 0L);
    for (int i = 0; argc > 1 && i < 1000; i++)
        memset(malloc(5000), 1, 5000);
    if (argc > 1 && !strcmp(argv[1], "abort"))
        abort();
    puts("done");
    return 0;
}
"""


LONG = pytest.mark.long("records programs, and runs them under the result")


@pytest.mark.parametrize("program", ["python", pytest.param("shell", marks=LONG)])
def test_more_of_the_same_works(program: str, policy: Path) -> None:
    small = python(PYTHON) if program == "python" else ["/bin/sh", "-c", SHELL, "sh"]
    assert recorded_by_kind(policy, small).code == 0
    where = "<string>:4 in save" if program == "python" else "sort: "
    assert where in policy.read_text()
    richer = run(confined(policy, [*small, "more"]), cwd=policy.parent)
    assert (richer.returncode, richer.stdout) == (0, "done\n"), richer.stderr + policy.read_text()


def test_a_program_grows_and_aborts_that_did_not(policy: Path) -> None:
    """After a marker nothing shows that its heap can grow; abort() has to end by SIGABRT."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is missing")
    program = policy.parent / "program"
    (policy.parent / "program.c").write_text(C_PROGRAM)
    subprocess.run([gcc, "-o", program, policy.parent / "program.c"], check=True)
    assert recorded_by_kind(policy, [program], "--startup-marker").code == 0
    assert answer(load(policy), "openat", 0, 0, 0) != ALLOW
    # What loads a program is no part of the policy; whoever is confined so has begun already.
    assert recorded_by_kind(policy, ["/bin/true"], "--merge", policy).code == 0
    for more, code, said in (("grow", 0, "done\n"), ("abort", -signal.SIGABRT, "")):
        richer = run(confined(policy, [program, more]))
        assert (richer.returncode, richer.stdout) == (code, f"ready\n{said}"), richer.stderr


# What gives something, and was not used, is refused


def closed(*recordings: Recording, known: Iterable[ResolvedPolicy] = ()) -> str:
    """Return the policy of recordings, each merged into that of those before it."""
    text, policies = "", tuple(known)
    for one in recordings:
        text = made(one, RecordRequest(known=policies))
        policies = (policy_from(text),)
    return text


def made(recording: Recording, wish: RecordRequest) -> str:
    action = Action.parse("errno")
    return policy_of(recording, wish, TABLES, "p", action).text


def policy_from(text: str) -> ResolvedPolicy:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "p.yml"
        path.write_text(text)
        policy, notes = load_policy(path, TABLES)
    assert not notes, (notes, text)
    return policy


def seen(*calls: tuple[str, tuple[int, ...]]) -> Recording:
    """Return what the recorder makes of calls, with all six arguments."""
    watch = Watch(
        lambda number: CASES.recorded_arguments(name_of(number, TABLES) or "", X86_64),
        lambda number: name_of(number, TABLES),
        256,
    )
    found = SeenCalls(watch)
    process = found.new_process(None)
    for name, args in calls:
        number = TABLES.tables["x86_64"].numbers[name]
        found.called(0, process, (OP_SECCOMP, X86_64.audit_arch, number, *args))
    return found.recording(RunEnd(), ())


CASES = PowerCases(TABLES)
NUMBERS = TABLES.tables["x86_64"].numbers
NONE = (0,) * 6


class Answers:
    """The answers of a policy, by the oracle; the cases of each call are looked for once."""

    def __init__(self, policy: ResolvedPolicy) -> None:
        self._meaning = meaning(policy, X86_64, TABLES)
        self._cases: dict[str, list[Case]] = {}

    def __call__(self, call: str, args: Sequence[int]) -> int:
        a, b, c, d, e, f = args
        made = Call(NUMBERS[call], X86_64.audit_arch, (a, b, c, d, e, f))
        if call not in self._cases:
            self._cases[call] = [
                case
                for case in self._meaning.cases
                if all(test.field in ARGUMENTS or test.holds(made) for test in case.tests)
            ]
        cases = self._cases[call]
        return next(one for one in cases if all(test.holds(made) for test in one.tests)).ret


ARGUMENTS = range(ARGS, ARGS + 6)


@cache
def samples(call: str) -> list[tuple[int, ...]]:
    """Return arguments of a call among which some are of each of its cases."""
    values: dict[int, set[int]] = {index: {0} for index in range(6)}
    for case in CASES.of(call, X86_64):
        for condition in case.conditions:
            for test in comparisons(condition):
                values[test.argument] |= {test.value, test.value | 2, 1}
    for kept in CASES.recorded_arguments(call, X86_64):
        values[kept.index] |= {1, 2, 4, 17}
    found = list(itertools.product(*(sorted(values[index]) for index in range(6))))
    return found[:: len(found) // 150 + 1]


@cache
def lines() -> Answers:
    """Return the answers of a policy that says the number of the line that a call is on.

    What it means is the oracle's to say, which shares nothing with how recorded calls are sorted.
    """
    rules = [
        {
            "action": f"errno({at + 1})",
            "names": [call],
            **({"when": line.when} if line.when else {}),
        }
        for call in sorted(NUMBERS)
        for at, line in enumerate(powers().of(call))
    ]
    text = {"arches": ["x86_64"], "default_action": "errno(99)", "syscalls": rules}
    return Answers(policy_from(json.dumps(text)))


def line_of(call: str, args: Sequence[int]) -> PowerLine:
    return powers().of(call)[(lines()(call, args) & 0xFFFF) - 1]


ONE = st.sampled_from(sorted(set(NUMBERS) - {"clone3"})).flatmap(
    lambda call: st.tuples(st.just(call), st.sampled_from(samples(call)))
)
WHOLE = {
    *("files-read", "files-write", "exec", "processes", "unix", "internet", "connect", "listen"),
    "confinement",
}
OPENERS = {"listen": {"listen", "accept", "accept4"}, "processes": {"clone", "fork", "vfork"}}
FATAL = {1, 2, 3, 6, 9, 15}


@few_and_many(2, 150)
def test_nothing_of_a_kind_that_was_not_used_is_permitted(examples: int) -> None:
    """Counted against what was seen exactly, with its arguments: each call that is more."""

    @settings(max_examples=examples, deadline=None, derandomize=True, phases=QUICK)
    @given(st.lists(ONE, max_size=11).map(lambda more: [*more, ("read", NONE)]))
    @example([("io_uring_setup", NONE), ("epoll_wait", NONE)])
    def check(calls: list[tuple[str, tuple[int, ...]]]) -> None:
        recording = seen(*calls)
        text = made(recording, RecordRequest())
        found = Answers(policy_from(text))
        exact = Answers(policy_from(made(recording, RecordRequest(exact=True, constrained=True))))
        for call, args in calls:
            if call not in RING_CALLS:
                assert found(call, args) == ALLOW, (call, args, text)
            elif call == RING_CALLS[0]:  # no ring was made, so none can be: programs do without
                assert found(call, args) == Action.errno("ENOSYS").ret(X86_64), text
        used = {(call, line_of(call, args)) for call, args in calls}
        signals = {
            args[selectors(call, X86_64, TABLES.facts)[0].index]
            for call, args in calls
            if "kill" in line_of(call, args).calls
        }
        for call in NUMBERS:
            for args in samples(call):
                if found(call, args) == ALLOW != exact(call, args):
                    line = line_of(call, args)
                    assert _is_fine(call, args, line, used, signals), (call, args, line, text)

    check()


def _is_fine(
    call: str,
    args: Sequence[int],
    line: PowerLine,
    used: set[tuple[str, PowerLine]],
    signals: set[int],
) -> bool:
    """Return True if a call may be permitted where no run made it with such arguments."""
    kind = line.power.name
    if not line.power.gives and kind not in {"confinement", "gone"}:
        return True
    of_kind = {name for name, one in used if one.power == line.power}
    if kind in WHOLE and of_kind & OPENERS.get(kind, of_kind):
        return True
    if "kill" in line.calls:
        sent = args[selectors(call, X86_64, TABLES.facts)[0].index] & 0xFFFFFFFF
        return (
            bool(FATAL & signals)
            or sent in signals
            or (call in {"tgkill", "tkill"} and sent in {2, 6, 15})
        )
    if kind == "code" and "mmap" in line.calls:
        return any(one.power == line.power and one.when for _, one in used)
    return line in {one for _, one in used}


def reviewed() -> str:
    """Return the policy of a run that did something of many kinds, from some known places."""
    calls = [
        *(("openat", NONE), ("mmap", (0, 0, 5, 0, 0, 0)), ("rename", NONE), ("setuid", NONE)),
        *(("socket", (2, 1, 0, 0, 0, 0)), ("socket", (16, 3, 0, 0, 0, 0)), ("bind", NONE)),
        *(("setsockopt", (0, 0, 35, 0, 0, 0)), ("kill", (7, 15, 0, 0, 0, 0))),
        *(("ioctl", (0, 0x5402, 0, 0, 0, 0)), ("ioctl", (0, 0x5452, 0, 0, 0, 0))),
    ]
    origins: dict[Hashable, str] = {
        ("x86_64", call, line_of(call, NONE)): origin
        for call, origin in (("rename", "python3: app.py:3 in save"), ("setuid", "su: become"))
    }
    recording = replace(seen(*calls), origins=origins, catches=frozenset({SIGPIPE}))
    return made(recording, RecordRequest())


def test_a_policy_reads_as_a_reviewer_writes() -> None:
    """In the order of the table, each kind with its origin, conditions where they decide."""
    assert reviewed() == GOLDEN.read_text(), (
        "PYTHONPATH=tests/helpers .venv/bin/python tests/run/record/test_closure.py renews it"
    )
    policy_from(reviewed())


# What no filter sees


def permits(policy: ResolvedPolicy, abi: Abi, call: str, *args: int) -> bool:
    a, b, c, d, e, f = (*args, 0, 0, 0, 0, 0, 0)[:6]
    number = TABLES.tables[abi.name].numbers[call]
    made_by = meaning(policy, abi, TABLES)
    return made_by.answer(Call(number, abi.audit_arch, (a, b, c, d, e, f))) == ALLOW


def test_what_lies_in_memory_is_permitted_where_it_was_seen() -> None:
    """The arguments of i386's mmap, and those behind socketcall; on x86_64 nothing follows."""
    old = recorded("i386", mmap=[{}], socketcall=[{0: 3}], socket=[{0: 1, 1: 1, 2: 0}])
    policy = policy_from(closed(old, known=[policy_from(closed(seen(("read", NONE))))]))
    assert permits(policy, I386, "mmap")
    assert [permits(policy, I386, "socketcall", one) for one in (3, 1, 2, 9)] == [
        *(True, False, False, True)  # connect, socket and bind, and send, which gives nothing
    ]
    assert not permits(policy, X86_64, "mmap", 0, 0, 4)
    newer = policy_from(closed(recorded("i386", mmap2=[{2: 1}], read=[{}])))
    assert not permits(newer, I386, "mmap")


def test_where_mmap_is_all_there_is_it_is_permitted() -> None:
    """On s390x, where no filter sees if it maps code."""
    s390x = ABIS["s390x"]
    policy = policy_from(closed(recorded("s390x", read=[{}])))
    assert permits(policy, s390x, "mmap")
    assert not permits(policy, s390x, "mprotect", 0, 0, 4)


def test_a_call_with_too_many_arguments_is_permitted_with_any() -> None:
    requests = [("ioctl", (0, 0x100 + number, 0, 0, 0, 0)) for number in range(300)]
    policy = policy_from(closed(seen(*requests)))
    assert permits(policy, X86_64, "ioctl", 0, 0xDEAD)
    assert not permits(policy_from(closed(seen(*requests[:60]))), X86_64, "ioctl", 0, 0xDEAD)


def test_threads_and_processes_of_clone3_are_made_by_clone() -> None:
    """Its flags lie in memory; a child's own namespaces it makes alone."""
    number = TABLES.tables["x86_64"].numbers["clone3"]
    for flags, thread, child, itself in (
        (0x10000, True, False, False),
        (0, True, True, False),
        (0x10000000, True, False, True),
    ):
        calls = {CallNumber(X86_64.audit_arch, number): frozenset([((0, flags),)])}
        policy = policy_from(closed(Recording(calls, RunEnd())))
        assert permits(policy, X86_64, "clone", 0x10000) is thread
        assert permits(policy, X86_64, "clone", 17) is child
        assert permits(policy, X86_64, "clone3") is itself


# Merging


def test_merged_policies_stay_readable() -> None:
    first = seen(("unlink", NONE), ("socket", (2, 1, 0, 0, 0, 0)), ("bpf", (5, 0, 0, 0, 0, 0)))
    second = seen(("bpf", (6, 0, 0, 0, 0, 0)), ("setuid", NONE), ("clone3", NONE))
    text = closed(first, second)
    both = seen(*(("unlink", NONE), ("socket", (2, 1, 0, 0, 0, 0)), ("bpf", (5, 0, 0, 0, 0, 0))),
                *(("bpf", (6, 0, 0, 0, 0, 0)), ("setuid", NONE), ("clone3", NONE)))  # fmt: skip
    assert text == made(both, RecordRequest())
    assert closed(first, second, first) == text
    assert "  when: cmd in {BPF_PROG_LOAD, BPF_OBJ_PIN}\n" in text
    assert len(text.splitlines()) < 50


@pytest.mark.long("merges many random policies")
@settings(max_examples=4, deadline=None, derandomize=True, phases=QUICK)
@given(st.lists(ONE, min_size=1, max_size=8), st.lists(ONE, min_size=1, max_size=8))
def test_nothing_that_was_permitted_gets_lost(
    before: list[tuple[str, tuple[int, ...]]], now: list[tuple[str, tuple[int, ...]]]
) -> None:
    """By files of exactly what was seen, too, with conditions and without."""
    for constrained in (False, True):
        old = policy_from(made(seen(*before), RecordRequest(exact=True, constrained=constrained)))
        known, found = (
            Answers(old),
            Answers(policy_from(closed(seen(*now), known=[old]))),
        )
        for call in NUMBERS:
            for args in samples(call):
                assert known(call, args) != ALLOW or found(call, args) == ALLOW, (call, args)


@pytest.mark.long("records several times")
def test_a_run_without_anything_new_leaves_the_file_alone(policy: Path) -> None:
    """With comments and order that somebody gave it."""
    assert recorded_by_kind(policy, ["/bin/true"]).code == 0
    text = policy.read_text().replace("syscalls:\n", "syscalls: # mine\n")
    policy.write_text(text)
    again = recorded_by_kind(policy, ["/bin/true"], "--merge", policy)
    assert (again.code, again.err) == (0, f"{policy} is as it was\n")
    assert policy.read_text() == text
    more = recorded_by_kind(policy, ["/bin/mkdir", "one"], "--merge", policy)
    assert (more.code, more.err) == (0, f"wrote {policy}\n")
    assert answer(load(policy), "unlink") == ALLOW


if __name__ == "__main__":
    GOLDEN.write_text(reviewed())
