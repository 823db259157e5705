"""The rules of a policy as its files write them, in order, and the calls that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ALIASES, find_abi
from seccompgen.core.errors import Diagnostic, did_you_mean
from seccompgen.core.model import Op, Origin
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.policy.expressions import (
    AllOf,
    ArgumentTest,
    PlainValue,
    Reading,
    argument_of,
    parse_condition,
    parse_value,
)
from seccompgen.policy.ground import WrittenRule
from seccompgen.policy.layers import setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.model import Action
    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.expressions import Expression, ValueExpression
    from seccompgen.policy.layers import Layer
    from seccompgen.policy.schema import Argument, Group

_MOST_HINTS = 50
"""The most unknown names that get a suggestion; each is compared with every known name."""
_READINGS = {None: Reading.KERNEL, 32: Reading.U32, 64: Reading.U64}


def written_rules(
    layers: list[Layer],
    answered: Sequence[Table],
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> list[list[WrittenRule]]:
    """Return the rules of ``layers``, included files first, in lists whose order is free.

    A list of names is one list, each entry of ``names_with_args`` another.
    """
    multiplexed = setting(layers, "multiplexed", None)
    lists = []
    for layer in layers:
        for i, group in enumerate(layer.content.syscalls or ()):
            here = "syscalls", i
            arches = _arches(layer, group, here, answered, problems, notes)
            own = group.multiplexed if group.multiplexed is not None else multiplexed
            when = _expression(layer, group.when, *here, "when")
            origin = Origin(f"rule {i + 1}", layer.position(*here))
            said = group.action, group.optional, arches, own
            lists.append(
                [
                    _rule(name, when, layer, (*here, "names", j), origin, *said)
                    for j, name in enumerate(group.names)
                ]
            )
            for j, entry in enumerate(group.names_with_args):
                place = *here, "names_with_args", j
                parts = [] if when is None else [when]
                if (also := _expression(layer, entry.when, *place, "when")) is not None:
                    parts.append(also)
                parts += (
                    _test(layer, argument, (*place, "arguments", k))
                    for k, argument in enumerate(entry.arguments or ())
                )
                whole = parts[0] if len(parts) == 1 else AllOf(tuple(parts))
                where = *place, "name"
                of_entry = Origin(origin.label, layer.position(*where))
                lists.append([_rule(entry.name, whole, layer, where, of_entry, *said)])
    return lists


def _rule(
    name: str,
    expression: Expression | None,
    layer: Layer,
    place: tuple[str | int, ...],
    origin: Origin,
    action: Action,
    optional: bool,
    arches: frozenset[str] | None,
    multiplexed: Action | None,
) -> WrittenRule:
    position = layer.position(*place)
    return WrittenRule(name, expression, action, position, origin, optional, arches, multiplexed)


def _arches(
    layer: Layer,
    group: Group,
    here: tuple[str | int, ...],
    answered: Sequence[Table],
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> frozenset[str] | None:
    """Return the ABIs that ``group`` is for, by canonical name; None for all."""
    if group.arches is None:
        return None
    names = []
    for k, spelling in enumerate(group.arches):
        abi = find_abi(spelling)
        if abi is None:
            text = f"unknown architecture {spelling!r}{did_you_mean(spelling, ALIASES)}"
            where = layer.position(*here, "arches", k)
            problems.append(Diagnostic(text, where, Problem.UNKNOWN_ABI))
        else:
            names.append(abi.name)
    if not any(table.abi.name in names for table in answered) and len(names) == len(group.arches):
        text = f"the policy has none of {some(names)}: this group is skipped"
        notes.append(Diagnostic(text, layer.position(*here, "arches"), Problem.GROUP_SKIPPED))
    return frozenset(names)


def _expression(layer: Layer, text: str | None, *path: str | int) -> Expression | None:
    return None if text is None else parse_condition(text, layer.places(text, *path))


def _test(layer: Layer, argument: Argument, path: tuple[str | int, ...]) -> ArgumentTest:
    """Return the test that one of ``arguments`` stands for."""
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
    """Tell of names that no ABI has, and of ABIs that lack some."""
    if not answered:
        return
    known = sorted(set().union(*(table.numbers for table in answered)))
    for one in written:
        wanted = [table for table in answered if one.concerns(table.abi)]
        lacking = [table.abi.name for table in wanted if not _has(table, one)]
        if not lacking or one.optional:
            continue
        if len(lacking) == len(wanted):
            elsewhere = [t.abi.name for t in tables.tables.values() if one.name in t.numbers]
            hint = did_you_mean(one.name, known) if len(problems) < _MOST_HINTS else ""
            if elsewhere:
                hint = f" on {some(lacking)}: Linux {tables.tag} has it on {some(elsewhere)} only"
            text = f"unknown system call {one.name!r}{hint}"
            problems.append(Diagnostic(text, one.position, Problem.UNKNOWN_CALL))
        else:
            text = f"{one.name!r} does not exist on {some(lacking)}: skipped there"
            notes.append(Diagnostic(text, one.position, Problem.CALL_SKIPPED))


def _has(table: Table, one: WrittenRule) -> bool:
    """Return True if a call that ``one`` is about can be made, itself or through another."""
    if table.number_of(one.name) is not None:
        return True
    way = entrance(one.name)
    return way is not None and way[0] in table.numbers
