"""The grammar of LXC's profiles.

    file       version style lines
    version    1 or 2, then white space
    style      version 1: any line with the word allowlist
               version 2: (allowlist | denylist | whitelist | blacklist) [action]
    line       version 1: a number; what follows it is ignored
               version 2: # comment, or [section], or name [action [tests]], or nothing
    action     kill, errno N, allow, trap or notify; what follows it is ignored
    tests      up to six of [argument,value,operator] and [argument,value,operator,mask]
    operator   SCMP_CMP_NE, LT, LE, EQ, GE, GT, MASKED_EQ, or != < <= == >= > &=

Blanks separate words, nothing else does: ``<tab>open`` is one name, which no call has. LXC reads
numbers as C's scanf and strtoull do.

Source: src/lxc/seccomp.c of lxc/lxc, from 4.0.4 on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import U32, U64, Action, ActionKind, Comparison, Op
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\n\v\f\r"
"""The white space of C."""
_INT = re.compile(rf"[{_SPACE}]*([+-]?)0*([0-9]+)")
_VERSION = re.compile(rf"{_INT.pattern}[{_SPACE}]*")
_TEST = re.compile(
    rf"\[[{_SPACE}]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)"
    r",([^,]{1,23}),([^0-9^,]{1,30})(?:,([^,]{1,23}))?"
)
_VALUE = re.compile(rf"[{_SPACE}]*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_STYLES = {"denylist": True, "blacklist": True, "allowlist": False, "whitelist": False}
_ACTIONS = {
    "kill": ActionKind.KILL_THREAD, "errno": ActionKind.ERRNO, "allow": ActionKind.ALLOW,
    "trap": ActionKind.TRAP, "notify": ActionKind.USER_NOTIF,
}  # fmt: skip
_SIGNS = {"!=": Op.NE, "<": Op.LT, "<=": Op.LE, "==": Op.EQ, ">=": Op.GE, ">": Op.GT}
_OPERATORS = {
    "&=": Op.MASKED_EQ, "SCMP_CMP_MASKED_EQ": Op.MASKED_EQ,
    **_SIGNS, **{f"SCMP_CMP_{op.name}": op for op in _SIGNS.values()},
}  # fmt: skip
_MOST_ERRNO = 4094
"""libseccomp refuses 4095, which the kernel still delivers."""
_MOST_TESTS = 6


class LxcLine(NamedTuple):
    """A line of a profile below its head, without its end."""

    text: str
    number: int


@dataclass(frozen=True, slots=True)
class LxcProfile:
    """A profile: its head, and the lines below it.

    Calls without a rule get ``default``; ``action`` is that of rules which name none. ``ignored``
    are remarks on parts of the head that LXC ignores.
    """

    file: str
    version: int
    default: Action
    default_at: Position
    action: Action
    lines: tuple[LxcLine, ...]
    ignored: tuple[tuple[str, Position], ...] = ()


@dataclass(frozen=True, slots=True)
class LxcRule:
    """A rule: ``tests`` must all hold, and ``action`` is None for the profile's own.

    ``ignored`` are remarks on parts of the line that LXC ignores.
    """

    name: str
    at: Position
    action: Action | None
    tests: tuple[tuple[Comparison, Position], ...] = ()
    ignored: tuple[tuple[str, Position], ...] = ()


class _Named(NamedTuple):
    """An action, the index of what follows it, and remarks on what LXC ignores of it."""

    action: Action
    end: int
    ignored: tuple[tuple[str, Position], ...]


def parse_head(text: str, file: str) -> LxcProfile:
    """Parse the first two lines of a profile. Raises InputError."""
    if "\0" in text:
        raise _refused("a NUL byte, at which LXC stops to read the line",
                       Position.after(file, text[: text.index("\0")]))  # fmt: skip
    match, start = _VERSION.match(text), Position(file, 1, 1)
    version = c_int(match) if match else 0
    if match is None or version not in {1, 2}:
        what = "the first line of a profile is its version, 1 or 2, with nothing above it"
        raise _refused(what, start)
    head, _, body = text[match.end() :].partition("\n")
    at = Position.after(file, text[: match.end()])
    lines = body.removesuffix("\n").split("\n") if body else []
    below = tuple(LxcLine(line, at.line + 1 + i) for i, line in enumerate(lines))
    if "debug" in head:
        raise _refused("LXC refuses the word debug in this line, wherever it stands", at)
    if version == 1:
        if "allowlist" not in head:
            older = ", which LXC has called it since 4.0.4" if "whitelist" in head else ""
            raise _refused(f"a profile of version 1 needs the word allowlist here{older}", at)
        kill = Action(ActionKind.KILL_THREAD)
        return LxcProfile(file, version, kill, at, Action(ActionKind.ALLOW), below)
    return _second(head, below, at)


def _second(head: str, below: tuple[LxcLine, ...], at: Position) -> LxcProfile:
    """Return a profile of version 2, given its second line."""
    style = next((name for name in _STYLES if head.startswith(name)), None)
    if style is None:
        raise _refused(
            "this line begins with allowlist or denylist, and no comment is above it", at
        )
    denies = _STYLES[style]
    default = Action(ActionKind.ALLOW if denies else ActionKind.KILL_THREAD)
    own = Action(ActionKind.KILL_THREAD if denies else ActionKind.ALLOW)
    ignored: tuple[tuple[str, Position], ...] = ()
    if " " in head:
        named = _action(head, head.index(" ") + 1, at)
        default, ignored = named.action, named.ignored
        at = Position(at.file, at.line, at.column + head.index(" ") + 1)
        require_errno(default, at)
    return LxcProfile(at.file, 2, default, at, own, below, ignored)


def parse_rule(line: LxcLine, file: str) -> LxcRule:
    """Parse a line of version 2 that is a rule. Raises InputError."""
    text, start = line.text, Position(file, line.number, 1)
    name, blank, rest = text.partition(" ")
    action: Action | None = None
    ignored: list[tuple[str, Position]] = []
    if blank and rest.lstrip(" ")[:1] not in {"", "#"}:
        named = _action(text, len(name) + 1, start)
        action, ignored = named.action, [*named.ignored]
    tests = tuple(_tests(text, start, ignored)) if "[" in text else ()
    return LxcRule(name, start, action, tests, tuple(ignored))


def require_errno(action: Action, at: Position) -> None:
    """Raise InputError if libseccomp does not take the number of ``action``."""
    if action.kind is ActionKind.ERRNO and action.data > _MOST_ERRNO:
        raise _refused(f"libseccomp takes an errno of 0 to {_MOST_ERRNO}, no {action.data}", at)


def parse_number(line: LxcLine, file: str) -> int:
    """Return the call's number in a line of version 1. Raises InputError."""
    match, at = _INT.match(line.text), Position(file, line.number, 1)
    if match is None:
        raise _refused("each line of version 1 begins with the number of a call", at)
    if (number := c_int(match)) < 0:
        raise _refused(f"{number} is not the number of a call", at)
    return number


