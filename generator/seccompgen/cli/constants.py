"""``seccompgen constants``: look constants of the kernel's headers up by name, pattern or value."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.cli.common import table_of
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, did_you_mean
from seccompgen.io.console import folded, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Constant
    from seccompgen.core.tables import Tables


@click.command()
@click.argument("wanted", metavar="NAME|PATTERN|VALUE...", nargs=-1, required=True)
@options.only_abi("Only this ABI, by any of its names.")
@options.tables
@options.as_json
def constants(wanted: tuple[str, ...], only: Abi | None, tables: Tables, *, as_json: bool) -> None:
    """Look constants of the kernel's headers up.

    NAME is one such as O_DIRECTORY, PATTERN one such as 'CLONE_*', and VALUE a number, decimal or
    0x hexadecimal: all names with that value on some ABI, or on ABI.
    """
    if only:
        table_of(tables, only)
    if not tables.facts.constants:
        raise AnswerNo(f"these tables of Linux {tables.tag} have no constants: write them anew")
    abis = [only.name] if only else list(tables.tables)
    found: dict[str, Constant] = {}
    for word in wanted:
        matches = _matches(tables, word, abis)
        if not matches:
            where = f"on {only.name}" if only else "on any ABI"
            hint = did_you_mean(word, tables.facts.constants)
            raise AnswerNo(f"no constant {word} {where} in Linux {tables.tag}{hint}")
        found |= {one.name: one for one in matches}
    if as_json:
        print_json([_as_data(one, abis) for one in found.values()])
        return
    for one in found.values():
        _print(one, abis)


def _matches(tables: Tables, word: str, abis: Sequence[str]) -> list[Constant]:
    constants = tables.facts.constants
    if any(mark in word for mark in "*?["):
        chosen = [one for name, one in constants.items() if fnmatchcase(name, word)]
        return [one for one in chosen if one.reason or _values(one, abis)]
    try:
        value = int(word, 0)
    except ValueError:
        named = constants.get(word)
        return [named] if named and (named.reason or _values(named, abis)) else []
    return [one for one in constants.values() if value in _values(one, abis)]


def _values(one: Constant, abis: Sequence[str]) -> dict[int, list[str]]:
    """Return the ABIs of each value, the most common value first."""
    values: dict[int, list[str]] = {}
    for abi in abis:
        value = one.on(ABIS[abi])
        if value is not None:
            values.setdefault(value, []).append(abi)
    return dict(sorted(values.items(), key=lambda item: -len(item[1])))


def _as_data(one: Constant, abis: Sequence[str]) -> dict[str, object]:
    by_abi = {abi: value for abi in abis if (value := one.on(ABIS[abi])) is not None}
    return {"name": one.name, "values": by_abi, "reason": one.reason or None}


def _print(one: Constant, abis: Sequence[str]) -> None:
    values = _values(one, abis)
    if not values:
        say(f"{one.name}: no value: {one.reason}")
    for index, (value, having) in enumerate(values.items()):
        # The most common value is printed without its ABIs if every ABI has the name.
        everywhere = sum(map(len, values.values())) == len(abis)
        where = "" if index == 0 and everywhere else ", ".join(having)
        row = f"{one.name:24} {value:>12} {_hexadecimal(value):>12}  {where}"
        say(*folded(row.rstrip(), 52))


def _hexadecimal(value: int) -> str:
    return hex(value) if value > 9 else ""
