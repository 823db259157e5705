"""Record a program in one user land, and run it in others under what was recorded."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seccompgen import Action, SyscallGroup, compile, read_filter  # noqa: A004 - its name there

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from benchmarks.userlands.programs import Program
    from benchmarks.userlands.roots import UserLand

TOP = Path(__file__).parents[2]
ROUNDS = 3
"""Recordings that are merged, for some calls are made only when threads meet."""
NAMESPACES = ("--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")
ACTIONS = {"EPERM": Action.errno("EPERM"), "ENOSYS": Action.errno("ENOSYS")}
"""What a policy can answer to calls that were not recorded."""
CONSTANT_STARTS = (
    "AF_",
    "CLOCK_",
    "F_",
    "FI",
    "MADV_",
    "MAP_",
    "O_",
    "POSIX_",
    "PR_",
    "PROT_",
    "TC",
)
TRACED = "run", "--trace", "--permissive", "--startup-marker", "--json", "-o"


class HarnessError(Exception):
    """Something of the harness itself does not work."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run: how it ended, what a client was answered, and what was written."""

    status: int | str
    answered: str
    out: str
    err: str

    def works_as(self, other: Outcome, program: Program) -> bool:
        """Return True if both did the same work; a server's own log is not part of that."""
        mine = (self.status, self.answered if program.client else self.out)
        return mine == (other.status, other.answered if program.client else other.out)

    def complaint(self) -> str:
        """Return the line in which it says what is wrong."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1][:160] if lines else f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that the policy does not let through, with the constants that tell it from others.

    ``function`` is what made it, or the nearest caller that has a name; ``file`` where that lies.
    """

    syscall: str
    constants: str
    function: str
    file: str


def run(
    program: Program, land: UserLand, filter_: str | Path, around: Sequence[str | Path] = ()
) -> Outcome:
    """Run a program once, within the command ``around``; see enter.py for ``filter_``."""
    with tempfile.TemporaryDirectory(prefix="userlands-") as scratch:
        wish = {
            "program": program.name,
            "layers": [str(layer) for layer in land.layers],
            "scratch": scratch,
            "filter": str(filter_),
            "around": [str(word) for word in around],
        }
        words = ["unshare", *NAMESPACES, sys.executable, "-m", "benchmarks.userlands.inside"]
        done = subprocess.run(
            words, input=json.dumps(wish), capture_output=True, text=True, cwd=TOP, check=False
        )
    if done.returncode:
        raise HarnessError(f"{program.name} in {land.name}: {done.stderr}")
    return Outcome(**json.loads(done.stdout))


def seccompgen(*words: str | Path) -> list[str]:
    """Return a command line of seccompgen's."""
    return [sys.executable, "-m", "seccompgen", *map(str, words)]


def record(program: Program, land: UserLand, policy: Path) -> None:
    """Record a program into ``policy``."""
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.unlink(missing_ok=True)
    for _ in range(ROUNDS):
        merged = ("--merge", policy) if policy.exists() else ()
        words = seccompgen("record", "-o", policy, "--args", "--startup-marker", *merged, "--")
        outcome = run(program, land, "marker", words)
        if not policy.exists():
            raise HarnessError(f"{program.name} was not recorded: {outcome.err}")


def held(
    program: Program, land: UserLand, policy: Path, action: str, more: Collection[str] = ()
) -> Outcome:
    """Run a program under a policy, with ``action`` for what that and ``more`` do not allow."""
    with tempfile.NamedTemporaryFile(suffix=".bpf") as file:
        file.write(_compiled(policy, action, frozenset(more)))
        file.flush()
        return run(program, land, file.name)


@cache
def _compiled(policy: Path, action: str, more: frozenset[str]) -> bytes:
    recorded = read_filter(policy).policy
    besides = [SyscallGroup(Action.ALLOW, sorted(more))] if more else []
    meant = replace(
        recorded, default_action=ACTIONS[action], syscalls=(*recorded.syscalls, *besides)
    )
    return compile(meant, "x86_64").to_bytes()


def refused(program: Program, land: UserLand, policy: Path) -> tuple[Outcome, list[Refused]]:
    """Run a program without refusing anything; return what the policy would have refused."""
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / "trace"
        outcome = run(program, land, "marker", seccompgen(*TRACED, trace, policy, "--"))
        lines = [json.loads(line) for line in trace.read_text().splitlines()]
    return outcome, sorted(
        {_refused(line) for line in lines if "syscall" in line},
        key=lambda one: (one.syscall, one.constants, one.function),
    )


def _refused(line: dict[str, Any]) -> Refused:
    places = [line["place"], *line["callers"]] if line["place"] else []
    texts = [str(one["text"]) for one in line["args"]]
    constants = [text for text in texts if text.startswith(CONSTANT_STARTS)]
    named = next((place["function"] for place in places if place["function"]), "")
    file = Path(places[0]["file"]).name if places else ""
    return Refused(line["syscall"], ", ".join(constants), named, file)
