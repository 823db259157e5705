"""From a decision diagram to instructions, emitted from the last to the first.

Classic BPF jumps forwards only, so emitting backwards means that every target has its place
before a jump to it is written, and that a node emitted once serves all its parents. A node
becomes a unit of up to three instructions: load the word, mask it, test it. A jump enters the
unit behind the load if the accumulator already holds the word.

A conditional jump reaches 255 instructions. A target out of reach gets a copy nearby: an answer
is repeated, any other target is reached through a ``ja`` (whose offset has 32 bits), and later
jumps use that copy while it is in reach. Copies lie between units, where nothing falls into
them, because each unit ends in a jump or an answer. The order is that of a depth-first walk,
false branch next to its test; no attempt is made to find the order with the fewest copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.compile.diagram import CompareOp, Leaf, TestNode
from seccompgen.core.model import U32
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    RET_K,
    Instruction,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from seccompgen.compile.diagram import Diagram, LoadedWord, NodeId
    from seccompgen.core.model import Origin

MAX_OFFSET = 255
"""The largest ``jt`` and ``jf``, which have 8 bits."""

_OPCODES = {
    CompareOp.EQ: JMP_JEQ_K,
    CompareOp.GT: JMP_JGT_K,
    CompareOp.GE: JMP_JGE_K,
    CompareOp.ANY_BITS: JMP_JSET_K,
}

# Where a unit is entered: at its load, behind it at the mask, or at the test itself.
_LOAD, _MASK, _TEST = range(3)

_Entry: TypeAlias = "tuple[NodeId, int]"


@dataclass(frozen=True, slots=True)
class _Emitted:
    instruction: Instruction
    origins: tuple[Origin, ...]


def assemble(
    graph: Diagram, root: NodeId
) -> tuple[tuple[Instruction, ...], tuple[tuple[Origin, ...], ...]]:
    """Return the instructions of the diagram at ``root``, with the origins of each."""
    order = list(_children_first(graph, root))
    code = _Emitter(graph, {(root, _LOAD), *_entries(graph, order)})
    for node in order:
        code.emit(node)
    return code.finish()


def _children_first(graph: Diagram, root: NodeId) -> Iterable[NodeId]:
    """Yield every node under ``root`` once, after its children; a long chain does not recurse."""
    seen: set[NodeId] = set()
    stack = [(root, False)]
    while stack:
        number, ready = stack.pop()
        if ready:
            yield number
            continue
        if number in seen:
            continue
        seen.add(number)
        stack.append((number, True))
        node = graph.nodes[number]
        if isinstance(node, TestNode):
            stack += [(node.false, False), (node.true, False)]


def _entries(graph: Diagram, order: Iterable[NodeId]) -> Iterable[_Entry]:
    """Yield every entry that some test jumps to; a load without an entry is not emitted."""
    for number in order:
        node = graph.nodes[number]
        if isinstance(node, TestNode):
            yield _entry(graph, node.true, node.value)
            yield _entry(graph, node.false, node.value)


def _entry(graph: Diagram, number: NodeId, held: LoadedWord) -> _Entry:
    """Return where to enter ``number`` with ``held`` in the accumulator."""
    node = graph.nodes[number]
    if isinstance(node, TestNode):
        if node.value == held:
            return number, _TEST
        missing = node.value.mask & ~held.mask
        if node.value.offset == held.offset and not missing:
            return number, _MASK
    return number, _LOAD


class _Emitter:
    """The program so far, in reverse: place 0 is the last instruction."""

    def __init__(self, graph: Diagram, entries: AbstractSet[_Entry]) -> None:
        self._graph = graph
        self._entries = entries
        self._out: list[_Emitted] = []
        self._places: dict[_Entry, int] = {}
        """For each entry, the nearest place with its effect: the entry itself or a copy."""

    def emit(self, number: NodeId) -> None:
        node = self._graph.nodes[number]
        origins = self._graph.origins(number)
        if isinstance(node, Leaf):
            self._append(Instruction(RET_K, 0, 0, node.ret), origins)
            self._places[number, _LOAD] = len(self._out) - 1
            return
        true = _entry(self._graph, node.true, node.value)
        false = _entry(self._graph, node.false, node.value)
        self._bring_near(true, false)
        jt, jf = self._offset(true), self._offset(false)
        self._append(Instruction(_OPCODES[node.relation], jt, jf, node.k), origins)
        self._places[number, _TEST] = len(self._out) - 1
        loads = (number, _LOAD) in self._entries
        if node.value.mask != U32 and (loads or (number, _MASK) in self._entries):
            self._append(Instruction(ALU_AND_K, 0, 0, node.value.mask), origins)
        self._places[number, _MASK] = len(self._out) - 1
        if loads:
            self._append(Instruction(LD_W_ABS, 0, 0, node.value.offset), origins)
        self._places[number, _LOAD] = len(self._out) - 1

    def finish(self) -> tuple[tuple[Instruction, ...], tuple[tuple[Origin, ...], ...]]:
        forwards = self._out[::-1]
        return tuple(e.instruction for e in forwards), tuple(e.origins for e in forwards)

    def _append(self, instruction: Instruction, origins: tuple[Origin, ...]) -> None:
        self._out.append(_Emitted(instruction, origins))

    def _offset(self, entry: _Entry) -> int:
        """Return the offset from an instruction emitted now to ``entry``."""
        return len(self._out) - 1 - self._places[entry]

    def _bring_near(self, *entries: _Entry) -> None:
        """Emit copies until all ``entries`` are in reach of the next instruction.

        A copy for one may push another out of reach, so look again; a fresh copy is at most
        one instruction away, so this ends.
        """
        while far := [entry for entry in entries if self._offset(entry) > MAX_OFFSET]:
            entry = far[0]
            node = self._graph.nodes[entry[0]]
            origins = self._graph.origins(entry[0])
            if isinstance(node, Leaf):
                copy = Instruction(RET_K, 0, 0, node.ret)
            else:
                copy = Instruction(JMP_JA, 0, 0, self._offset(entry))
            self._append(copy, origins)
            self._places[entry] = len(self._out) - 1
