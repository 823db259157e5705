"""Integer constant expressions in C headers: tokens, expansion of macros, and values."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.errors import Position

_MAX_NESTING = 32  # of parentheses, and of macros in macros
_MAX_TOKENS = 4096  # in one expanded expression

IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class NoValueError(Exception):
    """The error that an expression is no integer constant; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Macro:
    """A macro with its replacement text ``body``; ``parameters`` is None if it is object-like.

    The last parameter may be ``...``.
    """

    name: str
    body: str
    position: Position
    parameters: tuple[str, ...] | None = None


_OPERATORS = r"<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%<>!~&|^?:()]"
_NAMES = r"(?P<number>[0-9]\w*)|(?P<name>[A-Za-z_]\w*)"
_TOKEN = re.compile(rf"\s*(?:{_NAMES}|(?P<operator>{_OPERATORS}))", re.ASCII)
_C_TOKEN = re.compile(
    rf"""\s*(?:[0-9][\w.]*|[A-Za-z_]\w*|\.\.\.|->|\#\#|{_OPERATORS}|[\[\]{{}},;.=\#]"""
    r"""|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\S)""",
    re.ASCII,
)

_SPACE = " \t\n\r\f\v"
"""The characters that ``\\s`` matches above; ``str.strip()`` would remove others as well."""


@lru_cache(maxsize=1 << 16)
def tokens_of(text: str) -> tuple[str, ...]:
    """Return the tokens of an integer expression; raise NoValueError for any other token."""
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise NoValueError(f"{text[at:].strip()[:20]!r} has no place in an integer expression")
        tokens.append(match[0].strip())
        at = match.end()
    return tuple(tokens)


@lru_cache(maxsize=1 << 16)
def c_tokens_of(text: str) -> tuple[str, ...]:
    """Return the tokens of any C text; a character that fits no token of C is a token by itself."""
    return tuple(token.strip(_SPACE) for token in _C_TOKEN.findall(text))


def resolve_defined(tokens: Sequence[str], macros: Mapping[str, Macro]) -> list[str]:
    """Replace ``defined X`` and ``defined(X)`` by 1 or 0; to be called before `expand`."""
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
            if not IDENTIFIER.fullmatch(name):
                raise NoValueError("'defined' needs a name")
            word = "1" if name in macros else "0"
        result.append(word)
    return result


def expand(
    tokens: Sequence[str],
    macros: Mapping[str, Macro],
    tokenize: Callable[[str], Sequence[str]] = tokens_of,
    most: int = _MAX_TOKENS,
) -> list[str]:
    """Expand macros recursively, but no macro inside its own expansion."""
    return _Expander(macros, tokenize, most).walk(tokens, ())


class _Expander:
    """A macro expander that processes at most ``most`` tokens."""

    def __init__(
        self,
        macros: Mapping[str, Macro],
        tokenize: Callable[[str], Sequence[str]],
        most: int,
    ) -> None:
        self._macros = macros
        self._tokenize = tokenize
        self._left = most

    def walk(self, tokens: Sequence[str], inside: tuple[str, ...]) -> list[str]:
        result: list[str] = []
        if len(inside) > _MAX_NESTING:
            raise NoValueError("it expands without end")
        at = 0
        while at < len(tokens):
            token = tokens[at]
            at += 1
            self._left -= 1
            if self._left < 0:
                raise NoValueError("it expands without end")
            macro = self._macros.get(token) if token not in inside else None
            if macro is None:
                result.append(token)
            elif macro.parameters is None:
                found = self.walk(self._tokenize(macro.body), (*inside, token))
                if found and at < len(tokens) and tokens[at] == "(" and self._takes(found[-1]):
                    # The body is the name of another macro, whose arguments follow.
                    tokens, at = [found.pop(), *tokens[at:]], 0
                result += found
            elif at < len(tokens) and tokens[at] == "(":
                arguments, at = _arguments(tokens, at)
                body = self._substituted(macro, arguments, inside)
                result += self.walk(body, (*inside, token))
            else:
                result.append(token)
        return result

    def _takes(self, name: str) -> bool:
        macro = self._macros.get(name)
        return macro is not None and macro.parameters is not None

    def _substituted(
        self, macro: Macro, arguments: list[list[str]], inside: tuple[str, ...]
    ) -> list[str]:
        names = macro.parameters or ()
        if names and names[-1] == "...":
            fixed = len(names) - 1
            rest = [word for one in arguments[fixed:] for word in (",", *one)][1:]
            arguments = [*arguments[:fixed], rest]
            names = (*names[:fixed], "__VA_ARGS__")
        if not names and arguments == [[]]:
            arguments = []
        if len(arguments) != len(names):
            raise NoValueError(f"{macro.name} takes {len(names)} arguments")
        values = dict(zip(names, arguments, strict=True))
        result: list[str] = []
        paste = False
        body = self._tokenize(macro.body)
        for at, word in enumerate(body):
            if word == "##":
                paste = bool(result)
                continue
            if word in values:
                raw = paste or body[at + 1 : at + 2] == ("##",)
                piece = values[word] if raw else self.walk(values[word], inside)
            else:
                piece = [word]
            if paste and piece:
                result[-1] += piece[0]
                piece = piece[1:]
            result += piece
            paste = False
        return result


