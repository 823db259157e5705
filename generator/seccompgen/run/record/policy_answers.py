"""Collect a policy's answers to calls: the rules reached, and the calls refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.model import Origin
    from seccompgen.run.record.observations import ArgumentBits, Arguments, CallNumber, Sighting

MOST_REFUSED = 256
"""The most refused calls of one number and rule that are told apart by arguments."""


class PolicyAnswer(NamedTuple):
    """A policy's answer to a call: the part of the policy that answers, and whether it refuses."""

    origin: Origin
    refuses: bool


class ComparedPolicy(NamedTuple):
    """A policy that calls are compared with.

    ``arguments`` returns the arguments of a call that the policy tests, and ``verdict`` its answer.
    ``sight`` makes a sighting from a process's label, a stopped thread's TID, and the values that
    `ptrace.CallReader` read.
    """

    arguments: Callable[[CallNumber], Sequence[ArgumentBits]]
    verdict: Callable[[CallNumber, Arguments], PolicyAnswer]
    sight: Callable[[str, int, Sequence[int]], Sighting]


class PolicyAnswers:
    """The answers to some calls: the parts of the policy that were reached, and the refused calls.

    ``refused`` counts sightings. For each number and part of the policy, up to `MOST_REFUSED` calls
    are told apart by their arguments. Further ones are counted together under the arguments of the
    first of them, which are in ``more``.
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
        """Add the answers to another process."""
        self.reached |= other.reached
        for part, counts in other.refused.items():
            for arguments, sightings in counts.items():
                for sighting, times in sightings.items():
                    self.refuse(part, arguments, sighting, times)
        self.more = other.more | self.more
