"""Predictions of ``lint --from --to`` for a recorded policy, beside what was seen."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seccompgen import read_filter

from benchmarks.userlands import runs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from benchmarks.userlands.measure import Cell
    from benchmarks.userlands.roots import UserLand
    from benchmarks.userlands.runs import Refused

CODES = {"newer-call", "newer-argument"}
_DEFAULT = re.compile(r"^default_action: .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A finding: ``call`` is refused in the later user land; a warning says that this breaks.

    Where the policy permits the call with other arguments, its constant is behind it.
    """

    call: str
    warning: bool
    message: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Calls of a cell under an action, by what was said of them and what was seen.

    Only if ``tried``, it is known which are ``breaking``.
    """

    refused: frozenset[str]
    said: frozenset[str]
    warned: frozenset[str]
    breaking: frozenset[str]
    tried: bool

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
        return (self.warned & self.refused) - self.breaking if self.tried else frozenset()


def predictions(
    policies: Sequence[Path], land: UserLand, action: str
) -> dict[str, list[Prediction]]:
    """Return what lint says of policies, by their stems; each answers by ``action`` to the rest."""
    variants = {str(_answering(policy, action)): policy.stem for policy in policies}
    before, after = ("debian:11", land.release)
    if not land.whole:
        before, after = "glibc:2.31", f"glibc:{land.libc}"
    words = runs.seccompgen("lint", *variants, "--from", before, "--to", after, "--json")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise runs.HarnessError(done.stderr)
    found: dict[str, list[Prediction]] = {policy.stem: [] for policy in policies}
    for one in json.loads(done.stdout)["findings"]:
        if one["code"] in CODES and one["witness"]:
            said = Prediction(_call(one), one["severity"] != "note", one["message"])
            found[variants[one["file"]]].append(said)
    return found


def _answering(policy: Path, action: str) -> Path:
    """Write a policy with another answer to what is not recorded."""
    variant = policy.parent / action / policy.name
    variant.parent.mkdir(exist_ok=True)
    variant.write_text(_DEFAULT.sub(f"default_action: {runs.ACTIONS[action]}", policy.read_text()))
    return variant


def _call(finding: Mapping[str, Any]) -> str:
    """Return the call of a finding, and its constant if it is about that."""
    name = str(finding["witness"]["syscall"])
    constant = finding["message"].partition(f" {name} with ")[2].partition("=")[2]
    return f"{name} {re.split('[ :,]', constant)[0]}" if constant else name


def constrained(policy: Path) -> frozenset[str]:
    """Return the calls that a policy permits with some arguments only."""
    groups = read_filter(policy).policy.syscalls
    return frozenset(str(one.name) for group in groups for one in group.names_with_args)


def compare(
    cell: Cell, said: Collection[Prediction], action: str, partly: Collection[str] = ()
) -> Compared:
    """Return how what was said of a cell fits what was seen.

    ``partly`` are the calls that the policy permits with some arguments only.
    """
    breaking = (cell.breaking or {}).get(action, ())
    keys = {one: _key(one, partly) for one in cell.refused}
    return Compared(
        frozenset(keys.values()),
        frozenset(one.call for one in said),
        frozenset(one.call for one in said if one.warning),
        frozenset(key for one, key in keys.items() if one.syscall in breaking),
        cell.breaking is not None,
    )


def _key(one: Refused, partly: Collection[str]) -> str:
    return f"{one.syscall} {one.constants}".strip() if one.syscall in partly else one.syscall
