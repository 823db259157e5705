"""The compiler: a policy and the tables in, one finished program for one ABI out.

::

    policy, tables
      | lower      number lines: each seccomp_data.nr with a function of the arguments (functions)
      | weights    the assumed frequency of each call, and its likely arguments
      | arguments  for each call the straightforward program, its rules one after the other (chain);
      |              then, while steps are left (budget), the order of words of its function and a
      |              tree on each (word_search, words, linefacts, decisionlist, bittrees);
      |              cofactors divide functions; plans caches the results for all ABIs
      | dispatch   a tree on the number that leads to the functions
      |              both trees by dynamic programming: search, patterns, shapes, tree,
      |              prices
      | diagram    all tests as one graph, equal parts once
      | rejoin     tests at several places that can be one (ranges)
      | assemble   instructions
      | bounds     the program's cost, and a lower bound for any program
      | goals      the best of the programs that searches for several objectives find
    program
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.compile.arguments import Arguments, Constants, constants_of
from seccompgen.compile.assemble import assemble
from seccompgen.compile.bounds import WeightedLine, bound, cost
from seccompgen.compile.budget import TooManyError
from seccompgen.compile.diagram import CompareOp, Diagram, LoadedWord
from seccompgen.compile.dispatch import dispatch
from seccompgen.compile.functions import ArgumentFunction, Functions
from seccompgen.compile.goals import others, rank
from seccompgen.compile.lower import Answer, Masks, NumberLine, NumberRange, number_lines
from seccompgen.compile.plans import shared_plans
from seccompgen.compile.prices import Measure, depth_price, prices, saved_instruction
from seccompgen.compile.rejoin import Frequencies, rejoined
from seccompgen.compile.weights import TOTAL, samples, span_weights
from seccompgen.compile.words import WordDiagrams
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.objective import DEFAULT_OBJECTIVE, Optimize
from seccompgen.core.program import ARCH_OFFSET, BPF_MAXINSNS, CompiledProgram

__all__ = [
    "Answer",
    "ArgumentFunction",
    "Compilation",
    "Constants",
    "Functions",
    "Masks",
    "NumberLine",
    "NumberRange",
    "ProgramBuilder",
    "TooManyError",
    "WordDiagrams",
    "compilation",
    "compile_policy",
]

_MOST_TO_SHORTEN = 2 * BPF_MAXINSNS
"""A longer program is not searched again: one that is short enough is never half as long."""
_ROUNDING = 1e-9

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.compile.diagram import NodeId
    from seccompgen.compile.plans import Plan
    from seccompgen.compile.word_search import Sample
    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import Cost
    from seccompgen.core.tables import Tables


def compile_policy(
    policy: ResolvedPolicy,
    abi: Abi,
    tables: Tables,
    objective: Objective = DEFAULT_OBJECTIVE,
    *,
    in_order: bool = False,
) -> CompiledProgram:
    """Compile ``policy`` for ``abi``, one of its ``arches``, optimized for ``objective``.

    With ``in_order`` the rules of a call that has many are tested in the order of the policy;
    such a program is the longest, and the easiest to prove.

    Raises InputError, naming the rules that cost most, if the program is longer than the
    kernel accepts.
    """
    program = compilation(policy, abi, tables, objective, in_order=in_order).program
    if len(program.instructions) > BPF_MAXINSNS:
        raise InputError(*_too_long(policy, program))
    return program


def compilation(
    policy: ResolvedPolicy,
    abi: Abi,
    tables: Tables,
    objective: Objective = DEFAULT_OBJECTIVE,
    *,
    in_order: bool = False,
) -> Compilation:
    """Return the result of each pass over ``policy``; the program may exceed the kernel's limit."""
    builder = ProgramBuilder(abi, policy.compat_of(abi), objective, in_order=in_order)
    lines = number_lines(policy, abi, tables, builder.functions)
    bad_arch = policy.bad_arch_action.ret(abi), policy.bad_arch_origin
    return builder.compilation(
        lines,
        bad_arch,
        policy.arches_origin,
        constants_of((rule.condition, rule.origin) for rule in policy.rules),
    )


class Compilation(NamedTuple):
    """The values passed from pass to pass for one program, in the order of the passes.

    ``plans`` has a tuple for each line, with a plan for each span. ``trees`` and ``rejoined`` are
    the roots of the diagram before and after `rejoin`; the program is made from the second.
    """

    functions: Functions
    lines: tuple[WeightedLine, ...]
    plans: tuple[tuple[Plan, ...], ...]
    graph: Diagram
    trees: NodeId
    rejoined: NodeId
    program: CompiledProgram


class _Wanted(NamedTuple):
    """The lines that a program answers, and all else that is the same for every objective.

    ``ret`` is the answer for other audit values, and ``bound`` the least that any program costs.
    """

    lines: tuple[WeightedLine, ...]
    ret: int
    origin: Origin
    source: Origin
    constants: Constants
    bound: Cost


