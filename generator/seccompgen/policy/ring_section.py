"""The section ``io_uring`` of a policy in numbers, and its rules for the system calls of rings.

Of several files the outermost with a section decides alone. The system calls of rings are the
section's to decide: rules of included files about them are dropped, and those of the policy itself
are errors, since the section hides them.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, did_you_mean
from seccompgen.core.model import Action, ActionKind, Op, Origin
from seccompgen.core.problems import Problem
from seccompgen.core.ring import (
    FAMILY,
    IPV4,
    IPV6,
    OPERATION_FIELDS,
    PORT,
    RING_CALLS,
    ContextTest,
    RingOperation,
    RingRule,
    RingSection,
)
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.policy.conditions import TooLargeError
from seccompgen.policy.expressions import AnyOf, ArgumentTest, PlainValue
from seccompgen.policy.ground import WrittenRule
from seccompgen.policy.groups import MARK
from seccompgen.policy.layers import holder
from seccompgen.policy.ring_conditions import AF_INET6, RingLookup
from seccompgen.policy.ring_expressions import parse_ring_condition
from seccompgen.policy.ring_keys import ALLOW, IoUring, OperationGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.facts import Facts
    from seccompgen.policy.layers import Layer
    from seccompgen.policy.ring_expressions import RingExpression

KEY = "io_uring"
_FILE = Path(__file__).with_name("ring_groups.toml")
_BASIC = (f"{MARK}basic",)
_MOST_RULES = 10_000
_REGISTERED_RING = 1 << 31
"""IORING_REGISTER_USE_REGISTERED_RING: set in the opcode if the ring is given by its index."""


@lru_cache(maxsize=1)
def ring_groups() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return the groups of operations and of register opcodes, by their kind and name."""
    return tomllib.loads(_FILE.read_text())


class SectionRules(NamedTuple):
    """A section in numbers, and its rules for system calls, as lists of rules that commute.

    With ``mirror`` all operations that are not ``named`` follow the rules for system calls.
    """

    section: RingSection
    calls: list[list[WrittenRule]]
    mirror: bool
    named: frozenset[str]


def section_rules(
    layers: Sequence[Layer], abis: Sequence[Abi], facts: Facts, problems: list[Diagnostic]
) -> SectionRules | None:
    """Return the section of ``layers`` for ``abis``; None if they have none."""
    layer = holder(list(layers), KEY)
    if layer is None:
        return None
    content: IoUring = layer.content[KEY]
    origin = Origin(KEY, layer.position(KEY))
    if content.operations is None and not content.mirror:
        text = "'operations' is missing: list what rings may do, or write mirror: true"
        problems.append(Diagnostic(text, origin.position, Problem.MISSING_KEY))
    written = list(_written(layer, content.operations or (), problems))
    rules = tuple((abi.name, _grounded(written, abi, facts, problems, origin)) for abi in abis)
    opcodes = [
        ring_numbers().register[name].nr
        for name, _ in _named(layer, "register", content.register, (KEY, "register"), problems)
    ]
    section = RingSection(rules, content.without, origin)
    named = frozenset(one.operation.name for one in written)
    return SectionRules(section, _calls(opcodes, origin), content.mirror, named)


def without_theirs(
    lists: list[list[WrittenRule]], layers: Sequence[Layer], section: RingSection
) -> list[list[WrittenRule]]:
    """Return ``lists`` without the rules of included files for the system calls of rings."""
    own = section.position.file
    included = {layer.file for layer in layers} - {own}
    return [
        [one for one in rules if one.name not in RING_CALLS or one.position.file not in included]
        for rules in lists
    ]


def _calls(opcodes: Sequence[int], origin: Origin) -> list[list[WrittenRule]]:
    """Return the rules for the system calls of a ring.

    What io_uring_register may not do fails with EINVAL, as on a kernel that does not know it.
    """
    setup, enter, register = RING_CALLS
    at = origin.position
    allow = Action(ActionKind.ALLOW)

    def rule(name: str, condition: AnyOf | None, action: Action) -> WrittenRule:
        return WrittenRule(name, condition, action, at, origin)

    either = AnyOf(
        tuple(
            ArgumentTest(1, Op.MASKED_EQ, PlainValue(nr), at, at, PlainValue(_REGISTERED_RING - 1))
            for nr in opcodes
        )
    )
    return [
        [rule(setup, None, allow), rule(enter, None, allow)],
        [rule(register, either, allow)] if opcodes else [],
        [rule(register, None, Action.errno("EINVAL"))],
    ]


