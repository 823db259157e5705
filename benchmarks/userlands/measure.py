"""Measuring of what a policy refuses in a user land, and what of that breaks; kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.userlands import runs

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from benchmarks.userlands.programs import Program
    from benchmarks.userlands.roots import UserLand

TRIES = 2
REFUSALS = "Operation not permitted", "Function not implemented"


@dataclass(frozen=True, slots=True)
class Cell:
    """A program in a user land under the policy that was recorded in Debian 11's.

    ``complaints`` has what it says by action, and nothing for an action under which it works.
    ``breaking`` are, by action under which it breaks, the calls each of which breaks it when all
    others are allowed; None where that was not tried.
    """

    program: str
    land: str
    version: str
    complaints: dict[str, str]
    refused: tuple[runs.Refused, ...]
    breaking: dict[str, list[str]] | None

    def calls(self) -> list[str]:
        """Return the names of the refused calls."""
        return sorted({one.syscall for one in self.refused})

    def broken(self, action: str) -> bool:
        """Return True if it does not do its work when other calls are answered so."""
        return action in self.complaints


def measure(program: Program, land: UserLand, policy: Path, each: bool) -> Cell:
    """Run a program freely, traced, and under each action; with ``each``, try every call alone."""
    free = runs.run(program, land, "none")

    def complaint(action: str, more: Collection[str] = ()) -> str | None:
        """Return what it says if it breaks; without a refusal it is asked twice."""
        for _ in range(TRIES):
            outcome = runs.held(program, land, policy, action, more)
            if outcome.works_as(free, program):
                return None
            if any(word in outcome.err for word in REFUSALS):
                break
        return outcome.complaint()

    for _ in range(TRIES):
        traced, refused = runs.refused(program, land, policy)
        if traced.works_as(free, program):
            break
    else:
        says = traced.complaint()
        raise runs.HarnessError(f"{program.name} in {land.name} differs when traced: {says}")
    names = {one.syscall for one in refused}
    found = {action: complaint(action) for action in runs.ACTIONS if names}
    complaints = {action: said for action, said in found.items() if said is not None}
    breaking = None
    if each or not complaints:
        breaking = {
            action: [
                name for name in sorted(names) if complaint(action, names - {name}) is not None
            ]
            for action in complaints
        }
    version = land.version(program.package)
    return Cell(program.name, land.name, version, complaints, tuple(refused), breaking)


def kept(file: Path) -> Cell | None:
    """Return what was measured before, if it was."""
    if not file.exists():
        return None
    values = json.loads(file.read_text())
    values["refused"] = tuple(runs.Refused(**one) for one in values["refused"])
    return Cell(**values)


def keep(cell: Cell, file: Path) -> None:
    """Write a cell to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(cell), indent=1) + "\n")
