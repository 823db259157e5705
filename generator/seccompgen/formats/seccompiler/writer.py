"""Write a policy as a seccompiler filter, or report why no filter can express it.

A filter has one action for calls that its rules match and one for all others; the rules of a call
are alternatives without an order. If an earlier rule of ours overrides part of a later one, the
remaining part becomes rules that do not overlap.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.model import RET_DATA_MAX, U32, U64, Action, ActionKind, Op
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Sets
from seccompgen.formats.numbered import (
    MOST_ALTERNATIVES,
    NUMBERED_ABIS,
    Target,
    answered_calls,
    conjunctions,
    said_actions,
    settings_problems,
)
from seccompgen.formats.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Comparison, Predicate, ResolvedPolicy
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.formats.numbered import Answered

_FORM = "a filter of seccompiler"
_TARGET = Target(_FORM, Problem.NOT_IN_SECCOMPILER, ActionKind.KILL_PROCESS)
_PLAIN = {Op.EQ: "eq", Op.NE: "ne", Op.LT: "lt", Op.LE: "le", Op.GT: "gt", Op.GE: "ge"}


@dataclass(frozen=True, slots=True)
class SeccompilerCondition:
    """A comparison of an argument's ``bits``, 32 or 64; ``mask`` is set only for masked_eq."""

    index: int
    bits: int
    op: str
    value: int
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class SeccompilerFilter:
    """A filter for one ABI; actions are SECCOMP_RET values, a rule is a call and its conditions."""

    name: str
    mismatch: int
    match: int
    rules: tuple[tuple[str, tuple[SeccompilerCondition, ...]], ...]


