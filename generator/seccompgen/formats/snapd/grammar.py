"""The grammar of snapd's policies; no line depends on another.

    line      # comment, or @unrestricted, or @complain, or rule, or nothing
    rule      [~]name [argument ...], with up to six arguments; ~ denies, all else allows
    argument  - for any, value, !value, <value, <=value, >value, >=value,
              |value for (argument & value) == value, mask|value for (argument & mask) == value,
              u:user, g:group
    value     a constant's name, or a decimal number of 32 bits

A comment begins its line; after a rule its words are arguments. The first of two values may be
negative for calls whose arguments snapd knows to be ids: there 32 bits are compared.

Source: cmd/snap-seccomp/main.go of canonical/snapd, which has ``~`` since 2.60 and ``mask|value``
since 2.64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, Position, did_you_mean
from seccompgen.core.model import U32, Comparison, Op
from seccompgen.core.problems import Problem
from seccompgen.formats.snapd.constants import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The white space of Go."""
_WORD = re.compile(rf"[^{_SPACE}]+")
_RELATIONS = {">=": Op.GE, "<=": Op.LE, "!": Op.NE, "<": Op.LT, ">": Op.GT, "|": Op.MASKED_EQ}
"""The relations by their signs, at the beginning of an argument; longer signs first."""
_LONGEST = 1 << 16
_MOST_ARGUMENTS = 6
_IDS = frozenset(
    name + suffix
    for name in ("chown", "fchown", "lchown", "setgid", "setuid", "setregid", "setreuid",
                 "setresgid", "setresuid")
    for suffix in ("", "32")
) | {"fchownat", "copy_file_range"}  # fmt: skip
"""Calls whose arguments are compared as 32 bits, and only for equality."""
_ROOT = "root"
"""The user and the group whose number, 0, is the same on every machine."""


class SnapdTest(NamedTuple):
    """A comparison, and the position of its argument."""

    comparison: Comparison
    at: Position


@dataclass(frozen=True, slots=True)
class SnapdRule:
    """A rule; ``words`` are its arguments, which are not read if no call has its name."""

    name: str
    at: Position
    denies: bool
    words: tuple[tuple[str, Position], ...]


@dataclass
class SnapdProfile:
    """A policy: its rules, and the directives in it.

    ``faults`` are errors of single lines; with ``@unrestricted`` snapd does not look for them.
    """

    rules: list[SnapdRule]
    unrestricted: Position | None
    complain: Position | None
    faults: list[Diagnostic]


def parse(text: str, file: str) -> SnapdProfile:
    """Parse a policy."""
    profile, cut = SnapdProfile([], None, None, []), list[Diagnostic]()
    for number, line in enumerate(text.split("\n"), start=1):
        at = Position(file, number, 1)
        if len(line.encode()) >= _LONGEST:
            said = "a line of 64 KiB or more, at which snapd stops to read without an error"
            cut.append(Diagnostic(said, at, Problem.MALFORMED_FILE))
        words = [(one[0], Position(file, number, one.start() + 1)) for one in _WORD.finditer(line)]
        if line.startswith("#") or not line.removesuffix("\r"):
            continue
        if not words:
            said = "a line of nothing but white space, at which snap-seccomp breaks off: empty it"
            profile.faults.append(Diagnostic(said, at, Problem.MALFORMED_FILE))
        elif len(words) - 1 > _MOST_ARGUMENTS:
            said = "a call has at most six arguments; a comment needs a line of its own"
            profile.faults.append(Diagnostic(said, words[7][1], Problem.MALFORMED_FILE))
        elif len(words) == 1 and words[0][0] == "@unrestricted":
            profile.unrestricted = profile.unrestricted or at
        elif len(words) == 1 and words[0][0] == "@complain":
            profile.complain = profile.complain or at
        elif not words[0][0].startswith("#"):
            name, where = words[0]
            denies = name.startswith("~")
            found = SnapdRule(name.removeprefix("~"), where, denies, tuple(words[1:]))
            profile.rules.append(found)
    profile.faults = cut if profile.unrestricted else [*cut, *profile.faults]
    return profile


def tests_of(
    rule: SnapdRule, value: Callable[[str], int | None], faults: list[Diagnostic]
) -> Iterator[SnapdTest]:
    """Yield the comparisons of a rule, whose name is a call's; add its errors to ``faults``.

    ``value`` returns that of a constant.
    """
    for argument, (word, at) in enumerate(rule.words):
        if word == "-":
            continue
        try:
            yield SnapdTest(_comparison(argument, word, rule.name, value), at)
        except ValueError as error:
            faults.append(Diagnostic(str(error), at, Problem.WRONG_VALUE))


def _comparison(
    argument: int, word: str, call: str, value: Callable[[str], int | None]
) -> Comparison:
    """Return an argument's comparison. Raises ValueError."""
    begin = next((one for one in _RELATIONS if word.startswith(one)), "")
    op, rest = _RELATIONS.get(begin, Op.EQ), word.removeprefix(begin)
    if call in _IDS:
        if op is not Op.EQ or "|" in rest:
            raise ValueError(f"snapd compares arguments of {call} by equality only")
        number = _id(rest, begin) if rest[:2] in {"u:", "g:"} else _number(rest, call, value)
        return Comparison(argument, Op.MASKED_EQ, number, U32)
    if op is Op.EQ and rest[:2] in {"u:", "g:"}:
        return Comparison(argument, op, _id(rest, begin))
    if op is Op.EQ and "|" in rest:
        mask, _, rest = rest.partition("|")
        bits = _number(mask, call, value)
        return Comparison(argument, Op.MASKED_EQ, _number(rest, call, value) & bits, bits)
    number = _number(rest, call, value)
    if op is Op.MASKED_EQ:
        return Comparison(argument, op, number, number)
    return Comparison(argument, op, number)


def _id(word: str, begin: str) -> int:
    """Return the number of a user or group. Raises ValueError."""
    if not begin and word[2:] == _ROOT:
        return 0
    if "###" in word:
        raise ValueError(f"{word} is not filled in: snapd puts a name there for each snap")
    text = f"the number of {word} differs between machines, where snapd looks it up: write it here"
    raise ValueError(text)


def _number(word: str, call: str, value: Callable[[str], int | None]) -> int:
    """Return a value. Raises ValueError."""
    constant = value(word)
    if constant is not None:
        return constant
    if re.fullmatch(r"[0-9]+", word) and (number := _decimal(word)) <= U32:
        return number
    if call in _IDS and re.fullmatch(r"[+-]?[0-9]+", word):
        number = _decimal(word.lstrip("+-")) * (-1 if word[0] == "-" else 1)
        if -(1 << 31) <= number < 1 << 31:
            return number & U32
    if re.fullmatch(r"-[0-9]+", word):
        raise ValueError(f"snapd takes no negative number for {call}: {word}")
    hint = did_you_mean(word, CONSTANTS) if word[:1].isupper() else ""
    raise ValueError(
        f"{word!r} is no constant that snapd knows, and no decimal number of 32 bits{hint}"
    )


def _decimal(digits: str) -> int:
    short = digits.lstrip("0") or "0"
    return int(short) if len(short) < 20 else 1 << 64
