"""Signals that a supervisor hands on: those sent to it alone, not those of a terminal to all."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from seccompgen.run.signals import Reaper, ReceivedSignal, Signals, blocked, hand_on, poll
from tracing import halted

# Python 3.12 warns of a fork beside threads; xdist has one that the child does not need.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_a_terminals_signal_is_told_from_one_that_was_sent() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            with blocked():
                signals = Signals()
                os.write(1, b"ready.")
                for _ in range(2):
                    poll({signals.descriptor: lambda _: None}, 30)
                    for came in signals.read():
                        os.write(1, f"{signal.Signals(came.number).name} {came.sent}.".encode())
        finally:
            os._exit(0)
    said = b""

    def read_to(end: bytes) -> None:
        nonlocal said
        while not said.endswith(end):
            said += os.read(terminal, 4096)

    read_to(b"ready.")
    os.write(terminal, b"\x03")
    read_to(b"SIGINT False.")
    os.kill(pid, signal.SIGINT)
    read_to(b"SIGINT True.")
    os.waitpid(pid, 0)
    os.close(terminal)


def test_only_what_was_sent_is_handed_on() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        # Of two signals the lower comes first, and would end it.
        hand_on(ReceivedSignal(signal.SIGHUP, sent=False), child.pid)
        hand_on(ReceivedSignal(signal.SIGCHLD, sent=True), child.pid)
        hand_on(ReceivedSignal(signal.SIGTERM, sent=True), child.pid)
        assert child.wait(120) == -signal.SIGTERM


def test_a_command_that_has_ended_already_is_collected_like_any() -> None:
    """Linux knows of no child that could stop then; `run --trace -- true` met that under load."""
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    command = Reaper(pid)
    command.look_for_stop()
    assert command.status is None
    command.look()
    assert command.status is not None
    assert os.waitstatus_to_exitcode(command.status) == 3


HEARS = """
import os, signal
from seccompgen.run.record.requests import answered_by
from seccompgen.run.signals import HANDED_ON
with answered_by(lambda came: os.write(1, b"%d %d\\n" % (came.number, came.sender)), HANDED_ON):
    print("ready", flush=True)
    while True:
        signal.pause()
"""


def test_a_recorder_that_was_stopped_hears_no_signal_that_nobody_sent() -> None:
    hearer = subprocess.Popen([sys.executable, "-c", HEARS], stdout=subprocess.PIPE, text=True)
    assert hearer.stdout
    with hearer, hearer.stdout as out:
        assert out.readline() == "ready\n"
        hearer.send_signal(signal.SIGUSR1)
        assert out.readline() == f"{signal.SIGUSR1:d} {os.getpid()}\n"
        for _ in range(3):
            with halted(hearer.pid):
                time.sleep(0.4)  # longer than it waits for a signal
        hearer.send_signal(signal.SIGUSR2)
        assert out.readline() == f"{signal.SIGUSR2:d} {os.getpid()}\n"
        hearer.kill()
