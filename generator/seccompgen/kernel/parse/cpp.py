"""The part of the C preprocessor that the kernel's number headers use.

A header is read as one user-space program would see it: with that program's predefined macros.
Conditionals, object-like macros and includes are understood; function-like macros and all that
is no directive are passed over. Where C would take an unknown name in ``#if`` for 0, this reader
refuses: a guess there could choose another ABI's numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from seccompgen.core.errors import Diagnostic, OutsideError, Position

_MAX_INCLUDE_DEPTH = 16
_MAX_NESTING = 32  # of parentheses, and of macros in macros
_MAX_TOKENS = 4096  # in one expanded expression
_MAX_LINE = 10_000  # characters of one directive; the kernel's are under 200


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a header; ``path`` is where upstream keeps it, for messages."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Macro:
    """An object-like macro: ``body`` is its replacement text."""

    name: str
    body: str
    position: Position


Included: TypeAlias = Source | tuple[Macro, ...] | None
"""The content of an include: a text, definitions made elsewhere, or nothing of interest."""

Include: TypeAlias = Callable[[str, Position], Included]
"""Resolve ``name`` of ``#include <name>``; raises OutsideError where it cannot."""


def preprocess(source: Source, predefined: Mapping[str, str], include: Include) -> dict[str, Macro]:
    """Return the macros that are defined at the end of ``source``, by name.

    Raises OutsideError with every problem found: unbalanced conditionals, an include that
    cannot be resolved, a condition without a value, a macro defined twice with two meanings.
    """
    reader = _Reader(predefined, include)
    reader.read(source, 0)
    if reader.errors:
        raise OutsideError(*reader.errors)
    return reader.macros


def evaluate(macros: Mapping[str, Macro], name: str) -> int:
    """Return the integer that ``name`` stands for; raises OutsideError where it has none."""
    macro = macros[name]
    body = macro.body
    if body.isdecimal() and body.isascii() and len(body) < 10 and not body.startswith("0"):
        return int(body)
    try:
        return _Expression(_expand(_tokens(body), macros)).value()
    except _NoValueError as error:
        raise OutsideError(Diagnostic(f"{name} has no value: {error}", macro.position)) from None


class _NoValueError(Exception):
    """An expression is no integer constant; the message says why."""


@dataclass(slots=True)
class _Group:
    """An open ``#if``: is this part live, was any part so far, has ``#else`` been seen."""

    opened: Position
    parent_live: bool
    live: bool
    taken: bool
    else_seen: bool = False


_DIRECTIVE = re.compile(r"\s*#\s*(\w*)(.*)", re.ASCII | re.DOTALL)
_DEFINE = re.compile(r"([A-Za-z_]\w*)(\(?)(.*)", re.ASCII | re.DOTALL)
_INCLUDE = re.compile(r"<([^<>]+)>|\"([^\"]+)\"")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_COMMENT = re.compile(
    r""" "(?:\\.|[^"\\\n]){0,200}" | '(?:\\.|[^'\\\n]){0,200}' | (//[^\n]*|/\*.*?(?:\*/|\Z)) """,
    re.DOTALL | re.VERBOSE,
)


