"""Rings of which not all was seen: the recording says so, and permits none."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from ring_workloads import POLLED, program, record, report, require_rings, some
from running_kernel import require_x86_64
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.run.record.ring_memory import Ring
from seccompgen.run.record.ring_reader import RingReader
from seccompgen.run.record.seen import CallKeys, TracedProcess
from tracing import POWERLESS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

require_x86_64()
require_rings()

UNSEEN = {
    "a thread of the kernel takes more than the ring keeps": (
        POLLED + "for n in range(9): give(r, nop(), n)\n",
        "a ring has SQPOLL, so that a thread of the kernel takes its operations: there were more",
    ),
    "a thread of the kernel follows a pointer": (
        POLLED + "give(r, connect(v4(1, 1)), 0)\n",
        "a ring has SQPOLL, so that a thread of the kernel takes its operations: what CONNECT",
    ),
    "a process is killed whose ring needs no call": (
        POLLED + "ready, done = os.pipe()\nchild = os.fork()\n"
        "if not child:\n    os.write(done, b'x')\n    while True: pass\n"
        "os.read(ready, 1)\nos.kill(child, 9)\nos.wait()\n",
        "a ring has SQPOLL, so that a thread of the kernel takes its operations: it was unmapped",
    ),
    "a thread changes an entry while the kernel takes it": (
        "r = Ring(4)\nend, other = os.pipe()\n"
        "def change():\n"
        "    while not r._word(r._sq[0]): time.sleep(0.01)\n"
        "    r._entries[:64] = entry(57, -1)\n"
        "    os.write(other, b'x')\n"
        "threading.Thread(target=change).start()\n"
        "enter(r, entry(22, end, addr=kept(b' '), length=1), 1)\n",
        "operations were changed while the kernel took them",
    ),
    "more is taken than was there": (
        "r = Ring(4)\nend, other = os.pipe()\nonce = threading.Event()\n"
        "def more():\n"
        "    while not r._word(r._sq[0]): time.sleep(0.01)\n"
        "    r._entries[64:128] = nop()\n"
        "    struct.pack_into('=I', r._rings, r._sq[1], 2)\n"
        "    struct.pack_into('=I', r._rings, r._sq[0], 2)\n"  # as the kernel would
        "    os.write(other, b'x')\n"
        "threading.Thread(target=more).start()\n"
        "enter(r, entry(22, end, addr=kept(b' '), length=1), 1)\n",
        "the kernel took operations from a ring that were not in it",
    ),
    "the ring is not mapped any more": (
        "r = Ring(4)\nr._entries[:64] = nop()\nstruct.pack_into('=I', r._rings, r._sq[1], 1)\n"
        "r._rings.close()\nr._entries.close()\ncall(ring.ENTER, r.fd, 1, 0, 0)\n",
        "the memory of a ring could not be read",
    ),
    "a ring is resized": (
        "r = Ring(4, ring.RESIZABLE)\nr.submit(nop())\nr.resize(8)\nr.submit(entry(57, -1))\n",
        "a ring was resized",
    ),
}


@pytest.mark.parametrize(
    "name", some(UNSEEN, "a thread changes an entry while the kernel takes it")
)
def test_what_was_not_seen_is_said_and_no_ring_is_permitted(name: str, policy: Path) -> None:
    body, why = UNSEEN[name]
    done = record(policy, body, "--json")
    assert done.code == 1
    assert [one for one in report(done)["rings"]["unseen"] if one.startswith(why)]
    assert f"note: rings did more than was seen: {why}" in done.err
    text = policy.read_text()
    assert "\n#io_uring:\n" in text
    assert "io_uring_setup" not in text
    assert load_policy(policy, shipped_tables())[0].io_uring is None
    # The way on: what is missing is added, and the # is removed.
    head, _, offered = text.partition("#io_uring:")
    policy.write_text(head + f"#io_uring:{offered}".replace("\n#", "\n").removeprefix("#"))
    assert load_policy(policy, shipped_tables())[0].io_uring


def test_a_process_that_is_killed_at_a_stop_did_not_unmap_its_ring() -> None:
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        ring = Ring(2, 4, 0, 4, 8, 12, 64, None, "x86_64", inode=1)
        process = TracedProcess(CallKeys(1), ring_places={1: (4096, 8192)}, polled=[ring])
        reader = RingReader()
        reader.polls(dead.pid, process, counts=True)
        reader.killed(process)
    assert [one for one in process.rings.unseen if "its process ended" in one]


def test_a_process_that_lets_nobody_read_its_memory_is_not_taken_for_one_without_a_ring(
    policy: Path,
) -> None:
    body = POLLED + "give(r, nop(), 0)\nctypes.CDLL(None).prctl(4, 0)\ngive(r, entry(57, -1), 1)\n"
    words = [*POWERLESS, sys.executable, "-m", "seccompgen", "record", "-o", str(policy), "--"]
    words += program(policy.parent, body)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "its process forbids it (PR_SET_DUMPABLE)" in done.stderr


def test_a_ring_from_before_is_not_seen(policy: Path) -> None:
    """A descriptor of it is inherited: by the command, or by a process that is attached to."""
    made = subprocess.Popen(
        program(
            policy.parent,
            "r = Ring(4)\nos.set_inheritable(r.fd, True)\n"
            "words = [sys.executable, '-m', 'seccompgen', 'record', '-o', "
            f"{str(policy)!r}, '--', '/bin/true']\n"
            "os.execv(words[0], words)\n",
        ),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "generator")},
    )
    _, err = made.communicate(timeout=60)
    assert made.returncode == 1, err
    assert "a ring that was made before the recording" in err


@pytest.mark.long("records several programs")
def test_a_process_that_has_a_ring_already(policy: Path, polled: subprocess.Popen[str]) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "seccompgen", "record", "-o", policy, "-p", str(polled.pid)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "generator")},
    )
    assert watching.stderr
    assert "watching" in watching.stderr.readline()
    assert polled.stdin
    polled.stdin.write("go\n")
    polled.stdin.flush()
    polled.wait(timeout=60)
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 1
    assert "a ring that was made before the recording" in err


@pytest.fixture
def polled(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a ring that waits for a line, and then submits."""
    words = program(
        tmp_path, "r = Ring(4)\nprint('ready', flush=True)\ninput()\nr.submit(entry(57, -1))\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()
