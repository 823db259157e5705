"""The parts of the JSON Schema that come from the kernel: calls, their arguments, constants."""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.argument_families import families_of
from seccompgen.core.text import some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from seccompgen.core.facts import Constant, Facts, Prototype
    from seccompgen.core.tables import Tables


_ESCAPE = re.compile(r"[][$()*+.?\\^{|}]")


def escaped(text: str) -> str:
    """Return a pattern for ``text``; ECMAScript's mode "u" refuses some escapes of `re.escape`."""
    return _ESCAPE.sub(r"\\\g<0>", text)


def offer(described: Mapping[str, str]) -> dict[str, Any]:
    """Return a schema that accepts any text, but lets editors offer these with descriptions."""
    words = [{"const": word, "description": text} for word, text in described.items()]
    return {"type": "string", "anyOf": [*words, {"type": "string"}]}


def one_of(words: Iterable[str], otherwise: str) -> dict[str, str]:
    """Return the schema of a text that is one of ``words``; ``otherwise`` is the error message."""
    return {"pattern": f"^{any_of(words)}$", "patternErrorMessage": otherwise}


def any_of(words: Iterable[str], spell: Callable[[str], str] = escaped) -> str:
    """Return a pattern for these words, with common prefixes factored out.

    ``spell`` returns the pattern for a part of a word.
    """
    every = sorted(set(words))
    same = commonprefix(every)  # noqa: RUF071 - these are words
    rest = [word.removeprefix(same) for word in every]
    several = [
        any_of(found, spell) for _, found in groupby(filter(None, rest), itemgetter(slice(1)))
    ]
    if not several:
        return spell(same)
    return f"{spell(same)}(?:{'|'.join(several)}){'?' if '' in rest else ''}"


def folded(word: str) -> str:
    """Return a pattern for ``word`` in any case; patterns of JSON Schema have no flag for that."""
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else escaped(c) for c in word)


def call_descriptions(tables: Tables) -> dict[str, str]:
    """Return a description of each call: its C prototype, and its ABIs unless all have it."""
    described = {}
    for name in sorted(tables.calls):
        abis = [table.abi.name for table in tables.tables.values() if name in table.numbers]
        prototype = next(iter(_prototypes(tables.facts, name)), None)
        parts = [_declared(name, prototype)] if prototype else []
        if len(abis) < len(tables.tables):
            parts.append(f"on {', '.join(abis)}")
        described[name] = "; ".join(parts)
    return described


class CallConditions:
    """The schemas of the conditions on each call: names of arguments, and their constants.

    ``rules`` are for ``allOf`` of an entry, one per list of arguments that calls share.
    ``definitions`` are the definitions that the rules refer to.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._prefixes: set[str] = set()
        self.definitions: dict[str, dict[str, Any]] = {}
        calls: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for name in sorted({name for found in facts.prototypes.values() for name in found}):
            arguments = self._arguments(name)
            if arguments:
                calls.setdefault(tuple(arguments.items()), []).append(name)
        self.rules = [
            {
                "if": {"properties": {"name": {"enum": names}}, "required": ["name"]},
                "then": {"properties": {"arguments": {"items": _conditions(dict(arguments))}}},
            }
            for arguments, names in calls.items()
        ]

    def constant(self) -> dict[str, str]:
        """Return the schema of a constant's name.

        A name with the prefix of some argument's constants must be known. There are more than
        twenty thousand constants, most of which belong to no argument.
        """
        prefixes = sorted(self._prefixes - {""})
        if not prefixes:
            return {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
        known = [
            one.name
            for one in self._facts.constants.values()
            if one.name.partition("_")[0] in self._prefixes and not one.reason
        ]
        other = f"(?!({'|'.join(prefixes)})_)[A-Za-z_][A-Za-z0-9_]*"
        return {
            "type": "string",
            "pattern": f"^({other}|{any_of(known)})$",
            "patternErrorMessage": "no constant of that name",
        }

    def _arguments(self, call: str) -> dict[str, str]:
        """Return the arguments of ``call`` on any ABI, each with the definition of its constants.

        The definition is empty if no constants are known.
        """
        prototypes = _prototypes(self._facts, call)
        names = dict.fromkeys(one.name for each in prototypes for one in each.parameters)
        return {name: self._constants(call, name) for name in names if name}

    def _constants(self, call: str, argument: str) -> str:
        names = {n for family in families_of(call, argument) for n in family.names(self._facts)}
        if not names:
            return ""
        if call != "ioctl":
            self._prefixes |= {name.partition("_")[0] for name in names if "_" in name[1:]}
        if call == "ioctl":  # its requests are too many to describe
            words: list[Any] = [{"enum": sorted(names)}]
        else:
            words = [
                {"const": name, "description": _value_of(self._facts.constants[name])}
                for name in sorted(names)
            ]
        found = {"anyOf": [*words, {"type": ["string", "integer"]}]}
        same = (name for name, one in self.definitions.items() if one == found)
        return next(same, None) or self._define(f"{call}_{argument}", found)

    def _define(self, name: str, definition: dict[str, Any]) -> str:
        self.definitions[name] = definition
        return name


def _value_of(constant: Constant) -> str:
    """Return the value of a constant, and the ABIs on which it differs."""
    others = [name for name in constant.elsewhere if ABIS[name].filters_since]
    but = f"{some(others)} differ{'s' * (len(others) == 1)}" if others else ""
    value = "" if constant.value is None else _number(constant.value)
    return "; ".join(part for part in (value, but) if part)


def _number(value: int) -> str:
    return str(value) if -10 < value < 10 else f"{value:#x}"


def _prototypes(facts: Facts, call: str) -> list[Prototype]:
    """Return the prototypes of ``call``, each once, in the order of the ABIs."""
    found = (one[call] for one in facts.prototypes.values() if call in one)
    return list(dict.fromkeys(found))


def _declared(name: str, prototype: Prototype) -> str:
    parts = []
    for one in prototype.parameters:
        gap = "" if one.type.endswith("*") or not one.name else " "
        parts.append(f"{one.type.replace(' __user', '')}{gap}{one.name}")
    return f"{name}({', '.join(parts) or 'void'})"


def _conditions(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of a condition on one of ``arguments``."""
    offered = []
    for name, definition in arguments.items():
        if definition:
            constants = {"$ref": f"#/$defs/{definition}"}
            said = {"properties": {"argument": {"const": name}}, "required": ["argument"]}
            values = {"properties": {"value": constants, "mask": constants}}
            offered.append({"if": said, "then": values})
    argument = {"anyOf": [{"enum": [*arguments]}, {"$ref": "#/$defs/place"}]}
    return {"properties": {"argument": argument}} | ({"allOf": offered} if offered else {})
