"""Calls made in every way, and processes begun in every way, are all recorded."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT, Result, inside, seccompgen
from recording import calls, confined, record, run
from running_kernel import i386_call, require_x86_64
from running_kernel import run as run_in_child
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

from benchmarks import record as benchmark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.model import ResolvedPolicy

require_x86_64()

CALL = "import ctypes, os, threading\ncall = ctypes.CDLL(None).syscall\n"
"""Calls that no library makes by itself here: getpgid (121), getsid (124), and getppid (110)."""


def load(policy: Path) -> ResolvedPolicy:
    return load_policy(policy, shipped_tables())[0]


def python(source: str) -> list[str]:
    return [sys.executable, "-I", "-c", source]


def compiled(directory: Path, source: str, *options: str) -> Path:
    """Compile a C program; skip where there is no compiler."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is missing")
    (directory / "program.c").write_text(source)
    program = directory / "program"
    subprocess.run([gcc, *options, "-o", program, directory / "program.c"], check=True)
    return program


def seen(policy: Path, command: Sequence[str | Path], *options: str) -> list[tuple[str, str]]:
    """Record; return ABI and name of each call."""
    result = seccompgen("record", "-o", policy, "--json", *options, "--", *command)
    assert result.code == 0, result.err
    report = json.loads(result.out[result.out.index('{\n  "exit_code"') :])
    return [(call["abi"], call["name"]) for call in report["calls"]]


@pytest.mark.parametrize(
    "body",
    [
        "call(121, 0)",
        *[
            pytest.param(body, marks=pytest.mark.long("a part of those below"))
            for body in (
                "os.fork() or call(121, 0)",
                "threading.Thread(target=lambda: call(121, 0)).start()",
            )
        ],
        "os.fork() or os.fork() or threading.Thread(target=lambda: call(121, 0)).start()",
        "os.execv('/bin/sh', ['sh', '-c', f'\"{sys.executable}\" -I -c \"{inner}\"'])",
        "become = lambda: os.execv(sys.executable, ['p', '-I', '-c', inner])\n"
        "threading.Thread(target=become).start()\nimport time; time.sleep(100)",
        "os.spawnv(os.P_NOWAIT, sys.executable, ['p', '-I', '-c', inner]); os._exit(0)",
        "os.posix_spawn(sys.executable, ['p', '-I', '-c', inner], os.environ); os.wait()",
        "os.fork() or (os.setsid(), os.fork() or call(121, 0))",
    ],
)
def test_every_process_and_thread_is_seen(policy: Path, body: str) -> None:
    inner = "import ctypes; ctypes.CDLL(None).syscall(121, 0)"
    found = seen(policy, python(f"{CALL}import sys\ninner = {inner!r}\n{body}"))
    assert ("x86_64", "getpgid") in found
    assert ("x86_64", "getsid") not in found


