"""The compiler's intermediate values as text, for people to read and for tests to compare.

Calls and constants have their names, as in listings. Each value of the compiler has one name
wherever it occurs: F1 and so on are functions of the arguments, P1 plans, n1 tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.compile.diagram import CompareOp, Leaf, TestNode
from seccompgen.compile.ranges import divided
from seccompgen.compile.tree import IMPOSSIBLE, SCALE, UNBOUNDED, TreeEnd
from seccompgen.core.compiler_stage import CompilerStage
from seccompgen.core.model import U32, All, Comparison, Op
from seccompgen.core.program import ARCH_OFFSET, NR_OFFSET, Program, word_offset
from seccompgen.core.text import some
from seccompgen.core.value_conditions import alternatives
from seccompgen.render.disassembly import disassembly
from seccompgen.render.listing import low_argument, ret_action, same_text, word_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.compile import Compilation
    from seccompgen.compile.diagram import NodeId
    from seccompgen.compile.functions import ArgumentFunction
    from seccompgen.compile.lower import Answer
    from seccompgen.compile.plans import Alternative, Plan
    from seccompgen.compile.tree import Tree
    from seccompgen.core.abis import Abi
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.core.word import Word

_MOST_NODES = 1_000
"""Sets with more nodes are too large to be readable."""
_MOST_CALLS = 8
_RELATIONS = {
    CompareOp.EQ: Op.EQ,
    CompareOp.GT: Op.GT,
    CompareOp.GE: Op.GE,
    CompareOp.ANY_BITS: Op.ANY_BITS,
}


def stage_text(stage: CompilerStage, made: Compilation, tables: Tables) -> str:
    """Return the compiler's knowledge of a program after the passes up to ``stage``."""
    text = _StageText(made, tables)
    match stage:
        case CompilerStage.DECISIONS:
            lines = text.decisions()
        case CompilerStage.FUNCTIONS:
            lines = text.functions()
        case CompilerStage.PLANS:
            lines = text.plans()
        case CompilerStage.WORDS:
            lines = text.words()
        case CompilerStage.DIAGRAM:
            lines = text.diagram(made.trees)
        case CompilerStage.REJOINED:
            lines = text.diagram(made.rejoined)
        case CompilerStage.PROGRAM:
            return disassembly([Program(made.program.abi, made.program.instructions)], tables)
    return "".join(f"{line}\n" for line in lines)


