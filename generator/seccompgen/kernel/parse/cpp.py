"""The part of the C preprocessor that the kernel's headers use.

A header is read with the predefined macros of a user-space program of one ABI. Conditionals,
object-like macros and includes are interpreted; function-like macros and ordinary text are skipped.
In C an unknown name in ``#if`` is 0; this reader reports an error, because a guess could select
another ABI's numbers. `unit` reads the many and diverse headers of constants less strictly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from seccompgen.core.errors import Diagnostic, OutsideError, Position
from seccompgen.kernel.parse.expressions import (
    IDENTIFIER,
    Expression,
    Macro,
    NoValueError,
    expand,
    resolve_defined,
    tokens_of,
)

_MAX_INCLUDE_DEPTH = 16
_MAX_LINE = 10_000  # characters of one directive; the kernel's are under 200


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a header; ``path`` is its path in the kernel tree, for messages."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Directive:
    """A line such as ``#include <asm/types.h>``: ``word`` is ``include``, ``rest`` what follows."""

    word: str
    rest: str
    position: Position


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Consecutive definitions and the text between them, without any other directive.

    ``latest`` has the last definition of each name. ``text`` excludes the directives.
    """

    macros: tuple[Macro, ...]
    latest: Mapping[str, Macro]
    text: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header, split into items once for all ABIs; ``errors`` apply to each of them."""

    items: tuple[Directive | Run, ...]
    errors: tuple[Diagnostic, ...]


Included: TypeAlias = Source | Header | tuple[Macro, ...] | None
"""The content of an include: a text, a header, definitions from a table, or nothing relevant."""

Include: TypeAlias = Callable[[str, Position], Included]
"""A function that resolves ``name`` of ``#include <name>``, or raises OutsideError."""


def preprocess(source: Source, predefined: Mapping[str, str], include: Include) -> dict[str, Macro]:
    """Return the object-like macros that are defined at the end of ``source``, by name.

    Raises OutsideError with every problem found: unbalanced conditionals, an include that
    cannot be resolved, a condition without a value, a macro defined twice with two meanings.
    """
    reader = Reader(predefined, include)
    reader.read(take_apart(source), 0)
    if reader.errors:
        raise OutsideError(*reader.errors)
    return reader.macros


def evaluate(macros: Mapping[str, Macro], name: str) -> int:
    """Return the integer value of the macro ``name``; raise OutsideError if it has none."""
    macro = macros[name]
    body = macro.body
    if body.isdecimal() and body.isascii() and len(body) < 10 and not body.startswith("0"):
        return int(body)
    try:
        return Expression(expand(tokens_of(body), macros)).value()
    except NoValueError as error:
        raise OutsideError(Diagnostic(f"{name} has no value: {error}", macro.position)) from None


_DIRECTIVE = re.compile(r"\s*#\s*(\w*)(.*)", re.ASCII | re.DOTALL)
_DEFINE = re.compile(r"([A-Za-z_]\w*)(?:\(([^()]*)\)|(?!\w))(.*)", re.ASCII | re.DOTALL)
_INCLUDE = re.compile(r"<([^<>]+)>|\"([^\"]+)\"")
_COMMENT = re.compile(
    r""" "(?:\\.|[^"\\\n]){0,200}" | '(?:\\.|[^'\\\n]){0,200}' | (//[^\n]*|/\*.*?(?:\*/|\Z)) """,
    re.DOTALL | re.VERBOSE,
)