class _WrittenOperation(NamedTuple):
    """A rule about one operation, as a policy writes it."""

    operation: RingOperation
    condition: RingExpression | None
    permits: bool
    position: Position
    origin: Origin


def _written(
    layer: Layer, groups: Sequence[OperationGroup], problems: list[Diagnostic]
) -> Iterator[_WrittenOperation]:
    for i, group in enumerate(groups):
        here = (KEY, "operations", i)
        origin = Origin(f"io_uring rule {i + 1}", layer.position(*here))
        condition = None
        if group.when is not None:
            places = layer.places(group.when, *here, "when")
            condition = parse_ring_condition(group.when, places)
        for name, at in _named(layer, "operations", group.names, (*here, "names"), problems):
            operation = RingOperation(name, ring_numbers().operations[name].nr)
            yield _WrittenOperation(operation, condition, group.action == ALLOW, at, origin)


def _named(
    layer: Layer,
    kind: str,
    names: Sequence[str] | None,
    path: tuple[str | int, ...],
    problems: list[Diagnostic],
) -> Iterator[tuple[str, Position]]:
    """Yield the names of ``kind``, those of groups too, with the position of each."""
    groups = ring_groups()[kind]
    known = getattr(ring_numbers(), kind)
    for j, name in enumerate(_BASIC if names is None else names):
        at = layer.position(*path, j) if names is not None else layer.position(KEY)
        if name.startswith(MARK):
            if name[1:] in groups:
                yield from ((one, at) for one in groups[name[1:]])
                continue
            hint = did_you_mean(name, [MARK + one for one in groups]) or (
                f"; there are {', '.join(MARK + one for one in groups)}"
            )
            problems.append(Diagnostic(f"unknown group {name!r}{hint}", at, Problem.UNKNOWN_GROUP))
        elif name in known:
            yield name, at
        else:
            what = "operation" if kind == "operations" else "opcode of io_uring_register"
            text = f"unknown {what} {name!r}{did_you_mean(name, known)}"
            problems.append(Diagnostic(text, at, Problem.UNKNOWN_OPERATION))


def _grounded(
    written: Sequence[_WrittenOperation],
    abi: Abi,
    facts: Facts,
    problems: list[Diagnostic],
    origin: Origin,
) -> tuple[RingRule, ...]:
    """Return the rules in numbers for ``abi``, those about one operation next to each other."""
    found: dict[RingOperation, list[RingRule]] = {}
    for one in written:
        own = found.setdefault(one.operation, [])
        if one.condition is None:
            own.append(RingRule(one.operation, (), one.permits, one.origin))
            continue
        try:
            alternatives = RingLookup(facts, abi, one.operation, problems).alternatives(
                one.condition
            )
        except TooLargeError:
            text = "this condition has too many alternatives: split it into several groups"
            problems.append(Diagnostic(text, one.position, Problem.LARGE_CONDITION))
            continue
        own += (RingRule(one.operation, tests, one.permits, one.origin) for tests in alternatives)
    if sum(map(len, found.values())) > _MOST_RULES:
        text = f"more than {_MOST_RULES:,} rules, once conditions are worked out"
        problems.append(Diagnostic(text, origin.position, Problem.LARGE_CONDITION))
        return ()
    ordered = sorted(found.items(), key=lambda item: item[0].opcode)
    return tuple(rule for operation, own in ordered for rule in _guarded(operation, own, origin))


def _guarded(operation: RingOperation, rules: list[RingRule], origin: Origin) -> list[RingRule]:
    """Return ``rules`` with one before them that refuses hidden addresses, if that is needed.

    From 7.2 to 7.2.10 the kernel shows some IPv6 addresses as port 0 of ``::``, and connects to
    them nevertheless. Rules that permit what they see there, but refuse other ports or addresses,
    would permit these, too.
    """
    if PORT not in OPERATION_FIELDS.get(operation.name, ()):
        return rules
    hidden = {FAMILY: AF_INET6, PORT: 0, IPV4: 0, IPV6: 0}
    refusing = False
    for rule in rules:
        seen = [test for test in rule.tests if test.field in hidden]
        looks = any(test.field != FAMILY for test in seen)
        holds = all(test.holds(hidden[test.field]) for test in seen)
        if holds and rule.permits and (looks or refusing):
            tests = (
                ContextTest(FAMILY, "==", AF_INET6, FAMILY.full),
                ContextTest(PORT, "==", 0, PORT.full),
            )
            return [RingRule(operation, tests, False, origin), *rules]
        if holds and len(seen) == len(rule.tests):
            break
        refusing |= looks and not rule.permits
    return rules
