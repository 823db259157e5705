"""``seccompgen syscalls``: look system calls up by name or number, and groups by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from seccompgen.cli import candidates, options
from seccompgen.cli.common import table_of
from seccompgen.core.errors import AnswerNo, InputError, did_you_mean
from seccompgen.core.releases import Release
from seccompgen.io.console import folded, print_json, say

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts, Parameter
    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.groups import Member, StockGroup

_MARK = "@"
"""The first character of a group's name; also in policy.groups, which takes long to import."""

_MOST_NAMED = 8
"""From so many on, ABIs are counted, not named."""


@click.command()
@click.argument(
    "call", metavar="[NAME|NR|@GROUP]", required=False, shell_complete=candidates.calls_and_groups
)
@options.only_abi("Only this ABI, by any of its names.")
@click.option(
    "--since", metavar="RELEASE", help="List the calls newer than this release, such as v6.1."
)
@options.tables
@options.as_json
def syscalls(
    call: str | None,
    only: Abi | None,
    since: str | None,
    tables: Tables,
    *,
    as_json: bool,
) -> None:
    """Look system calls up, by name or by number (decimal or 0x hexadecimal).

    Each is shown with the first release that has it: 5.6, <=4.9 if it was there by then, 5.3-5.4
    if it is one of these. What each takes follows: its arguments, and how many of their bits the
    kernel reads. With an ABI and no call, list its whole table; with neither, list the ABIs.
    @basic-io lists the calls of that group, @ the groups.
    """
    if since is not None:
        if call is not None:
            raise InputError(
                f"--since lists calls: leave {call} out, which shows its first release"
            )
        release = Release.parse(since)
        newer = [table_of(tables, only)] if only else list(tables.tables.values())
        _list_newer(tables, newer, release, narrow=bool(only), as_json=as_json)
        return
    if only is None and call is None:
        _list_abis(tables, as_json=as_json)
        return
    chosen = [table_of(tables, only)] if only else list(tables.tables.values())
    if call is None:
        _list_calls(tables, chosen[0], as_json=as_json)
        return
    if call == _MARK:
        _list_groups(as_json=as_json)
        return
    if call.startswith(_MARK):
        _list_group(_group(call), chosen, tables.facts, narrow=bool(only), as_json=as_json)
        return
    found = [(table, name, nr) for table in chosen for name, nr in _matches(table, call)]
    if not found:
        known = {name for table in chosen for name in table.numbers}
        where = f"on {only.name}" if only else "on any ABI"
        raise AnswerNo(
            f"no system call {call} {where} in Linux {tables.tag}{did_you_mean(call, known)}"
        )
    if as_json:
        print_json([_in_json(tables, *one) for one in found])
        return
    for table, name, nr in found:
        introduced = tables.since.of(table.abi.name, name)
        first = f"  since {introduced}" if introduced else ""
        say(f"{table.abi.name:12} {nr:>10} {name}{first}")
    for name in dict.fromkeys(name for _, name, _ in found):
        _show_prototypes(tables, name, [t for t, here, _ in found if here == name])


def _matches(table: Table, call: str) -> list[tuple[str, int]]:
    try:
        nr = int(call, 0)
    except ValueError:
        return [(call, table.numbers[call])] if call in table.numbers else []
    return [(name, number) for name, number in table.numbers.items() if number == nr]


def _in_json(tables: Tables, table: Table, name: str, nr: int) -> dict[str, Any]:
    prototype = tables.facts.prototype(name, table.abi)
    takes = None
    if prototype:
        parameters = [asdict(one) for one in prototype.parameters]
        takes = {"entry": prototype.entry, "parameters": parameters}
    introduced = tables.since.of(table.abi.name, name)
    first = str(introduced) if introduced else None
    return {"abi": table.abi.name, "name": name, "nr": nr, "since": first, "prototype": takes}


def _show_prototypes(tables: Tables, name: str, having: list[Table]) -> None:
    """Print the arguments of ``name``, once for all ABIs that have the same."""
    groups: dict[tuple[Parameter, ...], list[tuple[str, str]]] = {}
    unknown = []
    for table in having:
        prototype = tables.facts.prototype(name, table.abi)
        if prototype:
            group = groups.setdefault(prototype.parameters, [])
            group.append((prototype.entry, table.abi.name))
        else:
            unknown.append(table.abi.name)
    for parameters, served in groups.items():
        entries = ", ".join(dict.fromkeys(entry for entry, _ in served))
        head = f"{name} on {', '.join(abi for _, abi in served)} ({entries}):"
        say("", *folded(head, 4))
        longest = max((len(one.name) for one in parameters), default=0)
        for index, one in enumerate(parameters):
            row = f"  arg{index}  {one.name:{longest}}  {_bits(one)}  {one.type}"
            say(*folded(row, row.rindex(one.type)))
        if not parameters:
            say("  no arguments")
    if unknown and groups:
        head = f"{name} on {', '.join(unknown)}: not implemented, or nobody knows its arguments"
        say("", *folded(head, 4))


def _bits(one: Parameter) -> str:
    sort = "pointer" if one.pointer else "signed" if one.signed else "unsigned"
    return f"{one.bits or 'all':>3} bits {sort:8}"