@pytest.mark.long("records programs, and runs them under the result")
def test_it_finds_what_strace_finds(tmp_path: Path) -> None:
    """Sets compared, as the benchmark does. Only what depends on when threads run may differ."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is missing")
    script = "import subprocess, json, threading\nt = threading.Thread(target=print)\nt.start()\n"
    script += "t.join()\nprint(subprocess.run(['sh', '-c', 'ls / | wc -l'])) "
    row = benchmark.measure("a little of everything", python(script), strace, tmp_path, 1)
    assert row.calls > 500
    assert {*row.only["record"], *row.only["strace"]} <= benchmark.TIMING
    twice = {way: 2 * seconds for way, seconds in row.seconds.items()}
    longer = replace(row, name="more", seconds=twice, calls=2 * row.calls)
    assert "a little of everything" in benchmark.render([row, longer], [row], 0.01)


def test_a_call_that_is_emulated_is_seen(policy: Path, tmp_path: Path) -> None:
    """time() by the vsyscall page, which filters see and strace does not."""
    if "[vsyscall]" not in Path("/proc/self/maps").read_text():
        pytest.skip("the kernel has no vsyscall page")
    source = "int main(void) { return ((long (*)(long *))0xffffffffff600400)(0) < 1; }"
    program = compiled(tmp_path, source)
    assert ("x86_64", "time") in seen(policy, [program])


def test_calls_through_another_abi_are_recorded_as_such(policy: Path, tmp_path: Path) -> None:
    i386_call()
    source = ROOT / "tests" / "helpers" / "foreign.c"
    program = compiled(
        tmp_path,
        f'#include "{source}"\nint main(void) {{ return i386_call(64, 0, 0, 0, 0, 0, 0) <= 0; }}',
        "-mno-red-zone",
    )
    found = seen(policy, [program])
    assert ("i386", "getppid") in found
    assert ("x86_64", "getppid") not in found
    written = load(policy)
    assert [abi.name for abi in written.arches] == ["x86_64"]
    assert [abi.name for abi in written.compat_arches] == ["i386"]


@pytest.mark.few(1, "records programs, and runs them under the result")
@pytest.mark.parametrize("options", [(), ("--args",)], ids=["calls", "arguments"])
def test_calls_that_stand_for_others_are_told_apart(
    policy: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    i386_call()
    source = ROOT / "tests" / "helpers" / "foreign.c"
    made = ["102, 3, 0", "102, 1, 0", "102, 65537, 0", "117, 0x1000b, 0", "117, 2, 0"]
    body = "".join(f"i386_call({one}, 0, 0, 0, 0);" for one in made)
    program = compiled(
        tmp_path, f'#include "{source}"\nint main(void) {{ {body} return 0; }}', "-mno-red-zone"
    )
    assert record(policy, [program], *options).code == 0
    text = policy.read_text()
    assert "socketcall # this run: 65537, connect, socket\n" in text
    assert "ipc # this run: msgsnd, semget\n" in text
    assert ("call in {SEMGET, MSGSND|0x10000}" in text) is bool(options)
    again = record(policy, [program], *options, "--merge", policy)
    assert again.code == 0, again.err


UNTRACED = """
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static const struct clone_args three = { .flags = CLONE_UNTRACED, .exit_signal = SIGCHLD };
int main(int count, char **words)
{
    long result = count > 1 ? SYS_clone3 : SYS_clone;
    unsigned long first = count > 1 ? (long)&three : CLONE_UNTRACED | SIGCHLD, before = first;
    __asm__ volatile("xor %%edx, %%edx; xor %%r10d, %%r10d; syscall" : "+a"(result), "+D"(first)
        : "S"(count > 1 ? sizeof three : 0) : "rcx", "rdx", "r10", "r11", "memory");
    if (result == 0) {
        syscall(SYS_getpgid, 0);
        _exit(first == before && three.flags == CLONE_UNTRACED ? 7 : 8);
    }
    int status;
    waitpid(result, &status, 0);
    printf("%d %d\\n", status >> 8, first == before && three.flags == CLONE_UNTRACED);
    return 0;
}
"""


@pytest.mark.few(1, "records programs, and runs them under the result")
@pytest.mark.parametrize("words", [[], ["clone3"]], ids=["clone", "clone3"])
def test_what_wants_no_tracer_is_traced_all_the_same(
    policy: Path, tmp_path: Path, words: list[str]
) -> None:
    """A child without one would find that each of its calls fails; and nobody sees a difference."""
    program = compiled(tmp_path, UNTRACED)
    for options in ((), ("--merge", policy)):
        found = record(policy, [program, *words], *options)
        assert (found.code, found.out) == (0, "7 1\n"), found.err
        assert "getpgid" in calls(policy)


THIRTY_TWO = """
static int call(int nr, int a, const char *b, int c)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
void _start(void)
{
    call(4, 1, "32 bits\\n", 8);
    call(1, 0, 0, 0);
}
"""


def test_a_32_bit_program_runs_under_what_it_was_recorded_to_need(
    policy: Path, tmp_path: Path
) -> None:
    i386_call()
    options = ["-m32", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-O1"]
    program = compiled(tmp_path, THIRTY_TWO, *options)
    found = record(policy, [program])
    assert (found.code, found.out) == (0, "32 bits\n"), found.err
    assert calls(policy) == ["execve", "exit", "exit_group", "write"]
    again = run(confined(policy, [program]))
    assert (again.returncode, again.stdout) == (0, "32 bits\n"), again.stderr


OWN = (
    CALL
    + """
import struct
def refuse(nr, action):
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, nr), (6, 0, 0, action), (6, 0, 0, 0x7fff0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    class Fprog(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))
    call(157, 38, 1, 0, 0, 0)
    assert call(317, 1, 0, ctypes.byref(Fprog(len(rows), ctypes.addressof(program)))) == 0
