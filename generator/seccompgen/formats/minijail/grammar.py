"""The grammar of minijail's policies: statements of a text, with positions.

    statement   ``@include path``, ``@frequency path``, ``@default action``, ``@denylist``, or
                ``calls: filter``
    calls       ``call`` or ``{call, call, ...}``; a call is ``name`` or ``name[arch=x86_64,arm]``
    filter      ``case`` or ``{case, case, ...}``
    case        an action, or ``condition`` or ``condition; action``
    condition   ``atom && atom || atom ...``, or ``!(condition)``
    atom        ``arg0 op value``; op is ``== != < <= > >= & in``
    value       constants joined by ``|``: a number as in C, a name, ``~constant``, ``(value)``
    action      ``allow``, ``1``, ``kill``, ``kill-process``, ``kill-thread``, ``trap``, ``trace``,
                ``log``, ``user-notify``, ``return constant``

A statement ends with its line, unless that ends in a backslash. Written from minijail0(5) and the
behaviour of compile_seccomp_policy.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from seccompgen.core.abis import find_abi
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.core.model import U64
from seccompgen.core.problems import Problem
from seccompgen.formats.numbered import NumberedCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_T = TypeVar("_T")
MOST_NESTED = 50
"""The most levels of nested brackets."""

_OF_ARM = re.compile("ARM_(?=(?:breakpoint|cacheflush|usr26|usr32|set_tls|get_tls)$)")
"""A prefix that minijail gives to the private calls of arm, from names such as __ARM_NR_set_tls."""
_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#.*$|\\$)
    | (?P<keyword>@[a-z]+\b)
    | (?P<path>\.?/\S+)
    | (?P<number>-?(0[xX][0-9a-fA-F]+|[0-9]+)\b)
    | (?P<argument>\barg[0-9]+\b)
    | (?P<op>==|!=|<=|>=|<|>|\bin\b)
    | (?P<mark>\|\||&&|[&|:;,~!(){}\[\]=])
    | (?P<word>\bkill-(process|thread)\b|\buser-notify\b|[A-Za-z_][A-Za-z_0-9@-]*)
    """,
    re.VERBOSE | re.ASCII,
)

ACTIONS = {
    "allow": "allow",
    "kill": "kill_thread",
    "kill-process": "kill_process",
    "kill-thread": "kill_thread",
    "trap": "trap",
    "trace": "trace",
    "log": "log",
    "user-notify": "user_notif",
}
"""Our names for minijail's actions; ``kill`` as minijail understands it without options."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement; ``kind`` is the name of its group in the pattern."""

    kind: str
    text: str
    position: Position


@dataclass(frozen=True, slots=True)
class MinijailConstant:
    """A number or a name."""

    text: str
    position: Position

    @property
    def number(self) -> int | None:
        """The value of a number; None for a name."""
        digits = self.text.lstrip("-")
        if not digits[0].isdigit():
            return None
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
        return int(self.text, base)


class Value(NamedTuple):
    """A value in our language, and its constants; ``number`` looks up names to compute it."""

    text: str
    constants: tuple[MinijailConstant, ...]
    number: Callable[[Callable[[str], int | None]], int | None]


def _constant_value(one: MinijailConstant) -> Value:
    number = one.number
    if number is None or (number < 0 and one.text[1] != "0"):
        text = one.text
    else:
        text = f"{number:#x}" if "x" in one.text.lower() else str(number)
    return Value(text, (one,), lambda find: find(one.text) if number is None else number)


def _complement(value: Value) -> Value:
    def number(find: Callable[[str], int | None]) -> int | None:
        found = value.number(find)
        return None if found is None else ~found

    return Value(f"~{value.text}", value.constants, number)


def _union(values: Sequence[Value]) -> Value:
    def number(find: Callable[[str], int | None]) -> int | None:
        found = 0
        for one in values:
            if (part := one.number(find)) is None:
                return None
            found |= part
        return found

    constants = tuple(constant for one in values for constant in one.constants)
    return Value(f"({' | '.join(one.text for one in values)})", constants, number)


