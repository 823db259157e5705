"""What ``lint --from --to`` says of a recorded policy, beside what was seen."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.userlands import runs

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from benchmarks.userlands.measure import Cell
    from benchmarks.userlands.roots import UserLand

CODES = {"newer-call", "newer-argument"}
_DEFAULT = re.compile(r"^default_action: .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A finding: ``call`` is refused in the later user land; a warning says that this breaks."""

    call: str
    warning: bool
    message: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Calls of a cell under an action, by what was said of them and what was seen."""

    refused: frozenset[str]
    said: frozenset[str]
    warned: frozenset[str]
    breaking: frozenset[str]

    @property
    def missed(self) -> frozenset[str]:
        """Calls that were refused, and nothing was said."""
        return self.refused - self.said

    @property
    def missed_breaks(self) -> frozenset[str]:
        """Calls that broke the program, and nothing was said."""
        return self.breaking - self.said

    @property
    def false_alarms(self) -> frozenset[str]:
        """Calls of which it was said that they break, and that the program does not make."""
        return self.warned - self.refused

    @property
    def harmless(self) -> frozenset[str]:
        """Calls of which it was said that they break, and that were refused without harm."""
        return (self.warned & self.refused) - self.breaking


def predictions(policy: Path, land: UserLand, action: str) -> list[Prediction]:
    """Return what lint says of a policy that answers by ``action`` to what is not recorded."""
    variant = policy.with_name(f"{policy.stem}.{action}.yml")
    variant.write_text(_DEFAULT.sub(f"default_action: {runs.ACTIONS[action]}", policy.read_text()))
    before, after = ("debian:11", land.release)
    if not land.whole:
        before, after = "glibc:2.31", f"glibc:{land.libc}"
    words = runs.seccompgen("lint", variant, "--from", before, "--to", after, "--json")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise runs.HarnessError(done.stderr)
    found = json.loads(done.stdout)["findings"]
    return [
        Prediction(one["witness"]["syscall"], one["severity"] != "note", one["message"])
        for one in found
        if one["code"] in CODES and one["witness"]
    ]


def compare(cell: Cell, said: Collection[Prediction], action: str) -> Compared:
    """Return how what was said of a cell fits what was seen."""
    return Compared(
        frozenset(cell.calls()),
        frozenset(one.call for one in said),
        frozenset(one.call for one in said if one.warning),
        frozenset((cell.breaking or {}).get(action, ())),
    )
