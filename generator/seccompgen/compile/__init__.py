"""The compiler: a policy and the tables in, one finished program for one ABI out.

::

    policy, tables
      | lower      number lines: each seccomp_data.nr with a function of the arguments (functions)
      | weights    how often each is asked for, with which arguments
      | arguments  for each function the order of its words, a tree on each (word_search, words,
      |              linefacts, decisionlist, bittrees), or its rules one after the other (chain);
      |              as much of that as the work allows (budget); cofactors divide functions;
      |              plans keeps what was found out, for all ABIs
      | dispatch   a tree on the number, that leads to the functions
      |              both trees by dynamic programming: search, patterns, shapes, tree,
      |              prices
      | diagram    all tests as one graph, equal parts once
      | rejoin     tests at several places that can be one (ranges)
      | assemble   instructions
      | bounds     what they cost, and what the best program could
    program
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from seccompgen.compile.arguments import Arguments, Constants, constants_of
from seccompgen.compile.assemble import assemble
from seccompgen.compile.bounds import WeightedLine, bound, cost
from seccompgen.compile.diagram import Diagram, LoadedWord, Relation
from seccompgen.compile.dispatch import dispatch
from seccompgen.compile.functions import ArgumentFunction, Functions
from seccompgen.compile.lower import Answer, Masks, NumberLine, NumberRange, number_lines
from seccompgen.compile.plans import shared_plans
from seccompgen.compile.prices import prices, saved_instruction
from seccompgen.compile.rejoin import Frequencies, rejoined
from seccompgen.compile.weights import TOTAL, samples, span_weights
from seccompgen.compile.word_search import TooManyError
from seccompgen.compile.words import Words
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.objective import DEFAULT_OBJECTIVE, Optimize
from seccompgen.core.program import ARCH_OFFSET, BPF_MAXINSNS, CompiledProgram

__all__ = [
    "Answer",
    "ArgumentFunction",
    "Constants",
    "Functions",
    "Masks",
    "NumberLine",
    "NumberRange",
    "ProgramBuilder",
    "TooManyError",
    "Words",
    "compile_policy",
]

_ROUNDING = 1e-9

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.diagram import NodeId
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
    """Compile ``policy`` for ``abi``, one of its ``arches``, to be good at ``objective``.

    With ``in_order`` the rules of a call that has many are tested as they stand in the policy,
    which makes the longest program, and the easiest to prove.

    Raises InputError if the program would be longer than the kernel takes, naming the rules
    that cost most.
    """
    making = ProgramBuilder(abi, policy.compat_of(abi), objective, in_order=in_order)
    lines = number_lines(policy, abi, tables, making.functions)
    bad_arch = policy.bad_arch_action.ret(abi), policy.bad_arch_origin
    program = making.program(lines, bad_arch, policy.arches_origin, constants_of(policy.rules))
    if len(program.instructions) > BPF_MAXINSNS:
        raise InputError(*_too_long(policy, program))
    return program


class ProgramBuilder:
    """State that the parts of one program share while it is made.

    The boxes and functions of ``lines`` given to it must be those of its ``functions``.
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

    def program(
        self,
        lines: Sequence[NumberLine],
        otherwise: tuple[int, Origin],
        source: Origin,
        constants: Constants,
    ) -> CompiledProgram:
        """Return the program that answers by ``lines``, and ``otherwise`` other audit values.

        ``source`` is where it says which audit values these are. It may be longer than a kernel
        takes. Raises TooManyError where the functions cannot be taken apart, and have no rules
        that could be tested one after the other.
        """
        abi, sets, graph = self._abi, self.functions.sets, Diagram()
        paid = prices(self._objective)
        arguments = Arguments(self._plans, graph, abi, paid, constants, in_order=self._in_order)
        ret, origin = otherwise
        foreign = graph.leaf(ret, (origin,))
        weighed: list[WeightedLine] = []
        roots: list[NodeId] = []
        for line in reversed(lines):
            seen = [samples(span.answer, sets) for span in line.spans]
            # Elsewhere the least values are what callers are taken to pass: small programs and
            # short paths for them are short for the others, too.
            several = self._objective.optimize is Optimize.SPEED
            plans = arguments.plans(
                [
                    (span.answer, asked.several if several else asked.least)
                    for span, asked in zip(line.spans, seen, strict=True)
                ]
            )
            weights = span_weights(line.spans, self._objective)
            weighed.insert(0, WeightedLine(line, weights, [one.several for one in seen]))
            roots.insert(0, dispatch(line.spans, plans, weights, arguments, graph, paid))

        least = bound(weighed, ret, sets)

        def finished(roots: Sequence[NodeId]) -> CompiledProgram:
            root, arch = foreign, LoadedWord(ARCH_OFFSET)
            for line, inside in reversed(list(zip(lines, roots, strict=True))):
                root = graph.test(arch, Relation.EQ, line.audit_arch, inside, root, (source,))
            instructions, origins = assemble(graph, root)
            costs = cost(instructions, weighed, abi)
            return CompiledProgram(
                abi,
                instructions,
                origins,
                compat=self._compat,
                cost=costs,
                bound=least,
                in_order=tuple(dict.fromkeys(arguments.in_order)),
            )

        trees = finished(roots)
        price = saved_instruction(self._objective, len(lines[0].spans))
        frequencies = [Frequencies(one.line.spans, one.weights) for one in weighed]
        shared = rejoined(graph, roots, frequencies, price)
        if shared == roots:
            return trees
        shorter = finished(shared)
        return shorter if not self._in_order and _pays(shorter.cost, trees.cost, price) else trees


def _pays(new: Cost, old: Cost, price: float | None) -> bool:
    """Return True if ``new`` is shorter than ``old``, has no longer path, and runs at that price.

    `rejoin` sees to all of this but for jumps over more instructions than a jump can; what is
    executed may differ in rounding.
    """
    saved = old.length - new.length
    dearer = new.expected - old.expected
    allowed = price is None or dearer <= price / TOTAL * saved + _ROUNDING
    return saved > 0 and new.longest <= old.longest and allowed


def _too_long(policy: ResolvedPolicy, program: CompiledProgram) -> list[Diagnostic]:
    """Say which rules cost most; an instruction that several share counts for each."""
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
