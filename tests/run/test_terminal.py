"""``seccompgen run`` at a terminal: a shell's keys and jobs, by a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

kernel.require_x86_64()
# Python 3.12 warns of a fork beside threads; xdist has one that the child does not need.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

HOWS = {"plain": "", "notify": "--trace --by notify", "ptrace": "--trace --by ptrace"}


def hows(*often: str) -> pytest.MarkDecorator:
    """Have a test for each way to run a command; those that are not named are long."""
    long = pytest.mark.long("the same keys under the other supervisors")
    return pytest.mark.parametrize(
        "how",
        [
            pytest.param(words, id=name, marks=[] if name in often else [long])
            for name, words in HOWS.items()
        ],
    )


COUNTER = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("re" + "ady", flush=True)
came = [signal.sigwaitinfo([signal.SIGINT])]
while more := signal.sigtimedwait([signal.SIGINT], 0.5):
    came.append(more)
print("caught", [one.si_code for one in came], sys.stdin.isatty(), flush=True)
sys.exit(9)
"""
# A handler of Python's would run after the read, if SIGCONT comes just before that; so the kernel's
# handler tells, by the signal's number as a character.
STOPPER = """
import os, signal, sys
signal.signal(signal.SIGCONT, lambda *_: None)
signal.set_wakeup_fd(os.open("/dev/tty", os.O_WRONLY | os.O_NONBLOCK))
print("re" + "ady", flush=True)
line = sys.stdin.readline()
print("read", line.strip(), os.tcgetpgrp(0) == os.getpgrp(), flush=True)
"""
CONTINUED = re.escape(chr(signal.SIGCONT))


class Shell:
    """A shell with job control, on a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1="", ENV="", TERM="dumb")
            os.execlp("bash", "bash", "--norc", "--noprofile", "--noediting", "-i")
        settings = termios.tcgetattr(self._terminal)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(self._terminal, termios.TCSANOW, settings)
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, pattern: str, poke: str = "") -> str:
        """Read until the pattern comes, and forget what was before it ends.

        Meanwhile ``poke`` is typed again and again, for a shell that tells of its jobs only then.
        """
        deadline = time.monotonic() + 120
        while not (found := re.search(pattern, self.said)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.said!r}"
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.said += os.read(self._terminal, 4096).decode(errors="replace")
            elif poke:
                self.type(poke)
        self.said = self.said[found.end() :]
        return found[0]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGHUP)
        os.close(self._terminal)
        os.waitpid(self.pid, 0)


@pytest.fixture
def shell() -> Iterator[Shell]:
    one = Shell()
    yield one
    one.close()


@pytest.fixture
def command(tmp_path: Path, no_parent: Path) -> str:
    (tmp_path / "counter.py").write_text(COUNTER)
    (tmp_path / "stopper.py").write_text(STOPPER)
    return f"cd {tmp_path}; {shlex.quote(sys.executable)} -m seccompgen run %s {no_parent} -- "


@pytest.mark.few(1, "runs programs under a tracer again and again")
@hows("plain", "notify", "ptrace")
def test_ctrl_c_reaches_the_command_once(how: str, shell: Shell, command: str) -> None:
    shell.type(f"{command % how} {shlex.quote(sys.executable)} counter.py; echo code $?\n")
    shell.wait_for("ready")
    shell.type("\x03")
    # SI_KERNEL: the terminal's own, and no second one from a supervisor.
    assert shell.wait_for(r"caught \S+ \w+") == "caught [128] True"
    assert shell.wait_for(r"code \d+") == "code 9"


@hows("ptrace")
def test_ctrl_c_ends_a_command_that_does_not_care(how: str, shell: Shell, command: str) -> None:
    code = "import signal; signal.signal(2, signal.SIG_DFL); print(1 + 1, flush=True); input()"
    shell.type("PROMPT_COMMAND='echo code $?'; ")
    shell.type(f'{command % how} {shlex.quote(sys.executable)} -c "{code}"\n')
    shell.wait_for(r"\b2\r")
    shell.type("\x03")
    # The shell sees a command that SIGINT ended, and not one that exits.
    assert shell.wait_for(r"code \d+") == "code 130"


@hows("notify")
def test_ctrl_z_stops_the_job_and_fg_goes_on(how: str, shell: Shell, command: str) -> None:
    shell.type(f"{command % how} {shlex.quote(sys.executable)} stopper.py\n")
    shell.wait_for("ready")
    for _ in range(2):
        shell.type("\x1a")
        # Nothing may be typed until then: the job might read it before it stops.
        shell.wait_for(r"\[1\]\+ +Stopped")
        shell.type("fg\n")
        shell.wait_for(CONTINUED)
    shell.type("hello\n")
    assert shell.wait_for(r"read \w+ \w+") == "read hello True"
    shell.type("echo code $?\n")
    assert shell.wait_for(r"code \d+") == "code 0"


@hows("ptrace")
def test_a_command_that_reads_in_the_background_is_stopped(
    how: str, shell: Shell, command: str
) -> None:
    shell.type(f"{command % how} {shlex.quote(sys.executable)} stopper.py &\n")
    shell.wait_for("ready")
    shell.wait_for(r"\[1\]\+ +\d+ Stopped", poke="jobs -l\n")
    shell.type("fg\n")
    shell.wait_for(CONTINUED)
    shell.type("hello\n")
    assert shell.wait_for(r"read \w+ \w+") == "read hello True"
