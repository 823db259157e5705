"""Run `worker.py`, confined or free."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
POLICIES = sorted((Path(__file__).parents[2] / "policies").glob("*.yml"))
TIMEOUT = 30.0


@dataclass(frozen=True)
class Confine:
    """``python`` is the interpreter, ``directory`` holds the package ``stock``."""

    python: str
    directory: Path

    def start(
        self,
        policy: str,
        *arguments: str,
        role: str = "",
        free: bool = False,
        fds: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        """Start the worker ``role`` (default: the policy's own) under ``policy``."""
        # Python 3.12 warns of a fork beside threads.
        python = [self.python, "-I", "-W", "ignore::DeprecationWarning"]
        how = "free" if free else "confined"
        return subprocess.Popen(
            [*python, WORKER, self.directory, policy, how, *arguments],
            env={**os.environ, "ROLE": role or policy},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=fds,
        )

    def run(
        self,
        policy: str,
        *arguments: str,
        stdin: bytes = b"",
        role: str = "",
        free: bool = False,
    ) -> dict[str, Any]:
        """Run the worker to its end; return what it says."""
        return finish(self.start(policy, *arguments, role=role, free=free), stdin)


def finish(worker: subprocess.Popen[bytes], stdin: bytes = b"") -> dict[str, Any]:
    """Wait for a clean end, and return what the worker says."""
    code, out, err = end(worker, stdin)
    assert (code, err.decode()) == (0, "")
    result: dict[str, Any] = json.loads(out)
    return result


def end(worker: subprocess.Popen[bytes], stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """Wait for the end, whatever it is; return its code and what was written."""
    try:
        out, err = worker.communicate(stdin, TIMEOUT)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.communicate()
        raise
    return worker.returncode, out, err


def all_are(answer: str, outcomes: dict[str, str]) -> None:
    """Assert that there are outcomes, and all of them are ``answer``."""
    assert outcomes
    others = {name: x for name, x in outcomes.items() if x != answer}
    assert not others, others


def none_is(answer: str, outcomes: dict[str, str]) -> None:
    """Assert that there are outcomes, and none of them is ``answer``."""
    assert outcomes
    those = [name for name, x in outcomes.items() if x == answer]
    assert not those, those