def take_apart(source: Source) -> Header:
    """Split ``source`` into directives and the runs of text and definitions between them."""
    errors: list[Diagnostic] = []
    items: list[Directive | Run] = []
    macros: list[Macro] = []
    text: list[str] = []

    def end_run() -> None:
        if macros or any(text):
            latest = {macro.name: macro for macro in macros}
            items.append(Run(tuple(macros), latest, "\n".join(text)))
        macros.clear()
        text.clear()

    for line, content in _logical_lines(_without_comments(source, errors)):
        match = _DIRECTIVE.fullmatch(content) if "#" in content else None
        if not match:
            text.append(content)
            continue
        position = Position(source.path, line, content.index("#") + 1)
        if len(content) > _MAX_LINE:
            errors.append(Diagnostic("this line is too long", position))
            continue
        word, rest = match[1], match[2].strip()
        macro = _definition(rest, position) if word == "define" else None
        if macro:
            macros.append(macro)
        else:
            end_run()
            items.append(Directive(word, rest, position))
    end_run()
    return Header(tuple(items), tuple(errors))


def _definition(rest: str, position: Position) -> Macro | None:
    match = _DEFINE.fullmatch(rest)
    if not match:
        return None
    name, parameters, body = match.groups()
    if parameters is None:
        return Macro(name, body.strip(), position)
    names = tuple(word.strip() for word in parameters.split(",")) if parameters.strip() else ()
    return Macro(name, body.strip(), position, names)


def _without_comments(source: Source, errors: list[Diagnostic]) -> str:
    def blank(match: re.Match[str]) -> str:
        comment = match[1]
        if comment is None:
            return match[0]
        if comment.startswith("/*") and (len(comment) < 4 or not comment.endswith("*/")):
            where = Position.after(source.path, source.text[: match.start()])
            errors.append(Diagnostic("this comment is never closed", where))
        # A comment is one blank, even across lines; the continuations keep the line count.
        return " " + "\\\n" * comment.count("\n")

    return _COMMENT.sub(blank, source.text)


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


@lru_cache(maxsize=1 << 12)
def _given(name: str, body: str) -> Macro:
    return Macro(name, body, Position("predefined"))


@dataclass(slots=True)
class _Group:
    """An open ``#if``: whether this part is live, a part was taken, ``#else`` was seen."""

    opened: Position
    parent_live: bool
    live: bool
    taken: bool
    else_seen: bool = False


_CONDITIONALS = frozenset({"if", "ifdef", "ifndef", "elif", "else", "endif"})


class Reader:
    """A reader of headers, one after another, into one set of macros."""

    def __init__(self, predefined: Mapping[str, str], include: Include) -> None:
        self.macros = {name: _given(name, body) for name, body in predefined.items()}
        self.errors: list[Diagnostic] = []
        self._include = include

    def read(self, header: Header, depth: int) -> None:
        """Read ``header``, which is nested in ``depth`` others."""
        self.errors.extend(header.errors)
        groups: list[_Group] = []
        for item in header.items:
            if isinstance(item, Run):
                if not groups or groups[-1].live:
                    self._run(item)
            elif item.word in _CONDITIONALS:
                self._conditional(item.word, item.rest, item.position, groups)
            elif not groups or groups[-1].live:
                self._directive(item.word, item.rest, item.position, depth)
        for group in groups:
            self._fail("this conditional is never closed; is the file cut off?", group.opened)

    def _fail(self, message: str, position: Position) -> None:
        self.errors.append(Diagnostic(message, position))

    def _run(self, run: Run) -> None:
        for macro in run.macros:
            if macro.parameters is None:
                self._define(macro)

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
            if not IDENTIFIER.fullmatch(rest):
                self._fail(f"#{word} needs a name", position)
                return False
            return (rest in self.macros) == (word == "ifdef")
        try:
            tokens = resolve_defined(tokens_of(rest), self.macros)
            return Expression(expand(tokens, self.macros)).value() != 0
        except NoValueError as error:
            self._fail(f"this condition has no value: {error}", position)
            return False

    def _directive(self, word: str, rest: str, position: Position, depth: int) -> None:
        if word == "define":
            self._fail("#define needs a name", position)
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
            included = take_apart(included)
        if isinstance(included, Header):
            self.read(included, depth + 1)
        else:
            for macro in included or ():
                self._define(macro)
