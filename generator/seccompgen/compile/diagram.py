"""Decision diagrams over the 32-bit words of ``seccomp_data``, each node made once.

A leaf is an answer; a test compares one word (or what a mask leaves of it) with a constant and
goes on to one of two nodes. Nodes are immutable and hash-consed over the whole program, so
equal tails of different rules, calls and ABIs are one node.

``decide`` is the plain way to a diagram, for rules that ``arguments`` finds no better one for:
they are folded from the last to the first with the continuations "matches" and "does not", which
makes the diagram linear in the size of the rules, and leaves tests that earlier ones on the path
imply.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.model import U32, All, Comparison, Op
from seccompgen.program import word_offset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.architectures import Abi
    from seccompgen.model import Condition, Origin

NodeId: TypeAlias = int


class Relation(Enum):
    """How a test compares the accumulator with its constant, unsigned over 32 bits."""

    EQ = "=="
    GT = ">"
    GE = ">="
    ANY_BITS = "&"


@dataclass(frozen=True, slots=True)
class Value:
    """What the accumulator holds: the word at ``offset`` (bytes), and-ed with ``mask``."""

    offset: int
    mask: int = U32


@dataclass(frozen=True, slots=True)
class Leaf:
    """The answer ``ret``, a SECCOMP_RET value."""

    ret: int


@dataclass(frozen=True, slots=True)
class Test:
    """If ``value`` stands in ``relation`` to ``k`` go on at ``true``, else at ``false``."""

    value: Value
    relation: Relation
    k: int
    true: NodeId
    false: NodeId


class Graph:
    """All nodes of one program; a child always has a smaller number than its parents."""

    def __init__(self) -> None:
        self.nodes: list[Leaf | Test] = []
        self._known: dict[Leaf | Test, NodeId] = {}
        self._origins: list[dict[Origin, None]] = []

    def origins(self, node: NodeId) -> tuple[Origin, ...]:
        """Return every part of the policy that asked for ``node``."""
        return tuple(self._origins[node])

    def credit(self, node: NodeId, origins: Iterable[Origin]) -> None:
        """Note that ``origins`` asked for ``node`` too."""
        self._origins[node].update(dict.fromkeys(origins))

    def leaf(self, ret: int, origins: Iterable[Origin]) -> NodeId:
        """Return the node that answers ``ret``."""
        return self._intern(Leaf(ret), origins)

    def test(
        self,
        value: Value,
        relation: Relation,
        k: int,
        true: NodeId,
        false: NodeId,
        origins: Iterable[Origin],
    ) -> NodeId:
        """Return a node for the test, or simply the branch that it must take."""
        if true == false:
            return true
        match relation:
            case Relation.EQ if k & ~value.mask:
                return false
            case Relation.EQ if value.mask == 0:
                return true
            case Relation.EQ if k == 0 and value.mask != U32:
                # jset does a mask and a comparison with zero in one instruction.
                return self.test(
                    Value(value.offset), Relation.ANY_BITS, value.mask, false, true, origins
                )
            case Relation.EQ if k == value.mask and value.mask.bit_count() == 1:
                return self.test(Value(value.offset), Relation.ANY_BITS, k, true, false, origins)
            case Relation.GE if k == 0:
                return true
            case Relation.GT if k == U32:
                return false
            case Relation.ANY_BITS if k == 0:
                return false
        return self._intern(Test(value, relation, k, true, false), origins)

    def _intern(self, node: Leaf | Test, origins: Iterable[Origin]) -> NodeId:
        number = self._known.get(node)
        if number is None:
            number = self._known[node] = len(self.nodes)
            self.nodes.append(node)
            self._origins.append({})
        self.credit(number, origins)
        return number

    def decide(
        self,
        cases: Sequence[tuple[Condition | None, NodeId, Origin]],
        otherwise: NodeId,
        abi: Abi,
    ) -> NodeId:
        """Return the diagram of ``cases``: the first whose condition holds gives its node.

        ``abi`` is the program's: its kernel lays out the arguments, whichever ABI the call is of.
        """
        node = otherwise
        for condition, matched, origin in reversed(cases):
            node = self._condition(condition, matched, node, origin, abi)
        return node

    def _condition(
        self, condition: Condition | None, true: NodeId, false: NodeId, origin: Origin, abi: Abi
    ) -> NodeId:
        if condition is None:
            return true
        if isinstance(condition, All):
            for part in reversed(condition.parts):
                true = self._condition(part, true, false, origin, abi)
            return true
        return self._comparison(condition, true, false, origin, abi)

    def _comparison(
        self, test: Comparison, true: NodeId, false: NodeId, origin: Origin, abi: Abi
    ) -> NodeId:
        match test.op:
            case Op.NE:
                op, true, false = Op.EQ, false, true
            case Op.LT:
                op, true, false = Op.GE, false, true
            case Op.LE:
                op, true, false = Op.GT, false, true
            case Op.NO_BITS:
                op, true, false = Op.ANY_BITS, false, true
            case op:
                pass
        low = word_offset(test.argument, "lo", abi)
        high = word_offset(test.argument, "hi", abi) if test.width == 64 else None
        k_low, k_high = test.value & U32, test.value >> 32
        source = (origin,)
        if op is Op.GE and test.value == 0:
            return true
        if op in {Op.GT, Op.GE}:
            relation = Relation.GT if op is Op.GT else Relation.GE
            node = self.test(Value(low), relation, k_low, true, false, source)
            if high is None:
                return node
            # The high words decide unless they are equal; then the low words do.
            node = self.test(Value(high), Relation.EQ, k_high, node, false, source)
            return self.test(Value(high), Relation.GT, k_high, true, node, source)
        if op is Op.ANY_BITS:
            node = self.test(Value(low), Relation.ANY_BITS, k_low, true, false, source)
            if high is None:
                return node
            return self.test(Value(high), Relation.ANY_BITS, k_high, true, node, source)
        mask_low, mask_high = U32, U32
        if op is Op.MASKED_EQ:
            mask_low, mask_high = test.mask & U32, test.mask >> 32
        node = self.test(Value(low, mask_low), Relation.EQ, k_low, true, false, source)
        if high is None:
            return node
        return self.test(Value(high, mask_high), Relation.EQ, k_high, node, false, source)