class _Reader:
    """Reads sources, one after another, into one set of macros."""

    def __init__(self, predefined: Mapping[str, str], include: Include) -> None:
        nowhere = Position("predefined")
        self.macros = {name: Macro(name, body, nowhere) for name, body in predefined.items()}
        self.errors: list[Diagnostic] = []
        self._include = include

    def read(self, source: Source, depth: int) -> None:
        groups: list[_Group] = []
        for line, text in _logical_lines(self._without_comments(source)):
            match = _DIRECTIVE.fullmatch(text)
            if not match:
                continue
            position = Position(source.path, line, text.index("#") + 1)
            if len(text) > _MAX_LINE:
                self._fail("this line is too long", position)
                continue
            word, rest = match[1], match[2].strip()
            if word in {"if", "ifdef", "ifndef", "elif", "else", "endif"}:
                self._conditional(word, rest, position, groups)
            elif not groups or groups[-1].live:
                self._directive(word, rest, position, depth)
        for group in groups:
            self._fail("this conditional is never closed; is the file cut off?", group.opened)

    def _fail(self, message: str, position: Position) -> None:
        self.errors.append(Diagnostic(message, position))

    def _without_comments(self, source: Source) -> str:
        def blank(match: re.Match[str]) -> str:
            comment = match[1]
            if comment is None:
                return match[0]
            if comment.startswith("/*") and (len(comment) < 4 or not comment.endswith("*/")):
                where = Position.after(source.path, source.text[: match.start()])
                self._fail("this comment is never closed", where)
            # A comment is one blank even across lines; the continuation keeps the line count.
            return " " + "\\\n" * comment.count("\n")

        return _COMMENT.sub(blank, source.text)

    def _conditional(self, word: str, rest: str, position: Position, groups: list[_Group]) -> None:
        if word in {"if", "ifdef", "ifndef"}:
            parent = groups[-1].live if groups else True
            live = parent and self._holds(word, rest, position)
            groups.append(_Group(position, parent, live, live))
            return
        if not groups:
            self._fail(f"#{word} without #if", position)
            return
        group = groups[-1]
        if word == "endif":
            groups.pop()
        elif group.else_seen:
            self._fail(f"#{word} after #else", position)
        else:
            group.else_seen = word == "else"
            open_still = group.parent_live and not group.taken
            group.live = open_still and (word == "else" or self._holds("if", rest, position))
            group.taken = group.taken or group.live

    def _holds(self, word: str, rest: str, position: Position) -> bool:
        if word != "if":
            if not _IDENTIFIER.fullmatch(rest):
                self._fail(f"#{word} needs a name", position)
                return False
            return (rest in self.macros) == (word == "ifdef")
        try:
            tokens = _resolve_defined(_tokens(rest), self.macros)
            return _Expression(_expand(tokens, self.macros)).value() != 0
        except _NoValueError as error:
            self._fail(f"this condition has no value: {error}", position)
            return False

    def _directive(self, word: str, rest: str, position: Position, depth: int) -> None:
        if word == "define":
            match = _DEFINE.fullmatch(rest)
            if not match:
                self._fail("#define needs a name", position)
            elif not match[2]:
                self._define(Macro(match[1], match[3].strip(), position))
        elif word == "undef":
            self.macros.pop(rest, None)
        elif word == "include":
            self._read_include(rest, position, depth)
        elif word == "error":
            self._fail(f"the header refuses this view of it: {rest}", position)
        elif word not in {"", "warning", "pragma", "line", "ident"}:
            self._fail(f"unknown directive #{word}", position)

    def _define(self, macro: Macro) -> None:
        known = self.macros.setdefault(macro.name, macro)
        if known.body.split() != macro.body.split():
            self._fail(
                f"{macro.name} is defined as {macro.body!r} here, but as {known.body!r}"
                f" at {known.position}",
                macro.position,
            )

    def _read_include(self, rest: str, position: Position, depth: int) -> None:
        match = _INCLUDE.fullmatch(rest)
        if not match:
            self._fail("#include needs <name>", position)
            return
        if depth == _MAX_INCLUDE_DEPTH:
            self._fail("headers include each other without end", position)
            return
        try:
            included = self._include(match[1] or match[2], position)
        except OutsideError as error:
            self.errors.extend(error.diagnostics)
            return
        if isinstance(included, Source):
            self.read(included, depth + 1)
        else:
            for macro in included or ():
                self._define(macro)


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Join continued lines; yield each with the number of its first line."""
    start, parts = 1, list[str]()
    for number, physical in enumerate(text.split("\n"), 1):
        line = physical.rstrip()
        if not parts:
            start = number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        yield start, "".join((*parts, line))
        parts.clear()
    if parts:
        yield start, "".join(parts)


_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]\w*)|(?P<name>[A-Za-z_]\w*)|(?P<operator><<|>>|<=|>=|==|!=|&&|\|\||[-+*/%<>!~&|^?:()]))",
    re.ASCII,
)


def _tokens(text: str) -> list[str]:
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise _NoValueError(f"{text[at:].strip()[:20]!r} has no place in an integer expression")
        tokens.append(match[0].strip())
        at = match.end()
    return tokens


def _resolve_defined(tokens: list[str], macros: Mapping[str, Macro]) -> list[str]:
    """Replace ``defined X`` and ``defined(X)``, before X itself would be expanded."""
    result, at = [], 0
    while at < len(tokens):
        word = tokens[at]
        at += 1
        if word == "defined":
            operand = tokens[at : at + 3]
            if len(operand) == 3 and operand[0] == "(" and operand[2] == ")":
                name, at = operand[1], at + 3
            else:
                name, at = "".join(operand[:1]), at + 1
            if not _IDENTIFIER.fullmatch(name):
                raise _NoValueError("'defined' needs a name")
            word = "1" if name in macros else "0"
        result.append(word)
    return result


def _expand(tokens: list[str], macros: Mapping[str, Macro]) -> list[str]:
    """Replace macros by their bodies, theirs too, but no macro inside itself."""
    result: list[str] = []
    work = 0

    def walk(tokens: list[str], inside: tuple[str, ...]) -> None:
        nonlocal work
        for token in tokens:
            work += 1
            if work > _MAX_TOKENS or len(inside) > _MAX_NESTING:
                raise _NoValueError("it expands without end")
            macro = macros.get(token) if token not in inside else None
            if macro is None:
                result.append(token)
            else:
                walk(_tokens(macro.body), (*inside, token))

    walk(tokens, ())
    return result


_PRECEDENCE = {
    operator: level
    for level, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %"), 1
    )
    for operator in operators.split()
}
_BINARY: dict[str, Callable[[int, int], int]] = {
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    ">": lambda a, b: int(a > b),
    "<=": lambda a, b: int(a <= b),
    ">=": lambda a, b: int(a >= b),
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19})[uUlL]{0,3}")


class _Expression:
    """An integer constant expression, evaluated as it is read; tokens are all expanded.

    Where a subexpression is ``dead`` (the untaken side of ``&&``, ``||`` or ``?:``) its syntax
    must be right but it need not have a value.
    """

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def value(self) -> int:
        if not self._tokens:
            raise _NoValueError("it is empty")
        result = self._ternary(dead=False)
        if self._peek():
            raise _NoValueError(f"{self._peek()!r} is not expected there")
        return result

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, wanted: str) -> None:
        if self._next() != wanted:
            raise _NoValueError(f"a {wanted!r} is missing")

    # ternary := binary ["?" ternary ":" ternary]
    def _ternary(self, *, dead: bool) -> int:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise _NoValueError("it is nested too deeply")
        condition = self._binary(1, dead=dead)
        if self._peek() == "?":
            self._next()
            first = self._ternary(dead=dead or not condition)
            self._expect(":")
            second = self._ternary(dead=dead or bool(condition))
            condition = first if condition else second
        self._depth -= 1
        return condition

    # binary(n) := unary {operator of level >= n  binary(level + 1)}
    def _binary(self, lowest: int, *, dead: bool) -> int:
        left = self._unary(dead=dead)
        while (level := _PRECEDENCE.get(self._peek(), 0)) >= lowest:
            operator = self._next()
            if operator in {"&&", "||"}:
                decided = bool(left) == (operator == "||")
                right = self._binary(level + 1, dead=dead or decided)
                left = int(bool(left) if decided else bool(right))
            else:
                right = self._binary(level + 1, dead=dead)
                left = 0 if dead else _apply(operator, left, right)
        return left

    # unary := {"!" | "~" | "-" | "+"} ("(" ternary ")" | number | name)
    def _unary(self, *, dead: bool) -> int:
        signs = []
        while self._peek() in {"!", "~", "-", "+"}:
            signs.append(self._next())
        word = self._next()
        if word == "(":
            result = self._ternary(dead=dead)
            self._expect(")")
        elif match := _NUMBER.fullmatch(word):
            digits = match[1]
            octal = digits.startswith("0") and digits.isdecimal()
            result = int(digits, 8) if octal else int(digits, 0)
        elif _IDENTIFIER.fullmatch(word):
            if not dead:
                raise _NoValueError(f"{word} is not defined as a number")
            result = 0
        else:
            raise _NoValueError(f"{word!r} is not expected there" if word else "it ends too soon")
        for sign in reversed(signs):
            result = {"!": int(not result), "~": ~result, "-": -result, "+": result}[sign]
        return result


def _apply(operator: str, left: int, right: int) -> int:
    if operator in {"<<", ">>"}:
        if not 0 <= right < 64:
            raise _NoValueError(f"it shifts by {right}")
        result = left << right if operator == "<<" else left >> right
    elif operator in {"/", "%"}:
        if right == 0:
            raise _NoValueError("it divides by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        result = quotient if operator == "/" else left - quotient * right
    else:
        result = _BINARY[operator](left, right)
    if abs(result) >= 1 << 64:
        raise _NoValueError("it leaves 64 bits")
    return result