def _filter(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> SeccompilerFilter:
    """Return ``policy`` for ``abi``, one of `NUMBERED_ABIS`, as a filter of seccompiler.

    Raises one InputError with all that a filter cannot express, each at its position in the policy.
    """
    default = policy.unknown_action.ret(abi)
    problems = [
        *settings_problems(policy, abi, tables, _TARGET),
        *_action_problems(policy, abi),
    ]
    others = [action for action in said_actions(policy, abi) if action.ret(abi) != default]
    spare = Action.LOG if default == ActionKind.ALLOW.value else Action.ALLOW
    match = (others or [spare])[0].ret(abi)
    rules: list[tuple[str, tuple[SeccompilerCondition, ...]]] = []
    if not problems:
        sets = Sets()
        for call in answered_calls(policy, abi, tables):
            found = _alternatives(call, abi, default, sets)
            if isinstance(found, Diagnostic):
                problems.append(found)
            else:
                rules += ((call.name, tests) for tests in found)
    if problems:
        raise InputError(*dict.fromkeys(problems), kind=Problem.NOT_IN_SECCOMPILER)
    return SeccompilerFilter(policy.name, default, match, tuple(rules))


def _action_problems(policy: ResolvedPolicy, abi: Abi) -> Iterator[Diagnostic]:
    default = policy.unknown_action
    second: Action | None = None
    # If the policy allows anything, allow is the second action: messages ask to change refusals.
    said = sorted(said_actions(policy, abi).items(), key=lambda one: one[0] != Action.ALLOW)
    for action, origin in said:
        if action.kind is ActionKind.USER_NOTIF:
            yield Diagnostic(f"{_FORM} cannot express user_notif", origin.position)
        elif action.kind is ActionKind.TRAP and action.data:
            text = f"{_FORM} has trap without a number: say trap, not {action}"
            yield Diagnostic(text, origin.position)
        if action.ret(abi) == default.ret(abi):
            continue
        second = second or action
        if action.ret(abi) != second.ret(abi):
            text = f"{_FORM} has two actions, here {default} for unknown calls and {second}: "
            text += f"it cannot express {action} as well"
            if action == policy.default_action:
                text += f"; say `default_action: {default}`, or the same unknown_action as this"
            yield Diagnostic(text, origin.position)


def _alternatives(
    call: Answered, abi: Abi, default: int, sets: Sets
) -> list[tuple[SeccompilerCondition, ...]] | Diagnostic:
    """Return the conditions for the filter's match action, as alternatives."""
    if call.rest is None and all(rule.action.ret(abi) != default for rule in call.rules):
        found: list[tuple[SeccompilerCondition, ...]] | None = []
        for rule in call.rules:
            more = spelled(rule.condition, sets)
            found = None if more is None or found is None else [*found, *more]
    else:
        found = _without_order(call, abi, default, sets)
    if found is None or len(found) > MOST_ALTERNATIVES:
        text = f"{_FORM} would take more than {MOST_ALTERNATIVES} rules for {call.name}; "
        return Diagnostic(f"{text}make its conditions simpler", call.rules[0].position)
    return [()] if () in found else list(dict.fromkeys(found))


def _without_order(
    call: Answered, abi: Abi, default: int, sets: Sets
) -> list[tuple[SeccompilerCondition, ...]] | None:
    """Return alternatives that do not overlap; None if there are too many."""
    left = [EVERYTHING]
    hits: list[Box] = []
    for rule in call.rules:
        box = sets.box(rule.condition)
        if rule.action.ret(abi) != default:
            hits += (hit for part in left if NOTHING not in (hit := sets.common(part, box)))
        left = [piece for part in left for piece in sets.without(part, box)]
        if len(left) > MOST_ALTERNATIVES:
            return None
    hits += left if call.rest else []
    if not any(rule.action.ret(abi) == default for rule in call.rules):
        hits = [EVERYTHING]
    found = (
        tuple(itertools.chain.from_iterable(tests))
        for box in hits
        for tests in itertools.product(*(_cubes(sets, n, box[n]) for n in range(6)))
    )
    listed = list(itertools.islice(found, MOST_ALTERNATIVES + 1))
    return None if len(listed) > MOST_ALTERNATIVES else listed


def _cubes(sets: Sets, argument: int, node: int) -> list[tuple[SeccompilerCondition, ...]]:
    """Return the condition that an argument is in a set, as alternatives."""
    if node == ALL:
        return [()]
    cubes = itertools.islice(sets.cubes(node), MOST_ALTERNATIVES + 1)
    return [(_masked(argument, mask, value),) for mask, value in cubes]


def spelled(
    condition: Predicate | None, sets: Sets
) -> list[tuple[SeccompilerCondition, ...]] | None:
    """Return a condition as alternatives, in each of which all must hold; None if too many."""
    return conjunctions(condition, lambda test: _spelled(test, sets))


def _spelled(test: Comparison, sets: Sets) -> list[tuple[SeccompilerCondition, ...]]:
    """Return a comparison as alternatives."""
    full = U64 if test.width == 64 else U32
    match test.op:
        case Op.ANY_BITS:
            bits = (1 << n for n in range(64) if test.value >> n & 1)
            return [(_masked(test.argument, bit, bit),) for bit in bits]
        case Op.NO_BITS:
            return [(_masked(test.argument, test.value, 0),)]
        case Op.MASKED_EQ if not test.value & ~test.mask:
            return [(_masked(test.argument, test.mask & full, test.value),)]
        case op if test.mask & full == full and op in _PLAIN:
            return [(SeccompilerCondition(test.argument, test.width, _PLAIN[op], test.value),)]
    return _cubes(sets, test.argument, sets.of(test))


def _masked(argument: int, mask: int, value: int) -> SeccompilerCondition:
    if mask in {U32, U64}:
        return SeccompilerCondition(argument, 32 if mask == U32 else 64, "eq", value)
    return SeccompilerCondition(argument, 32 if mask <= U32 else 64, "masked_eq", value, mask)


def _text(found: SeccompilerFilter) -> bytes:
    """Return a file with one filter, and one rule per line."""
    rules = [f"      {json.dumps(_rule(name, tests))}" for name, tests in found.rules]
    lines = [
        "{",
        f"  {json.dumps(found.name)}: {{",
        f'    "mismatch_action": {json.dumps(_action(found.mismatch))},',
        f'    "match_action": {json.dumps(_action(found.match))},',
        '    "filter": [',
        *([",\n".join(rules)] if rules else []),
        "    ]",
        "  }",
        "}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _rule(name: str, tests: tuple[SeccompilerCondition, ...]) -> dict[str, Any]:
    rule: dict[str, Any] = {"syscall": name}
    if tests:
        rule["args"] = [condition_fields(test) for test in tests]
    return rule


def condition_fields(test: SeccompilerCondition) -> dict[str, Any]:
    """Return a condition as an object of the file."""
    return {
        "index": test.index,
        "type": "dword" if test.bits == 32 else "qword",
        "op": test.op if test.mask is None else {test.op: test.mask},
        "val": test.value,
    }


def _action(ret: int) -> str | dict[str, int]:
    kind, data = ActionKind(ret & ~RET_DATA_MAX), ret & RET_DATA_MAX
    name = kind.name.lower()
    return {name: data} if kind in {ActionKind.ERRNO, ActionKind.TRACE} else name


def _report_only(policy: ResolvedPolicy, own: ResolvedPolicy) -> tuple[ResolvedPolicy, str]:
    """Return the policy with x32, whose calls get the filter's default, so that they are logged."""
    policy = replace(policy, bad_arch_action=own.bad_arch_action)
    note = "calls through other ABIs are killed even so: no filter of seccompiler can log these"
    x32, x86_64 = ABIS["x32"], ABIS["x86_64"]
    if x86_64 not in policy.arches or x32 in policy.compat_arches:
        return policy, note
    own_abis = frozenset(abi.name for abi in (*policy.arches, *policy.compat_arches))
    rules = tuple(replace(rule, abis=rule.abis or own_abis) for rule in policy.rules)
    return replace(policy, compat_arches=(*policy.compat_arches, x32), rules=rules), note


WRITER = Writer(
    suffix="json",
    fits=lambda abi: abi.name in NUMBERED_ABIS,
    render=lambda policy, abi, tables, _: _text(_filter(policy, abi, tables)),
    reading=lambda abi, _: Reading("seccompiler", abis=(abi.name,)),
    report_only=_report_only,
    foreign=_TARGET.foreign,
    flags=_TARGET.flags,
    numbers_x32=True,
)
