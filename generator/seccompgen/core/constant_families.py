"""Families of constants: names for the values of one argument.

A family is written as text; argument_families.json explains the syntax.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Constant, Facts

_BRACES = re.compile(r"(\w+)\{([^}]*)\}")
_REQUEST_TYPE = 0xFF00
"""Bits 8 to 15 of a request, on every architecture (asm/ioctl.h)."""


@dataclass(frozen=True)
class ConstantFamily:
    """The constants of an argument.

    ``whole`` lists names of whole values. ``flags`` lists names of bits that can be set
    independently. The bits under ``mask``, a number or the name of a constant, hold one of the
    values that ``part`` lists. If ``part_is_bits``, each bit of that value has a meaning of its
    own, as O_WRONLY has. If ``octal``, numbers are written in octal.
    """

    whole: str = ""
    flags: str = ""
    part: str = ""
    mask: str = ""
    part_is_bits: bool = False
    octal: bool = False

    @cached_property
    def _words(self) -> tuple[_Words, _Words, _Words]:
        return _Words(self.whole), _Words(self.flags), _Words(self.part)

    def __contains__(self, name: str) -> bool:
        """Return True if the constant ``name`` belongs to the family."""
        return name == self.mask or any(name in words for words in self._words)

    def names(self, facts: Facts) -> tuple[str, ...]:
        """Return the constants of the family that ``facts`` contain, in alphabetical order."""
        found = {self.mask} & facts.constants.keys()
        for words in self._words:
            found |= words.names(facts)
        return tuple(sorted(found))

    def on(self, facts: Facts, abi: Abi) -> FamilyValues:
        """Return the values of the family on ``abi``."""
        whole, flags, part = (words.on(facts, abi) for words in self._words)
        mask = facts.value(self.mask, abi)
        if mask is None:
            mask = int(self.mask, 0) if self.mask[:1].isdigit() else 0
        known = facts.value(self.mask, abi) is not None
        return FamilyValues(self, whole, flags, part if mask else {}, mask, self.mask * known)


class FamilyValues(NamedTuple):
    """The preferred name of each value of a family, on one ABI.

    Values are signed as in C: AT_FDCWD is -100. ``mask_name`` is empty if the mask is no constant.
    """

    family: ConstantFamily
    whole: Mapping[int, str]
    flags: Mapping[int, str]
    part: Mapping[int, str]
    mask: int
    mask_name: str


class _Words:
    """The words of a family's text."""

    def __init__(self, text: str) -> None:
        words = _BRACES.sub(_expanded, text).split()
        self._wanted = [_FamilyWord(word) for word in words if word[0] != "-"]
        self._unwanted = [_FamilyWord(word[1:]) for word in words if word[0] == "-"]
        self._last: tuple[Facts, list[tuple[int, _FamilyWord, Constant]]] | None = None

    def __contains__(self, name: str) -> bool:
        return bool(self._ranks(name))

    def _ranks(self, name: str) -> list[int]:
        """Return the indices of the words that ``name`` fits.

        Which of these words accepts the value of the constant may depend on the ABI.
        """
        if any(word.fits(name) for word in self._unwanted):
            return []
        return [n for n, word in enumerate(self._wanted) if word.fits(name)]

    def names(self, facts: Facts) -> set[str]:
        """Return the constants that fit a word with their value on at least one ABI."""
        return {
            constant.name
            for _, word, constant in self._ranked(facts)
            if any(map(word.takes, {constant.value, *constant.elsewhere.values()}))
        }

    def on(self, facts: Facts, abi: Abi) -> dict[int, str]:
        """Return the preferred name of each value on ``abi``."""
        found: dict[int, str] = {}
        for _, word, constant in self._ranked(facts):
            value = constant.on(abi)
            if value is not None and word.takes(value):
                found.setdefault(value, constant.name)
        return found

    def _ranked(self, facts: Facts) -> list[tuple[int, _FamilyWord, Constant]]:
        """Return (rank, word, constant) for each constant that fits, preferred ones first."""
        if self._last is None or self._last[0] is not facts:
            ranked = {}
            for constant in self._candidates(facts):
                for rank in self._ranks(constant.name):
                    ranked[rank, constant.name] = (rank, self._wanted[rank], constant)
            self._last = facts, [ranked[key] for key in sorted(ranked)]
        return self._last[1]

    def _candidates(self, facts: Facts) -> Iterator[Constant]:
        """Yield the constants that may fit, some of them more than once."""
        constants = facts.constants
        for word in self._wanted:
            if word.open_ended:
                names = facts.constant_names
                first = bisect_left(names, word.text)
                found = takewhile(word.fits, islice(names, first, None))
                yield from (constants[name] for name in found)
            elif word.text in constants:
                yield constants[word.text]


def _expanded(found: re.Match[str]) -> str:
    return " ".join(f"{found[1]}{end}" for end in found[2].split())


class _FamilyWord:
    """One name, or a prefix of names; for ioctl requests optionally limited to one type."""

    def __init__(self, word: str) -> None:
        text, _, request_type = word.partition("@")
        self.open_ended = text.endswith("*")
        self.text = text.removesuffix("*")
        self._request_type = int(request_type, 16) << 8 if request_type else None

    def fits(self, name: str) -> bool:
        return name.startswith(self.text) if self.open_ended else name == self.text

    def takes(self, value: int | None) -> bool:
        return value is not None and (
            self._request_type is None or value & _REQUEST_TYPE == self._request_type
        )
