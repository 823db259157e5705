"""From a policy to number lines: what each ABI's rules make of every ``seccomp_data.nr``.

This is where ABIs are told apart. A program sees the calls of every ABI of its kernel, and some
of them share an audit value or a dispatcher:

- x32 calls come under x86_64's audit value with bit 30 set. The call -1, which a tracer leaves
  in place of one that it skips, has that bit too and belongs to no ABI: it counts as an unknown
  number.
- A MIPS kernel finds the handler by number (o32 from 4000, n64 from 5000, n32 from 6000), while
  the audit value tells of the *task*. A number of another MIPS ABI's table is therefore a call
  through that other ABI, and answered like one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.architectures import X32_SYSCALL_BIT
from seccompgen.model import U32
from seccompgen.reach import reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.architectures import Abi
    from seccompgen.compile.diagram import Graph, NodeId
    from seccompgen.model import Origin, Policy, Rule
    from seccompgen.tables import Table, Tables


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from ``first`` to ``last``, both included, and the node that decides them."""

    first: int
    last: int
    node: NodeId
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class NumberLine:
    """The spans of one audit value, without gap from 0 to 2**32 - 1."""

    audit_arch: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    node: NodeId
    origins: tuple[Origin, ...]


def number_lines(policy: Policy, abi: Abi, tables: Tables, graph: Graph) -> list[NumberLine]:
    """Return a line for each audit value that the program for ``abi`` answers, its own first."""
    served = (abi, *policy.compat_of(abi))
    lines = []
    for audit_arch in dict.fromkeys(other.audit_arch for other in served):
        here = [other for other in served if other.audit_arch == audit_arch]
        line = _Line(policy, tables, graph, abi, here)
        lines.append(NumberLine(audit_arch, line.spans()))
    return lines


class _Line:
    """The numbers of one audit value, under which the ABIs ``here`` are answered for."""

    def __init__(
        self, policy: Policy, tables: Tables, graph: Graph, program_abi: Abi, here: list[Abi]
    ) -> None:
        self._program_abi = program_abi
        self._policy = policy
        self._tables = tables
        self._graph = graph
        self._here = {abi.name: abi for abi in here}
        self._main = here[0]
        unknown, bad_arch = policy.unknown_origin, policy.bad_arch_origin
        self._unknown = self._leaf(policy.unknown_action.ret(self._main), unknown)
        self._foreign = self._leaf(policy.bad_arch_action.ret(self._main), bad_arch)

    def _leaf(self, ret: int, origin: Origin) -> _Answer:
        return _Answer(self._graph.leaf(ret, (origin,)), (origin,))

    def spans(self) -> tuple[Span, ...]:
        numbers: dict[int, _Answer] = {}
        for abi in self._here.values():
            numbers.update(self._calls(self._tables.tables[abi.name]))
        result: list[Span] = []
        for first, last, background in self._backgrounds():
            at = first
            for nr in sorted(n for n in numbers if first <= n <= last):
                if at < nr:
                    _append(result, at, nr - 1, background)
                _append(result, nr, nr, numbers[nr])
                at = nr + 1
            if at <= last:
                _append(result, at, last, background)
        return tuple(result)

    def _calls(self, table: Table) -> Mapping[int, _Answer]:
        """Return what happens to each number that ``table`` names."""
        policy = self._policy
        default = self._leaf(policy.default_action.ret(table.abi), policy.default_origin)
        rules: dict[int, list[Rule]] = {}
        for rule in policy.rules:
            if rule.name in table.numbers:
                rules.setdefault(table.numbers[rule.name], []).append(rule)
        answers = dict.fromkeys(table.numbers.values(), default)
        for nr, own in rules.items():
            answers[nr] = self._decide(tuple(own), default, table.abi)
        return answers

    def _decide(self, rules: tuple[Rule, ...], default: _Answer, abi: Abi) -> _Answer:
        """Return what ``rules`` make of one call of ``abi``.

        If all that is reached gives one answer, the call does not depend on its arguments and
        must not look at them: the kernel then answers it from its bitmap (seccomp_is_const_allow
        in kernel/seccomp.c). If nothing is left for the default, the last rule needs no test.
        """
        found = reach(rules)
        cases = [
            (rule.condition, self._graph.leaf(rule.action.ret(abi), (rule.origin,)), rule.origin)
            for rule in found.alive
        ]
        otherwise = default.node
        if not found.rest:
            _, otherwise, _ = cases.pop()
        if all(node == otherwise for _, node, _ in cases):
            node = otherwise
        else:
            node = self._graph.decide(cases, otherwise, self._program_abi)
        return _Answer(node, tuple(dict.fromkeys(rule.origin for rule in rules)))

    def _backgrounds(self) -> Iterable[tuple[int, int, _Answer]]:
        """Yield ranges that cover all numbers, with the answer for those that have no name."""
        if self._main.audit_arch_name == "AUDIT_ARCH_X86_64":
            bit = X32_SYSCALL_BIT
            native = self._unknown if "x86_64" in self._here else self._foreign
            x32 = self._unknown if "x32" in self._here else self._foreign
            yield 0, bit - 1, native
            yield bit, 2 * bit - 1, x32
            yield 2 * bit, 3 * bit - 1, native
            yield 3 * bit, U32 - 1, x32
            yield U32, U32, self._unknown
            return
        at = 0
        for first, last in sorted(self._foreign_ranges()):
            yield at, first - 1, self._unknown
            yield first, last, self._foreign
            at = last + 1
        yield at, U32, self._unknown

    def _foreign_ranges(self) -> Iterable[tuple[int, int]]:
        if not _is_mips(self._main):
            return
        for table in self._tables.tables.values():
            other = table.abi
            same_kernel = _is_mips(other) and other.byte_order == self._main.byte_order
            if same_kernel and other != self._main:
                yield min(table.numbers.values()), max(table.numbers.values())


def _is_mips(abi: Abi) -> bool:
    return abi.audit_arch_name.startswith("AUDIT_ARCH_MIPS")


def _append(spans: list[Span], first: int, last: int, answer: _Answer) -> None:
    """Add a span, or lengthen the one before it if that is decided the same way."""
    if spans and spans[-1].node == answer.node:
        before = spans[-1]
        origins = tuple(dict.fromkeys((*before.origins, *answer.origins)))
        spans[-1] = Span(before.first, last, answer.node, origins)
    else:
        spans.append(Span(first, last, answer.node, answer.origins))
