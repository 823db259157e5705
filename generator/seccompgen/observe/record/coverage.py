"""A workload beside a policy: what it would have been refused, and what it never reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import RET_DATA_MAX, U32, ActionKind, All, Comparison
from seccompgen.observe.record.observations import Sighting, name_of
from seccompgen.observe.run.process import Process
from seccompgen.observe.run.refusal import Judged, refusal_of
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Condition, Policy, Rule
    from seccompgen.core.tables import Tables
    from seccompgen.observe.record.observations import Arguments, Number, Recording
    from seccompgen.observe.run.refusal import Refusal
    from seccompgen.observe.run.refusal import Rule as Decisive

_LOOKED_AT = 200
"""Refused calls, of each number, of which all that is to be seen is looked at; that takes time."""
_MADE = {ActionKind.ALLOW.value, ActionKind.LOG.value}


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that was made, what the policy answers to it, a SECCOMP_RET value, and which part.

    ``sightings`` says how often, and what was seen; see `Recording.refusals`.
    """

    call: Call
    ret: int
    rule: Decisive
    sightings: Mapping[Sighting, int]

    @property
    def times(self) -> int:
        """Times that it was made."""
        return sum(self.sightings.values())

    @property
    def labels(self) -> frozenset[str]:
        """The labels of the processes that made it."""
        return frozenset(one.label for one in self.sightings)

    @property
    def seen(self) -> tuple[tuple[Refusal, int], ...]:
        """Each call with the arguments, and from the place, that no other has; most often first.

        With how often it was seen; as the first thread made it.
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
class Coverage:
    """``unreached`` are the rules for calls of the ABI that no call reached, of ``rules`` in all.

    ``refused`` are calls that the policy does not let through.
    """

    refused: tuple[Refused, ...]
    unreached: tuple[Rule, ...]
    rules: int

    @property
    def times(self) -> int:
        """The number of calls refused, each time that one was made."""
        return sum(one.times for one in self.refused)


def arguments_of(policy: Policy, name: str) -> frozenset[int]:
    """Return which arguments of a call ``policy`` looks at."""
    return frozenset(
        test.argument
        for rule in policy.rules
        if rule.name == name
        for test in _tests(rule.condition)
    )


def _tests(condition: Condition | None) -> Iterator[Comparison]:
    if isinstance(condition, All):
        for part in condition.parts:
            yield from _tests(part)
    elif condition is not None:
        yield condition


def _call(number: Number, arguments: Arguments) -> Call:
    values = dict(arguments)
    a, b, c, d, e, f = (values.get(index, 0) for index in range(6))
    return Call(number.nr, number.audit_arch, (a, b, c, d, e, f))


def refusing(policy: Policy, abi: Abi, tables: Tables) -> Callable[[Number, Arguments], bool]:
    """Return what tells whether ``policy``, for ``abi``, does not let a call through."""
    means = meaning(policy, abi, tables)

    def refuses(number: Number, arguments: Arguments) -> bool:
        return means.case(_call(number, arguments)).ret & ~RET_DATA_MAX not in _MADE

    return refuses


def sights(judged: Judged, tables: Tables) -> Callable[[str, int, Sequence[int]], Sighting]:
    """Return what looks at a refused call, as `Watch.sight`; at the first of each number."""
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


def judged_by(policy: Policy, abi: Abi, tables: Tables) -> Judged:
    """Return a policy, for ``abi``, as what refuses; as it means, whatever it compiles to."""
    table = tables.tables[abi.name]
    origin = policy.default_origin.position
    return Judged(origin, table, (), policy, meaning(policy, abi, tables))


def coverage(recording: Recording, policy: Policy, abi: Abi, tables: Tables) -> Coverage:
    """Return how ``policy``, for ``abi``, answers what was recorded.

    Of each call, the arguments that `arguments_of` names must have been kept. What the policy
    means is the oracle's to say (`verify.oracle`), which shares no code with the compiler.
    """
    means, judged = meaning(policy, abi, tables), judged_by(policy, abi, tables)
    refused = []
    reached = set()
    for number, kept in recording.calls.items():
        for arguments in sorted(kept):
            call = _call(number, arguments)
            case = means.case(call)
            reached.add((name_of(number, tables), case.origin))
            if case.ret & ~RET_DATA_MAX not in _MADE:
                seen = recording.refusals.get((number, arguments), {Sighting(""): 1})
                refused.append(Refused(call, *judged.decide(call, tables), seen))
    answered = [tables.tables[one.name].numbers for one in (abi, *policy.compat_of(abi))]
    rules = [rule for rule in policy.rules if any(rule.name in numbers for numbers in answered)]
    unreached = tuple(rule for rule in rules if (rule.name, rule.origin) not in reached)
    return Coverage(tuple(refused), unreached, len(rules))