class _StageText:
    def __init__(self, made: Compilation, tables: Tables) -> None:
        self._made = made
        self._tables = tables
        self._abi = made.program.abi
        self._sets = made.functions.sets
        self._functions: dict[ArgumentFunction, str] = {}
        self._plans: dict[Plan, str] = {}
        self._calls: dict[ArgumentFunction | Plan, tuple[str, Abi]] = {}
        """The call whose arguments a function or a plan is shown with: the first one that uses
        it."""
        for weighed, plans in zip(made.lines, made.plans, strict=True):
            for span, plan in zip(weighed.line.spans, plans, strict=True):
                function = span.answer.function
                if function.rules and function not in self._functions:
                    self._functions[function] = f"F{len(self._functions) + 1}"
                    table = tables.table_of(weighed.line.audit_arch, span.first)
                    call = span.calls[0] if span.calls else str(span.first)
                    self._calls[function] = call, table.abi if table else self._abi
                    self._name_plans(plan, *self._calls[function])

    def _name_plans(self, plan: Plan, call: str, abi: Abi) -> None:
        """Name ``plan`` and the plans below it."""
        if plan not in self._plans and (plan.ways or plan.chain is not None):
            self._plans[plan] = f"P{len(self._plans) + 1}"
            self._calls[plan] = call, abi
            for way in _chosen(plan):
                for below in way.labels:
                    self._name_plans(below, call, abi)

    # --- decisions and functions --------------------------------------------------------------

    def decisions(self) -> Iterator[str]:
        """Yield, for each run of numbers, the answer, the share of all calls, and the names."""
        for line, weights, _ in self._made.lines:
            abis = ", ".join(abi.name for abi in line.abis)
            yield f"{line.abis[0].audit_arch_name}: {abis}"
            total = sum(weights)
            for span, weight in zip(line.spans, weights, strict=True):
                last = f"..{_number(span.last)}" if span.last > span.first else ""
                share = f"{weight / total:.2%}"
                text = f"  {_number(span.first) + last:23} {share:>7}  {self._answer(span.answer)}"
                yield f"{text:58}  {some(span.calls)}".rstrip()

    def _answer(self, answer: Answer) -> str:
        function = answer.function
        return self._functions.get(function) or ret_action(function.default, self._abi)

    def functions(self) -> Iterator[str]:
        """Yield the rules of each function in their order."""
        for function, name in self._functions.items():
            call, abi = self._calls[function]
            yield f"{name} {call}"
            for box, ret in function.rules:
                yield f"  {self._box(box, call, abi)}: {ret_action(ret, self._abi)}"
            yield f"  else: {ret_action(function.default, self._abi)}"

    def _box(self, box: Box, call: str, abi: Abi) -> str:
        nodes = sum(map(self._sets.size, box))
        if nodes > _MOST_NODES:
            return f"arguments in sets of {nodes} nodes"
        conditions = [All(tests) for tests in alternatives(self._sets, box)]
        return self._tables.naming.alternatives(conditions, call, abi)

    # --- plans and words ----------------------------------------------------------------------

    def plans(self) -> Iterator[str]:
        """Yield the words that each plan may test first, and the targets of the chosen one.

        A star marks the choice of a plan whose paths have no bound.
        """
        for plan, name in self._plans.items():
            yield f"{name} {self._calls[plan][0]}"
            if plan.chain is not None:
                yield "  its rules in their order"
            chosen = _chosen(plan)
            for number, way in enumerate(plan.ways):
                star = "*" if number == plan.choice[UNBOUNDED] else " "
                executed = f"{way.costs[UNBOUNDED] / SCALE:.1f}"
                text = f" {star}{self._word(way.parts.word):11} {way.size} instructions"
                leads = ", ".join(self._plan(one) for one in way.labels)
                yield f"{text}, cost {executed}" + (f" -> {leads}" if way in chosen else "")

    def words(self) -> Iterator[str]:
        """Yield the tests of each plan on its first word, if its paths have no bound."""
        for plan, name in self._plans.items():
            if plan.ways:
                way = plan.ways[plan.choice[UNBOUNDED]]
                call, abi = self._calls[plan]
                yield f"{name} {call}: {self._word(way.parts.word)}"
                yield from self._tree(way.trees.tree(UNBOUNDED), way, call, abi, "  ")

    def _tree(
        self, tree: Tree, way: Alternative, call: str, abi: Abi, indent: str
    ) -> Iterator[str]:
        """Yield a line for each test; the true side is indented unless it is an end."""
        if isinstance(tree, TreeEnd):
            yield f"{indent}else {self._plan(way.labels[tree.label])}"
            return
        word, one = way.parts.word, tree.true
        op = Op.MASKED_EQ if tree.mask != U32 else _RELATIONS[tree.relation]
        test = Comparison(word.argument, op, tree.k, tree.mask, 32)
        if word.is_high:
            text = str(test).replace(f"u32(arg{word.argument})", self._word(word))
        else:
            text = self._tables.naming.condition(test, call, abi)
        if isinstance(one, TreeEnd):
            yield f"{indent}if {text}: {self._plan(way.labels[one.label])}"
        else:
            yield f"{indent}if {text}:"
            yield from self._tree(one, way, call, abi, f"{indent}  ")
        yield from self._tree(tree.false, way, call, abi, indent)

    def _word(self, word: Word) -> str:
        return word_name(word_offset(word, self._abi), self._abi)

    def _plan(self, plan: Plan) -> str:
        return self._plans.get(plan) or ret_action(plan.ret, self._abi)

    # --- diagrams -----------------------------------------------------------------------------

    def diagram(self, root: NodeId) -> Iterator[str]:
        """Yield the tests below ``root``: parents before children, and true sides first."""
        nodes = self._made.graph.nodes
        order = _parents_first(self._made, root)
        tests = [number for number in order if isinstance(nodes[number], TestNode)]
        names = {number: f"n{place}" for place, number in enumerate(tests, 1)}
        for number in order:
            if isinstance(node := nodes[number], Leaf):
                names[number] = ret_action(node.ret, self._abi)
        calls = self._calls_at(root)
        for number in order:
            if isinstance(node := nodes[number], TestNode):
                text = self._node(node, calls[number])
                yield f"{names[number]:4} {text}: {names[node.true]} else {names[node.false]}"
        if not tests:
            yield names[root]

    def _calls_at(self, root: NodeId) -> dict[NodeId, list[tuple[int, int]]]:
        """Return the audit values and numbers that reach each node, by the first of each span."""
        nodes = self._made.graph.nodes
        found: dict[NodeId, list[tuple[int, int]]] = {}
        for line, _, _ in self._made.lines:
            for span in line.spans:
                at, words = root, {ARCH_OFFSET: line.audit_arch, NR_OFFSET: span.first}
                while isinstance(node := nodes[at], TestNode) and node.value.offset in words:
                    found.setdefault(at, []).append((line.audit_arch, span.first))
                    held = words[node.value.offset] & node.value.mask
                    at = (
                        node.true
                        if divided(((held, held),), node.relation, node.k)[0]
                        else node.false
                    )
                for below in _parents_first(self._made, at):
                    found.setdefault(below, []).append((line.audit_arch, span.first))
        return found

    def _node(self, node: TestNode, calls: Sequence[tuple[int, int]]) -> str:
        value, k = node.value, node.k
        if value.offset == ARCH_OFFSET:
            return f"arch == {self._tables.under(k)[0].abi.audit_arch_name}"
        if value.offset == NR_OFFSET:
            table = self._tables.table_of(calls[0][0], k)
            is_number = node.relation is not CompareOp.ANY_BITS
            name = table.names.get(k, "") if table and is_number else ""
            return f"nr {node.relation.value} {_number(k)} {name}".rstrip()
        argument = low_argument(value.offset, self._abi)
        op = _RELATIONS[node.relation]
        if op is Op.EQ and value.mask != U32:
            op = Op.MASKED_EQ
        test = Comparison(argument or 0, op, k, value.mask, 32)
        text = ""
        if argument is not None and len(calls) <= _MOST_CALLS:
            found = [(self._tables.table_of(arch, nr), nr) for arch, nr in calls]
            text = same_text(
                self._tables.naming.comparison(test, table.names[nr], table.abi)
                for table, nr in found
                if table and nr in table.names
            )
        word = word_name(value.offset, self._abi)
        return text or str(test).replace(f"u32(arg{test.argument})", word)


def _number(nr: int) -> str:
    return f"{nr:#x}" if nr >= 1 << 20 else str(nr)


def _chosen(plan: Plan) -> list[Alternative]:
    """Return the alternatives that ``plan`` chooses for some budget."""
    places = {
        place for place, cost in zip(plan.choice, plan.costs, strict=False) if cost < IMPOSSIBLE
    }
    return [plan.ways[place] for place in sorted(places)]


def _parents_first(made: Compilation, root: NodeId) -> list[NodeId]:
    """Return ``root`` and all nodes below it, each after its parents, and true sides first."""
    nodes = made.graph.nodes
    found: list[NodeId] = []
    seen: set[NodeId] = set()
    stack = [(root, False)]
    while stack:
        at, done = stack.pop()
        if done:
            found.append(at)
        elif at not in seen:
            seen.add(at)
            stack.append((at, True))
            node = nodes[at]
            if isinstance(node, TestNode):
                stack += ((node.true, False), (node.false, False))
    return found[::-1]
