"""The families of constants that the arguments of system calls are made of.

The data are in argument_families.json.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.constant_families import ConstantFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_suffix(".json")


class KnownFamilies(NamedTuple):
    """Families by their own names, by call and argument, and by argument of any call.

    ``dependent`` contains the arguments whose constants depend on another one, as
    `dependent_families` returns them.
    """

    named: Mapping[str, ConstantFamily]
    of_calls: Mapping[tuple[str, str], ConstantFamily]
    anywhere: Mapping[str, ConstantFamily]
    dependent: Mapping[tuple[str, str], tuple[tuple[str, ...], Mapping[str, ConstantFamily]]]


def _joined(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value


@lru_cache(maxsize=1)
def known_families() -> KnownFamilies:
    """Return the table."""
    read = json.loads(_FILE.read_text(encoding="utf-8"))
    named = {
        name: ConstantFamily(**{key: _joined(value) for key, value in one.items()})
        for name, one in read["families"].items()
    }

    def family(text: str | list[str]) -> ConstantFamily:
        name: str = _joined(text)
        kind, _, words = name.partition(": ")
        if kind == "values":
            return ConstantFamily(words)
        return ConstantFamily(flags=words) if kind == "flags" else named[name]

    def split(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return [(word, one) for words, one in table.items() for word in words.split()]

    return KnownFamilies(
        named,
        {
            (call, argument): known
            for calls, arguments in read["calls"].items()
            for argument, known in split({names: family(one) for names, one in arguments.items()})
            for call in calls.split()
        },
        dict(split({names: family(one) for names, one in read["arguments"].items()})),
        {
            (call, one["argument"]): (
                tuple(one["on"].split()),
                {constant: family(text) for constant, text in one["families"].items()},
            )
            for one in read["depends"]
            for call in one["calls"].split()
        },
    )


def family_of(call: str, argument: str) -> ConstantFamily | None:
    """Return the family of constants that ``argument`` of ``call`` is made of.

    None if no family is known, or if they depend on another argument.
    """
    known = known_families()
    return known.of_calls.get((call, argument)) or known.anywhere.get(argument)


def dependent_families(
    call: str, argument: str
) -> tuple[tuple[str, ...], Mapping[str, ConstantFamily]]:
    """Return the argument that selects the constants of ``argument``, and a family for each case.

    The other argument is given by its possible names, and each case by the constant that the other
    argument equals. Both are empty if the constants depend on no other argument.
    """
    return known_families().dependent.get((call, argument), ((), {}))


def families_of(call: str, argument: str) -> tuple[ConstantFamily, ...]:
    """Return every family that ``argument`` of ``call`` has for some values of the others."""
    found = family_of(call, argument)
    families = dependent_families(call, argument)[1].values()
    return (found,) if found else tuple(dict.fromkeys(families))
