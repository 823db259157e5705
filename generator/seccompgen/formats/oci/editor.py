"""Change the rules of an OCI profile in its own text.

A rule has one comparison an argument, and compares 64 bits; rules of a call have no order. So what
is left of a rule becomes rules of its own next to it, each with the other fields of its entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, combinations, product
from typing import TYPE_CHECKING

from seccompgen.core.errors import UndecidedError
from seccompgen.core.foreign import Runtime
from seccompgen.core.model import Action, ActionKind, All
from seccompgen.core.problems import Problem
from seccompgen.core.sets import NOTHING
from seccompgen.formats.amending import Editor, Variant, without
from seccompgen.formats.oci.calls import conjunctions
from seccompgen.formats.oci.form import parse_profile
from seccompgen.formats.oci.profile_text import EntryEdit, NewEntry, profile_text
from seccompgen.formats.single_tests import groups_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.sets import Box
    from seccompgen.core.value_conditions import Tests
    from seccompgen.formats.amending import Change
    from seccompgen.formats.oci.form import ContainerProfile, ProfileEntry

_MOST_CAPABILITIES = 6
"""The most capabilities whose combinations are tried: each doubles them."""


def edits(text: str, policy: ResolvedPolicy, change: Change) -> Iterator[str]:
    """Yield changed texts. Raises UndecidedError if the format cannot say the change."""
    profile = _parsed(text, policy)
    for stays, by_order in product((False, True), (True, False)):
        changed = _ChangedProfile(profile, change, policy.reading, stays, by_order)
        yield profile_text(text, policy).changed(changed.entries(), changed.added())


def variants(text: str, policy: ResolvedPolicy, change: Change) -> Iterator[Variant]:
    """Yield readings with all combinations of what the rules of changed calls are limited to.

    Other rules are the same before and after, but the highest call that a profile names counts for
    runc. So it is read with the other capabilities as well; and as crun reads it.
    """
    entries, reading = _parsed(text, policy).entries, policy.reading
    here = [one for one in entries if not {*change.names}.isdisjoint(name for name, _ in one.names)]
    caps, all_caps = (
        {cap for one in those for where in (one.includes, one.excludes) for cap in where.caps}
        for those in (here, entries)
    )
    if len(caps) > _MOST_CAPABILITIES:
        text = f"the rules of these calls distinguish {len(caps)} capabilities"
        text += f", and of at most {_MOST_CAPABILITIES} all combinations are tried"
        raise UndecidedError(text, kind=Problem.TOO_MANY_CASES)
    own = [*chain.from_iterable(combinations(sorted(caps), n) for n in range(len(caps) + 1))]
    limits = {w.kernel for one in here for w in (one.includes, one.excludes) if w.kernel}
    kernels = [reading.kernel, *sorted(limits), *((a, b - 1) for a, b in sorted(limits))]
    for mine, kernel in product(own, kernels):
        yield Variant(replace(reading, caps=frozenset(mine), kernel=kernel))
    if all_caps > caps:
        yield Variant(replace(reading, caps=frozenset(all_caps - caps)))
        yield Variant(replace(reading, caps=frozenset(all_caps)))
    if reading.runtime is Runtime.RUNC:
        for mine in dict.fromkeys((own[0], own[-1])):
            crun = replace(reading, caps=frozenset(mine), runtime=Runtime.CRUN)
            yield Variant(crun, optional=True)


EDITOR = Editor(edits, variants)


def _parsed(text: str, policy: ResolvedPolicy) -> ContainerProfile:
    document = profile_text(text, policy).document
    return parse_profile(document, policy.reading.runtime, [])


@dataclass
class _ChangedProfile:
    """A profile with a change; with ``stays``, no name leaves it without a rule instead."""

    profile: ContainerProfile
    change: Change
    reading: Reading
    stays: bool
    by_order: bool
    _edits: dict[int, EntryEdit] = field(default_factory=dict)

    def entries(self) -> dict[int, EntryEdit]:
        """Return the changes of entries, by their index."""
        found: dict[int, EntryEdit] = {}
        for n, entry in enumerate(self.profile.entries):
            if entry.action == self.profile.default or not self.change.concerns(entry.action.kind):
                continue
            gone, rules = [], []
            for place, (name, _) in enumerate(entry.names):
                left = self._left(entry, name) if name in self.change.names else None
                if left is not None:
                    gone.append(place)
                    rules += left
            if gone:
                found[n] = EntryEdit(tuple(gone), tuple(rules))
        return found

    def added(self) -> list[NewEntry]:
        """Return the rules for calls that the default answered."""
        default, found = self.profile.default, []
        if not self.change.concerns(default.kind):
            return []
        action = self._action()
        for name in self.change.names:
            others = [
                box
                for entry in self.profile.entries
                if name in dict(entry.names) and entry.action not in {action, default}
                if not self.change.concerns(entry.action.kind)
                for box in self._boxes(entry)
            ]
            abis = self._abis(name, None)
            if not abis:
                continue
            boxes = without(self.change.sets, self.change.boxes_on(name, abis), others)
            found += self._rules(name, abis[0], boxes, action)
        return found

    def _left(self, entry: ProfileEntry, name: str) -> list[NewEntry] | None:
        """Return the rules for what is left of an entry for a call; None if all of it is."""
        abis = self._abis(name, entry)
        if not abis:
            return None
        sets, own = self.change.sets, self._boxes(entry)
        left = without(sets, own, self.change.boxes_on(name, abis))
        if left == own:
            return None
        rules = self._rules(name, abis[0], left, None)
        return rules or [NewEntry(name, (), self.profile.default)] * self.stays

    def _rules(
        self, name: str, abi: Abi, boxes: list[Box], action: Action | None
    ) -> list[NewEntry]:
        sets, counted = self.change.sets, self.change.counted(name, abi)
        groups: dict[Tests, None] = {}
        for box in boxes:
            needed = sets.common(box, counted)
            if NOTHING not in needed:
                groups |= dict.fromkeys(groups_of(sets, needed, box, by_order=self.by_order))
        return [NewEntry(name, tests, action) for tests in groups]

    def _boxes(self, entry: ProfileEntry) -> list[Box]:
        splits = self.reading.runtime is not Runtime.LIBSECCOMP
        return [self.change.sets.box(All(one)) for one in conjunctions(entry, splits=splits)]

    def _abis(self, name: str, entry: ProfileEntry | None) -> list[Abi]:
        """Return the ABIs with a call that an entry is for; of several sizes those of 64 bits."""
        calls = self.change.calls
        hosts = [host for host in calls.arches if entry is None or _is_on(entry, host)]
        served = dict.fromkeys(abi for host in hosts for abi in (host, *calls.compat_of(host)))
        have = [abi for abi in served if name in self.change.tables.tables[abi.name].numbers]
        return [abi for abi in have if abi.argument_bits == 64] or have

    def _action(self) -> Action:
        """Return the action for added rules: that of the profile's own rules if they have one."""
        if self.change.allows:
            return Action(ActionKind.ALLOW)
        own = {
            one.action for one in self.profile.entries if not self.change.concerns(one.action.kind)
        }
        return own.pop() if len(own) == 1 else Action(ActionKind.ERRNO, 1)


def _is_on(entry: ProfileEntry, host: Abi) -> bool:
    """Return True if an entry is for containers on a machine."""
    wanted = entry.includes.arches
    return (not wanted or host.name in wanted) and host.name not in entry.excludes.arches
