"""Conditions in source form: ``when`` expressions, and values with names.

Python's own parser (`ast`) reads the text, and nothing is evaluated. The language:

    condition   a comparison; ``not``, ``and``, ``or`` of conditions
    comparison  ``side == value``, ``!= < <= > >=``, chained as in ``2 <= arg0 < 5``;
                ``side in {value, ...}``, ``side in range(first, end)``, ``not in``;
                ``side`` alone is true if any bit of it is set
    side        an argument; ``u32()``, ``u64()`` or ``i32()`` of one; ``side & value``
    argument    ``arg0`` to ``arg5``, or a name in lower case, such as ``flags``
    value       a number, a constant in capitals; ``| & ^ ~ + - << >>`` of values

The meaning of names depends on call and ABI: `conditions` resolves them.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errors import Position, did_you_mean
from seccompgen.core.model import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST_CHARACTERS = 8192
MOST_NESTED = 100
"""Limits of an expression; the longest in use have a hundred characters."""

Place: TypeAlias = "Callable[[int], Position]"
"""A function that maps the index of a character in a text to its position."""


class Cast(Enum):
    """The bits of an argument that a comparison covers: those that the kernel reads, or a cast."""

    KERNEL = "{}"
    U32 = "u32({})"
    U64 = "u64({})"
    I32 = "i32({})"


@dataclass(frozen=True, slots=True)
class PlainValue:
    """A number."""

    number: int

    def __str__(self) -> str:
        return str(self.number) if -10 < self.number < 10 else f"{self.number:#x}"


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A constant of the kernel's headers."""

    name: str
    at: Position

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class JoinedValue:
    """Two values joined by ``operator``; ``left`` is None for ``~``."""

    operator: str
    left: ValueExpression | None
    right: ValueExpression
    at: Position

    def __str__(self) -> str:
        parts = [f"({one})" if isinstance(one, JoinedValue) else str(one) for one in self.operands]
        return f"~{parts[0]}" if self.left is None else f" {self.operator} ".join(parts)

    @property
    def operands(self) -> tuple[ValueExpression, ...]:
        """The operands, from left to right."""
        return (self.right,) if self.left is None else (self.left, self.right)


ValueExpression: TypeAlias = PlainValue | NamedValue | JoinedValue


@dataclass(frozen=True, slots=True)
class ArgumentTest:
    """One comparison of one argument, by index or name, after ``mask`` if there is one.

    ANY_BITS and NO_BITS have their mask in ``value``, as in `Comparison`. ``at`` is the
    position of the argument, ``value_at`` that of the value.
    """

    argument: int | str
    op: Op
    value: ValueExpression
    at: Position
    value_at: Position
    mask: ValueExpression | None = None
    reading: Cast = Cast.KERNEL

    def __str__(self) -> str:
        name = self.argument if isinstance(self.argument, str) else f"arg{self.argument}"
        side = self.reading.value.format(name)
        if self.op in {Op.ANY_BITS, Op.NO_BITS}:
            return f"{side} & {_tight(self.value)} {'!=' if self.op is Op.ANY_BITS else '=='} 0"
        masked = f"{side} & {_tight(self.mask)}" if self.mask is not None else side
        return f"{masked} {'==' if self.op is Op.MASKED_EQ else self.op.value} {self.value}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """A condition that holds if every part holds."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " and ".join(f"({p})" if isinstance(p, AnyOf) else str(p) for p in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A condition that holds if any part holds."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Negated:
    """A condition that holds if ``part`` does not hold."""

    part: Expression

    def __str__(self) -> str:
        return f"not ({self.part})"


Expression: TypeAlias = ArgumentTest | AllOf | AnyOf | Negated


def _tight(value: ValueExpression | None) -> str:
    return f"({value})" if isinstance(value, JoinedValue) and value.left else str(value)


def tests_of(expression: Expression) -> Iterator[ArgumentTest]:
    """Yield the comparisons of ``expression`` from left to right."""
    match expression:
        case ArgumentTest():
            yield expression
        case Negated(part):
            yield from tests_of(part)
        case AllOf(parts) | AnyOf(parts):
            for one in parts:
                yield from tests_of(one)


class ExpressionError(ValueError):
    """The error for an invalid expression; ``faults`` are (message, index of the character)."""

    def __init__(self, faults: Sequence[tuple[str, int]]) -> None:
        super().__init__("; ".join(message for message, _ in faults))
        self.faults = tuple(faults)


def _nowhere(_: int) -> Position:
    return Position("")


