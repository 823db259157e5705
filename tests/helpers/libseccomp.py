"""libseccomp, a peer: programs that it makes of rules, through the system Python's binding.

It has no opinion on calls that our tables name and its own do not, so calls are numbers here.
"""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Comparison: TypeAlias = tuple[int, str, list[int]]
"""An argument, ``EQ``, ``MASKED_EQ``, ... and its operands."""
Rule: TypeAlias = tuple[int, int, list[Comparison]]
"""An action, a number and what must all hold."""
PYTHON = Path("/usr/bin/python3")
OPERATIONS = {
    "Equal": "EQ",
    "NotEqual": "NE",
    "GreaterThan": "GT",
    "LessThan": "LT",
    "GreaterOrEqual": "GE",
    "LessOrEqual": "LE",
    "MaskedEqual": "MASKED_EQ",
}

# Each in a process of its own, which it kills after a while: some rules it never finishes.
_EXPORT = """
import json, os, seccomp, signal, sys
level, bad_arch, policies = json.load(sys.stdin)
out = []
def signed(action):  # the binding takes a C int
    return action - (action >> 31 << 32)
for default, rules in policies:
    reader, writer = os.pipe()
    if not os.fork():
        signal.alarm(20)
        f = seccomp.SyscallFilter(signed(default))
        f.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
        f.set_attr(seccomp.Attr.ACT_BADARCH, signed(bad_arch))
        for action, nr, conditions in rules:
            compare = [seccomp.Arg(i, getattr(seccomp, op), *k) for i, op, k in conditions]
            f.add_rule_exactly(signed(action), nr, *compare)
        with os.fdopen(writer, "wb") as file:
            f.export_bpf(file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        out.append(file.read().hex())
    _, status = os.wait()
    assert status in (0, signal.SIGALRM), status
json.dump(out, sys.stdout)
"""


def programs(
    policies: Sequence[tuple[int, Sequence[Rule]]], *, level: int, bad_arch: int
) -> list[bytes]:
    """Return the x86_64 program of each (default action, rules); empty if it does not finish.

    ``level`` is the optimisation level: 1, a list of calls, or 2, a binary tree.
    """
    done = subprocess.run(
        [str(PYTHON), "-c", _EXPORT],
        input=json.dumps([level, bad_arch, policies]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [bytes.fromhex(text) for text in json.loads(done.stdout)]


@functools.cache
def is_here() -> bool:
    command = [str(PYTHON), "-c", "import seccomp; assert seccomp.system_arch() == 0xC000003E"]
    return (
        PYTHON.exists() and not subprocess.run(command, capture_output=True, check=False).returncode
    )
