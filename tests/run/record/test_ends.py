"""The end of a recording: targets that crash, end at once, cannot start; signals; leftovers."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import in_pid_namespace
from recording import calls, record
from running_kernel import require_x86_64
from seccompgen.run.process import Process
from seccompgen.run.record.requests import Requests
from seccompgen.run.signals import ReceivedSignal
from tracing import PYTHON, alive, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

require_x86_64()


def begin(policy: Path, *command: str) -> subprocess.Popen[str]:
    """Start recording ``command``, in a process group of its own, as a shell starts a job."""
    words = [
        sys.executable,
        "-m",
        "seccompgen",
        "record",
        "--exact",
        "-o",
        str(policy),
        "--",
        *command,
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, process_group=0)


def gone(pids: list[int], seconds: float = 120) -> bool:
    """Wait for processes to end; return True if they all do in time."""
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, pids))


@pytest.fixture
def waiting(policy: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A recorded shell and a child of it that wait for ever, and their PIDs."""
    script = "trap 'echo bye; exit 3' INT TERM; sleep 1000 & echo $$ $!; wait; echo woke"
    running = begin(policy, "/bin/sh", "-c", script)
    assert running.stdout
    pids = [int(word) for word in running.stdout.readline().split()]
    # Before it becomes another program it is a shell that catches SIGTERM, and then forgets it.
    while Path(f"/proc/{pids[1]}/comm").read_text() != "sleep\n":
        time.sleep(0.01)
    yield running, pids
    running.kill()
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    running.communicate()


def test_another_namespaces_proc_is_not_believed(policy: Path) -> None:
    words = ["record", "--exact", "-o", str(policy), "--", "true"]
    done = in_pid_namespace(*words)
    assert (done.code, policy.exists()) == (3, False)
    assert done.err.startswith("/proc is not mounted, or is another PID namespace's")
    mounted = in_pid_namespace(*words, proc=True)
    assert (mounted.code, policy.exists()) == (0, True), mounted.err


def test_a_thread_of_any_name_is_taken_for_what_it_is(policy: Path) -> None:
    """The name stands before all else in /proc/TID/status."""
    code = """
import ctypes, os, threading
ctypes.CDLL(None).prctl(15, b"x\\rTgid: y")
thread = threading.Thread(target=os.getppid)
thread.start()
thread.join()
"""
    seen = record(policy, [sys.executable, "-c", code])
    assert seen.code == 0, seen.err
    assert "getppid" in calls(policy)


def test_a_parent_that_ignores_its_children_changes_nothing(policy: Path) -> None:
    words = [sys.executable, "-m", "seccompgen", "record", "--exact", "-o", str(policy), "--"]
    done = subprocess.run(
        [*words, "sh", "-c", "sleep 0; exit 37"],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, policy.exists()) == (37, True), done.stderr


def test_exits_as_the_command_does(policy: Path) -> None:
    seen = record(policy, ["/bin/sh", "-c", "exit 7"])
    assert seen.code == 7
    assert seen.err == f"note: /bin/sh ended with exit code 7\nwrote {policy}\n"
    assert {"execve", "exit_group"} <= {*calls(policy)}


def test_a_crash_is_told_and_what_was_before_is_written(policy: Path) -> None:
    seen = record(policy, ["/bin/sh", "-c", "kill -SEGV $$"])
    assert seen.code == 128 + signal.SIGSEGV
    assert "killed by SIGSEGV" in seen.err
    assert "kill" in calls(policy)


def test_a_command_that_cannot_start_leaves_the_policy_alone(policy: Path) -> None:
    record(policy, ["/bin/true"])
    before = policy.read_bytes()
    missing = record(policy, [policy.parent / "missing"])
    assert (missing.code, policy.read_bytes()) == (127, before)
    assert "missing" in missing.err
    plain = record(policy, [policy])
    assert (plain.code, policy.read_bytes()) == (126, before)
    broken = policy.parent / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    seen = record(policy, [broken])
    assert (seen.code, policy.read_bytes()) == (127, before)
    assert str(broken) in seen.err