def parse_condition(text: str, place: Place = _nowhere) -> Expression:
    """Read a ``when`` expression. Raises ExpressionError with every fault in it."""
    reader = _ExpressionReader(text, place)
    tree = reader.tree()
    found = reader.condition(tree) if tree else None
    reader.raise_faults()
    assert found is not None
    return found


def parse_value(text: str, place: Place = _nowhere) -> ValueExpression:
    """Read a value such as ``O_RDONLY|O_CLOEXEC``. Raises ExpressionError."""
    reader = _ExpressionReader(text, place)
    tree = reader.tree()
    found = reader.value(tree) if tree else None
    reader.raise_faults()
    assert found is not None
    return found


def argument_of(name: str) -> int | str:
    """Return the index for ``arg0`` to ``arg5``, or any other name unchanged."""
    return int(name[3]) if re.fullmatch("arg[0-5]", name) else name


# Syntax of other languages, each with the advice what to write here.
_FOREIGN = [
    (re.compile(r"&&"), "write 'and' for '&&'"),
    (re.compile(r"\|\|"), "write 'or' for '||'"),
    (re.compile(r"!(?!=)"), "write 'not' for '!'"),
    (re.compile(r"(?<![=!<>:])=(?!=)"), "write '==' to compare"),
    (re.compile(r"[\"'`]"), "names stand without quotes"),
    (re.compile(r"#"), "a comment cannot stand in an expression"),
    (re.compile(r"\\"), "an expression goes on in the next line without '\\'"),
    (re.compile(r"\b\d\w{199,}"), "a number of more than 64 bits"),  # too long for int()
    (re.compile(r"[^\x20-\x7e\s]"), "only ASCII characters can stand in an expression"),
]
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_PREFIXES = re.compile(r"(?:(?:\bnot\b|[-+~])\s*){%d}" % (MOST_NESTED + 1))  # noqa: UP031 - braces
_OCTAL = re.compile(r"(?<![\w.])0[0-9_]+")
_READINGS = {"u32": Cast.U32, "u64": Cast.U64, "i32": Cast.I32}
_JOINS = {
    ast.BitOr: "|",
    ast.BitAnd: "&",
    ast.BitXor: "^",
    ast.Add: "+",
    ast.Sub: "-",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_RELATIONS = {
    ast.Eq: Op.EQ,
    ast.NotEq: Op.NE,
    ast.Lt: Op.LT,
    ast.LtE: Op.LE,
    ast.Gt: Op.GT,
    ast.GtE: Op.GE,
}
_MIRRORED = {Op.LT: Op.GT, Op.LE: Op.GE, Op.GT: Op.LT, Op.GE: Op.LE}
_EXAMPLE = "write a comparison, such as flags & O_CREAT or arg1 == 3"


class _Side(NamedTuple):
    """The side of a comparison that contains the argument."""

    argument: int | str
    at: int
    reading: Cast = Cast.KERNEL
    mask: ValueExpression | None = None
    mask_at: int = 0


class _ExpressionReader:
    """A reader of one text; ``faults`` are its errors."""

    def __init__(self, text: str, place: Place) -> None:
        self._text = text
        self._place = place
        self.faults: list[tuple[str, int]] = []

    def raise_faults(self) -> None:
        """Raise ExpressionError if there are faults."""
        if self.faults:
            raise ExpressionError(sorted(self.faults, key=lambda fault: fault[1]))

    def _fault(self, message: str, at: ast.expr | int) -> None:
        self.faults.append((message, at if isinstance(at, int) else self._start(at)))

    def _start(self, node: ast.expr) -> int:
        return node.col_offset + self._skipped

    @property
    def _skipped(self) -> int:
        """The number of leading blanks, which Python would treat as an indentation."""
        return len(self._text) - len(self._text.lstrip())

    def tree(self) -> ast.expr | None:
        """Return the syntax tree; add faults and return None if the text has none."""
        text = re.sub(r"\s", " ", self._text)
        if len(text) > MOST_CHARACTERS:
            self._fault(f"longer than {MOST_CHARACTERS} characters: split it", 0)
            return None
        if not text.strip():
            self._fault(f"an empty expression; {_EXAMPLE}", 0)
            return None
        self.faults += [
            (message, found.start())
            for pattern, message in _FOREIGN
            for found in pattern.finditer(self._text)
        ]
        for found in _OCTAL.finditer(text):
            if found[0].strip("0_"):
                plain = found[0].lstrip("0_")
                self._fault(f"{found[0]} may be octal: write 0o{plain} or {plain}", found.start())
        self._check_nesting(text)
        if self.faults:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as for 5in; it would go to stderr
                tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            end = len(text.rstrip())
            at = min(error.offset - 1 + self._skipped, end) if error.offset else end
            self._fault(f"not understood: {error.msg}; {_EXAMPLE}", at)
            return None
        except (ValueError, MemoryError, RecursionError):
            self._fault("nested too deeply: split it", 0)
            return None
        # A tree is no deeper than its text is long.
        return tree if len(text) < 2 * MOST_NESTED or self._is_flat(tree) else None

    def _check_nesting(self, text: str) -> None:
        depth = 0
        for at, character in enumerate(text):
            depth += _BRACKETS.get(character, 0)
            if depth < 0:
                self._fault(f"{character!r} closes nothing", at)
                return
            if depth > MOST_NESTED:
                self._fault("nested too deeply: split it", at)
                return
        if found := _PREFIXES.search(text):
            self._fault("nested too deeply: split it", found.start())

    def _is_flat(self, tree: ast.expr) -> bool:
        """Return True unless the tree is too deep for recursion; then add a fault."""
        waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
        while waiting:
            node, depth = waiting.pop()
            if depth > 2 * MOST_NESTED:
                self._fault("nested too deeply: split it", 0)
                return False
            waiting += ((child, depth + 1) for child in ast.iter_child_nodes(node))
        return True

    # --- conditions --------------------------------------------------------------------------

    def condition(self, node: ast.expr) -> Expression | None:
        """Return the condition at ``node``; add a fault and return None for anything else."""
        match node:
            case ast.BoolOp(op, values):
                parts = [self.condition(one) for one in values]
                known = tuple(part for part in parts if part is not None)
                return AllOf(known) if isinstance(op, ast.And) else AnyOf(known)
            case ast.UnaryOp(ast.Not(), operand):
                part = self.condition(operand)
                return Negated(part) if part else None
            case ast.Compare(left, ops, comparators):
                sides = [left, *comparators]
                tests = [self._comparison(sides[i], op, sides[i + 1]) for i, op in enumerate(ops)]
                found = tuple(test for test in tests if test is not None)
                return found[0] if len(found) == 1 else AllOf(found)
            case ast.Constant(bool(always)):
                self._fault(f"a condition that is always {always}; {_EXAMPLE}", node)
                return None
        if not self._has_argument(node):
            self._fault(f"no argument is compared here; {_EXAMPLE}", node)
            return None
        side = self._side(node)
        return self._truth(side, node) if side else None

    def _truth(self, side: _Side, node: ast.expr) -> Expression:
        """Return the condition that a side by itself means: some bit of it is set."""
        if side.mask is not None:
            return self._test(side, Op.ANY_BITS, side.mask, side.mask_at)
        return self._test(side, Op.NE, PlainValue(0), self._start(node))

    def _test(self, side: _Side, op: Op, value: ValueExpression, value_at: int) -> ArgumentTest:
        mask = None if op in {Op.ANY_BITS, Op.NO_BITS} else side.mask
        if op is Op.EQ and mask is not None:
            op = Op.MASKED_EQ
        at, value_place = self._place(side.at), self._place(value_at)
        return ArgumentTest(side.argument, op, value, at, value_place, mask, side.reading)

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Expression | None:
        if isinstance(op, ast.In | ast.NotIn):
            inside = self._membership(left, right)
            return Negated(inside) if inside and isinstance(op, ast.NotIn) else inside
        relation = _RELATIONS.get(type(op))
        if relation is None:
            self._fault("write == or != here", right)
            return None
        mine, other = left, right
        if self._has_argument(right):
            if self._has_argument(left):
                self._fault(
                    "compares two arguments, which no filter can: compare with a value", left
                )
                return None
            mine, other = right, left
            relation = _MIRRORED.get(relation, relation)
        elif not self._has_argument(left):
            self._fault(f"no argument is compared here; {_EXAMPLE}", left)
            return None
        side, value = self._side(mine), self.value(other)
        if side is None or value is None:
            return None
        return self._test(side, relation, value, self._start(other))

    def _membership(self, left: ast.expr, right: ast.expr) -> Expression | None:
        if not self._has_argument(left):
            self._fault(f"no argument is compared here; {_EXAMPLE}", left)
            return None
        side = self._side(left)
        match right:
            case ast.Set(items) | ast.List(items) | ast.Tuple(items) if items:
                values = [(self.value(item), self._start(item)) for item in items]
                if side is None:
                    return None
                tests = [self._test(side, Op.EQ, v, at) for v, at in values if v is not None]
                return AnyOf(tuple(tests))
            case ast.Call(ast.Name("range"), args, []) if 1 <= len(args) <= 2:
                bounds = [self.value(one) for one in args]
                ends = [(b, self._start(a)) for a, b in zip(args, bounds, strict=True) if b]
                if side is None or len(ends) < len(args):
                    return None
                first = ends[0] if len(ends) == 2 else (PlainValue(0), self._start(right))
                return AllOf((self._test(side, Op.GE, *first), self._test(side, Op.LT, *ends[-1])))
        self._fault("write the values as in {AF_UNIX, AF_INET}, or range(first, end)", right)
        return None

    # --- sides and values ---------------------------------------------------------------------

    def _has_argument(self, node: ast.expr) -> bool:
        return not isinstance(node, ast.Constant) and any(
            isinstance(one, ast.Name) and one.id == one.id.lower() and one.id != "range"
            for one in ast.walk(node)
        )

    def _side(self, node: ast.expr) -> _Side | None:
        match node:
            case ast.Name(name):
                return _Side(argument_of(name), self._start(node))
            case ast.Call(ast.Name(name), [ast.Name(argument) as inner], []) if name in _READINGS:
                return _Side(argument_of(argument), self._start(inner), _READINGS[name])
            case ast.Call(ast.Name(name), _, _) if name in _READINGS:
                self._fault(f"{name}() takes an argument: {name}(arg0)", node)
            case ast.Call(ast.Name(name), _, _):
                hint = did_you_mean(name, _READINGS) or "; known: u32, u64, i32, range"
                self._fault(f"unknown function {name!r}{hint}", node)
            case ast.BinOp(left, ast.BitAnd(), right):
                return self._masked(node, left, right)
            case ast.UnaryOp(ast.USub() | ast.Invert(), _):
                self._fault("an argument stands alone: put what is computed beside the value", node)
            case ast.BinOp():
                self._fault("only & can be done to an argument, as in flags & O_CREAT", node)
            case ast.Attribute() | ast.Subscript():
                self._fault("no filter can see what an argument points to", node)
            case _:
                self._fault(f"not understood; {_EXAMPLE}", node)
        return None

    def _masked(self, node: ast.BinOp, left: ast.expr, right: ast.expr) -> _Side | None:
        mine, other = (right, left) if self._has_argument(right) else (left, right)
        if self._has_argument(other):
            self._fault("a mask is a value: an argument cannot stand on both sides of &", node)
            return None
        side, mask = self._side(mine), self.value(other)
        if side is None or mask is None:
            return None
        if side.reading is Cast.I32:
            self._fault("a mask looks at bits, which have no sign: leave out i32()", mine)
            return None
        at = self._start(other)
        if side.mask is not None:
            mask = JoinedValue("&", side.mask, mask, self._place(at))
        return _Side(side.argument, side.at, side.reading, mask, at)

    def value(self, node: ast.expr) -> ValueExpression | None:
        """Return the value at ``node``; add a fault and return None for anything else."""
        match node:
            case ast.Constant(int(number)) if not isinstance(number, bool):
                if number.bit_length() <= 64:
                    return PlainValue(number)
                self._fault("a number of more than 64 bits", node)
            case ast.Name(name) if name == name.lower():
                self._fault(
                    f"{name!r} is not a value: constants are in capitals, arguments stand alone",
                    node,
                )
            case ast.Name(name):
                return NamedValue(name, self._place(self._start(node)))
            case ast.UnaryOp(ast.USub(), operand):
                inner = self.value(operand)
                at = self._place(self._start(node))
                if isinstance(inner, PlainValue):
                    return PlainValue(-inner.number)
                return JoinedValue("-", PlainValue(0), inner, at) if inner else None
            case ast.UnaryOp(ast.Invert(), operand):
                inner = self.value(operand)
                return (
                    JoinedValue("~", None, inner, self._place(self._start(node))) if inner else None
                )
            case ast.BinOp(left, op, right) if type(op) in _JOINS:
                a, b = self.value(left), self.value(right)
                if a is None or b is None:
                    return None
                return JoinedValue(_JOINS[type(op)], a, b, self._place(self._start(node)))
            case _:
                self._fault(
                    "not a value: write a number, a constant, or these with | & ^ ~ + - << >>", node
                )
        return None
