"""The rules of a policy in source form, in order, and checks of the calls that they name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import find_abi, unknown_abi
from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, did_you_mean
from seccompgen.core.model import Op, Origin
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.policy.expressions import (
    AllOf,
    ArgumentTest,
    Cast,
    PlainValue,
    argument_of,
    parse_condition,
    parse_value,
)
from seccompgen.policy.ground import WrittenRule
from seccompgen.policy.groups import Groups, is_mention
from seccompgen.policy.layers import setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.errors import Position
    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.expressions import Expression, ValueExpression
    from seccompgen.policy.groups import Member
    from seccompgen.policy.keys import Condition, SyscallGroup
    from seccompgen.policy.layers import Layer

_MOST_RULES = 100_000
_PREFIX = re.compile(r"(?:__x64_)?sys_|SYS_|(?:__)?NR_")
"""Prefixes of a call's name in the kernel's sources and in C."""
_READINGS = {None: Cast.KERNEL, 32: Cast.U32, 64: Cast.U64}


def written_rules(
    layers: list[Layer],
    answered: Sequence[Table],
    tables: Tables,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> list[list[WrittenRule]]:
    """Return the rules of ``layers``, included files first, as lists of rules that commute.

    All ``names`` of a group form one list, each entry of ``names_with_args`` another. Calls of a
    mentioned group ``@name`` are left out if none of ``answered`` has them.
    """
    groups = Groups(lambda: _can_be_made(tables.calls), problems)
    multiplexed = setting(layers, "multiplexed", None)
    had = _can_be_made(frozenset[str]().union(*(table.numbers for table in answered)))
    lists: list[list[WrittenRule]] = []
    count = 0
    for layer in layers:
        groups.define(layer.groups)
        for i, group in enumerate(layer.rules):
            arches = _arches(layer, group, ("syscalls", i), answered, problems, notes)
            own = multiplexed if group.multiplexed is None else group.multiplexed
            for rules in _group_rules(layer, i, group, groups):
                lists.append(
                    [
                        one._replace(arches=arches, multiplexed=own)
                        for one in rules
                        if not one.mention or one.name in had
                    ]
                )
                count += len(rules)
                if count > _MOST_RULES:
                    text = f"more than {_MOST_RULES:,} rules, which no policy has"
                    where = layer.position("syscalls", i)
                    raise InputError(Diagnostic(text, where, Problem.TOO_LARGE))
    return lists


def _can_be_made(calls: frozenset[str]) -> frozenset[str]:
    """Return ``calls``, and the calls that can be made through multiplexed ones among them."""
    return calls | {call for through in calls & MULTIPLEXED.keys() for call in _through(through)}


def _through(name: str) -> list[str]:
    return MULTIPLEXED[name].split()


def _group_rules(
    layer: Layer, number: int, group: SyscallGroup, groups: Groups
) -> Iterator[list[WrittenRule]]:
    """Yield the lists of rules of one group in a file."""
    label, here = f"rule {number + 1}", ("syscalls", number)
    when = _expression(layer, group.when, *here, "when")
    listed = Origin(label, layer.position(*here))
    rules: list[WrittenRule] = []
    for j, name in enumerate(map(str, group.names)):
        where = layer.position(*here, "names", j)
        if is_mention(name):
            origin = Origin(f"{label}, {name}", where)
            for call in groups.calls(name, where):
                own = _both(when, _of_member(call, where))
                rules.append(
                    WrittenRule(
                        *(call.name, own, group.action, where, origin, group.optional),
                        mention=name,
                        spelled=call.spelled,
                    )
                )
        else:
            rules.append(WrittenRule(name, when, group.action, where, listed, group.optional))
    yield rules
    for j, entry in enumerate(group.names_with_args):
        place = *here, "names_with_args", j
        parts: list[Expression] = [] if when is None else [when]
        if (own := _expression(layer, entry.when, *place, "when")) is not None:
            parts.append(own)
        parts += (
            _test(layer, argument, (*place, "arguments", k))
            for k, argument in enumerate(entry.arguments)
        )
        whole = parts[0] if len(parts) == 1 else AllOf(tuple(parts))
        where = layer.position(*place, "name")
        origin = Origin(label, where)
        yield [WrittenRule(str(entry.name), whole, group.action, where, origin, group.optional)]


def _of_member(call: Member, mention: Position) -> Expression | None:
    """Return the condition on a call of a group, with the position of the mention."""
    return parse_condition(call.when, lambda _: mention) if call.when else None


def _both(a: Expression | None, b: Expression | None) -> Expression | None:
    return b if a is None else a if b is None else AllOf((a, b))


def _arches(
    layer: Layer,
    group: SyscallGroup,
    here: tuple[str | int, ...],
    answered: Sequence[Table],
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> frozenset[str] | None:
    """Return the canonical names of the ABIs that ``group`` is for; None for all."""
    if not group.arches:
        return None
    names = []
    for k, spelling in enumerate(group.arches):
        abi = find_abi(spelling)
        if abi is None:
            where = layer.position(*here, "arches", k)
            problems.append(Diagnostic(unknown_abi(spelling), where, Problem.UNKNOWN_ABI))
        else:
            names.append(abi.name)
    if not any(table.abi.name in names for table in answered) and len(names) == len(group.arches):
        text = f"the policy has none of {some(names)}: this group is skipped"
        notes.append(Diagnostic(text, layer.position(*here, "arches"), Problem.GROUP_SKIPPED))
    return frozenset(names)


def _expression(layer: Layer, text: str | None, *path: str | int) -> Expression | None:
    return None if text is None else parse_condition(text, layer.places(text, *path))


def _test(layer: Layer, argument: Condition, path: tuple[str | int, ...]) -> ArgumentTest:
    """Return the test for one item of ``arguments``."""
    named = argument.argument
    op = argument.operation
    mask = None
    if op is Op.MASKED_EQ and argument.mask is not None:
        mask = _value(layer, argument.mask, (*path, "mask"))
    return ArgumentTest(
        argument_of(named) if isinstance(named, str) else named,
        op,
        _value(layer, argument.value, (*path, "value")),
        layer.position(*path, "argument"),
        layer.position(*path, "value"),
        mask,
        _READINGS[argument.width],
    )


def _value(layer: Layer, value: int | str, path: tuple[str | int, ...]) -> ValueExpression:
    if isinstance(value, int):
        return PlainValue(value)
    return parse_value(value, layer.places(value, *path))


def check_names(
    written: Sequence[WrittenRule],
    answered: Sequence[Table],
    tables: Tables,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> None:
    """Report names that no ABI has, and names that only some ABIs lack."""
    if not answered:
        return
    known = sorted(set().union(*(table.numbers for table in answered)))
    for one in written:
        wanted = [table for table in answered if one.concerns(table.abi)]
        lacking = [table.abi.name for table in wanted if not _has(table, one)]
        if not lacking or one.optional or one.mention:
            continue
        if len(lacking) == len(wanted):
            elsewhere = [t.abi.name for t in tables.tables.values() if one.name in t.numbers]
            plain = _PREFIX.sub("", one.name)
            hint = did_you_mean(plain, known) if len(problems) < MOST_HINTS else ""
            if elsewhere:
                hint = f" on {some(lacking)}: Linux {tables.tag} has it on {some(elsewhere)} only"
            text = f"unknown system call {one.name!r}{hint}"
            problems.append(Diagnostic(text, one.position, Problem.UNKNOWN_CALL))
        else:
            text = f"{one.name!r} does not exist on {some(lacking)}: skipped there"
            notes.append(Diagnostic(text, one.position, Problem.CALL_SKIPPED))


def _has(table: Table, one: WrittenRule) -> bool:
    """Return True if the call of ``one`` can be made, directly or through a multiplexed call."""
    if table.number_of(one.name) is not None:
        return True
    way = entrance(one.name)
    return way is not None and way[0] in table.numbers
