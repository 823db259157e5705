"""Programs for operations of a ring, by the compiler of arguments.

The context has no number and no architecture: a program is one function of five 64-bit words, which
count as arguments (`program.IO_URING_CONTEXT`). A field is a part of such a word, at a place that
depends on the byte order. Where its own order differs from the target's, its constants are turned
round instead of its value; then a test for order compares byte by byte.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.compile.arguments import Arguments, constants_of
from seccompgen.compile.assemble import assemble
from seccompgen.compile.bounds import longest_path
from seccompgen.compile.budget import TooManyError
from seccompgen.compile.diagram import Diagram
from seccompgen.compile.functions import ORIGINAL
from seccompgen.compile.lower import Answer, masks_of
from seccompgen.compile.plans import shared_plans
from seccompgen.compile.prices import Measure, prices
from seccompgen.compile.tree import UNBOUNDED
from seccompgen.compile.weights import samples
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import All, Comparison, Op
from seccompgen.core.objective import Objective, Optimize
from seccompgen.core.program import BPF_MAXINSNS, IO_URING_CONTEXT
from seccompgen.core.ring import PERMIT, REFUSE, RingProgram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.ring import ContextTest, RingOperation, RingRule

_Case: TypeAlias = "tuple[All, int, Origin]"
_Conjunction: TypeAlias = tuple[Comparison, ...]

_RELATIONS = {"==": Op.MASKED_EQ, "!=": Op.NE, "<": Op.LT, "<=": Op.LE, ">": Op.GT, ">=": Op.GE}
_WORD = 8
"""Bytes of an argument."""


def compile_operation(
    operation: RingOperation, rules: Sequence[RingRule], abi: Abi, origin: Origin
) -> RingProgram:
    """Return the shortest program found for ``operation``; the first rule that matches answers.

    ``rules`` are those of one policy about it; ``origin`` is the part of the policy that refuses
    what none of them matches. Raises InputError if the program is longer than the kernel accepts.
    """
    cases = [
        (All(comparisons), PERMIT if rule.permits else REFUSE, rule.origin)
        for rule in rules
        for comparisons in _conjunctions(rule.tests, abi.byte_order)
    ]
    found: list[RingProgram] = []
    for goal in Optimize:
        with suppress(TooManyError):
            found.append(_program(operation, cases, abi, origin, Objective(goal)))
    best = min(found, key=lambda one: (len(one.instructions), longest_path(one.instructions)))
    if len(best.instructions) > BPF_MAXINSNS:
        text = (
            f"the program for {operation.name} has {len(best.instructions)} instructions, the "
            f"kernel takes {BPF_MAXINSNS}: permit larger networks, or fewer"
        )
        raise InputError(Diagnostic(text, rules[0].origin.position))
    return best


def _program(
    operation: RingOperation, cases: Sequence[_Case], abi: Abi, origin: Origin, objective: Objective
) -> RingProgram:
    plans = shared_plans()
    sets = plans.functions.sets
    asked = [(sets.box(condition), ret != REFUSE) for condition, ret, _ in cases]
    boxes = [(box, ret) for (box, _), (_, ret, _) in zip(asked, cases, strict=True)]
    derived = plans.functions.derive(boxes, REFUSE)
    answer = Answer(
        derived.function,
        tuple(tuple(dict.fromkeys(cases[i][2] for i in places)) for places in derived.rules),
        tuple(dict.fromkeys(origin if i == ORIGINAL else cases[i][2] for i in derived.default)),
        tuple(cases),
        tuple(asked),
        masks_of(condition for condition, _, _ in cases),
    )
    graph, paid = Diagram(), prices(objective)
    constants = constants_of((condition, own) for condition, _, own in cases)
    arguments = Arguments(plans, graph, abi, paid, constants, layout=IO_URING_CONTEXT)
    measure = Measure(1.0, paid.word_test or paid.number_test, paid.depth)
    (plan,) = arguments.plans([(answer, samples(answer, sets).least, measure)])
    root = arguments.build(plan, UNBOUNDED)
    arguments.credit(plan, UNBOUNDED, answer)
    instructions, origins = assemble(graph, root)
    return RingProgram(operation, abi, instructions, origins)


def _conjunctions(
    tests: Sequence[ContextTest], byte_order: Literal["little", "big"]
) -> Iterator[_Conjunction]:
    """Yield alternatives, each of comparisons that must all hold, which together mean ``tests``."""
    each = [list(_alternatives(test, byte_order)) for test in tests]
    for parts in itertools.product(*each):
        yield tuple(one for part in parts for one in part)


def _alternatives(
    test: ContextTest, byte_order: Literal["little", "big"]
) -> Iterator[_Conjunction]:
    """Yield alternatives, each of comparisons that must all hold, which together mean ``test``."""
    field, relation = test.field, test.relation
    if relation in {"==", "!="}:
        parts = list(_equal_parts(test, byte_order))
        if relation == "==":
            yield tuple(Comparison(n, Op.MASKED_EQ, value, mask) for n, value, mask in parts)
        else:
            yield from ((Comparison(n, Op.NE, value, mask),) for n, value, mask in parts)
        return
    bytewise = field.network and byte_order == "little"
    # From the most significant byte: the first that differs decides.
    size = 1 if bytewise else field.size
    before: _Conjunction = ()
    for place in range(0, field.size, size):
        low = 8 * (field.size - size - place)
        value, mask = (number >> low & (1 << 8 * size) - 1 for number in (test.value, test.mask))
        word, shift = _place(field.offset + place, size, byte_order)
        last = place == field.size - size
        op = _RELATIONS[relation if last else relation[0]]
        yield (*before, Comparison(word, op, value << shift, mask << shift))
        before = (*before, Comparison(word, Op.MASKED_EQ, value << shift, mask << shift))


def _equal_parts(
    test: ContextTest, byte_order: Literal["little", "big"]
) -> Iterator[tuple[int, int, int]]:
    """Yield argument, value and mask of each word that ``test`` is about."""
    field, value, mask, size = test.field, test.value, test.mask, test.field.size
    if field.padding and mask == field.full:
        size += field.padding
        value <<= 8 * field.padding
        mask = (1 << 8 * size) - 1
    for place in range(0, size, _WORD):
        part = min(size, _WORD)
        low = 8 * (size - part - place)
        own = [(number >> low & (1 << 8 * part) - 1) for number in (value, mask)]
        if field.network and byte_order == "little":
            own = [int.from_bytes(number.to_bytes(part, "big"), "little") for number in own]
        word, shift = _place(field.offset + place, part, byte_order)
        yield word, own[0] << shift, own[1] << shift


def _place(offset: int, size: int, byte_order: Literal["little", "big"]) -> tuple[int, int]:
    """Return the argument with ``size`` bytes at ``offset``, and the place of their lowest bit."""
    argument, begin = divmod(offset, _WORD)
    return argument, 8 * (begin if byte_order == "little" else _WORD - begin - size)
