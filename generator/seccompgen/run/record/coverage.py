"""A workload compared with a policy: calls that it refuses, and rules that nothing reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.core.model import RET_DATA_MAX, U32, U64, ActionKind, comparisons
from seccompgen.core.wording import condition_text
from seccompgen.run.process import Process
from seccompgen.run.record.observations import ArgumentBits, Sighting, name_of
from seccompgen.run.record.policy_answers import ComparedPolicy, PolicyAnswer
from seccompgen.run.refusal import JudgedFilter, refusal_of
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.deciding import DecidingRule
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Origin, ResolvedPolicy, Rule
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.observations import Arguments, CallNumber, Recording
    from seccompgen.run.refusal import Refusal

_LOOKED_AT = 200
"""The number of refused calls, per call number, that are decoded in full, which is slow."""
_MADE = {ActionKind.ALLOW.value, ActionKind.LOG.value}


@dataclass(frozen=True, slots=True)
class UncoveredCall:
    """A call that was made, and the policy's answer: the SECCOMP_RET value ``ret``, by ``rule``.

    ``sightings`` counts how the call was seen; see `Recording.refusals`. If ``more``, calls of the
    same number but with other arguments are counted with it.
    """

    call: Call
    ret: int
    rule: DecidingRule
    sightings: Mapping[Sighting, int]
    more: bool = False

    @property
    def times(self) -> int:
        """The number of times that the call was made."""
        return sum(self.sightings.values())

    @property
    def labels(self) -> frozenset[str]:
        """The labels of the processes that made the call."""
        return frozenset(one.label for one in self.sightings)

    @property
    def seen(self) -> tuple[tuple[Refusal, int], ...]:
        """The refusals that differ in arguments or location, each with its count, most often first.

        Each is shown as it was first seen.
        """
        first: dict[object, Refusal] = {}
        times: Counter[object] = Counter()
        for sighting, count in self.sightings.items():
            if one := sighting.refusal:
                same = one.call.kind, one.where
                first.setdefault(same, one)
                times[same] += count
        return tuple((first[same], count) for same, count in times.most_common())


@dataclass(frozen=True, slots=True)
class UnreachedRule:
    """A rule whose call nothing made; ``condition`` is empty if the rule has none.

    For a group, none of its calls was made; ``name`` is the group's, such as ``@files-read``.
    """

    name: str
    condition: str
    position: Position


@dataclass(frozen=True, slots=True)
class Coverage:
    """The result of a comparison: the calls ``refused``, and the rules ``unreached`` of ``rules``.

    ``unreached`` are rules for calls of the ABI that no call reached; ``rules`` is how many there
    are in all.
    """

    refused: tuple[UncoveredCall, ...]
    unreached: tuple[UnreachedRule, ...]
    rules: int

    @property
    def times(self) -> int:
        """The number of refusals: each call counts every time that it was made."""
        return sum(one.times for one in self.refused)


def held_against(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> ComparedPolicy:
    """Return ``policy``, for ``abi``, in the form that recorded calls are compared with.

    `verify.oracle`, which shares no code with the compiler, computes the answers. A rule that
    answers ENOSYS does not count as a refusal: it declares that the call does not exist, so that
    libraries use another.
    """
    means = meaning(policy, abi, tables)
    absent = ActionKind.ERRNO.value | errno_number("ENOSYS", abi)
    looked_at: dict[str, frozenset[int]] = {}
    for rule in policy.own_rules:
        found = frozenset(test.argument for test in comparisons(rule.condition))
        looked_at[rule.name] = looked_at.get(rule.name, frozenset()) | found

    def arguments(number: CallNumber) -> list[ArgumentBits]:
        indices = looked_at.get(name_of(number, tables) or "", ())
        return [ArgumentBits(index, U64) for index in sorted(indices)]

    @lru_cache(maxsize=1 << 14)
    def verdict(number: CallNumber, arguments: Arguments) -> PolicyAnswer:
        case = means.case(_call(number, arguments))
        refuses = case.ret & ~RET_DATA_MAX not in _MADE
        if case.ret == absent and case.origin != policy.default_origin:
            refuses = False
        return PolicyAnswer(case.origin, refuses)

    return ComparedPolicy(arguments, verdict, _sights(_judged_by(policy, abi, tables), tables))


def _call(number: CallNumber, arguments: Arguments) -> Call:
    values = dict(arguments)
    a, b, c, d, e, f = (values.get(index, 0) for index in range(6))
    return Call(number.nr, number.audit_arch, (a, b, c, d, e, f))


def _sights(judged: JudgedFilter, tables: Tables) -> Callable[[str, int, Sequence[int]], Sighting]:
    """Return a function for `ComparedPolicy.sight`, which decodes refused calls."""
    looked_at: Counter[tuple[int, int]] = Counter()

    def sight(label: str, tid: int, seen: Sequence[int]) -> Sighting:
        _, arch, nr, a, b, c, d, e, f = seen
        looked_at[arch, nr] += 1
        if looked_at[arch, nr] > _LOOKED_AT:
            return Sighting(label)
        process = Process(tid)
        call = Call(nr & U32, arch, (a, b, c, d, e, f), process.instruction_pointer)
        return Sighting(label, refusal_of(call, process, judged, tables, made=True))

    return sight


def _judged_by(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> JudgedFilter:
    """Return a policy, for ``abi``, as an uncompiled filter that answers by its meaning."""
    table = tables.tables[abi.name]
    origin = policy.default_origin.position
    return JudgedFilter(origin, table, (), policy, meaning(policy, abi, tables))


def coverage(recording: Recording, policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Coverage:
    """Return the answers of ``policy``, for ``abi``, to a recording that was compared with it."""
    judged = _judged_by(policy, abi, tables)
    refused = []
    for (number, arguments), sightings in sorted(
        recording.refusals.items(), key=lambda item: item[0]
    ):
        call, more = _call(number, arguments), (number, arguments) in recording.more_refused
        refused.append(UncoveredCall(call, *judged.decide(call, tables), sightings, more))
    reached = {(name_of(number, tables), origin) for number, origin in recording.reached}
    answered = [tables.tables[one.name] for one in (abi, *policy.compat_of(abi))]
    rules: dict[tuple[str, Origin, Position], list[Rule]] = {}
    for rule in policy.own_rules:
        if any(
            rule.applies_to(table.abi) and table.number_of(rule.name) is not None
            for table in answered
        ):
            rules.setdefault((rule.group or rule.name, rule.origin, rule.position), []).append(rule)
    abis = [table.abi for table in answered]
    unreached = tuple(
        UnreachedRule(name, "" if same[0].group else condition_text(same, abis, tables), position)
        for (name, origin, position), same in rules.items()
        if not any((one.name, origin) in reached for one in same)
    )
    return Coverage(tuple(refused), unreached, len(rules))
