"""Write programs as text that `filters.assembly` reads back to the same bytes.

The text is a listing in which every jump names its target by a label. Comments follow a semicolon:
names of calls, and the rules that instructions come from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.model import Action
from seccompgen.core.program import ALU_AND_K, JMP_JA, LD_W_ABS, RET_K, Instruction
from seccompgen.core.text import many, some
from seccompgen.render.listing import JUMPS, PLAIN, Listing, digits, ret_action, word_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables

_SOURCE_X = 0x08
_WIDTH = 52
_MOST_LABEL = 40


def disassembly(programs: Iterable[Program], tables: Tables) -> str:
    """Return programs that the kernel accepts as assembly, one after the other."""
    return "\n".join("".join(f"{line}\n" for line in _lines(one, tables)) for one in programs)


def _lines(program: Program, tables: Tables) -> Iterator[str]:
    yield f"abi {program.abi.name:52} ; {many(len(program.instructions), 'instruction')}"
    shown = _Disassembly(program.instructions, program.abi, tables)
    for i in range(len(program.instructions)):
        if i in shown.labels:
            yield f"{shown.labels[i]}:"
        text, comment = shown.assembly(i)
        origins = program.origins[i] if program.origins else ()
        comments = [text for text in (comment, _origin(origins)) if text]
        yield f"{i:5}  {text:{_WIDTH}} ; {', '.join(comments)}" if comments else f"{i:5}  {text}"


def _origin(origins: Sequence[Origin]) -> str:
    """Return the first of the parts of a policy that an instruction comes from."""
    return some([f"{one.label}, {one.position}" for one in origins], 1)


class _Disassembly(Listing):
    """A listing with unique labels; each jump names its own target."""

    def __init__(self, instructions: Sequence[Instruction], abi: Abi, tables: Tables) -> None:
        super().__init__(instructions, abi, tables)
        self.labels: dict[int, str] = {}
        used: set[str] = set()
        for target in sorted({t for i in range(len(instructions)) for t in self._named(i)}):
            name = label = self._name(target)
            number = 1
            while label in used:
                number += 1
                label = f"{name}_{number}"
            used.add(label)
            self.labels[target] = label

    def assembly(self, i: int) -> tuple[str, str]:
        """Return instruction ``i`` as assembly, and a comment."""
        one = self._instructions[i]
        code, k = one.code, one.k
        if code in JUMPS:
            operand, _, name = self._operand(i, k).partition(" ")
            return self._jump(i, f"{JUMPS[code]:4} {operand}"), name or self._meant(i)
        if code == JMP_JA and not (one.jt or one.jf):
            return f"{'ja':28} {self._ways(i)}", ""
        if code & ~_SOURCE_X in JUMPS and not k:
            return self._jump(i, f"{JUMPS[code & ~_SOURCE_X]:4} x"), ""
        text = "" if one.jt or one.jf else self._plain(one)
        if text:
            return text, ""
        said = {"k": 0 if code == JMP_JA else k}
        if code == JMP_JA or code & ~_SOURCE_X not in JUMPS:
            said |= {"jt": one.jt, "jf": one.jf}
        parts = [
            f"op   {code:#x}",
            *(f"{name} {value:#x}" for name, value in said.items() if value),
        ]
        return self._jump(i, " ".join(parts)), ""

    def _plain(self, one: Instruction) -> str:
        """Return the text of an instruction that is no jump; empty if none expresses all of it."""
        if one.code == LD_W_ABS:
            return f"ld   {word_name(one.k, self._abi)}"
        if one.code == ALU_AND_K:
            return f"and  {one.k:#x}"
        if one.code == RET_K:
            return f"ret  {self._answer(one.k)}"
        template = PLAIN.get(one.code, "")
        return template.format(k=digits(one.k)) if "{k}" in template or not one.k else ""

    def _answer(self, ret: int) -> str:
        """Return a SECCOMP_RET value as a policy spells it, or in digits if no policy can."""
        text = ret_action(ret, self._abi)
        try:
            Action.parse(text)
        except ValueError:
            return f"{ret:#010x}"
        return text

    def _jump(self, i: int, text: str) -> str:
        ways = self._ways(i)
        return f"{text:28} {ways}" if ways else text

    def _ways(self, i: int) -> str:
        """Return the targets of a jump by label, omitting the next instruction."""
        one = self._instructions[i]
        true, false = self._targets(i)
        ways = []
        if one.code == JMP_JA or true != i + 1:
            ways.append(f"-> {self.labels[true]}")
        if false != i + 1:
            ways.append(f"else {self.labels[false]}")
        return " ".join(ways)

    def _named(self, i: int) -> tuple[int, ...]:
        """Return the targets of instruction ``i`` that need a label."""
        if self._instructions[i].code == JMP_JA:
            return (self._targets(i)[0],)
        return tuple(target for target in self._targets(i) if target != i + 1)

    def _targets(self, i: int) -> tuple[int, int]:
        """Return the targets of instruction ``i`` if its test is true and if it is false."""
        ways = self._successors(i)
        if self._instructions[i].code == JMP_JA:
            return ways[0], i + 1
        return (ways[0], ways[1]) if len(ways) == 2 else (i + 1, i + 1)

    def _name(self, target: int) -> str:
        """Name the instruction at ``target`` after its action or the calls that reach it."""
        one = self._instructions[target]
        if one.code == RET_K:
            text = self._answer(one.k)
        elif one.code == JMP_JA:
            text = f"far {self._target(target)}"
        else:
            text = self._describe(self._reach[target].calls)
        name = re.sub(r"\W+", "_", text, flags=re.ASCII)[:_MOST_LABEL].strip("_")
        return name if name[:1].isalpha() and name != "else" else f"at_{name or target}"
