"""A policy's answers to calls, as they are made: the rules reached, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.model import Origin
    from seccompgen.run.record.observations import ArgumentBits, Arguments, CallNumber, Sighting

MOST_REFUSED = 256
"""Refused calls that differ in their arguments alone."""


class PolicyAnswer(NamedTuple):
    """A policy's answer to a call: the part of it that says so, and whether it is a refusal."""

    origin: Origin
    refuses: bool


class ComparedPolicy(NamedTuple):
    """A policy that calls are held against.

    ``arguments`` says which arguments of a call it looks at, and ``verdict`` how it answers.
    ``sight`` makes a sighting of a process's label, a stopped thread, and what
    `ptrace.CallReader` read.
    """

    arguments: Callable[[CallNumber], Sequence[ArgumentBits]]
    verdict: Callable[[CallNumber, Arguments], PolicyAnswer]
    sight: Callable[[str, int, Sequence[int]], Sighting]


class PolicyAnswers:
    """The answers to some calls: the parts of the policy that were reached, and what is refused.

    ``refused`` counts sightings. Of one number and part of the policy `MOST_REFUSED` calls are
    kept apart by their arguments; all others count as the first of them, which ``more`` has.
    """

    def __init__(self) -> None:
        self.reached: set[tuple[CallNumber, Origin]] = set()
        self.refused: dict[tuple[CallNumber, Origin], dict[Arguments, Counter[Sighting]]] = {}
        self.more: dict[tuple[CallNumber, Origin], Arguments] = {}

    def refuse(
        self,
        part: tuple[CallNumber, Origin],
        arguments: Arguments,
        sighting: Sighting,
        times: int = 1,
    ) -> None:
        """Count a call that a part of the policy refuses."""
        counts = self.refused.setdefault(part, {})
        if arguments not in counts and len(counts) >= MOST_REFUSED:
            arguments = self.more.setdefault(part, arguments)
        counts.setdefault(arguments, Counter())[sighting] += times

    def update(self, other: PolicyAnswers) -> None:
        """Add what another process was answered."""
        self.reached |= other.reached
        for part, counts in other.refused.items():
            for arguments, sightings in counts.items():
                for sighting, times in sightings.items():
                    self.refuse(part, arguments, sighting, times)
        self.more = other.more | self.more