def test_what_somebody_wrote_is_not_lost(policy: Path) -> None:
    policy.write_text("default_action: errno\n")
    seen = record(policy, ["/bin/false"])
    assert seen.code == 2
    assert "was not recorded" in seen.err
    assert policy.read_text() == "default_action: errno\n"


def test_where_nothing_can_be_written_nothing_is_run(policy: Path) -> None:
    seen = record(Path("/proc/policy.yml"), ["/usr/bin/touch", policy])
    assert seen.code == 3
    assert "/proc/policy.yml: nothing can be written in /proc: " in seen.err
    assert not policy.exists()


FULL = """
mount -t tmpfs -o size=64k none {full}
cd {full}
for name in {names}; do mount --bind . $name; done
cat /dev/zero > zeros
exec {python} -m seccompgen record --exact -o recorded.yml -- true
"""


@pytest.mark.parametrize("names", ["", "$TMPDIR /var/tmp /tmp"], ids=["policy", "everything"])
def test_a_full_disk_takes_no_recording(names: str, tmp_path: Path) -> None:
    full, other = tmp_path / "full", tmp_path / "other"
    full.mkdir()
    other.mkdir()
    script = FULL.format(full=full, names=names, python=shlex.quote(sys.executable))
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    if any(Path(sys.executable).is_relative_to(name) for name in names.split()):
        pytest.skip("this Python lies where the disk is to be full")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        env={**os.environ, "TMPDIR": str(other)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "cannot write recorded.yml: No space left on device; what was recorded is" in done.stderr
    kept = [path.read_text() for path in other.iterdir()]
    (policy,) = kept or [done.stdout]
    assert (not kept, bool(done.stdout)) == (bool(names), bool(names)), done.stderr
    assert policy.startswith("# Recorded by seccompgen") and "- execve" in policy


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 3, "bye\n"), (signal.SIGHUP, 128 + signal.SIGHUP, "")],
    ids=["SIGINT", "SIGHUP"],
)
def test_one_request_to_end_is_the_commands(
    number: int, code: int, said: str, policy: Path
) -> None:
    """A server is told to end after its use: the calls until then are all there is to record.

    Where the shell has started a job in the background, that ignores SIGINT; other jobs are deaf to
    SIGTERM as well, or stopped. None of them is left over, nor waited for.
    """
    script = (
        "trap 'echo bye; exit 3' INT; sleep 1000 & one=$!;"
        "(trap '' TERM; exec sleep 1000) & two=$!; sleep 1000 & kill -STOP $!;"
        "echo $one $two $!; wait; echo woke"
    )
    running = begin(policy, "/bin/sh", "-c", script)
    assert running.stdout
    pids = [int(word) for word in running.stdout.readline().split()]
    wait_for(lambda: all(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in pids[:2]))
    assert not policy.exists()
    running.send_signal(number)
    out, err = running.communicate(timeout=120)
    assert gone(pids)
    assert (running.returncode, out) == (code, said), err
    assert "ending 3 processes that the command left, in a moment; Ctrl-C does so at once\n" in err
    assert {"clone", "exit_group"} <= {*calls(policy)}


def test_what_is_left_unasked_runs_on_until_an_interrupt(policy: Path) -> None:
    script = "trap '' INT; sleep 1000 & echo $!"
    running = begin(policy, "/bin/sh", "-c", script)
    assert running.stdout
    assert running.stderr
    pid = int(running.stdout.readline())
    assert running.stderr.readline().startswith("waiting for a process that the command left; ")
    assert alive(pid)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert gone([pid])
    assert (running.returncode, err) == (0, f"wrote {policy}\n")


HEARS = r"""
import os, signal, sys
def hear(number, _):
    os.write(1, b"%d\n" % number)  # a handler may come at any moment
    if number == signal.SIGTERM:
        sys.exit()
for number in map(int, sys.argv[2:]):
    signal.signal(number, hear)
if sys.argv[1]:
    os.setsid()
os.write(1, b"ready\n")
while True:
    signal.pause()
"""


