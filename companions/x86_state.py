"""Execute x86 instructions symbolically, on numbers and on unknown words with known origins.

It answers one question: where control goes after a call failed with a certain errno. So each value
that comes from the call's result is marked. If an instruction that is not understood uses such a
value, the value is `LOST`, and a branch on it raises `LostError`: the answer is then "unknown",
never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.scan.x86_operands import Immediate, Memory, Reg, operands_of, word_of

if TYPE_CHECKING:
    from seccompgen.scan.processor import Instruction
    from seccompgen.scan.x86_operands import Operand

_U64 = (1 << 64) - 1


class LostError(Exception):
    """A branch depends on the result of the call in a way that is not understood."""


class Result(int):
    """A known number that comes from the result of the call."""

    __slots__ = ()


class Symbol(NamedTuple):
    """An unknown word plus ``offset``; symbols with equal ``origin`` stand for the same word."""

    origin: object
    offset: int = 0


class _Lost:
    """A value that comes from the result of the call, in a way that is not understood."""

    def __repr__(self) -> str:
        return "LOST"


LOST = _Lost()
Value: TypeAlias = int | Symbol | _Lost | None
"""None is a word of which nothing is known, not even whether it equals another."""

_CALLER_SAVED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_NO_EFFECT = frozenset(
    {"nop", "endbr64", "endbr32", "cld", "std", "mfence", "sfence", "lfence", "pause", "prefetcht0"}
)
_CONDITIONS = {
    "e": "z", "z": "z", "ne": "!z", "nz": "!z", "s": "s", "ns": "!s",
    "a": "a", "nbe": "a", "ae": "!b", "nb": "!b", "nc": "!b", "b": "b", "c": "b", "nae": "b",
    "be": "!a", "na": "!a", "l": "l", "nge": "l", "ge": "!l", "nl": "!l",
    "le": "!g", "ng": "!g", "g": "g", "nle": "g",
}  # fmt: skip


def _marked(value: int, *sources: Value) -> int:
    return Result(value) if any(isinstance(one, Result) for one in sources) else int(value)


def is_marked(value: Value) -> bool:
    """Return True if ``value`` comes from the result of the call."""
    return isinstance(value, Result | _Lost)


@dataclass(slots=True)
class State:
    """Registers, words of memory, and the last comparison.

    ``compared`` contains two values and their width in bits; ``test`` compares with 0.
    """

    word: int
    registers: dict[str, Value] = field(default_factory=dict)
    memory: dict[object, tuple[Value, int]] = field(default_factory=dict)
    compared: tuple[Value, Value, int] | None = None
    escaped: bool = False
    """a marked value was stored at an unknown address"""

    def copy(self) -> State:
        """Return an independent copy."""
        return State(
            self.word, dict(self.registers), dict(self.memory), self.compared, self.escaped
        )

    def key(self) -> object:
        """Return a hashable value that represents the whole state."""
        return (
            frozenset((name, repr(one)) for name, one in self.registers.items()),
            frozenset((repr(key), repr(one)) for key, one in self.memory.items()),
            repr(self.compared),
            self.escaped,
        )

    def get(self, name: str) -> Value:
        """Return the value of a register."""
        if name not in self.registers:
            self.registers[name] = Symbol(("register", name))
        return self.registers[name]

    def carry_out(self, instruction: Instruction) -> None:
        """Execute ``instruction``, which is not a jump, call or return."""
        word = word_of(instruction)
        operands = operands_of(instruction)
        if word in _NO_EFFECT:
            return
        end = instruction[0] + instruction[1]
        target = operands[0] if operands else None
        source = operands[1] if len(operands) > 1 else None
        if word in {"cmp", "test"}:
            self._compare(word, target, source, end)
        elif word == "push":
            self._move_stack(-self.word)
            self._store(Memory("rsp", None, 1, 0, self.word, ""), self._read(target, end), end)
        elif word == "pop":
            value = self._read(Memory("rsp", None, 1, 0, self.word, ""), end)
            self._move_stack(self.word)
            self._write(target, value, end)
        elif word == "lea" and isinstance(source, Memory):
            self._write(target, _wide(self._address(source, end)), end)
        elif word == "leave":
            self.registers["rsp"] = self.get("rbp")
            value = self._read(Memory("rsp", None, 1, 0, self.word, ""), end)
            self._move_stack(self.word)
            self.registers["rbp"] = value
        elif word in {"mov", "movabs"}:
            self._write(target, self._read(source, end), end)
        elif word in {"movsxd", "movsx", "cdqe"}:
            self._extend(word, target, source, end)
        elif word == "movzx":
            self._write(target, self._read(source, end), end)
        elif word[:4] == "cmov" and word[4:] in _CONDITIONS:
            taken = self.holds(word[4:])
            if taken is None:
                marked = is_marked(self._read(source, end)) or is_marked(self._read(target, end))
                self._write(target, LOST if marked else None, end)
            else:
                self._write(target, self._read(source if taken else target, end), end)
        elif word[:3] == "set" and word[3:] in _CONDITIONS:
            taken = self.holds(word[3:])
            self._write(target, None if taken is None else Result(taken), end)
        else:
            self._compute(word, operands, end)

    def _compute(self, word: str, operands: tuple[Operand, ...], end: int) -> None:
        target = operands[0] if operands else None
        before = self._read(target, end)
        other = self._read(operands[1], end) if len(operands) > 1 else None
        bits = _bits(target, self.word)
        value: Value = None
        if any(_is_guard(one) for one in operands):
            # The stack protector's guard is unchanged, or the program ends.
            self._write(target, None, end)
            self.compared = None
            return
        same = len(operands) > 1 and operands[0] == operands[1]
        if same and word in {"xor", "sub"}:
            value = 0
        elif isinstance(before, int) and word in {"neg", "not", "inc", "dec"}:
            done = {"neg": -before, "not": ~before, "inc": before + 1, "dec": before - 1}[word]
            value = _marked(done, before)
        elif isinstance(before, int) and isinstance(other, int) and len(operands) == 2:
            done_by = {
                "add": before + other,
                "sub": before - other,
                "and": before & other,
                "or": before | other,
                "xor": before ^ other,
            }
            value = done_by.get(word)
            if value is not None:
                value = _marked(value, before, other)
        elif word == "or" and isinstance(other, int) and _cut(other, bits) == (1 << bits) - 1:
            value = other
        elif word == "and" and other == 0:
            value = 0
        elif isinstance(before, Symbol) and isinstance(other, int) and word in {"add", "sub"}:
            step = _signed(other, bits)
            value = Symbol(before.origin, before.offset + (step if word == "add" else -step))
        if value is None and (is_marked(before) or is_marked(other)):
            value = LOST
        self.compared = (value, 0, bits) if word not in {"not"} else self.compared
        if isinstance(target, Reg | Memory):
            self._write(target, value, end)
        if word in {
            "mul",
            "imul",
            "div",
            "idiv",
            "cpuid",
            "rdtsc",
            "cqo",
            "cdq",
            "cmpxchg",
            "xchg",
        }:
            lost = any(is_marked(one) for one in (before, other, self.get("rax")))
            for name in ("rax", "rdx"):
                self.registers[name] = LOST if lost else None
            if word == "xchg" and len(operands) > 1:
                self._write(operands[1], LOST if lost else None, end)

    def _extend(self, word: str, target: Operand, source: Operand, end: int) -> None:
        if word == "cdqe":
            target, source = Reg("rax", 64), Reg("rax", 32)
        value = self._read(source, end)
        if isinstance(value, int):
            value = _marked(_signed(int(value), _bits(source, self.word)), value)
        self._write(target, value, end)

    def _compare(self, word: str, target: Operand, source: Operand, end: int) -> None:
        one, other = self._read(target, end), self._read(source, end)
        bits = _bits(target, self.word)
        if word == "cmp":
            self.compared = (one, other, bits)
        elif target == source:
            self.compared = (one, 0, bits)
        elif isinstance(one, int) and isinstance(other, int):
            self.compared = (_marked(one & other, one, other), 0, bits)
        else:
            self.compared = (LOST if is_marked(one) or is_marked(other) else None, 0, bits)

    def holds(self, condition: str) -> bool | None:
        """Return whether ``condition`` of a jump is true; None if it is unknown.

        Raises LostError if it depends on the result of the call in a way that is not understood.
        """
        code = _CONDITIONS.get(condition)
        if self.compared is None or code is None:
            return None
        one, other, bits = self.compared
        if isinstance(one, _Lost) or isinstance(other, _Lost):
            raise LostError
        if isinstance(one, Symbol) and isinstance(other, Symbol) and one.origin == other.origin:
            one, other = one.offset - other.offset, 0
            if code.strip("!") != "z":
                return None
        if not isinstance(one, int) or not isinstance(other, int):
            return None
        a, b = _cut(one, bits), _cut(other, bits)
        sa, sb = _signed(a, bits), _signed(b, bits)
        truth = {"z": a == b, "s": _signed(a - b, bits) < 0, "a": a > b, "b": a < b,
                 "l": sa < sb, "g": sa > sb}  # fmt: skip
        return truth[code.strip("!")] != (code[0] == "!")

    def marked_words(self) -> list[object]:
        """Return the thread-local words with marked values: errno."""
        return [
            key
            for key, (value, _) in self.memory.items()
            if _is_of_thread(key) and is_marked(value)
        ]

    def lasting(self) -> dict[object, tuple[Value, int]]:
        """Return the words of memory that other functions can also identify."""
        return {
            key: one
            for key, one in self.memory.items()
            if isinstance(key, int) or _is_of_thread(key)
        }

    def compares_word_of(self, words: set[object]) -> bool:
        """Return True if the last comparison was of the initial value of one of ``words``."""
        return self.compared is not None and any(
            _word_of(one) in words for one in self.compared[:2]
        )

    def after_opaque_call(self) -> None:
        """Forget everything that an unanalysed callee may change."""
        arguments = _ARGUMENTS if self.word == 8 else ()
        handed = any(is_marked(self.registers.get(name)) for name in arguments)
        for name in _CALLER_SAVED:
            if self.word == 8 or name not in {"rsi", "rdi"}:
                self.registers[name] = None
        if handed:
            self.registers["rax"] = LOST
        self.compared = None
        for key, (value, size) in list(self.memory.items()):
            if is_marked(value) and _is_of_thread(key):
                self.memory[key] = (LOST, size)

    def enter(self, back: int) -> None:
        """Change the stack as a call does that will return to ``back``."""
        self._move_stack(-self.word)
        self._store(Memory("rsp", None, 1, 0, self.word, ""), back, 0)

    def leave(self) -> None:
        """Change the stack as a return does."""
        self._move_stack(self.word)

    def _move_stack(self, by: int) -> None:
        pointer = self.get("rsp")
        self.registers["rsp"] = (
            Symbol(pointer.origin, pointer.offset + by) if isinstance(pointer, Symbol) else None
        )

    def _read(self, operand: Operand, end: int) -> Value:
        match operand:
            case Immediate(value):
                return value & _U64
            case Reg(name, bits, shift):
                value_of = self.get(name)
                if isinstance(value_of, int):
                    return _marked(_cut(value_of >> shift, bits), value_of)
                if bits < 8 * self.word and isinstance(value_of, Symbol):
                    return Symbol(("part", bits, shift, value_of.origin, value_of.offset))
                return value_of
            case Memory() as memory:
                key = self._place(memory, end)
                if key is None:
                    unclear = memory.segment in {"fs", "gs"} and self.marked_words()
                    return LOST if unclear or self.escaped else None
                if key in self.memory:
                    held, size = self.memory[key]
                    if isinstance(held, int) and memory.size <= size:
                        return _marked(_cut(held, 8 * memory.size), held)
                    if memory.size == size:
                        return held
                    return LOST if is_marked(held) else None
                if _is_of_thread(key) and self.marked_words() and not _is_known_place(key):
                    return LOST  # it may be errno
                if self.escaped and not isinstance(key, int) and not _is_known_place(key):
                    return LOST
                return Symbol(("memory", memory.size, key))
        return None

    def _write(self, operand: Operand, value: Value, end: int) -> None:
        match operand:
            case Reg(name, bits, shift):
                if isinstance(value, int):
                    value = _marked(_cut(value, bits), value)
                if bits < 32:
                    old = self.get(name)
                    if isinstance(old, int) and isinstance(value, int):
                        kept = old & ~(((1 << bits) - 1) << shift)
                        value = _marked(kept | value << shift, old, value)
                    elif is_marked(old) or is_marked(value):
                        value = LOST
                    else:
                        value = None
                self.registers[name] = value
            case Memory() as memory:
                self._store(memory, value, end)

    def _store(self, memory: Memory, value: Value, end: int) -> None:
        key = self._place(memory, end)
        if key is not None:
            self.memory[key] = (value, memory.size)
        if is_marked(value) and not _is_own_place(key):
            self.escaped = True

    def _address(self, memory: Memory, end: int) -> Value:
        if memory.base == "rip":
            return memory.offset + end
        base: Value = self.get(memory.base) if memory.base else 0
        by: Value = self.get(memory.by) if memory.by else 0
        if isinstance(by, int) and isinstance(base, int):
            return _marked(base + by * memory.scale + memory.offset, base, by)
        if isinstance(by, int) and isinstance(base, Symbol):
            step = _signed(int(by), 64) * memory.scale + memory.offset
            return Symbol(base.origin, base.offset + step)
        return LOST if is_marked(base) or is_marked(by) else None

    def _place(self, memory: Memory, end: int) -> object | None:
        """Return a key that identifies a word of memory; None if it may be any word."""
        address = self._address(memory, end)
        if address is None or isinstance(address, _Lost):
            return None
        if memory.segment in {"fs", "gs"}:
            narrow = isinstance(address, Symbol) and self.word == 4
            return ("thread", _offset_in_table(address) if narrow else address)
        return address


def is_word_of_file(value: Value) -> bool:
    """Return True if ``value`` is a word at a known address in the file, such as in a table."""
    match value:
        case Symbol(("memory", _, int()), 0):
            return True
        case Symbol(("memory", 4, Symbol(("register", _), _)), 0):
            return True
    return False


def _word_of(value: Value) -> object:
    """Return the key of the word that ``value`` is the content, or a part, of; None if unknown."""
    match value:
        case Symbol(("memory", _, place), 0):
            return place
        case Symbol(("part", _, _, ("memory", _, place), 0), 0):
            return place
    return None


def _is_of_thread(key: object) -> bool:
    return isinstance(key, tuple) and not isinstance(key, Symbol) and key[0] == "thread"


def _is_known_place(key: object) -> bool:
    match key:
        case ("thread", int()) | ("thread", ("table", *_)) | ("thread", Symbol(("memory", *_))):
            return True
    return False


def _is_own_place(key: object) -> bool:
    """Return True if ``key`` identifies one word uniquely: of the stack, file or thread."""
    match key:
        case int():
            return True
        case Symbol(("register", "rsp"), _):
            return True
    return _is_of_thread(key) and _is_known_place(key)


def _is_guard(operand: Operand) -> bool:
    match operand:
        case Memory(None, None, _, 0x28 | 0x14, _, "fs" | "gs"):
            return True
    return False


def _offset_in_table(address: Value) -> object:
    """Return a key for an ``address`` in the loader's table on i386, whatever points to the table.

    Each function computes that pointer itself.
    """
    match address:
        case Symbol(("memory", 4, Symbol(_, offset)), more):
            return ("table", offset, more)
    return address


def _wide(value: Value) -> Value:
    return _marked(value & _U64, value) if isinstance(value, int) else value


def _bits(operand: Operand, word: int) -> int:
    match operand:
        case Reg(_, bits, _):
            return bits
        case Memory() as memory if memory.size <= 8:
            return 8 * memory.size
    return 8 * word


def _cut(value: int, bits: int) -> int:
    return int(value) & ((1 << bits) - 1)


def _signed(value: int, bits: int) -> int:
    value = _cut(value, bits)
    return value - (1 << bits) if value >> (bits - 1) else value
