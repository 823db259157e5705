"""The questions of the analysis to a processor: where control goes, where a value came from.

Instructions are what capstone's ``disasm_lite`` gives, tuples of address, size, mnemonic and
operands as text: it is ten times as quick as objects, and a scan looks at millions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.scan.image import AddressRange, Image
    from seccompgen.scan.unknown import Why

Instruction: TypeAlias = tuple[int, int, str, str]
"""Address, size in bytes, mnemonic, operands."""


class EffectKind(Enum):
    """The effects of an instruction that matter beyond its function."""

    __hash__ = object.__hash__  # Enum's own takes longer than all that is done with it

    CALL = auto()
    """calls the code at ``value``"""
    JUMP = auto()
    """goes to the code at ``value``, always or on a condition"""
    CALL_SLOT = auto()
    """calls what the word at ``value`` points to"""
    JUMP_SLOT = auto()
    """goes to what the word at ``value`` points to"""
    REFERENCE = auto()
    """computes the address ``value``"""
    LOAD = auto()
    """reads or writes what stands at ``value``"""
    COMPARISON = auto()
    """computes the address ``value``, or loads what stands there, only to compare with it"""
    INDIRECT_CALL = auto()
    """calls what a register or a computed word says"""
    INDIRECT_JUMP = auto()
    """goes to where a register or a computed word says"""
    UNREAD = auto()
    """is not understood, and may do any of these"""
    ENTER = auto()
    """enters the kernel, by this machine's own ABI"""
    FOREIGN = auto()
    """enters the kernel by another ABI: int 0x80 in a 64-bit program"""
    SUM = auto()
    """goes to where a sum says that comes from no jump table which is understood"""
    PAGE = auto()
    """computes an address in the page at ``value``, and it is not seen which"""


class Effect(NamedTuple):
    """One thing that the instruction at ``address`` does."""

    kind: EffectKind
    address: int
    value: int = 0


@dataclass(frozen=True, slots=True)
class Register:
    """A register, by the name of all of it: rax, x8."""

    name: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A word of the stack, ``offset`` bytes from where register ``base`` points.

    ``only_named`` is True where nothing writes it but instructions that name it so: compilers keep
    registers there.
    """

    base: str
    offset: int
    only_named: bool = False


Location: TypeAlias = Register | Slot


@dataclass(frozen=True, slots=True)
class KnownValue:
    """The location holds ``value`` after the instruction."""

    value: int


@dataclass(frozen=True, slots=True)
class Moved:
    """It holds what any of ``places`` held before the instruction, plus ``add``."""

    places: tuple[Location, ...]
    add: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """It holds something that the analysis does not follow.

    ``why`` says what, ``detail`` the instruction if that tells more.
    """

    why: Why
    detail: str = ""


Step: TypeAlias = KnownValue | Moved | Lost


class Sum(NamedTuple):
    """``constant``, plus each register of ``terms`` so many times, plus at most ``rest``."""

    terms: tuple[tuple[str, int], ...]
    constant: int = 0
    rest: int = 0


class TableLoad(NamedTuple):
    """A load of what may be entry ``by`` of a jump table, at ``base`` plus ``offset``."""

    base: str | None
    by: str | None
    offset: int = 0
    either: bool = False
    """the table may be at ``by`` instead, and ``base`` say which entry"""


class Machine(Protocol):
    """One processor."""

    def __hash__(self) -> int:
        """Tell processors apart."""

    abi: Abi
    number: Register
    """where the kernel looks for the number of the call"""
    returned_in: frozenset[str]
    """registers in which a C function may return something"""
    go_argument: Location
    """where a Go function finds its first argument"""

    def disassemble(self, image: Image, start: int, end: int) -> list[Instruction]:
        """Return the instructions from ``start`` to ``end``; bytes that are none, as ``.byte``."""

    def events(self, image: Image, code: Sequence[Instruction]) -> Iterable[Effect]:
        """Yield what ``code``, a function, does."""

    def stops(self, instruction: Instruction) -> bool:
        """Return True if control never goes on to the next instruction."""

    def returns(self, instruction: Instruction) -> bool:
        """Return True for what goes back to the caller."""

    def is_call(self, instruction: Instruction) -> bool:
        """Return True for calls, which may not come back."""

    def stub_slot(self, image: Image, address: int) -> int | None:
        """Return the word through which the code at ``address`` jumps, if it does nothing else."""

    def branches(self, instruction: Instruction) -> bool:
        """Return True for what may go elsewhere in the function, or always does."""

    def leaves(self, instruction: Instruction) -> bool:
        """Return True for what may hand registers to others: calls, returns, the kernel's."""

    def is_padding(self, instruction: Instruction) -> bool:
        """Return True for what only fills the space between functions."""

    def before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Location
    ) -> Step:
        """Return where what ``location`` holds after ``code[index]`` came from.

        ``code`` is the function around it. Calls are stepped over: what they may change is Lost.
        """

    def at_caller(self, location: Location) -> Location | None:
        """Return where the caller, at its call, has what ``location`` holds at a function's entry.

        None if no caller determines it.
        """

    def target(self, instruction: Instruction) -> Location | None:
        """Return what holds where the indirect call or jump goes; None for a word of memory."""

    def summands(self, instruction: Instruction, location: Location) -> tuple[Location, ...] | None:
        """Return of which places ``location`` is the sum after ``instruction``; None if of none.

        A word of memory that is added is left out.
        """

    def is_half(self, instruction: Instruction, location: Location) -> bool:
        """Return True if it puts half a word into ``location``, and clears the other half."""

    def as_sum(self, image: Image, instruction: Instruction, register: str) -> Sum | None:
        """Return what ``register`` holds after ``instruction``; None if that may be anything."""

    def sets(self, instruction: Instruction) -> str:
        """Return the register that its first operand is, or an empty text."""

    def dies(self, instruction: Instruction) -> bool:
        """Return True for what stops control by a signal, and so leads nowhere."""

    def makes_page(self, instruction: Instruction) -> bool:
        """Return True if it puts the page of an address into a register, without the rest."""

    def preserves(self, image: Image, register: str) -> bool:
        """Return True if functions return with ``register`` as their callers had it."""

    def mentions(self, instruction: Instruction, register: str) -> bool:
        """Return True if any operand is, or has in it, a part of ``register``."""

    def is_comparison(self, instruction: Instruction) -> bool:
        """Return True for what only compares its operands, none of which is in memory."""

    def only_sets(self, instruction: Instruction, register: str) -> bool:
        """Return True if it puts something into ``register`` that does not depend on it."""

    def copied(self, instruction: Instruction) -> str | None:
        """Return the register that it copies to another, wholly or its low part."""

    def compared(self, code: Sequence[Instruction], index: int) -> tuple[str, int] | None:
        """Return the register that ``code[index]`` keeps from being above a number, and that.

        It does so by a comparison and a branch on it, or by cutting bits off.
        """

    def table_load(self, instruction: Instruction) -> TableLoad | None:
        """Return the address of a load that may be from a jump table."""

    def entries(
        self,
        image: Image,
        load: Instruction,
        addition: Instruction | None,
        table: int,
        base: int | None,
        function: AddressRange,
    ) -> Iterator[int]:
        """Yield where the entries of a jump table at ``table`` lead, as ``load`` loads them.

        ``addition`` adds them to ``base``; both are None for entries that are whole addresses.
        Those too small to lead far lead nowhere out of ``function``.
        """

    def spilled(self, image: Image, code: Sequence[Instruction], location: Location) -> Location:
        """Return ``location``, as one that is ``only_named`` if all says so."""
