"""The summary of a whole filter: its answers to every call, merged by ABI."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from seccompgen.core.call_kinds import Kind
    from seccompgen.core.model import Origin


class Executed(NamedTuple):
    """The fewest and the most instructions that run for a call.

    Every test of an argument counts as one that can go either way. Where tests of one argument
    exclude each other, the truth lies within.
    """

    least: int
    most: int


class CallRoute(NamedTuple):
    """A way into the filter: the ABI of the program, and the ABI through which calls come to it."""

    program: str
    abi: str

    @property
    def label(self) -> str:
        """The name of the ABI, with that of the program where it is another."""
        return self.abi if self.abi == self.program else f"{self.abi} on {self.program}"


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """One answer to a call, as a policy spells it, and when it is given.

    ``condition`` is in names and empty for always; ``otherwise`` is True for what the other answers
    leave. ``origin`` is the part of the policy that says so, None where there is no policy. ``ret``
    is the SECCOMP_RET value on the first of the ABIs.
    """

    action: str
    ret: int = field(compare=False)
    condition: str = ""
    otherwise: bool = False
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class CallPlace:
    """A call on one ABI: its number, and if the kernel's bitmap answers it.

    ``executed`` is how many instructions run where the bitmap does not answer. Both are None where
    there is no program.
    """

    way: CallRoute
    nr: int
    bitmap: bool | None = None
    executed: Executed | None = None


@dataclass(frozen=True, slots=True)
class CallSummary:
    """The answers to the call ``name`` where they are alike, the most permissive first.

    Their conditions exclude each other.
    """

    name: str
    kind: Kind
    answers: tuple[AnswerSummary, ...]
    places: tuple[CallPlace, ...]

    @property
    def only(self) -> AnswerSummary | None:
        """The answer whatever the arguments are; None where these count."""
        return self.answers[0] if len({one.action for one in self.answers}) == 1 else None


@dataclass(frozen=True, slots=True)
class RestSummary:
    """The answer to calls without a name; ``subject`` describes them."""

    subject: str
    answer: AnswerSummary
    ways: tuple[CallRoute, ...]


@dataclass(frozen=True)
class FilterSummary:
    """The summary of a filter: ``calls`` by name, an entry for each set of ABIs that answer alike.

    ``rest`` are the calls without a name. ``undecided`` lists the questions that were not decided.
    """

    ways: tuple[CallRoute, ...]
    calls: tuple[CallSummary, ...]
    rest: tuple[RestSummary, ...]
    undecided: tuple[str, ...] = field(default=())

    @cached_property
    def by_name(self) -> dict[str, tuple[CallSummary, ...]]:
        """The entries of each call."""
        found: dict[str, list[CallSummary]] = defaultdict(list)
        for one in self.calls:
            found[one.name].append(one)
        return {name: tuple(entries) for name, entries in found.items()}


class Permission(Enum):
    """A filter's word on an ability."""

    YES = "yes"
    PARTLY = "partly"
    ASKED = "a supervisor decides"
    NO = "no"


class PermissionCondition(NamedTuple):
    """A condition on arguments, in names, under which a call is permitted; empty for always.

    If ``excepted``, it is the one under which the call is refused. ``text`` is None where it would
    be too long to read.
    """

    text: str | None
    excepted: bool = False


@dataclass(frozen=True, slots=True)
class AbilityCall:
    """A call that gives an ability, and when the filter permits it, by the ways into the filter."""

    name: str
    conditions: tuple[tuple[PermissionCondition, tuple[CallRoute, ...]], ...]


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that a process may want to do, and the calls by which the filter permits it.

    ``permitted`` are those on some of the ``ways``, ``refused`` those that are permitted nowhere.
    ``note`` says what else limits the ability.
    """

    group: str
    title: str
    answer: Permission
    permitted: tuple[AbilityCall, ...]
    refused: tuple[str, ...]
    ways: tuple[CallRoute, ...]
    note: str = ""
