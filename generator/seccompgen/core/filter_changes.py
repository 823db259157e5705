"""Semantic differences between two filters, as frozen values: calls whose answer changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from seccompgen.core.model import Origin

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Disjoint ranges of numbers, each by its first and last."""


class ChangeEffect(Enum):
    """The effect of a change on a call; ``allow`` and ``log`` permit a call.

    The members are in the order in which reports show them.
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
    """Calls through ABIs that the policy's program does not cover."""


@dataclass(frozen=True, slots=True)
class Example:
    """A call that shows a change; ``arguments`` has all six, ``text`` is the call with names."""

    nr: int
    arch: int
    arguments: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class ChangedCall:
    """Calls whose answer was ``before`` and is ``after``, as policies spell actions.

    ``syscall`` is the name if ``subject`` is CALL, else empty. ``numbers`` are the call numbers:
    for UNNAMED by the calls' ABIs, for OTHER_ABIS by the programs' ABIs. ``every_number`` is True
    if these are all numbers of the subject. ``abis`` are the ABIs of the calls; ``programs`` are
    the ABIs of the programs that changed, usually the same. ``elsewhere`` is True if the calls'
    ABIs have programs of their own, which are not among ``programs``. ``condition`` describes, with
    names, the arguments to which the change applies; empty means any. ``rules`` are the parts of
    the policies that decide before and after; empty for a filter that is not built from a policy.
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
    """A setting of the policy that changed, by its key, such as ``flags``."""

    name: str
    before: str
    after: str


class ChangedOperation(NamedTuple):
    """Operations of rings whose answer changed; ``before`` and ``after`` are in words.

    ``rules`` are the parts of the policies that answer ``example`` before and after.
    """

    effect: ChangeEffect
    operations: tuple[str, ...]
    abis: tuple[str, ...]
    before: str
    after: str
    rules: tuple[tuple[Origin, ...], tuple[Origin, ...]]
    example: str


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An ABI whose changed calls cannot all be listed, and why.

    ``example`` is the text about one changed call; None if it is not known whether there is any.
    """

    abi: str
    reason: str
    example: str | None


@dataclass(frozen=True, slots=True)
class FilterDiff:
    """All that differs between two filters, which messages call ``before`` and ``after``.

    ``abis`` are the compared ABIs: those for which both filters have a program. ``answered`` are
    these and the other ABIs that the programs cover, as far as the policies declare them.
    ``changes`` are sorted by effect, then by name. ``policy_actions`` are changed actions for calls
    that no rule names; ``changes`` covers their effects. ``operations`` are those of rings.
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
    operations: tuple[ChangedOperation, ...] = ()

    @property
    def differs(self) -> bool:
        """True if a difference between the two filters is known."""
        refuted = any(one.example is not None for one in self.unlisted)
        return refuted or any(
            (self.changes, self.operations, self.settings, self.only_before, self.only_after)
        )

    @property
    def undecided(self) -> bool:
        """True if for some ABI it is not known whether both filters answer its calls alike."""
        return any(one.example is None for one in self.unlisted)


class Status(Enum):
    """The fate of a filter between two trees of files."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    SAME = "same"
    """Its files changed, but it answers every call as before."""
    AS_POLICY = "as-policy"
    """It changed in the same way as the policy of its name."""


@dataclass(frozen=True, slots=True)
class FilterChange:
    """A filter, by its path, and its fate; ``diff`` is None unless that is CHANGED or SAME.

    ``policy`` is the path of the policy whose changes an AS_POLICY filter repeats.
    """

    name: str
    status: Status
    diff: FilterDiff | None = None
    policy: str = ""

    @property
    def differs(self) -> bool:
        """True unless the filter answers every call alike in both trees."""
        return self.status is not Status.SAME


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call that only the new tables contain, and a filter's answers to it.

    ``abis`` are the ABIs that gained the call. There are several ``answers`` if arguments decide;
    ``rules`` are the parts of the policy that determine them.
    """

    syscall: str
    abis: tuple[str, ...]
    answers: tuple[str, ...]
    rules: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class TablesDiff:
    """A filter under the tables of two tags; ``diff`` contains the answers that differ."""

    name: str
    before: str
    after: str
    new_calls: tuple[NewCall, ...]
    diff: FilterDiff
