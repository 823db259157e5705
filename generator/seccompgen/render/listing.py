"""Write a program as readable assembly, from its instructions and the tables alone.

Nothing is taken from the compiler's knowledge, so a listing cannot claim what the bytes do not do.
Only the lines of the policy at the head of a call's block come from the compiler.

Targets are named after the calls that reach them, never by index, and a range of calls after its
first. So one added system call changes only the lines that it touches.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errnos import errno_name
from seccompgen.core.model import RET_DATA_MAX, U32, Action, ActionKind, Comparison, Op
from seccompgen.core.number_spans import Span, common, merged
from seccompgen.core.program import (
    ALU_AND_K,
    ARCH_OFFSET,
    ARGS_OFFSET,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    NR_OFFSET,
    RET_K,
)
from seccompgen.core.word import ARGS
from seccompgen.verify.call import word_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Table, Tables

JUMPS = {JMP_JEQ_K: "jeq", JMP_JGT_K: "jgt", JMP_JGE_K: "jge", JMP_JSET_K: "jset"}
_OPERATIONS = {JMP_JEQ_K: Op.EQ, JMP_JGT_K: Op.GT, JMP_JGE_K: Op.GE, JMP_JSET_K: Op.ANY_BITS}
_MOST_CALLS = 8
"""The most calls that may share a test that is shown with names."""
_MOST_NAMES = 3
_MOST_LINES = 6
_WIDTH = 56
# fmt: off
_ARITHMETIC = {
    0x00: "add", 0x10: "sub", 0x20: "mul", 0x30: "div", 0x40: "or", 0x50: "and", 0x60: "lsh",
    0x70: "rsh", 0xA0: "xor",
}
PLAIN = {
    0x00: "ld   #{k}", 0x01: "ldx  #{k}", 0x60: "ld   M[{k}]", 0x61: "ldx  M[{k}]",
    0x80: "ld   #len", 0x81: "ldx  #len", 0x02: "st   M[{k}]", 0x03: "stx  M[{k}]",
    0x07: "tax", 0x87: "txa", 0x16: "ret  a", 0x84: "neg",
    **{0x04 | operation: f"{name:4} {{k}}" for operation, name in _ARITHMETIC.items()},
    **{0x0C | operation: f"{name:4} x" for operation, name in _ARITHMETIC.items()},
}
# fmt: on
"""Instructions that the compiler never emits, named as in Documentation/networking/filter.rst."""


def digits(k: int) -> str:
    """Return a constant of an instruction as text, below 10 in decimal."""
    return str(k) if k < 10 else f"{k:#x}"


class ListingLine(NamedTuple):
    """An instruction as text; ``label`` names it if something jumps to it.

    ``rules`` are the lines of the policy that a call's block comes from, if they are known:
    ``web.yml:12, 14``.
    """

    label: str
    text: str
    rules: str = ""

    @property
    def head(self) -> str:
        """The heading above the instruction; empty if nothing jumps to it."""
        return f"{self.label}: {self.rules}".rstrip() if self.label else ""


class _Held(NamedTuple):
    """A word in the accumulator."""

    offset: int
    mask: int = U32


@dataclass(slots=True)
class _FlowFacts:
    """Facts that hold when an instruction runs.

    ``calls`` maps an audit value (None: any that was not tested for) to the numbers that can still
    reach the instruction. ``held`` are the words that the accumulator may hold, each with its mask.
    ``known`` are the values of words, by offset, that are the same on every path to it.
    """

    calls: dict[int | None, tuple[Span, ...]] = field(default_factory=dict)
    held: set[_Held | None] = field(default_factory=set)
    known: dict[int, int] | None = None

    def merge(
        self, calls: dict[int | None, tuple[Span, ...]], held: _Held | None, known: dict[int, int]
    ) -> None:
        for audit_arch, numbers in calls.items():
            self.calls[audit_arch] = merged((*self.calls.get(audit_arch, ()), *numbers))
        self.held.add(held)
        before = known if self.known is None else self.known
        self.known = {at: value for at, value in known.items() if before.get(at) == value}

    @property
    def word(self) -> _Held | None:
        """The word in the accumulator, if it is the same on every path to the instruction."""
        return next(iter(self.held)) if len(self.held) == 1 else None

    def holds(self, offset: int) -> bool:
        """Return True if the accumulator holds the whole word at ``offset``."""
        return self.held == {_Held(offset)}


def ret_action(ret: int, abi: Abi) -> str:
    """Return a SECCOMP_RET value as a policy spells it, with the errno by name if it has one."""
    try:
        kind = ActionKind(ret & ~RET_DATA_MAX)
    except ValueError:
        return f"{ret:#010x}"
    data = ret & RET_DATA_MAX
    if kind is ActionKind.ERRNO and (name := errno_name(data, abi)):
        return f"errno({name})"
    return str(Action(kind, data)) if kind.takes_data or not data else f"{ret:#010x}"


def word_name(offset: int, abi: Abi) -> str:
    """Return the name of the word at ``offset`` of struct seccomp_data in listings."""
    if offset == NR_OFFSET:
        return "nr"
    if offset == ARCH_OFFSET:
        return "arch"
    if offset < ARGS_OFFSET:
        return f"instruction_pointer+{offset - 8}"
    argument, second = divmod(offset - ARGS_OFFSET, 8)
    low_first = abi.byte_order == "little"
    return f"args[{argument}].{'lo' if (second == 0) == low_first else 'hi'}"


def low_argument(offset: int, abi: Abi) -> int | None:
    """Return the argument whose low word is at ``offset``; None for any other word."""
    word = word_at(offset, abi.byte_order)
    return word.argument if word.field >= ARGS and not word.is_high else None


def comparison_of(instruction: Instruction, argument: int, mask: int) -> Comparison:
    """Return the test of a jump on the low word of ``argument``, which was masked by ``mask``."""
    op, value = _OPERATIONS[instruction.code], instruction.k
    if op is Op.ANY_BITS:
        return Comparison(argument, op, value & mask, U32, 32)
    if op is Op.EQ and mask != U32:
        op = Op.MASKED_EQ
    return Comparison(argument, op, value, mask, 32)


def same_text(texts: Iterable[str]) -> str:
    """Return the text that all ``texts`` are equal to; empty if they differ, or there are none."""
    found = set(texts)
    return found.pop() if len(found) == 1 else ""


def listing(
    instructions: Sequence[Instruction],
    abi: Abi,
    tables: Tables,
    origins: Sequence[tuple[Origin, ...]] = (),
) -> tuple[ListingLine, ...]:
    """Return a line for each instruction of the program for ``abi``.

    ``origins``, one for each instruction, are the parts of the policy that it comes from.
    """
    return Listing(instructions, abi, tables, origins).lines()


class Listing:
    """The lines of a program, and the facts that they are derived from."""

    def __init__(
        self,
        instructions: Sequence[Instruction],
        abi: Abi,
        tables: Tables,
        origins: Sequence[tuple[Origin, ...]] = (),
    ) -> None:
        self._instructions = instructions
        self._origins = origins
        self._abi = abi
        self._tables = tables
        self._reach = self._explore()
        self._labels = self._name_targets()

    def lines(self) -> tuple[ListingLine, ...]:
        """Return a line for each instruction."""
        return tuple(
            ListingLine(self._labels.get(i, ""), self._text(i, instruction), self._rules(i))
            for i, instruction in enumerate(self._instructions)
        )

    def _rules(self, start: int) -> str:
        """Return the policy's lines for the block from ``start`` on, if that is a call's block."""
        calls = self._reach[start].calls.values()
        if start not in self._labels or not self._origins or not all(map(_are_few, calls)):
            return ""
        end = start + 1
        while end < len(self._instructions) and end not in self._labels:
            end += 1
        lines: dict[str, set[int]] = {}
        for origin in {one for some in self._origins[start:end] for one in some}:
            if origin.position.line:
                file = PurePath(origin.position.file).name
                lines.setdefault(file, set()).add(origin.position.line)
        return "; ".join(f"{file}:{_numbers(lines[file])}" for file in sorted(lines))

    def _successors(self, i: int) -> tuple[int, ...]:
        instruction = self._instructions[i]
        if instruction.code == JMP_JA:
            return (i + 1 + instruction.k,)
        if instruction.code & 0x07 == 0x05:
            return i + 1 + instruction.jt, i + 1 + instruction.jf
        return () if instruction.code & 0x07 == 0x06 else (i + 1,)

    def _explore(self) -> list[_FlowFacts]:
        """Return what is known at each instruction, in one pass: jumps only go forward."""
        everything: tuple[Span, ...] = ((0, U32),)
        reach = [_FlowFacts() for _ in self._instructions]
        reach[0].merge({None: everything}, None, {})
        for i, instruction in enumerate(self._instructions):
            here = reach[i]
            held = here.word
            if instruction.code == LD_W_ABS:
                held = _Held(instruction.k)
            elif instruction.code == ALU_AND_K and held:
                held = _Held(held.offset, held.mask & instruction.k)
            elif instruction.code not in JUMPS and instruction.code != JMP_JA:
                held = None
            targets = self._successors(i)
            for branch, target in enumerate(targets):
                if target < len(reach):
                    taken = branch == 0 if len(targets) == 2 else None
                    calls = _narrow(here.calls, held, instruction, taken)
                    known = _learn(here.known or {}, held, instruction, taken)
                    reach[target].merge(calls, held, known)
        return reach

    def _name_targets(self) -> dict[int, str]:
        """Return names for all instructions that are jumped to and are not plain answers."""
        jumped = set()
        for i, instruction in enumerate(self._instructions):
            if instruction.code & 0x07 == 0x05:
                jumped |= {self._final(t) for t in self._successors(i) if t != i + 1}
        wanted = sorted(i for i in jumped if self._instructions[i].code != RET_K)
        names = {i: self._describe(self._reach[i].calls) for i in wanted}
        often = Counter(names.values())
        seen: Counter[str] = Counter()
        for i in wanted:
            name = names[i]
            seen[name] += 1
            if often[name] > 1:
                names[i] = f"{name} ({seen[name]})"
        return names

    def _final(self, target: int) -> int:
        """Return the end of a chain of plain jumps that starts at ``target``."""
        while target < len(self._instructions) and self._instructions[target].code == JMP_JA:
            target += 1 + self._instructions[target].k
        return min(target, len(self._instructions) - 1)

    def _call(self, audit_arch: int | None, nr: int) -> str:
        table = self._tables.table_of(audit_arch, nr)
        if table is None or nr not in table.names:
            return str(nr)
        shares = table.abi != self._abi and audit_arch == self._abi.audit_arch
        return f"{table.abi.name} {table.names[nr]}" if shares else table.names[nr]

    def _describe(self, calls: dict[int | None, tuple[Span, ...]]) -> str:
        if list(calls) == [None]:
            return "other ABIs"
        parts = []
        for audit_arch, numbers in calls.items():
            table = self._tables.table_of(audit_arch, numbers[0][0]) if numbers else None
            where = table.abi.name if table else "other ABIs"
            prefix = "" if table and audit_arch == self._abi.audit_arch else f"{where} "
            if numbers == ((0, U32),):
                parts.append(f"{where} calls")
            else:
                parts.append(prefix + self._numbers(audit_arch, numbers))
        return "; ".join(parts)

    def _numbers(self, audit_arch: int | None, numbers: tuple[Span, ...]) -> str:
        """Return the names of a few calls; of more, only the first: the last changes more often."""
        if _are_few(numbers):
            return ", ".join(self._call(audit_arch, first) for first, _ in numbers)
        named = [
            nr
            for table in self._tables.under(audit_arch)
            for nr in table.names
            if any(first <= nr <= last for first, last in numbers)
        ]
        first = self._call(audit_arch, min(named)) if named else f"{numbers[0][0]:#x}"
        return f"from {first}" if len(numbers) == 1 else f"{first} and others"

    def _text(self, i: int, instruction: Instruction) -> str:
        code, k = instruction.code, instruction.k
        if code == LD_W_ABS:
            return f"ld   {word_name(k, self._abi)}"
        if code == ALU_AND_K:
            return f"and  {k:#x}"
        if code == RET_K:
            return f"ret  {ret_action(k, self._abi)}"
        if code == JMP_JA:
            return f"ja   -> {self._target(i + 1 + k)}"
        if code in JUMPS:
            operand = self._operand(i, k)
            text = f"{JUMPS[code]:4} {operand}"
            ways = []
            if instruction.jt:
                ways.append(f"-> {self._target(i + 1 + instruction.jt)}")
            if instruction.jf:
                ways.append(f"else {self._target(i + 1 + instruction.jf)}")
            text = f"{text:28} {' '.join(ways)}".rstrip()
            meant = self._meant(i)
            return f"{text:{_WIDTH}} ; {meant}" if meant else text
        return self._other(i, instruction)

    def _meant(self, i: int) -> str:
        """Return a jump's test of an argument with the names of constants; empty if it has none.

        It has none if the calls that reach the jump would name them differently.
        """
        here = self._reach[i]
        argument = low_argument(here.word.offset, self._abi) if here.word else None
        if here.word is None or argument is None:
            return ""
        values = {
            at: value
            for offset, value in (here.known or {}).items()
            if (at := low_argument(offset, self._abi)) is not None
        }
        test = comparison_of(self._instructions[i], argument, here.word.mask)
        return same_text(
            self._tables.naming.comparison(test, name, table.abi, values)
            for table, nr in self._calls_at(i)
            for name, number in table.numbers.items()
            if number == nr
        )

    def _calls_at(self, i: int) -> list[tuple[Table, int]]:
        """Return the calls that reach an instruction; none if they are many or one has no name."""
        calls = self._reach[i].calls
        if _how_many(calls) > _MOST_CALLS:
            return []
        found = [
            (self._tables.table_of(audit_arch, nr), nr)
            for audit_arch, numbers in calls.items()
            for first, last in numbers
            for nr in range(first, last + 1)
        ]
        named = [(table, nr) for table, nr in found if table and nr in table.names]
        return named if len(named) == len(found) else []

    def _other(self, i: int, instruction: Instruction) -> str:
        """Return the text of an instruction that only other compilers use."""
        code, k = instruction.code, instruction.k
        if code in PLAIN:
            return PLAIN[code].format(k=digits(k))
        if code & 0x0F == 0x0D:  # a conditional jump, by X
            name = JUMPS.get(code & ~0x08)
            ways = [self._target(i + 1 + way) for way in (instruction.jt, instruction.jf)]
            if name:
                return f"{f'{name:4} x':28} -> {ways[0]} else {ways[1]}"
        return f"op {code:#04x} jt {instruction.jt} jf {instruction.jf} k {k:#x}"

    def _operand(self, i: int, k: int) -> str:
        here = self._reach[i]
        if here.holds(ARCH_OFFSET):
            known = self._tables.under(k)
            return known[0].abi.audit_arch_name if known else f"{k:#010x}"
        if here.holds(NR_OFFSET):
            audits = [a for a in here.calls if a is not None]
            name = self._call(audits[0], k) if len(audits) == 1 else str(k)
            number = f"{k:#x}" if k >= 1 << 20 else str(k)
            return f"{number} {name}" if name != str(k) else number
        return f"{k:#x}" if k > 9 else str(k)

    def _target(self, target: int) -> str:
        target = self._final(target)
        instruction = self._instructions[target]
        if instruction.code == RET_K:
            return ret_action(instruction.k, self._abi)
        return self._labels.get(target, "the next line")


def _narrow(
    calls: dict[int | None, tuple[Span, ...]],
    held: _Held | None,
    instruction: Instruction,
    taken: bool | None,
) -> dict[int | None, tuple[Span, ...]]:
    """Return the calls that continue on the branch ``taken``."""
    if taken is None or held not in {_Held(NR_OFFSET), _Held(ARCH_OFFSET)}:
        return calls
    k, code = instruction.k, instruction.code
    if held == _Held(ARCH_OFFSET):
        if code != JMP_JEQ_K:
            return calls
        if taken:
            numbers = calls.get(k, calls.get(None, ()))
            return {k: numbers} if numbers else {}
        return {audit_arch: numbers for audit_arch, numbers in calls.items() if audit_arch != k}
    if code == JMP_JSET_K:
        return calls
    first, last = {JMP_JEQ_K: (k, k), JMP_JGE_K: (k, U32), JMP_JGT_K: (k + 1, U32)}[code]
    window = ((first, last),) if taken else ((0, first - 1), (last + 1, U32))
    narrowed = {audit_arch: tuple(common(numbers, window)) for audit_arch, numbers in calls.items()}
    return {audit_arch: numbers for audit_arch, numbers in narrowed.items() if numbers}


def _learn(
    known: dict[int, int], held: _Held | None, instruction: Instruction, taken: bool | None
) -> dict[int, int]:
    """Return the values of words that are known on the branch ``taken``."""
    if taken and held and held.mask == U32 and instruction.code == JMP_JEQ_K:
        return {**known, held.offset: instruction.k}
    return known


def _numbers(lines: set[int]) -> str:
    most = [str(line) for line in sorted(lines)]
    return ", ".join(most if len(most) <= _MOST_LINES else [*most[: _MOST_LINES - 1], "..."])


def _are_few(numbers: tuple[Span, ...]) -> bool:
    return len(numbers) <= _MOST_NAMES and all(first == last for first, last in numbers)


def _how_many(calls: dict[int | None, tuple[Span, ...]]) -> int:
    return sum(last - first + 1 for numbers in calls.values() for first, last in numbers)