@contextlib.contextmanager
def ignoring(*numbers: int) -> Iterator[None]:
    before = [signal.signal(one, signal.SIG_IGN) for one in numbers]
    yield
    for one, handler in zip(numbers, before, strict=True):
        signal.signal(one, handler)


def hearing(numbers: list[int], *, alone: bool = False) -> list[str]:
    """Return a command that tells which signals it hears; SIGTERM ends it."""
    return [PYTHON, "-I", "-S", "-c", HEARS, "1" * alone, *map(str, numbers)]


def test_signals_that_are_sent_to_the_recorder_are_the_commands(policy: Path) -> None:
    """As a service manager sends them, to reopen logs, to reload, to add a worker, to end."""
    own = {*KEPT, signal.SIGKILL, signal.SIGSTOP}
    numbers = [int(one) for one in signal.valid_signals() if one not in own]
    numbers.sort(key=lambda one: (one == signal.SIGTERM, one))
    # As in the background of a script; the command has handlers all the same.
    with ignoring(signal.SIGINT, signal.SIGQUIT):
        running = begin(policy, *hearing(numbers))
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    for number in (signal.SIGHUP, signal.SIGHUP, *numbers):
        running.send_signal(number)
        assert running.stdout.readline() == f"{number:d}\n"
    _, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, f"wrote {policy}\n")


KEPT = {
    *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGPIPE),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
    *(signal.SIGSTKFLT, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGXFSZ),
}
"""Signals about the recorder's own children, job, timers, limits and faults."""


@pytest.mark.parametrize("alone", [False, True], ids=["its group", "a group of its own"])
def test_a_terminals_signal_comes_once(policy: Path, *, alone: bool) -> None:
    """It is for the whole process group; one that is sent to the recorder is for that alone."""
    words = ["seccompgen", "record", "-o", str(policy), "--"]
    words += hearing([signal.SIGINT, signal.SIGQUIT, signal.SIGTERM], alone=alone)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(PYTHON, [PYTHON, "-m", *words])
    said = b""

    def read_to(end: str) -> None:
        nonlocal said
        while not said.endswith(end.encode() + b"\r\n"):
            said += os.read(terminal, 4096)

    read_to("ready")
    os.write(terminal, b"\x03")
    read_to("2")
    os.kill(pid, signal.SIGQUIT)
    read_to("3")
    os.kill(pid, signal.SIGTERM)
    read_to("15")
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while chunk := os.read(terminal, 4096):
            said += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    os.close(terminal)
    text = f"ready\n^C2\n3\n15\nwrote {policy}\n"
    assert said.decode().replace("\r\n", "\n") == text


COUNTS = r"""
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
static void hear(int number) {
    char text[] = {'0' + number / 10, '0' + number % 10, '\n'};
    write(1, text, sizeof text);
    if (number == SIGTERM) _exit(0);
}
int main(void) {
    struct sigaction action = {.sa_handler = hear};
    int numbers[] = {SIGUSR1, SIGUSR2, SIGRTMIN, SIGTERM};
    for (int at = 0; at < 4; at++) sigaction(numbers[at], &action, 0);
    write(1, "ready\n", 6);
    for (;;) pause();
}
"""


def test_a_signal_to_the_process_group_comes_once(policy: Path) -> None:
    """From the sender, not from the recorder as well. A handler of Python's makes one of two."""
    program, source = policy.with_name("program"), policy.with_name("program.c")
    source.write_text(COUNTS)
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
    running = begin(policy, str(program))
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    group = [signal.SIGUSR1, signal.SIGRTMIN, signal.SIGUSR2, signal.SIGUSR1, signal.SIGRTMIN]
    for number in group:
        os.killpg(running.pid, number)
        assert running.stdout.readline() == f"{number:d}\n"
        if number == signal.SIGRTMIN:  # such signals queue; this one is for the recorder alone
            running.send_signal(number)
            assert running.stdout.readline() == f"{number:d}\n"
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, out, err) == (0, "15\n", f"wrote {policy}\n")