class ProgramBuilder:
    """State that the parts of one program share while it is built.

    The boxes and functions of its ``lines`` must come from its ``functions``.
    """

    def __init__(
        self,
        abi: Abi,
        compat: tuple[Abi, ...],
        objective: Objective,
        *,
        in_order: bool = False,
    ) -> None:
        self._in_order = in_order
        self._abi = abi
        self._compat = compat
        self._objective = objective
        self._plans = shared_plans()
        self.functions = self._plans.functions

    def compilation(
        self,
        lines: Sequence[NumberLine],
        otherwise: tuple[int, Origin],
        source: Origin,
        constants: Constants,
    ) -> Compilation:
        """Build the program for ``lines``; other audit values get the answer ``otherwise``.

        It is the best of several by the measure of the objective (`goals`). ``source`` is the
        policy's list of architectures. The program may exceed the kernel's limit. Raises
        TooManyError if a function can neither be taken apart nor be tested rule by rule.
        """
        weighted = tuple(self._weighted(line) for line in lines)
        least = bound(weighted, otherwise[0], self.functions.sets)
        wanted = _Wanted(weighted, *otherwise, source, constants, least)
        found = [self._made(self._objective, wanted)]
        if not self._in_order and not found[0].program.in_order:
            for goal in others(self._objective):
                with suppress(TooManyError):
                    found.append(self._made(replace(self._objective, optimize=goal), wanted))
        best = min(found, key=lambda one: rank(one.program, self._objective, weighted))
        length = len(best.program.instructions)
        if self._in_order or not BPF_MAXINSNS < length <= _MOST_TO_SHORTEN:
            return best
        with suppress(TooManyError):
            # A search cares for what is executed first; in hundreds of calls it adds up. Whatever
            # is short enough for the kernel is better than an error.
            found.append(self._made(self._objective, wanted, thorough=False))
        return min(found, key=lambda one: len(one.program.instructions))

    def _made(self, objective: Objective, wanted: _Wanted, *, thorough: bool = True) -> Compilation:
        """Build the program that a search for ``objective`` finds."""
        graph, paid = Diagram(), prices(objective)
        weighted, ret, origin, source, constants, least = wanted
        arguments = Arguments(
            self._plans,
            graph,
            self._abi,
            paid,
            constants,
            in_order=self._in_order,
            thorough=thorough,
        )
        foreign = graph.leaf(ret, (origin,))
        plans: list[tuple[Plan, ...]] = []
        roots: list[NodeId] = []
        for one in reversed(weighted):
            plans.insert(0, tuple(arguments.plans(list(_asked(one, objective)))))
            roots.insert(0, dispatch(one.line.spans, plans[0], one.weights, arguments, graph, paid))

        def whole(roots: Sequence[NodeId]) -> NodeId:
            root, arch = foreign, LoadedWord(ARCH_OFFSET)
            for one, inside in reversed(list(zip(weighted, roots, strict=True))):
                audit_arch = one.line.audit_arch
                root = graph.test(arch, CompareOp.EQ, audit_arch, inside, root, (source,))
            return root

        def program(root: NodeId) -> CompiledProgram:
            instructions, origins = assemble(graph, root)
            return CompiledProgram(
                self._abi,
                instructions,
                origins,
                compat=self._compat,
                cost=cost(instructions, weighted, self._abi),
                bound=least,
                in_order=tuple(dict.fromkeys(arguments.in_order)),
            )

        trees = last = whole(roots)
        made = program(trees)
        if not self._in_order:
            price = saved_instruction(objective, len(weighted[0].line.spans))
            frequencies = [Frequencies(one.line.spans, one.weights) for one in weighted]
            shared = whole(rejoined(graph, roots, frequencies, price))
            if shared != trees and _pays((shorter := program(shared)).cost, made.cost, price):
                last, made = shared, shorter
        return Compilation(self.functions, weighted, tuple(plans), graph, trees, last, made)

    def _weighted(self, line: NumberLine) -> WeightedLine:
        weights = span_weights(line.spans, self._objective)
        return WeightedLine(
            line, weights, [samples(s.answer, self.functions.sets) for s in line.spans]
        )


def _asked(
    weighted: WeightedLine, objective: Objective
) -> Iterator[tuple[Answer, Sequence[Sample], Measure]]:
    """Yield each answer with the sample arguments that its plan is optimized for, and its measure.

    These are the least values: a program that is small and fast for them is so for others as
    well. If speed alone counts, they are several values.
    """
    several = objective.optimize is Optimize.SPEED
    spans = weighted.line.spans
    shares: Counter[ArgumentFunction] = Counter()
    for span, weight in zip(spans, weighted.weights, strict=True):
        shares[span.answer.function] += weight
    paid = prices(objective)
    price, depth = paid.number_test / len(spans), depth_price(paid, spans)
    for span, seen in zip(spans, weighted.samples, strict=True):
        measure = Measure(shares[span.answer.function] / TOTAL, price, depth)
        yield span.answer, seen.several if several else seen.least, measure


def _pays(new: Cost, old: Cost, price: float | None) -> bool:
    """Return True if ``new`` is shorter than ``old``, has no longer path, and is not too slow.

    `rejoin` ensures all of this, except where a jump does not reach its target and needs a copy;
    the expected cost may also differ by rounding.
    """
    saved = old.length - new.length
    dearer = new.expected - old.expected
    allowed = price is None or dearer <= price / TOTAL * saved + _ROUNDING
    return saved > 0 and new.longest <= old.longest and allowed


def _too_long(policy: ResolvedPolicy, program: CompiledProgram) -> list[Diagnostic]:
    """Return the error and the costliest rules; a shared instruction counts for each rule."""
    length = len(program.instructions)
    cost: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Position] = {}
    for origins in program.origins:
        rules = {(origin.position.file, origin.label) for origin in origins}
        cost.update(rules)
        for origin in origins:
            rule = origin.position.file, origin.label
            first[rule] = min(first.get(rule, origin.position), origin.position)
    message = (
        f"the program for {program.abi.name} has {length} instructions, the kernel takes "
        f"{BPF_MAXINSNS}; shorten the rules named below, or split the policy in two"
    )
    costliest = sorted(cost, key=lambda rule: (-cost[rule], first[rule]))[:5]
    return [
        Diagnostic(message, policy.default_origin.position),
        *(
            Diagnostic(f"{rule[1]} costs {cost[rule]} of {length} instructions", first[rule])
            for rule in costliest
        ),
    ]
