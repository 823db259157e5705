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

    Every test of an argument is assumed to be able to go either way. If tests of one argument
    exclude each other, the true limits lie between the two.
    """

    least: int
    most: int


class CallRoute(NamedTuple):
    """A way into the filter: the ABI of the program, and the ABI through which calls come to it."""

    program: str
    abi: str

    @property
    def label(self) -> str:
        """The name of the ABI, followed by the program's ABI if that is another."""
        return self.abi if self.abi == self.program else f"{self.abi} on {self.program}"


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """One answer to a call, as a policy spells it, and its condition.

    ``condition`` is text with names, empty for always; ``otherwise`` is True for the answer to all
    calls that the conditions of other answers exclude. ``origin`` is the part of the policy that
    decides, None without a policy. ``ret`` is the SECCOMP_RET value on the first of the ABIs.
    """

    action: str
    ret: int = field(compare=False)
    condition: str = ""
    otherwise: bool = False
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class CallPlace:
    """A call on one ABI: its number, and whether the kernel's bitmap answers it.

    ``executed`` is the number of instructions that run without the bitmap. ``bitmap`` and
    ``executed`` are None if there is no program.
    """

    way: CallRoute
    nr: int
    bitmap: bool | None = None
    executed: Executed | None = None


@dataclass(frozen=True, slots=True)
class CallSummary:
    """The answers to the call ``name`` on ABIs that answer alike, the most permissive first.

    Their conditions exclude each other.
    """

    name: str
    kind: Kind
    answers: tuple[AnswerSummary, ...]
    places: tuple[CallPlace, ...]

    @property
    def only(self) -> AnswerSummary | None:
        """The answer if it does not depend on the arguments; otherwise None."""
        return self.answers[0] if len({one.action for one in self.answers}) == 1 else None


@dataclass(frozen=True, slots=True)
class RestSummary:
    """The answer to calls without a name; ``subject`` describes them."""

    subject: str
    answer: AnswerSummary
    ways: tuple[CallRoute, ...]


@dataclass(frozen=True)
class FilterSummary:
    """The summary of a filter; ``calls`` has an entry per name and set of ABIs that answer alike.

    ``rest`` has the answers to calls without a name. ``undecided`` lists the questions that were
    not decided.
    """

    ways: tuple[CallRoute, ...]
    calls: tuple[CallSummary, ...]
    rest: tuple[RestSummary, ...]
    undecided: tuple[str, ...] = field(default=())

    @cached_property
    def by_name(self) -> dict[str, tuple[CallSummary, ...]]:
        """The entries of ``calls`` by the name of the call."""
        found: dict[str, list[CallSummary]] = defaultdict(list)
        for one in self.calls:
            found[one.name].append(one)
        return {name: tuple(entries) for name, entries in found.items()}


class Permission(Enum):
    """The extent to which a filter permits an ability."""

    YES = "yes"
    PARTLY = "partly"
    ASKED = "a supervisor decides"
    NO = "no"


class PermissionCondition(NamedTuple):
    """A condition on arguments, in names, under which a call is permitted; empty for always.

    If ``excepted``, it is the condition under which the call is refused. ``text`` is None if it
    would be too long to read.
    """

    text: str | None
    excepted: bool = False


@dataclass(frozen=True, slots=True)
class AbilityCall:
    """A call that provides an ability, and the conditions under which each route permits it."""

    name: str
    conditions: tuple[tuple[PermissionCondition, tuple[CallRoute, ...]], ...]


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that a process may want to do, and the calls by which the filter permits it.

    ``permitted`` are the calls that some of the ``ways`` permit, ``refused`` those that none
    permits. ``note`` names what else limits the ability.
    """

    group: str
    title: str
    answer: Permission
    permitted: tuple[AbilityCall, ...]
    refused: tuple[str, ...]
    ways: tuple[CallRoute, ...]
    note: str = ""
