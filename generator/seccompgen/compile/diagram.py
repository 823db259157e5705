"""Decision diagrams over the 32-bit words of ``seccomp_data``, each node made once.

A leaf is an answer; a test compares one word (or its bits under a mask) with a constant and
goes on to one of two nodes. Nodes are immutable and hash-consed over the whole program, so
equal tails of different rules, calls and ABIs are one node.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.model import Origin

NodeId: TypeAlias = int


class CompareOp(Enum):
    """The relation of a test between the accumulator and its constant, unsigned over 32 bits."""

    EQ = "=="
    GT = ">"
    GE = ">="
    ANY_BITS = "&"


@dataclass(frozen=True, slots=True)
class LoadedWord:
    """The value of the accumulator: the word at ``offset`` (bytes), and-ed with ``mask``."""

    offset: int
    mask: int = U32


@dataclass(frozen=True, slots=True)
class Leaf:
    """The answer ``ret``, a SECCOMP_RET value."""

    ret: int


@dataclass(frozen=True, slots=True)
class TestNode:
    """A comparison of ``value`` with ``k``: go on at ``true`` if it holds, else at ``false``."""

    value: LoadedWord
    relation: CompareOp
    k: int
    true: NodeId
    false: NodeId


class Diagram:
    """All nodes of one program; a child always has a smaller number than its parents."""

    def __init__(self) -> None:
        self.nodes: list[Leaf | TestNode] = []
        self._known: dict[Leaf | TestNode, NodeId] = {}
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
        value: LoadedWord,
        relation: CompareOp,
        k: int,
        true: NodeId,
        false: NodeId,
        origins: Iterable[Origin],
    ) -> NodeId:
        """Return a node for the test, or the branch itself if only one can be taken."""
        if true == false:
            return true
        match relation:
            case CompareOp.EQ if k & ~value.mask:
                return false
            case CompareOp.EQ if value.mask == 0:
                return true
            case CompareOp.EQ if k == 0 and value.mask != U32:
                # jset does a mask and a comparison with zero in one instruction.
                return self.test(
                    LoadedWord(value.offset), CompareOp.ANY_BITS, value.mask, false, true, origins
                )
            case CompareOp.EQ if k == value.mask and value.mask.bit_count() == 1:
                return self.test(
                    LoadedWord(value.offset), CompareOp.ANY_BITS, k, true, false, origins
                )
            case CompareOp.GE if k == 0:
                return true
            case CompareOp.GT if k >= value.mask:
                return false
            case CompareOp.GE if k > value.mask:
                return false
            case CompareOp.ANY_BITS if k == 0:
                return false
        return self._intern(TestNode(value, relation, k, true, false), origins)

    def _intern(self, node: Leaf | TestNode, origins: Iterable[Origin]) -> NodeId:
        number = self._known.get(node)
        if number is None:
            number = self._known[node] = len(self.nodes)
            self.nodes.append(node)
            self._origins.append({})
        self.credit(number, origins)
        return number