def _arguments(tokens: Sequence[str], at: int) -> tuple[list[list[str]], int]:
    """Return the arguments in the parentheses that open at ``at``, and the index after them."""
    arguments: list[list[str]] = [[]]
    depth = 0
    for index in range(at, len(tokens)):
        word = tokens[index]
        if word in {"(", "[", "{"}:
            depth += 1
        elif word in {")", "]", "}"}:
            depth -= 1
            if depth == 0:
                return arguments, index + 1
        if depth == 1 and word == ",":
            arguments.append([])
        elif index > at:
            arguments[-1].append(word)
    raise NoValueError("a ')' is missing")


PRECEDENCE = {
    operator: level
    for level, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %"), 1
    )
    for operator in operators.split()
}
BINARY: dict[str, Callable[[int, int], int]] = {
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
NUMBER = re.compile(r"(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19})([uUlL]{0,3})")

V = TypeVar("V")


class ExpressionReader(ABC, Generic[V]):
    """The grammar of expressions over expanded tokens; subclasses define the values.

    A ``dead`` subexpression (the side of ``&&``, ``||`` or ``?:`` that is not taken) must be
    well-formed but need not have a value.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._end = len(tokens)
        self._at = 0
        self._depth = 0

    def value(self) -> V:
        """Return the value of all the tokens; raise NoValueError if they have none."""
        if not self._tokens:
            raise NoValueError("it is empty")
        result = self._ternary(dead=False)
        if self._peek():
            raise NoValueError(f"{self._peek()!r} is not expected there")
        return result

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at] if at < self._end else ""

    def _next(self) -> str:
        at = self._at
        self._at = at + 1
        return self._tokens[at] if at < self._end else ""

    def _expect(self, wanted: str) -> None:
        if self._next() != wanted:
            raise NoValueError(f"a {wanted!r} is missing")

    # ternary := binary ["?" ternary ":" ternary]
    def _ternary(self, *, dead: bool) -> V:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise NoValueError("it is nested too deeply")
        result = self._binary(1, dead=dead)
        if self._peek() == "?":
            self._next()
            taken = bool(result)
            first = self._ternary(dead=dead or not taken)
            self._expect(":")
            second = self._ternary(dead=dead or taken)
            result = self._chosen(first, second, first=taken)
        self._depth -= 1
        return result

    # binary(n) := unary {operator of level >= n  binary(level + 1)}
    def _binary(self, lowest: int, *, dead: bool) -> V:
        left = self._unary(dead=dead)
        while (level := PRECEDENCE.get(self._peek(), 0)) >= lowest:
            operator = self._next()
            if operator in {"&&", "||"}:
                decided = bool(left) == (operator == "||")
                right = self._binary(level + 1, dead=dead or decided)
                left = self._truth(bool(left) if decided else bool(right))
            else:
                right = self._binary(level + 1, dead=dead)
                left = left if dead else self._apply(operator, left, right)
        return left

    # unary := {"!" | "~" | "-" | "+"} primary
    def _unary(self, *, dead: bool) -> V:
        signs = []
        while self._peek() in {"!", "~", "-", "+"}:
            signs.append(self._next())
        result = self._primary(dead=dead)
        for sign in reversed(signs):
            result = self._signed(sign, result)
        return result

    # primary := "(" ternary ")" | number | name
    def _primary(self, *, dead: bool) -> V:
        word = self._next()
        if word == "(":
            result = self._ternary(dead=dead)
            self._expect(")")
            return result
        if match := NUMBER.fullmatch(word):
            digits = match[1]
            octal = digits.startswith("0") and digits.isdecimal()
            return self._number(int(digits, 8) if octal else int(digits, 0), digits, match[2])
        if IDENTIFIER.fullmatch(word):
            if not dead:
                return self._named(word)
            return self._truth(False)
        raise NoValueError(f"{word!r} is not expected there" if word else "it ends too soon")

    def _chosen(self, one: V, other: V, *, first: bool) -> V:
        return one if first else other

    @abstractmethod
    def _truth(self, value: bool) -> V:
        """Return the value of a condition that is true or false."""

    @abstractmethod
    def _number(self, value: int, digits: str, suffix: str) -> V:
        """Return the value of a number, written ``digits`` and ``suffix``."""

    @abstractmethod
    def _named(self, word: str) -> V:
        """Return the value of a name."""

    @abstractmethod
    def _signed(self, sign: str, value: V) -> V:
        """Return ``value`` under one sign, such as ``~``."""

    @abstractmethod
    def _apply(self, operator: str, left: V, right: V) -> V:
        """Return the outcome of a binary operator."""


class Expression(ExpressionReader[int]):
    """An expression of ``#if``, computed without wrapping; results must fit into 64 bits."""

    def _truth(self, value: bool) -> int:
        return int(value)

    def _number(self, value: int, _digits: str, _suffix: str) -> int:
        return value

    def _named(self, word: str) -> int:
        raise NoValueError(f"{word} is not defined as a number")

    def _signed(self, sign: str, value: int) -> int:
        return {"!": int(not value), "~": ~value, "-": -value, "+": value}[sign]

    def _apply(self, operator: str, left: int, right: int) -> int:
        result = operate(operator, left, right)
        if abs(result) >= 1 << 64:
            raise NoValueError("it leaves 64 bits")
        return result


def operate(operator: str, left: int, right: int) -> int:
    """Return the result of a binary operator of C on unbounded integers."""
    if operator in {"<<", ">>"}:
        if not 0 <= right < 64:
            raise NoValueError(f"it shifts by {right}")
        return left << right if operator == "<<" else left >> right
    if operator in {"/", "%"}:
        if right == 0:
            raise NoValueError("it divides by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return quotient if operator == "/" else left - quotient * right
    return BINARY[operator](left, right)
