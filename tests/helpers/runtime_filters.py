"""The filter that a container runtime installs, as the kernel is handed it.

The runtime runs under strace, which writes down each program that is given to seccomp(2) or
prctl(2). Once it is there the runtime is killed: what it runs under its own filter has no say, and
many a filter is such that nothing would run.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from bundles import COMMANDS
from seccompgen.core.program import Instruction
from seccompgen.verify import Code

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 30.0
"""Some rules libseccomp never finishes."""
_STRACE = "strace -f --seccomp-bpf --kill-on-exit -v -s0 -X raw -e trace=seccomp,prctl"
_PROGRAM = re.compile(r"\{len=(\d+), filter=\[(.*?)\]\}")
_INSTRUCTION = re.compile(r"BPF_(STMT|JUMP)\(([^,]*), ([^,)]*)(?:, ([^,)]*), ([^,)]*))?\)")


class Installed(NamedTuple):
    """``code`` is None where the runtime installed nothing; then ``said`` has its reason."""

    code: Code | None
    said: str


def installed(runtime: str, bundle: Path) -> Installed:
    """Return the last filter that ``runtime`` installs for the container in ``bundle``.

    State is kept in the bundle and begins anew, so that no profile that crun compiled before
    counts: its cache does not tell profiles apart that differ in ``errnoRet``.
    """
    log, state = bundle / "strace", bundle / "state"
    command = f"{COMMANDS[runtime]} --root {state}"
    log.unlink(missing_ok=True)
    shutil.rmtree(state, ignore_errors=True)
    with (bundle / "said").open("w+") as said:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {_STRACE} -o {log} {command} run traced"],
            cwd=bundle,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        end = time.monotonic() + TIMEOUT
        code, ended = None, False
        while code is None and not ended and time.monotonic() < end:
            ended = process.poll() is not None
            text = log.read_text() if log.exists() else ""
            programs = _PROGRAM.findall(text)
            code = decoded(*programs[-1]) if programs else None
            time.sleep(0.02)
        process.kill()
        process.wait(TIMEOUT)
        said.seek(0)
        lines = [line for line in said.read().splitlines() if "hybrid mode" not in line]
    with contextlib.suppress(subprocess.TimeoutExpired):
        delete = ["sh", "-c", f"{command} delete --force traced"]
        subprocess.run(delete, cwd=bundle, capture_output=True, timeout=TIMEOUT, check=False)
    return Installed(code, "\n".join(lines))


def decoded(length: str, text: str) -> Code:
    """Return a program as strace writes it: each code is the sum of its parts, joined by ``|``."""
    found = []
    for kind, code, k, jt, jf in _INSTRUCTION.findall(text):
        assert (kind == "JUMP") == bool(jt)
        found.append(Instruction(_sum(code), int(jt or "0", 0), int(jf or "0", 0), _sum(k)))
    assert len(found) == int(length), text
    return Code(tuple(found), "little")


def _sum(parts: str) -> int:
    total = 0
    for part in parts.split("|"):
        total |= int(part, 0)
    return total