def test_what_comes_at_once_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """timeout(1) signals a process, and then the group that it is in."""
    words = ["sh", "-c", "trap '' TERM; echo; read line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as command:
        assert command.stdout
        command.stdout.readline()
        asked = ReceivedSignal(signal.SIGTERM, sent=True)
        requests = Requests(command.pid, lambda: [command.pid])
        monkeypatch.setattr("seccompgen.run.record.requests._AT_ONCE", 1000)  # on a busy machine
        requests.hear(asked)
        requests.hear(asked)
        assert (requests.given_up, command.poll()) == (False, None)
        monkeypatch.setattr("seccompgen.run.record.requests._AT_ONCE", 0)
        requests.hear(asked)
        assert (requests.given_up, command.wait(120)) == (True, -signal.SIGKILL)


def test_of_two_signals_none_is_held_back_that_is_pending() -> None:
    """Another of its number may have merged with it, and would be lost."""
    code = "import signal; signal.pthread_sigmask(0, [10, 12]); print(); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([PYTHON, "-c", code], stdin=pipe, stdout=pipe) as command:
        assert command.stdout
        command.stdout.readline()
        requests, sender = Requests(command.pid, lambda: [command.pid]), os.getppid()
        # One that is forwarded before the other is delivered is pending, and takes its place;
        requests.hear(ReceivedSignal(signal.SIGUSR1, sent=True, sender=sender))
        assert requests.comes_twice(signal.SIGUSR1, sender)
        assert not requests.comes_twice(signal.SIGUSR1, os.getpid())
        # one that merged with the other is not;
        requests.hear(ReceivedSignal(signal.SIGWINCH, sent=True, sender=sender))
        assert not requests.comes_twice(signal.SIGWINCH, sender)
        # and one whose other was delivered is not forwarded.
        assert not requests.comes_twice(signal.SIGUSR2, sender)
        requests.hear(ReceivedSignal(signal.SIGUSR2, sent=True, sender=sender))
        assert not Process(command.pid).is_pending(signal.SIGUSR2)
        command.kill()


def test_a_second_interrupt_kills_all_and_writes_nothing(policy: Path) -> None:
    script = (
        "trap 'echo heard' INT TERM; (trap '' INT TERM; while :; do sleep 1; done) &"
        "echo $$; while :; do wait; done"
    )
    running = begin(policy, "/bin/sh", "-c", script)
    assert running.stdout
    pid = int(running.stdout.readline())
    children = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    running.send_signal(signal.SIGINT)
    assert running.stdout.readline() == "heard\n"
    assert all(map(alive, [pid, *children]))
    while running.poll() is None:  # one that comes too soon counts as the same
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "nothing is written" in err
    assert gone([pid, *children])
    assert not policy.exists()


def test_nothing_outlives_a_killed_recorder(
    policy: Path, waiting: tuple[subprocess.Popen[str], list[int]]
) -> None:
    running, pids = waiting
    assert all(map(alive, pids))
    running.kill()
    assert gone(pids)
    assert not policy.exists()
    assert [*policy.parent.iterdir()] == []


def test_what_the_command_leaves_is_recorded_to_its_end(policy: Path) -> None:
    daemon = (
        "import os, time\n"
        "command = os.getpid()\n"
        "if os.fork() == 0:\n"
        "  while os.getppid() == command: time.sleep(0.01)\n"
        "  time.sleep(0.1)\n"
        "  os.sched_yield()"
    )
    seen = record(policy, [sys.executable, "-I", "-c", daemon])
    assert seen.code == 0
    assert "waiting for a process that the command left" in seen.err
    assert "sched_yield" in calls(policy)


def test_a_stopped_command_goes_on(policy: Path) -> None:
    script = "echo $$; kill -TSTP $$; echo on"
    running = begin(policy, "/bin/sh", "-c", script)
    assert running.stdout
    running.stdout.readline()
    deadline = time.monotonic() + 120
    stopped = os.WSTOPPED | os.WNOWAIT | os.WNOHANG  # as the shell sees its job stop
    while not os.waitid(os.P_PID, running.pid, stopped):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGCONT)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (0, "on\n"), err