"""
)


def test_what_a_programs_own_filter_refuses_is_seen_all_the_same(policy: Path) -> None:
    """Under a policy that kills, a call has to be allowed to fail by the program's own filter."""
    source = OWN + "refuse(121, 0x5000d)\nassert call(121, 0) == -1\n"
    source += "threading.Thread(target=lambda: call(124, 0)).start()\n"
    source += "refuse(140, 0x50001)\nos.fork() or (call(140, 0, 0), os._exit(0))\n"
    source += "os.fork() or (refuse(110, 0x80000000), call(110))"
    found = record(policy, python(source))
    assert found.code == 0, found.err
    assert "filter of its own" in found.err
    assert {"getpgid", "getsid", "getppid", "getpriority"} <= {*calls(policy)}


def as_nobody(directory: Path, command: Sequence[str]) -> Result:
    """Record as a user without privileges, who need not be able to start this Python."""

    def body() -> list[object]:
        os.chdir(directory)  # where it was, others may not enter
        inside("record", "-o", "first.yml", "--", "/bin/true", cwd=directory)  # imports everything
        os.setgroups([])
        os.setgid(65534)
        libc = ctypes.CDLL(None)
        libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
        os.setuid(65534)
        # What is left lets it read this checkout, wherever that lies: CAP_DAC_READ_SEARCH.
        head = struct.pack("=Ii", 0x20080522, 0)
        assert libc.capset(head, struct.pack("=6I", 1 << 2, 1 << 2, 0, 0, 0, 0)) == 0
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after execve
        found = inside("record", "-o", "recorded.yml", "--", *command, cwd=directory)
        return [found.code, found.out, found.err]

    outcome = run_in_child(body)
    assert outcome.error is None, outcome.error
    code, out, err = outcome.value
    return Result(code, out, err)


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A directory that every user can write to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


@pytest.mark.long("records programs, and runs them under the result")
@pytest.mark.root("makes a setuid program, and becomes another user")
def test_it_needs_no_privileges_and_says_what_it_cannot_see(anywhere: Path) -> None:
    found = shutil.which("id")
    assert found
    setuid = anywhere / "setuid-id"
    shutil.copy(found, setuid)
    setuid.chmod(0o4755)
    user = anywhere / "user"
    plain = as_nobody(anywhere, ["/bin/sh", "-c", f"{found} -u > {user}"])
    assert (plain.code, plain.err) == (0, "wrote recorded.yml\n")
    assert user.read_text() == "65534\n"
    seen = as_nobody(anywhere, ["/bin/sh", "-c", f"{setuid} -u > {user}"])
    assert f"{setuid} is setuid or setgid, and ran without these privileges" in seen.err
    assert user.read_text() == "65534\n"


@pytest.mark.root("makes a setuid program of another user")
def test_privileges_that_are_granted_are_no_news(policy: Path, tmp_path: Path) -> None:
    found = shutil.which("id")
    assert found
    setuid = tmp_path / "setuid-id"
    shutil.copy(found, setuid)
    os.chown(setuid, 65534, 65534)
    setuid.chmod(0o4755)
    assert record(policy, [setuid, "-u"]).err == f"wrote {policy}\n"


def test_a_process_that_is_traced_already_is_refused(policy: Path) -> None:
    inner = policy.parent / "inner.yml"
    words = [sys.executable, "-m", "seccompgen", "record", "-o", str(inner), "--", "/bin/true"]
    seen = record(policy, words)
    assert seen.code == 3
    assert "traces this process already" in seen.err
    assert not inner.exists()


@pytest.mark.long("records programs, and runs them under the result")
def test_each_of_many_busy_processes_has_its_turn(tmp_path: Path) -> None:
    """The kernel tells of the latest first, and they soon are at their next call."""
    code = """
import os, signal
busy = []
for _ in range(100):
    pid = os.fork()
    if not pid:
        while True:
            os.getppid()
    busy.append(pid)
for _ in range(100):
    os.getppid()
for pid in busy:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""
    seen = record(tmp_path / "recorded.yml", [sys.executable, "-c", code])
    assert seen.code == 0, seen.err
