"""A workload beside a policy: what it would have been refused, and what it never reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.model import RET_DATA_MAX, ActionKind, All, Comparison
from seccompgen.record.observations import name_of
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from seccompgen.architectures import Abi
    from seccompgen.model import Condition, Origin, Policy, Rule
    from seccompgen.record.observations import Arguments, Number, Recording
    from seccompgen.tables import Tables

_MADE = {ActionKind.ALLOW.value, ActionKind.LOG.value}


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that was made, what the policy answers to it, a SECCOMP_RET value, and which part.

    ``labels`` says how often, by the label of the process; see `Recording.refusals`.
    """

    call: Call
    ret: int
    origin: Origin
    labels: Mapping[str, int]

    @property
    def times(self) -> int:
        """Times that it was made."""
        return sum(self.labels.values())


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


def coverage(recording: Recording, policy: Policy, abi: Abi, tables: Tables) -> Coverage:
    """Return how ``policy``, for ``abi``, answers what was recorded.

    Of each call, the arguments that `arguments_of` names must have been kept. What the policy
    means is the oracle's to say (`verify.oracle`), which shares no code with the compiler.
    """
    means = meaning(policy, abi, tables)
    refused = []
    reached = set()
    for number, kept in recording.calls.items():
        for arguments in sorted(kept):
            call = _call(number, arguments)
            case = means.case(call)
            reached.add((name_of(number, tables), case.origin))
            if case.ret & ~RET_DATA_MAX not in _MADE:
                labels = recording.refusals.get((number, arguments), {"": 1})
                refused.append(Refused(call, case.ret, case.origin, labels))
    answered = [tables.tables[one.name].numbers for one in (abi, *policy.compat_of(abi))]
    rules = [rule for rule in policy.rules if any(rule.name in numbers for numbers in answered)]
    unreached = tuple(rule for rule in rules if (rule.name, rule.origin) not in reached)
    return Coverage(tuple(refused), unreached, len(rules))
