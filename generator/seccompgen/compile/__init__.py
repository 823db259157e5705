"""The compiler: a policy and the tables in, one finished program for one ABI out.

::

    policy, tables
      | lower      number lines: each seccomp_data.nr with a function of the arguments (functions)
      | weights    how often each is asked for, with which arguments
      | arguments  for each function the order of its words, a tree on each (onword, words)
      | dispatch   a tree on the number, that leads to the functions
      |              both trees by dynamic programming: search, patterns, tree, prices
      | diagram    all tests as one graph, equal parts once
      | assemble   instructions
      | bounds     what they cost, and what the best program could
    program
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from seccompgen.compile.arguments import Arguments
from seccompgen.compile.assemble import assemble
from seccompgen.compile.bounds import Weighed, bound, cost
from seccompgen.compile.diagram import Graph, Relation, Value
from seccompgen.compile.dispatch import dispatch
from seccompgen.compile.functions import Functions
from seccompgen.compile.lower import number_lines
from seccompgen.compile.prices import prices
from seccompgen.compile.weights import samples, span_weights
from seccompgen.compile.words import Words
from seccompgen.errors import Diagnostic, InputError
from seccompgen.objective import DEFAULT_OBJECTIVE
from seccompgen.program import ARCH_OFFSET, BPF_MAXINSNS, Program
from seccompgen.sets import Sets

if TYPE_CHECKING:
    from seccompgen.architectures import Abi
    from seccompgen.errors import Position
    from seccompgen.model import Policy
    from seccompgen.objective import Objective
    from seccompgen.tables import Tables


def compile_policy(
    policy: Policy, abi: Abi, tables: Tables, objective: Objective = DEFAULT_OBJECTIVE
) -> Program:
    """Compile ``policy`` for ``abi``, one of its ``arches``, to be good at ``objective``.

    Raises InputError if the program would be longer than the kernel takes, naming the rules
    that cost most.
    """
    graph, sets, words = Graph(), Sets(), Words()
    functions = Functions(sets, words)
    paid = prices(objective)
    arguments = Arguments(functions, words, graph, abi, paid, policy.rules)
    root = graph.leaf(policy.bad_arch_action.ret(abi), (policy.bad_arch_origin,))
    lines: list[Weighed] = []
    for line in reversed(number_lines(policy, abi, tables, functions)):
        seen = [samples(span.calls, span.answer.function, sets) for span in line.spans]
        plans = [
            arguments.plan(span.answer, asked) for span, asked in zip(line.spans, seen, strict=True)
        ]
        weights = span_weights(line.spans, objective)
        lines.insert(0, Weighed(line, weights, seen))
        inside = dispatch(line.spans, plans, weights, arguments, graph, paid)
        source = (policy.arches_origin,)
        root = graph.test(Value(ARCH_OFFSET), Relation.EQ, line.audit_arch, inside, root, source)
    instructions, origins = assemble(graph, root)
    costs = cost(instructions, lines, abi)
    least = bound(lines, policy.bad_arch_action.ret(abi), sets)
    program = Program(abi, policy.compat_of(abi), instructions, origins, costs, least)
    if len(instructions) > BPF_MAXINSNS:
        raise InputError(*_too_long(policy, program))
    return program


def _too_long(policy: Policy, program: Program) -> list[Diagnostic]:
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
