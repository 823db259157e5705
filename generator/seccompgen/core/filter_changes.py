"""The difference of two filters in meaning, as frozen values: calls that are answered otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from seccompgen.core.model import Origin

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Disjoint stretches of numbers, each by its first and last."""


class ChangeEffect(Enum):
    """The effect of a change on a call; what lets it through is ``allow`` and ``log``.

    They are in the order in which a reviewer wants to see them.
    """

    PERMITTED = "newly permitted"
    REFUSED = "newly refused"
    OTHERWISE = "answered otherwise"


class Subject(Enum):
    """The kind of calls that a change is about."""

    CALL = "call"
    """One call, by its name."""
    UNNAMED = "unnamed"
    """Numbers that the tables do not name."""
    OTHER_ABIS = "other-abis"
    """Calls through ABIs that the program does not answer for."""


@dataclass(frozen=True, slots=True)
class Example:
    """A call that shows a change; ``arguments`` are all six, ``text`` is the call in names."""

    nr: int
    arch: int
    arguments: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class ChangedCall:
    """Calls that were answered ``before`` and are answered ``after``, as policies spell actions.

    ``syscall`` is the name if ``subject`` is CALL, else empty. ``numbers`` are those of an UNNAMED
    subject by the names of ABIs, and of OTHER_ABIS by those of the programs; ``every_number`` is
    True if there are no others. ``abis`` are those of the calls; ``programs`` those of the programs
    that changed, most often the same. ``elsewhere``, the programs for the calls' own ABIs are not
    among these, though there are such. ``condition`` is when a call is one of these, in names;
    empty: always. ``rules`` are the parts of the policies that answer before and after; none for a
    program.
    """

    effect: ChangeEffect
    subject: Subject
    syscall: str
    numbers: tuple[tuple[str, Spans], ...]
    every_number: bool
    abis: tuple[str, ...]
    programs: tuple[str, ...]
    elsewhere: bool
    condition: str
    before: str
    after: str
    rules: tuple[tuple[Origin, ...], tuple[Origin, ...]]
    example: Example


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting of the policy, such as ``flags``, by its key, that is not what it was."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An ABI whose changed calls cannot all be listed, and why.

    ``example`` is one that is known, with what is said of it; None if it is not even known whether
    there is any.
    """

    abi: str
    reason: str
    example: str | None


@dataclass(frozen=True, slots=True)
class FilterDiff:
    """All that differs between two filters, which messages call ``before`` and ``after``.

    ``abis`` are those for which both have a program, and which were compared; ``answered`` those
    that the programs answer for, as far as policies tell: these and others beside. ``changes`` are
    sorted as a reviewer wants to read them: by effect, then by name. ``policy_actions`` say no more
    than the changes do: they are the actions of the policy for calls that no rule is about.
    """

    before: str
    after: str
    abis: tuple[str, ...]
    answered: tuple[str, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    changes: tuple[ChangedCall, ...]
    settings: tuple[ChangedSetting, ...]
    policy_actions: tuple[ChangedSetting, ...]
    unlisted: tuple[Unlisted, ...]

    @property
    def differs(self) -> bool:
        """True if the two are not the same filter, as far as that is known."""
        refuted = any(one.example is not None for one in self.unlisted)
        return bool(self.changes or self.settings or self.only_before or self.only_after or refuted)

    @property
    def undecided(self) -> bool:
        """True if it is not known of some ABI whether its calls are answered alike."""
        return any(one.example is None for one in self.unlisted)


class Status(Enum):
    """The fate of a filter between two trees of files."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    SAME = "same"
    """Its files are not what they were, and it answers every call as before."""
    AS_POLICY = "as-policy"
    """It changed as the policy of its name did."""


@dataclass(frozen=True, slots=True)
class FilterChange:
    """A filter, by the path that it has in both trees, and how it differs; ``diff`` if it is there.

    ``policy`` is the path of the policy that an AS_POLICY filter changed as.
    """

    name: str
    status: Status
    diff: FilterDiff | None = None
    policy: str = ""

    @property
    def differs(self) -> bool:
        """True if it is not the same filter in both trees."""
        return self.status is not Status.SAME


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call that other tables brought, and the answers that a filter gives to it.

    ``abis`` are those that have it now and had it not. There is more than one of ``answers`` where
    arguments decide; ``rules`` are the parts of the policy that give them.
    """

    syscall: str
    abis: tuple[str, ...]
    answers: tuple[str, ...]
    rules: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class TablesDiff:
    """A filter under the tables of two tags: ``diff`` is what it answers otherwise."""

    name: str
    before: str
    after: str
    new_calls: tuple[NewCall, ...]
    diff: FilterDiff