def after_number(text: str) -> str:
    """Return what is written right after the number of a line, which LXC ignores."""
    match = _INT.match(text)
    return re.split(rf"[{_SPACE}]", text[match.end() :])[0] if match else ""


def c_int(match: re.Match[str]) -> int:
    """Return an int as scanf's %d reads it: cut to a long, then to its low 32 bits."""
    digits = match[2] if len(match[2]) < 20 else "9" * 19
    number = min(int(digits), (1 << 63) - 1 + (match[1] == "-")) * (-1 if match[1] == "-" else 1)
    return (number + (1 << 31) & U32) - (1 << 31)


def _action(text: str, start: int, line: Position) -> _Named:
    """Return the action in ``text`` from ``start`` on; ``line`` is where ``text`` begins.

    Raises InputError.
    """
    start += len(text[start:]) - len(text[start:].lstrip(" "))
    at = Position(line.file, line.line, line.column + start)
    word = next((one for one in _ACTIONS if text.startswith(one, start)), None)
    if word is None:
        hint = "; blanks separate words, tabs do not" if "\t" in text else ""
        hint = "; the name of a call begins its line" if text.startswith(" ") else hint
        said = f"{text[start:][:40]!r} is no action: kill, errno N, allow, trap or notify{hint}"
        raise _refused(said, at)
    action, end, ignored = Action(_ACTIONS[word]), start + len(word), []
    if action.kind is ActionKind.ERRNO:
        match = _INT.match(text, end)
        if match is None:
            raise _refused(f"errno takes a decimal number, not {text[end:].strip()[:40]!r}", at)
        action, end = Action(action.kind, c_int(match) & 0xFFFF), match.end()
        if match[1] == "-" or match[2] != str(action.data):
            ignored.append((f"LXC takes this number for {action.data}", at))
    more = text[end:].partition("[")[0]
    if more.strip(_SPACE) and not more.strip(_SPACE).startswith("#"):
        column = line.column + end + len(more) - len(more.lstrip(_SPACE))
        remark = f"LXC ignores {more.strip(_SPACE)[:40]!r}, since the action ends before it"
        ignored.append((remark, Position(line.file, line.line, column)))
    return _Named(action, end, tuple(ignored))


def _tests(
    text: str, line: Position, ignored: list[tuple[str, Position]]
) -> Iterator[tuple[Comparison, Position]]:
    """Yield the tests of a line; add remarks to ``ignored``. Raises InputError."""
    for place, token in enumerate(re.finditer(r"[^\]]+", text)):
        opened = token[0].find("[")
        at = Position(line.file, line.line, token.start() + max(opened, 0) + 1)
        if place >= _MOST_TESTS:
            ignored.append(("LXC ignores all tests after the sixth", at))
            return
        if opened < 0:
            raise _refused("nothing may follow the tests, not even a blank or a comment", at)
        match = _TEST.match(token[0], opened)
        if match is None:
            raise _refused("a test is [argument,value,operator] or has a mask after that", at)
        yield _comparison(match, at), at
        if match.end() < len(token[0]):
            where = Position(line.file, line.line, token.start() + match.end() + 1)
            ignored.append((f"LXC ignores {token[0][match.end() :]!r} in a test", where))


def _comparison(match: re.Match[str], at: Position) -> Comparison:
    index = _c_number(match[2]) * (-1 if match[1] == "-" else 1) & U32
    if index > 5:
        raise _refused(f"arguments are 0 to 5, not {match[1]}{match[2]}", at)
    value, mask = _word(match[3], at), _word(match[5] or "0", at)
    op = _OPERATORS.get(match[4])
    if op is None:
        known = " ".join(one for one in _OPERATORS if len(one) < 3)
        raise _refused(f"{match[4]!r} is no operator; known: {known} and SCMP_CMP_...", at)
    if op is Op.MASKED_EQ:
        return Comparison(index, op, value & mask, mask)
    return Comparison(index, op, value)


def _word(text: str, at: Position) -> int:
    match = _VALUE.fullmatch(text)
    if match is None or (number := _c_number(match[1])) > U64:
        raise _refused(f"{text!r} is not a number of 64 bits", at)
    return number


def _c_number(text: str) -> int:
    """Return a number in C's notation."""
    if text[:2].lower() == "0x":
        return int(text, 16)
    return int(text, 8 if text[0] == "0" else 10)


def _refused(text: str, at: Position) -> InputError:
    return InputError(Diagnostic(text, at, Problem.MALFORMED_FILE))
