"""Read assembly, as `render.disassembly` writes it and as people do, into programs.

::

    text         = { line }
    line         = [ "abi" NAME | LABEL ":" | [ INDEX ] instruction ] [ ";" comment ]
    instruction  = "ld" ( WORD | "#" K | "#len" | "M[" K "]" )
                 | "ldx" ( "#" K | "#len" | "M[" K "]" ) | ( "st" | "stx" ) "M[" K "]"
                 | ( "add" | "sub" | "mul" | "div" | "or" | "and" | "lsh" | "rsh" | "xor" )
                   ( K | "x" )
                 | "tax" | "txa" | "neg"
                 | "ja" "->" LABEL
                 | ( "jeq" | "jne" | "jgt" | "jge" | "jlt" | "jle" | "jset" ) ( K | NAME | "x" )
                   [ "->" LABEL ] [ "else" LABEL ]
                 | "ret" ( ACTION | K | "a" )
                 | "op" CODE [ "k" K ] [ "jt" K ] [ "jf" K ] [ "->" LABEL ] [ "else" LABEL ]

WORD is ``nr``, ``arch``, ``args[0].lo``, ``args[0].hi`` ..., ``instruction_pointer+0`` or ``+4``.
A NAME is that of a system call of the ABI, or AUDIT_ARCH_...; an ACTION is as in a policy. A way
that is not named leads to the next instruction. An INDEX must be right.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS, require_abi
from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import Action
from seccompgen.core.problems import Problem
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    LD_W_ABS,
    RET_K,
)
from seccompgen.filters.find.assembler import Assembler
from seccompgen.render.listing import JUMPS, PLAIN, word_name
from seccompgen.verify.call import DATA_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SOURCE_X = 0x08
_PATTERNS = {tuple(template.split()): code for code, template in PLAIN.items()}
_CODES = {name: code for code, name in JUMPS.items()}
_TURNED = {"jne": JMP_JEQ_K, "jle": JMP_JGT_K, "jlt": JMP_JGE_K}
"""Names for other jumps with their two ways exchanged."""
_AUDIT_ARCHES = {abi.audit_arch_name: abi.audit_arch for abi in ABIS.values()}
_MNEMONICS = sorted({*_CODES, *_TURNED, *(pattern[0] for pattern in _PATTERNS), "ja", "op", "ret"})


def assemble(text: str, file: str, tables: Tables, only: Abi | None = None) -> tuple[Program, ...]:
    """Return the programs of ``text``, or the one for ``only``; ``file`` is for messages.

    Text without a line ``abi NAME`` is for ``only``. Raises InputError with everything that is
    wrong, and where.
    """
    reader = _AsmReader(file, tables, only)
    for number, line in enumerate(text.splitlines(), 1):
        reader.read(number, line.partition(";")[0])
    return reader.programs()


class _AsmError(Exception):
    """A mistake in a line; ``at`` is the word that is wrong."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


