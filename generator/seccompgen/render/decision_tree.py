"""The decision tree of a program: its questions in reading order, with the targets of answers.

A row is a conditional jump with the loads before it. A jump has one row, even if several others
lead to it. If one branch of a question ends in an answer, the other continues below, as in a list
of cases. If both continue, the shorter one is indented.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.filter_summary import Executed
from seccompgen.core.model import U32, All
from seccompgen.core.program import (
    ARCH_OFFSET,
    ARGS_OFFSET,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    NR_OFFSET,
    RET_K,
)
from seccompgen.core.text import some
from seccompgen.render.listing import (
    Listing,
    comparison_of,
    digits,
    low_argument,
    ret_action,
    same_text,
    word_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables

_MOST_RULES = 2
_SIGNS = {JMP_JEQ_K: "==", JMP_JGT_K: ">", JMP_JGE_K: ">=", JMP_JSET_K: "&"}


class BranchTarget(NamedTuple):
    """The target of a branch: the answer ``text``, a SECCOMP_RET value ``ret``, or row ``row``.

    ``again`` is True for a row that is drawn elsewhere, because another branch leads there as well.
    For a computed answer, both numbers are None.
    """

    text: str = ""
    ret: int | None = None
    row: int | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A question, asked by instruction ``at``, and the targets of its two branches.

    ``parent`` is the row that leads here, by its branch ``via``; None for the first row. ``calls``
    are the calls that can reach the row. ``rules`` are positions in the policy. ``cost`` counts the
    instructions that run from here on, this one included.
    """

    at: int
    question: str
    calls: str
    yes: BranchTarget
    no: BranchTarget
    parent: int | None
    via: str
    depth: int
    rules: str
    cost: Executed


class _Node(NamedTuple):
    """The position of a jump: below the jump ``parent``, on its branch ``via``, ``depth`` deep."""

    parent: int | None
    via: str
    depth: int


def decision_tree(program: Program, tables: Tables) -> tuple[TreeRow, ...]:
    """Return the rows of a program that the kernel accepts; none if it has no conditional jump."""
    return _TreeBuilder(program, tables).rows()


class _TreeBuilder(Listing):
    def __init__(self, program: Program, tables: Tables) -> None:
        super().__init__(program.instructions, program.abi, tables, program.origins)
        self._costs: dict[int, Executed] = {}
        self._sizes: dict[int, int] = {}
        for i in range(len(program.instructions) - 1, -1, -1):  # jumps lead forward
            successors = self._successors(i)
            costs = [self._costs[each] for each in successors] or [Executed(0, 0)]
            least, most = min(one.least for one in costs), max(one.most for one in costs)
            self._costs[i] = Executed(least + 1, most + 1)
            self._sizes[i] = (len(successors) == 2) + sum(self._sizes[each] for each in successors)

    def rows(self) -> tuple[TreeRow, ...]:
        first = self._decides(0)
        if self._is_answer(first):
            return ()
        placed: dict[int, _Node] = {}
        waiting = [(first, _Node(None, "", 0))]
        while waiting:
            at, place = waiting.pop()
            if at in placed:
                continue
            placed[at] = place
            inner = [one for one in self._branches(at) if not self._is_answer(one[1])]
            inner = [one for one in inner if one[1] not in placed]
            inner.sort(key=lambda one: -self._sizes[one[1]])
            for n, (via, to) in enumerate(inner):
                waiting.append((to, _Node(at, via, place.depth + n)))
        numbers = {at: n for n, at in enumerate(placed)}
        return tuple(self._row(at, placed, numbers) for at in placed)

    def _row(self, at: int, placed: Mapping[int, _Node], numbers: Mapping[int, int]) -> TreeRow:
        place = placed[at]
        yes, no = (
            self._answer(to)
            if self._is_answer(to)
            else BranchTarget(row=numbers[to], again=placed[to][:2] != (at, via))
            for via, to in self._branches(at)
        )
        return TreeRow(
            at,
            self._question(at),
            self._describe(self._reach[at].calls),
            yes,
            no,
            None if place.parent is None else numbers[place.parent],
            place.via,
            place.depth,
            self._policy_places(at),
            self._costs[at],
        )

    # --- following ---------------------------------------------------------------------------

    def _decides(self, at: int) -> int:
        """Return the first instruction from ``at`` on that is a conditional jump or an answer."""
        while len(successors := self._successors(at)) == 1:
            (at,) = successors
        return at

    def _branches(self, at: int) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return the branches of a conditional jump, each with its target."""
        true, false = map(self._decides, self._successors(at))
        return ("yes", true), ("no", false)

    def _is_answer(self, at: int) -> bool:
        return not self._successors(at)

    # --- words -------------------------------------------------------------------------------

    def _answer(self, at: int) -> BranchTarget:
        one = self._instructions[at]
        if one.code != RET_K:
            return BranchTarget("what was computed")
        return BranchTarget(ret_action(one.k, self._abi), one.k)

    def _question(self, at: int) -> str:
        """Return the question of a conditional jump."""
        here, one = self._reach[at], self._instructions[at]
        held = here.word
        if held is None or one.code not in _SIGNS:
            return self._text(at, one).partition("->")[0].partition(" else ")[0].strip()
        sign = _SIGNS[one.code]
        if here.holds(ARCH_OFFSET):
            served = self._tables.under(one.k)
            return f"arch {sign} {served[0].abi.name if served else hex(one.k)}"
        if here.holds(NR_OFFSET):
            number, _, name = self._operand(at, one.k).partition(" ")
            if one.code == JMP_JEQ_K and name:
                return f"{name} (nr {sign} {number})"
            # Bits of a number identify no call, except the bit that marks x32.
            name = "x32" if one.code == JMP_JSET_K and one.k == X32_SYSCALL_BIT else name
            known = name and (one.code != JMP_JSET_K or name == "x32")
            return f"nr {sign} {number}" + (f" ({name})" if known else "")
        argument = low_argument(held.offset, self._abi)
        if argument is not None and (
            named := self._meant(at) or self._said(at, argument, held.mask)
        ):
            return named
        mask = "" if held.mask == U32 else f" & {held.mask:#x}"
        return f"{self._word(at, held.offset)}{mask} {sign} {digits(one.k)}"

    def _said(self, at: int, argument: int, mask: int) -> str:
        """Return a jump's question about an argument's low word, if all calls here agree on it."""
        test = All((comparison_of(self._instructions[at], argument, mask),))
        naming = self._tables.naming
        return same_text(
            naming.condition(test, table.names[nr], table.abi) for table, nr in self._calls_at(at)
        )

    def _word(self, at: int, offset: int) -> str:
        """Return the name of a word, with the argument's name if all calls here agree on it."""
        if offset < ARGS_OFFSET:
            return word_name(offset, self._abi)
        argument = (offset - ARGS_OFFSET) // 8
        naming = self._tables.naming
        name = same_text(
            naming.argument(table.names[nr], argument, table.abi)
            for table, nr in self._calls_at(at)
        )
        half = "low" if low_argument(offset, self._abi) is not None else "high"
        return f"{half} half of {name or f'arg{argument}'}"

    def _policy_places(self, at: int) -> str:
        """Return the first positions in the policy that a jump comes from."""
        origins = self._origins[at] if self._origins else ()
        places = dict.fromkeys(
            f"{PurePath(one.position.file).name}:{one.position.line}"
            for one in origins
            if one.position.line
        )
        return some(list(places), _MOST_RULES)