def _list_abis(tables: Tables, *, as_json: bool) -> None:
    rows = [
        {
            "abi": table.abi.name,
            "audit_arch": table.abi.audit_arch,
            "bits": table.abi.bits,
            "byte_order": table.abi.byte_order,
            "seccomp_filter": table.has_filters,
            "syscalls": len(table.numbers),
        }
        for table in tables.tables.values()
    ]
    if as_json:
        print_json({"tag": tables.tag, "abis": rows})
        return
    say(f"Linux {tables.tag}")
    for row in rows:
        filters = "" if row["seccomp_filter"] else "no seccomp filters"
        say(
            f"{row['abi']:12} {row['audit_arch']:#010x} {row['bits']} bits {row['byte_order']:6} "
            f"{row['syscalls']:4} calls {filters}".rstrip()
        )


def _list_calls(tables: Tables, table: Table, *, as_json: bool) -> None:
    if as_json:
        print_json(_calls_in_json(tables, table, table.numbers))
        return
    for name, nr in table.numbers.items():
        say(f"{nr:>10} {name}")


def _calls_in_json(tables: Tables, table: Table, numbers: Mapping[str, int]) -> dict[str, Any]:
    since = {name: tables.since.of(table.abi.name, name) for name in numbers}
    return {
        "abi": table.abi.name,
        "tag": table.tag,
        "audit_arch": table.abi.audit_arch,
        "syscalls": dict(numbers),
        "since": {name: str(first) for name, first in since.items() if first},
    }


def _list_newer(
    tables: Tables, chosen: list[Table], release: Release, *, narrow: bool, as_json: bool
) -> None:
    """Print the calls that ``release`` lacks, or may lack; with ``narrow`` those of one ABI."""
    newer: list[tuple[Table, dict[str, int]]] = []
    for table in chosen:
        since = {name: tables.since.of(table.abi.name, name) for name in table.numbers}
        late = {name for name, one in since.items() if one is None or not one.surely_by(release)}
        newer.append((table, {n: nr for n, nr in table.numbers.items() if n in late}))
    if as_json:
        rows = [_calls_in_json(tables, *one) for one in newer]
        print_json(rows[0] if narrow else rows)
        return
    if narrow:
        for name, nr in newer[0][1].items():
            say(f"{nr:>10} {name:24} {tables.since.of(newer[0][0].abi.name, name) or 'unknown'}")
        return
    abis: dict[tuple[str, str], list[str]] = {}
    for table, numbers in newer:
        if len(numbers) == len(table.numbers):
            say(f"{table.abi.name}: all {len(numbers)} calls")
            continue
        for name in numbers:
            first = str(tables.since.of(table.abi.name, name) or "unknown")
            abis.setdefault((name, first), []).append(table.abi.name)
    for (name, first), having in sorted(abis.items()):
        few = len(having) < _MOST_NAMED
        where = ", ".join(having) if few else f"{len(having)} of {len(chosen)} ABIs"
        say(*folded(f"{name:24} {first:10} on {where}", 39))


def _group(mention: str) -> StockGroup:
    from seccompgen.policy.groups import find_stock_group, stock_groups  # noqa: PLC0415 - heavy

    group = find_stock_group(mention.removeprefix(_MARK))
    if group is None:
        known = [f"{_MARK}{name}" for name in stock_groups()]
        raise AnswerNo(f"no group {mention}{did_you_mean(mention, known)}")
    return group


def _list_groups(*, as_json: bool) -> None:
    from seccompgen.policy.groups import stock_groups  # noqa: PLC0415 - heavy

    groups = stock_groups().values()
    if as_json:
        print_json([{"name": one.name, "promise": one.promise} for one in groups])
        return
    for one in groups:
        say(*folded(f"{_MARK}{one.name:16} {one.promise}", 18))


def _list_group(
    group: StockGroup, tables: Collection[Table], facts: Facts, *, narrow: bool, as_json: bool
) -> None:
    """Print the calls of a group that one of ``tables`` has; with ``narrow`` there is only one.

    A call is left out of an ABI if its condition names an argument or a constant that the ABI
    lacks.
    """
    from seccompgen.policy.conditions import Lookup  # noqa: PLC0415 - heavy
    from seccompgen.policy.expressions import parse_condition  # noqa: PLC0415 - heavy
    from seccompgen.policy.groups import calls_of  # noqa: PLC0415 - heavy

    def has(table: Table, one: Member) -> bool:
        if one.name not in table.numbers or not one.when:
            return one.name in table.numbers
        condition = parse_condition(one.when)
        return Lookup(facts, table.abi).numbers(condition, one.name) is not None

    calls = {one: [table for table in tables if has(table, one)] for one in calls_of(group)}
    had = {one: having for one, having in calls.items() if having}
    if as_json:
        rows = [
            {"name": one.name, "when": one.when or None, "abis": [t.abi.name for t in having]}
            for one, having in had.items()
        ]
        print_json({"name": group.name, "promise": group.promise, "syscalls": rows})
        return
    say(f"{_MARK}{group.name}: {group.promise}")
    for one, having in had.items():
        where = f"where {one.when}" if one.when else ""
        if narrow:
            row = f"{having[0].numbers[one.name]:>10} {one.name:24} {where}"
            say(*folded(row.rstrip(), 36))
        else:
            some = "" if len(having) == len(tables) else f"on {len(having)} of {len(tables)} ABIs"
            say(*folded(f"{one.name:24} {some:20} {where}".rstrip(), 46))