class _AsmReader:
    def __init__(self, file: str, tables: Tables, only: Abi | None) -> None:
        self._file = file
        self._tables = tables
        self._only = only
        self._read: list[Assembler] = []
        self._problems: list[Diagnostic] = []

    def read(self, number: int, line: str) -> None:
        """Read a line without its comment."""
        found = list(re.finditer(r"\S+", line))
        words = [match[0] for match in found]
        try:
            if words:
                self._line(words, Position(self._file, number, found[0].start() + 1))
        except _AsmError as error:
            start = found[min(error.at, len(found) - 1)].start() + 1
            where = Position(self._file, number, start)
            self._problems.append(Diagnostic(str(error), where, Problem.WRONG_ASSEMBLY))

    def programs(self) -> tuple[Program, ...]:
        """Return the programs that were asked for; raise InputError with all problems."""
        made: list[Program] = []
        for one in self._read:
            try:
                if not self._problems:
                    made.append(one.program())
            except InputError as error:
                self._problems += error.diagnostics
        if self._problems:
            raise InputError(*self._problems)
        wanted = tuple(one for one in made if self._only in {None, one.abi})
        if not wanted:
            name = self._only.name if self._only else "any ABI"
            where = Position(self._file)
            raise InputError(Diagnostic(f"no program for {name}", where, Problem.ABI_MISSING))
        return wanted

    def _line(self, words: Sequence[str], where: Position) -> None:
        if words[0] == "abi":
            self._begin(words, where)
            return
        if not self._read:
            if self._only is None:
                raise _AsmError("begin with its ABI, such as: abi x86_64, or say --arch", 0)
            self._read.append(Assembler(self._only))
        target = self._read[-1]
        if words[0].endswith(":") and len(words) == 1:
            target.label(self._label(words[0][:-1], 0), where)
            return
        skipped = 0
        if words[0].isdecimal() and len(words) > 1:
            skipped = 1
            if int(words[0]) != len(target):
                raise _AsmError(f"this is instruction {len(target)}", 0)
        try:
            self._instruction(target, words[skipped:], where)
        except _AsmError as error:
            raise _AsmError(str(error), error.at + skipped) from None
        except ValueError as error:
            raise _AsmError(str(error), skipped) from None

    def _begin(self, words: Sequence[str], where: Position) -> None:
        if len(words) != 2:
            raise _AsmError("write abi and one name, such as: abi x86_64", 0)
        try:
            abi = require_abi(words[1])
        except InputError as error:
            raise _AsmError(error.diagnostics[0].message, 1) from None
        if any(one.abi == abi for one in self._read):
            text = f"a second program for {abi.name}"
            self._problems.append(Diagnostic(text, where, Problem.WRONG_ASSEMBLY))
        self._read.append(Assembler(abi))

    def _instruction(self, target: Assembler, words: Sequence[str], where: Position) -> None:
        """Read an instruction; raise _AsmError, or ValueError for a value that does not fit."""
        mnemonic, operands = words[0], words[1:]
        if mnemonic not in _MNEMONICS:
            near = did_you_mean(mnemonic, _MNEMONICS) or f"; known: {', '.join(_MNEMONICS)}"
            raise _AsmError(f"unknown instruction {mnemonic!r}{near}", 0)
        if mnemonic == "op":
            self._raw(target, words, where)
            return
        if mnemonic == "ja" or mnemonic in _CODES or mnemonic in _TURNED:
            self._jump(target, words, where)
            return
        if len(operands) > 1:
            raise _AsmError(f"too much for {mnemonic}: only a comment may follow, behind ';'", 2)
        operand = operands[0] if operands else ""
        if mnemonic == "ret" and operand != "a":
            target.emit(RET_K, self._answer(operand, target.abi), position=where)
        elif mnemonic == "ld" and operand in (words_of := _words(target.abi)):
            target.emit(LD_W_ABS, words_of[operand], position=where)
        elif mnemonic == "and" and _NUMBER.fullmatch(operand):
            target.emit(ALU_AND_K, int(operand, 0), position=where)
        else:
            shape = tuple(filter(None, (mnemonic, _NUMBER.sub("{k}", operand))))
            if shape not in _PATTERNS:
                raise _AsmError(f"{operand!r} is not an operand of {mnemonic}", 1)
            number = _NUMBER.search(operand)
            target.emit(_PATTERNS[shape], int(number[0], 0) if number else 0, position=where)

    def _jump(self, target: Assembler, words: Sequence[str], where: Position) -> None:
        mnemonic = words[0]
        rest, true, false = self._ways(words)
        if mnemonic == "ja":
            if len(rest) != 1 or true is None or false is not None:
                raise _AsmError("write ja -> LABEL", 0)
            target.emit(JMP_JA, true=true, position=where)
            return
        if len(rest) != 2:
            raise _AsmError(f"write {mnemonic} VALUE -> LABEL else LABEL", 0)
        if mnemonic in _TURNED:
            true, false = false, true
        code = _CODES.get(mnemonic) or _TURNED[mnemonic]
        k = 0
        if rest[1] == "x":
            code |= _SOURCE_X
        else:
            k = self._operand(rest[1], target.abi)
        target.emit(code, k, true=true, false=false, position=where)

    def _raw(self, target: Assembler, words: Sequence[str], where: Position) -> None:
        rest, true, false = self._ways(words)
        said = dict(zip(rest[2::2], rest[3::2], strict=False))
        if len(rest) % 2 or not set(said) <= {"k", "jt", "jf"} or 2 * len(said) + 2 != len(rest):
            raise _AsmError("write op CODE k K jt N jf N -> LABEL else LABEL", 0)
        code, *values = (_number(word, at) for at, word in enumerate(rest[1::2], 1))
        fields = dict(zip(said, values, strict=True))
        k, jt, jf = (fields.get(name, 0) for name in ("k", "jt", "jf"))
        target.emit(code, k, jt=jt, jf=jf, true=true, false=false, position=where)

    def _ways(self, words: Sequence[str]) -> tuple[list[str], str | None, str | None]:
        """Split off the targets of a jump: return the rest, the true and the false label."""
        rest = list(words)
        found: dict[str, str | None] = {"->": None, "else": None}
        for arrow in ("else", "->"):
            if len(rest) >= 2 and rest[-2] == arrow:
                found[arrow] = self._label(rest[-1], len(rest) - 1)
                rest = rest[:-2]
        return rest, found["->"], found["else"]

    def _label(self, word: str, at: int) -> str:
        if not _LABEL.fullmatch(word) or word == "else":
            raise _AsmError(f"{word!r} is not a label: write letters, digits and underscores", at)
        return word

    def _answer(self, operand: str, abi: Abi) -> int:
        if _NUMBER.fullmatch(operand):
            return int(operand, 0)
        try:
            return Action.parse(operand).ret(abi)
        except ValueError as error:
            raise _AsmError(str(error), 1) from None

    def _operand(self, word: str, abi: Abi) -> int:
        """Return the operand of a comparison: a number, an audit value, or a call's number."""
        if _NUMBER.fullmatch(word):
            return int(word, 0)
        if word in _AUDIT_ARCHES:
            return _AUDIT_ARCHES[word]
        numbers = self._tables.tables[abi.name].numbers if abi.name in self._tables.tables else {}
        if word not in numbers:
            near = did_you_mean(word, [*numbers, *_AUDIT_ARCHES])
            raise _AsmError(f"{word!r} is neither a number nor a call of {abi.name}{near}", 1)
        return numbers[word]


def _number(word: str, at: int) -> int:
    if not _NUMBER.fullmatch(word):
        raise _AsmError(f"{word!r} is not a number", at)
    return int(word, 0)


def _words(abi: Abi) -> dict[str, int]:
    """Return the offsets of the words that a program can load, by their names."""
    return {word_name(offset, abi): offset for offset in range(0, DATA_SIZE, 4)}
