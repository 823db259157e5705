"""Decide by SMT solving how two filters answer: z3, over bit-vectors.

Both filters become terms over the nine fields of a call. A policy becomes nested conditionals, one
for each case, with 64-bit comparisons as they are. A program is executed once, in order, since
jumps only go forwards; where ways meet, registers become conditionals on the way taken. Every
instruction that seccomp accepts can be expressed so. z3 then proves that no call makes the relation
between the two terms fail, or shows such a call.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import z3

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import ActionKind
from seccompgen.core.word import ARCH, ARGS, FIELDS, NR, Word
from seccompgen.verify import machine
from seccompgen.verify.call import ZERO_HIGH_WORDS, Call
from seccompgen.verify.kernel import rank
from seccompgen.verify.machine import Branch, Code, Registers, Return, ValueDomain, step
from seccompgen.verify.oracle import Meaning, OneOf
from seccompgen.verify.relation import ACTION_FULL, SAME, Relation
from seccompgen.verify.stack import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.verify.oracle import FieldTest
    from seccompgen.verify.stack import FilterSemantics, Stack

_MOST_WORK = 10_000_000
"""The most that z3 spends on a question, in units of its own that count steps; some seconds."""

Term: TypeAlias = Any
"""A z3 expression; z3 has no types that say more."""


class _Fields:
    """The fields of the unknown call, as z3 variables."""

    def __init__(self, context: z3.Context) -> None:
        self.context = context
        self.fields = [
            z3.BitVec(f"field{n}", 32 if n in {NR, ARCH} else 64, context) for n in range(FIELDS)
        ]

    def number(self, value: int) -> Term:
        return z3.BitVecVal(value, 32, self.context)

    def word(self, word: Word) -> Term:
        field = self.fields[word.field]
        if word.field in {NR, ARCH}:
            return field
        return z3.Extract(word.shift + 31, word.shift, field)

    def with_argument(self, argument: int, value: Term) -> _Fields:
        """Return the same call with another argument."""
        other = _Fields(self.context)
        other.fields = [*self.fields]
        other.fields[ARGS + argument] = value
        return other

    def call(self, model: z3.ModelRef) -> Call:
        """Return the call of ``model``; what the model leaves open is 0."""
        nr, arch, pointer, *args = (
            model.eval(field, model_completion=True).as_long() for field in self.fields
        )
        a, b, c, d, e, f = args
        return Call(nr, arch, (a, b, c, d, e, f), pointer)


def compare(
    left: FilterSemantics,
    right: FilterSemantics,
    zero: frozenset[int] = frozenset(),
    relation: Relation = SAME,
) -> Call | None:
    """Return a call for which ``relation`` fails, or None: there is none.

    Under the audit values ``zero`` only calls with 0 in the high words of arguments count.
    """
    fields = _Fields(z3.Context())
    solver = _solver(fields, zero)
    solver.add(_fails(relation, _term(left, fields), _term(right, fields)))
    return _found(solver, fields)


def _fails(relation: Relation, left: Term, right: Term) -> Term:
    if relation.up_to is None:
        return left != right
    permit, other = (
        z3.Or([term & ACTION_FULL == action for action in relation.permitted])
        for term in (left, right)
    )
    return z3.And(permit, z3.Not(other))


def answered_otherwise(
    side: FilterSemantics, read: Mapping[tuple[int, int], Sequence[int]], argument: int
) -> Iterator[Call]:
    """Yield calls whose answer depends on bits of ``argument`` that the kernel does not read.

    ``read`` has for each audit value and number the bits of each argument that are read. All
    bits of other arguments count. There is one call for each number at most.
    """
    fields = _Fields(z3.Context())
    solver = _solver(fields, frozenset(ZERO_HIGH_WORDS))
    nr, arch, *_ = fields.fields
    numbers: dict[tuple[int, int], list[int]] = {}
    for (its_arch, its_nr), of_arguments in read.items():
        numbers.setdefault((its_arch, of_arguments[argument]), []).append(its_nr)
    calls = {
        key: z3.And(arch == key[0], z3.Or([nr == one for one in its_numbers]))
        for key, its_numbers in numbers.items()
    }
    value = whole = fields.fields[ARGS + argument]
    for (_, bits), is_it in calls.items():
        value = z3.If(is_it, whole & bits, value)
    solver.add(z3.Or([*calls.values()]))
    solver.add(_term(side, fields) != _term(side, fields.with_argument(argument, value)))
    while call := _found(solver, fields):
        yield call
        solver.add(z3.Or(arch != call.arch, nr != call.nr))


def _solver(fields: _Fields, zero: frozenset[int]) -> z3.Solver:
    solver = z3.SolverFor("QF_BV", ctx=fields.context)
    solver.set("rlimit", _MOST_WORK)
    for arch in sorted(zero):
        high_words = z3.Concat([fields.word(Word.high(field)) for field in range(ARGS, FIELDS)])
        solver.add(z3.Implies(fields.fields[ARCH] == arch, high_words == 0))
    return solver


def _found(solver: z3.Solver, fields: _Fields) -> Call | None:
    """Return a call that satisfies all constraints of ``solver``, None if there is none."""
    result = solver.check()
    if result == z3.unsat:
        return None
    if result != z3.sat:
        raise UndecidedError(f"z3 gave up: {solver.reason_unknown()}")
    return fields.call(solver.model())


def _term(side: FilterSemantics, fields: _Fields) -> Term:
    match side:
        case Meaning():
            return _meaning(side, fields)
        case Code():
            return _Execution(side, fields).answer
    return _stack(side, fields)


def _meaning(meaning: Meaning, fields: _Fields) -> Term:
    *cases, last = meaning.cases
    assert not last.tests
    term = fields.number(last.ret)
    for case in reversed(cases):
        always = z3.BoolVal(True, fields.context)
        holds = z3.And([always, *(_holds(test, fields) for test in case.tests)])
        term = z3.If(holds, fields.number(case.ret), term)
    return term


def _holds(test: FieldTest | OneOf, fields: _Fields) -> Term:
    field = fields.fields[test.field]
    if isinstance(test, OneOf):
        return z3.Or([field == value for value in sorted(test.values)])
    left = field & (test.mask & (1 << field.size()) - 1)
    relations = {
        "==": left == test.value,
        "!=": left != test.value,
        "<": z3.ULT(left, test.value),
        "<=": z3.ULE(left, test.value),
        ">": z3.UGT(left, test.value),
        ">=": z3.UGE(left, test.value),
    }
    return relations[test.relation]


def _stack(stack: Stack, fields: _Fields) -> Term:
    terms = [_term(part, fields) for part in stack.parts]
    match stack.operation:
        case Operation.INTERSECT:
            return _strictest(terms, fields)
        case Operation.UNION:
            return reduce(lambda old, new: z3.If(z3.UGT(rank(old), rank(new)), old, new), terms)
        case Operation.SUBTRACT:
            through = fields.number(rank(ActionKind.LOG.value))
            taken = z3.Or([z3.UGE(rank(term), through) for term in terms[1:]])
            refused = _strictest([fields.number(stack.refusal), terms[0]], fields)
            return z3.If(taken, refused, terms[0])


def _strictest(terms: list[Term], fields: _Fields) -> Term:
    """Return the answer of a stack, the newest last: see `kernel.strictest`."""
    allow = fields.number(ActionKind.ALLOW.value)
    return reduce(
        lambda new, old: z3.If(z3.ULT(rank(old), rank(new)), old, new), reversed(terms), allow
    )


def _computed(operation: int, a: Term, operand: Term) -> Term:
    match operation:
        case machine.DIV:
            return z3.UDiv(a, operand)
        case machine.LSH:
            return a << (operand & 31)
        case machine.RSH:
            return z3.LShR(a, operand & 31)
    return machine.ARITHMETIC[operation](a, operand)


class _Execution:
    """Runs a program on all calls at once; ``answer`` is what it returns."""

    def __init__(self, code: Code, fields: _Fields) -> None:
        values = ValueDomain(fields.number, fields.word, _computed)
        # For each instruction the ways to it: under which condition, with which registers.
        self._ways: list[list[tuple[Term, Registers[Term]]]] = [[] for _ in code.instructions]
        self.answer = fields.number(0)
        self._go(z3.BoolVal(True, fields.context), values.start)
        for ways in self._ways:
            if ways:
                condition, registers = _met(ways)
                self._go(condition, step(code, registers, values))

    def _go(self, condition: Term, there: Registers[Term] | Branch[Term] | Return[Term]) -> None:
        """Record that calls for which ``condition`` holds come ``there``."""
        match there:
            case Registers(at):
                self._ways[at].append((condition, there))
            case Branch(operation, a, operand, true, false):
                jumps = _jumps(operation, a, operand)
                self._go(z3.And(condition, jumps), true)
                self._go(z3.And(condition, z3.Not(jumps)), false)
            case Return(value):
                self.answer = z3.If(condition, value, self.answer)


def _met(ways: list[tuple[Term, Registers[Term]]]) -> tuple[Term, Registers[Term]]:
    """Merge all ways that lead to a place into one."""
    condition, (at, *values, memory) = ways[0]
    values += memory
    for other, (_, a, x, words) in ways[1:]:
        values = [
            old if old is new or old.eq(new) else z3.If(other, new, old)
            for old, new in zip(values, (a, x, *words), strict=True)
        ]
        condition = z3.Or(condition, other)
    return condition, Registers(at, values[0], values[1], tuple(values[2:]))


def _jumps(operation: int, a: Term, operand: Term) -> Term:
    match operation:
        case machine.JGT:
            return z3.UGT(a, operand)
        case machine.JGE:
            return z3.UGE(a, operand)
    return machine.JUMPS[operation](a, operand)