@dataclass(frozen=True, slots=True)
class Atom:
    """A comparison of an argument."""

    argument: int
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class MinijailCondition:
    """Alternative conjunctions: one of them must hold, or none if ``negated``."""

    alternatives: tuple[tuple[Atom, ...], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ActionText:
    """The answer to a call: one of `ACTIONS`, or ``errno`` with its constant."""

    name: str
    position: Position
    errno: MinijailConstant | None = None


@dataclass(frozen=True, slots=True)
class MinijailCase:
    """A part of a filter: a condition, and the action if it holds; either may be None."""

    condition: MinijailCondition | None
    action: ActionText | None
    position: Position


@dataclass(frozen=True, slots=True)
class CallStatement:
    """``calls: filter``; ``braced`` is True if the cases are in braces."""

    calls: tuple[NumberedCall, ...]
    cases: tuple[MinijailCase, ...]
    braced: bool
    position: Position


@dataclass(frozen=True, slots=True)
class Setting:
    """``@keyword`` with what follows: a path, an action, or nothing."""

    keyword: str
    value: Token | None
    position: Position


Statement: TypeAlias = CallStatement | Setting


class _WrongError(Exception):
    """A statement is wrong at ``position``."""

    def __init__(self, text: str, position: Position) -> None:
        super().__init__(text)
        self.diagnostic = Diagnostic(text, position, Problem.WRONG_STATEMENT)


def statements(
    text: str, file: str, problems: list[Diagnostic], elsewhere: dict[str, Position]
) -> Iterator[Statement]:
    """Yield the correct statements of a policy; add the errors of others to ``problems``.

    ``elsewhere`` collects unknown architectures that statements restrict calls to.
    """
    for tokens, end in _lines(text, file, problems):
        try:
            yield _StatementParser(tokens, end, elsewhere).statement()
        except _WrongError as error:
            problems.append(error.diagnostic)


def frequencies(text: str, file: str, problems: list[Diagnostic]) -> Iterator[tuple[str, int]]:
    """Yield each call with its count from a file of lines ``call: count``."""
    for tokens, end in _lines(text, file, problems):
        try:
            yield _StatementParser(tokens, end, {}).frequency()
        except _WrongError as error:
            problems.append(error.diagnostic)


def _lines(
    text: str, file: str, problems: list[Diagnostic]
) -> Iterator[tuple[list[Token], Position]]:
    """Yield the tokens of each statement, and the place where it ends."""
    tokens: list[Token] = []
    wrong = False
    lines = text.split("\n")
    for number, whole in enumerate(lines, 1):
        line, at = whole.rstrip("\r"), 0
        while at < len(line):
            match = _TOKEN.match(line, at)
            if match is None:
                if not wrong:
                    where = Position(file, number, at + 1)
                    said = f"{line[at]!r} has no meaning in a minijail policy"
                    problems.append(Diagnostic(said, where, Problem.WRONG_STATEMENT))
                wrong = True
                break
            if match.lastgroup != "blank":
                where = Position(file, number, at + 1)
                tokens.append(Token(match.lastgroup or "", match[0], where))
            at = match.end()
        if line.endswith("\\") and number < len(lines):
            continue
        if tokens and not wrong:
            yield tokens, Position(file, number, len(line) + 1)
        tokens, wrong = [], False


class _StatementParser:
    """One statement, token after token."""

    def __init__(self, tokens: list[Token], end: Position, elsewhere: dict[str, Position]) -> None:
        self._elsewhere = elsewhere
        self._tokens = tokens
        self._end = end
        self._at = 0
        self._depth = 0

    def statement(self) -> Statement:
        found = self._setting() if self._tokens[0].kind == "keyword" else self._filter()
        self._require_end()
        return found

    def frequency(self) -> tuple[str, int]:
        name = self._call().name
        self._take(":", "a colon")
        count = _checked(MinijailConstant(*self._kind("number", "a count")))
        self._require_end()
        if (count.number or 0) < 0:
            raise _WrongError(f"{count.text} is no count", count.position)
        return name, count.number or 0

    # --- tokens ------------------------------------------------------------------------------

    def _next(self) -> Token:
        if self._at < len(self._tokens):
            return self._tokens[self._at]
        return Token("end", "", self._end)

    def _is(self, text: str) -> bool:
        """Return True and advance if ``text`` is next."""
        found = self._next()
        if found.kind == "end" or found.text != text:
            return False
        self._at += 1
        return True

    def _take(self, text: str, what: str) -> None:
        if not self._is(text):
            raise self._missing(what)

    def _kind(self, kind: str, what: str) -> tuple[str, Position]:
        found = self._next()
        if found.kind != kind:
            raise self._missing(what)
        self._at += 1
        return found.text, found.position

    def _missing(self, what: str) -> _WrongError:
        found = self._next()
        instead = f"not {found.text!r}" if found.kind != "end" else "but the statement ends"
        return _WrongError(f"expected {what} here, {instead}", found.position)

    def _require_end(self) -> None:
        found = self._next()
        if found.kind != "end":
            raise _WrongError(f"{found.text!r} follows the end of a statement", found.position)

    # --- statements --------------------------------------------------------------------------

    def _setting(self) -> Setting:
        keyword = self._next()
        self._at += 1
        if keyword.text == "@denylist":
            return Setting(keyword.text, None, keyword.position)
        if keyword.text in {"@include", "@frequency"}:
            text, where = self._kind("path", "a path that begins with / or ./")
            return Setting(keyword.text, Token("path", text, where), keyword.position)
        if keyword.text == "@default":
            text, where = self._kind("word", "an action")
            if text not in ACTIONS:
                raise _WrongError(f"{text!r} is no action of minijail", where)
            return Setting(keyword.text, Token("word", text, where), keyword.position)
        raise _WrongError(f"minijail has no {keyword.text}", keyword.position)

    def _filter(self) -> CallStatement:
        start = self._next().position
        calls = [self._call()] if not self._is("{") else self._listed(self._call)
        self._take(":", "a colon")
        braced = self._is("{")
        cases = self._listed(self._case) if braced else [self._case()]
        return CallStatement(tuple(calls), tuple(cases), braced, start)

    def _listed(self, part: Callable[[], _T]) -> list[_T]:
        found = [part()]
        while self._is(","):
            found.append(part())
        self._take("}", "a closing brace")
        return found

    def _call(self) -> NumberedCall:
        name, where = self._kind("word", "the name of a system call")
        if "@" in name:
            text = f"{name} is a group of minijail's constants.json, which is not here: list calls"
            raise _WrongError(text, where)
        name = _OF_ARM.sub("", name)
        return NumberedCall(name, where, self._arches(where) if self._is("[") else None)

    def _arches(self, call: Position) -> frozenset[str] | None:
        """Return the ABIs of ``arch=x86_64,arm``, None if no ``arch`` is among the keys."""
        found: frozenset[str] | None = None
        while True:
            key, where = self._kind("word", "a key such as arch")
            self._take("=", "an equals sign")
            names: list[str] = []
            while True:
                name, _ = self._kind("word", "the name of an architecture")
                abi = find_abi(name)
                names += [abi.name] if abi else []
                if not abi:
                    self._elsewhere.setdefault(name, call)
                if not self._is(","):
                    break
            if key != "arch" or found is not None:
                said = "is there twice" if key == "arch" else "says nothing that minijail knows"
                raise _WrongError(f"{key!r} {said}", where)
            found = frozenset(names)
            if not self._is(";"):
                break
        self._take("]", "a closing bracket")
        return found

    # --- filters -----------------------------------------------------------------------------

    def _case(self) -> MinijailCase:
        start = self._next()
        if start.kind != "argument" and start.text != "!":
            return MinijailCase(None, self._action(), start.position)
        negated = self._is("!")
        if negated:
            self._take("(", "an opening bracket")
        condition = self._condition(negated=negated)
        action = self._action() if self._is(";") else None
        if negated:
            self._take(")", "a closing bracket")
            if action is None and self._is(";"):
                action = self._action()
        return MinijailCase(condition, action, start.position)

    def _action(self) -> ActionText:
        found = self._next()
        self._at += 1
        if found.kind == "word" and found.text == "return":
            errno = self._next()
            if errno.kind not in {"number", "word"}:
                raise self._missing("an errno")
            self._at += 1
            constant = _checked(MinijailConstant(errno.text, errno.position))
            return ActionText("errno", found.position, constant)
        if (
            found.kind == "number"
            and _checked(MinijailConstant(found.text, found.position)).number == 1
        ):
            return ActionText("allow", found.position)
        if found.kind != "word" or found.text not in ACTIONS:
            self._at -= 1
            raise self._missing("an action such as 1 or return EPERM, or a condition on arg0")
        return ActionText(ACTIONS[found.text], found.position)

    def _condition(self, *, negated: bool) -> MinijailCondition:
        found = []
        while True:
            atoms = [self._atom()]
            while self._is("&&"):
                atoms.append(self._atom())
            found.append(tuple(atoms))
            if not self._is("||"):
                return MinijailCondition(tuple(found), negated)

    def _atom(self) -> Atom:
        text, where = self._kind("argument", "an argument such as arg0")
        if len(text) > 4 or text[3] > "5":
            raise _WrongError(f"{text} is no argument: they are arg0 to arg5", where)
        op = self._next()
        if op.kind != "op" and op.text != "&":
            raise self._missing("a comparison such as == or in")
        self._at += 1
        return Atom(int(text[3:]), op.text, self._value())

    def _value(self) -> Value:
        values = [self._constant()]
        while self._is("|"):
            values.append(self._constant())
        return values[0] if len(values) == 1 else _union(values)

    def _constant(self) -> Value:
        complement = self._is("~")
        if self._is("("):
            self._depth += 1
            if self._depth > MOST_NESTED:
                raise _WrongError("too many brackets in brackets", self._next().position)
            value = self._value()
            self._depth -= 1
            self._take(")", "a closing bracket")
        else:
            found = self._next()
            if found.kind not in {"number", "word"}:
                raise self._missing("a number or the name of a constant")
            self._at += 1
            value = _constant_value(_checked(MinijailConstant(found.text, found.position)))
        return _complement(value) if complement else value


def _checked(constant: MinijailConstant) -> MinijailConstant:
    """Return a constant that fits into 64 bits, or raise."""
    digits = constant.text.lstrip("-")
    octal = digits[0] == "0" and digits[1:2].lower() != "x"
    if digits[0].isdigit() and ((octal and re.search("[89]", digits)) or len(digits) > 30):
        raise _WrongError(f"{constant.text:.40} is no number of 64 bits", constant.position)
    number = constant.number
    if number is not None and not -(1 << 63) <= number <= U64:
        raise _WrongError(f"{constant.text} does not fit into 64 bits", constant.position)
    return constant
