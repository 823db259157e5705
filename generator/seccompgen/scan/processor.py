"""The interface to processors: where control goes, and where values come from.

Instructions are tuples of address, size, mnemonic and operands as text, from capstone's
``disasm_lite``: this is ten times as fast as objects, and a scan reads millions.
"""

from __future__ import annotations

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
    """The effects of an instruction that matter outside its function."""

    __hash__ = object.__hash__  # Enum's own is too slow

    CALL = auto()
    """calls the code at ``value``"""
    JUMP = auto()
    """jumps to the code at ``value``, always or on a condition"""
    CALL_SLOT = auto()
    """calls the target of the pointer at ``value``"""
    JUMP_SLOT = auto()
    """jumps to the target of the pointer at ``value``"""
    REFERENCE = auto()
    """computes the address ``value``"""
    LOAD = auto()
    """reads or writes the memory at ``value``"""
    COMPARISON = auto()
    """computes the address ``value``, or loads from it, only for a comparison"""
    INDIRECT_CALL = auto()
    """calls the address in a register or a computed word"""
    INDIRECT_JUMP = auto()
    """jumps to the address in a register or a computed word"""
    UNREAD = auto()
    """is not understood, and may do any of these"""
    ENTER = auto()
    """enters the kernel, by this machine's own ABI"""
    FOREIGN = auto()
    """enters the kernel by another ABI: int 0x80 in a 64-bit program"""
    SUM = auto()
    """jumps to a sum that is not from a jump table that is understood"""
    PAGE = auto()
    """computes an unknown address in the page at ``value``"""


class Effect(NamedTuple):
    """One effect of the instruction at ``address``."""

    kind: EffectKind
    address: int
    value: int = 0


class Register(NamedTuple):
    """A register, by the name of the whole register: rax, x8."""

    name: str


class Slot(NamedTuple):
    """A word of the stack, ``offset`` bytes from the address in register ``base``.

    ``only_named`` is True if only instructions that name it by base and offset write it, as where
    compilers save registers.
    """

    base: str
    offset: int
    only_named: bool = False


Location: TypeAlias = Register | Slot


class KnownValue(NamedTuple):
    """The location holds ``value`` after the instruction."""

    value: int


class Moved(NamedTuple):
    """The location holds what one of ``places`` held before the instruction, plus ``add``."""

    places: tuple[Location, ...]
    add: int = 0


class Lost(NamedTuple):
    """The location holds a value that the analysis does not follow.

    ``why`` is the reason, ``detail`` the instruction if that explains more.
    """

    why: Why
    detail: str = ""


Step: TypeAlias = KnownValue | Moved | Lost


class Sum(NamedTuple):
    """``constant``, plus the registers in ``terms`` times their factors, plus at most ``rest``."""

    terms: tuple[tuple[str, int], ...]
    constant: int = 0
    rest: int = 0


class TableLoad(NamedTuple):
    """A load of ``size`` bytes, perhaps of entry ``by`` of a table at ``base`` and ``offset``."""

    size: int
    base: str | None
    by: str | None
    offset: int = 0
    either: bool = False
    """the table may be at ``by`` instead, and ``base`` be the index"""


class Machine(Protocol):
    """One processor."""

    def __hash__(self) -> int:
        """Tell processors apart."""

    abi: Abi
    number: Register
    """the register in which the kernel expects the number of the call"""
    returned_in: frozenset[str]
    """the registers in which a function may return values, in any compiled language but Go"""
    c_returned_in: frozenset[str]
    """the registers in which a C function may return a value"""
    arguments: tuple[Location, Location]
    """the locations of a C function's first two arguments, where it is called"""
    go_argument: Location
    """the location of a Go function's first argument"""

    def disassemble(self, image: Image, start: int, end: int) -> list[Instruction]:
        """Return the instructions from ``start`` to ``end``; undecodable bytes are ``.byte``."""

    def events(self, image: Image, code: Sequence[Instruction]) -> Iterable[Effect]:
        """Yield the effects of ``code``, a function."""

    def stops(self, instruction: Instruction) -> bool:
        """Return True if control never goes on to the next instruction."""

    def returns(self, instruction: Instruction) -> bool:
        """Return True if the instruction returns to the caller."""

    def any_returns(self, mnemonics: Iterable[str]) -> bool:
        """Return True if an instruction with one of ``mnemonics`` returns from its function."""

    def is_call(self, instruction: Instruction) -> bool:
        """Return True if the instruction is a call, which may or may not return."""

    def stub_slot(self, image: Image, address: int) -> int | None:
        """Return the word through which the code at ``address`` jumps; None if it does more."""

    def is_lazy_stub(self, image: Image, jump: int) -> bool:
        """Return True if the jump at ``jump`` is an import's stub, as only linkers make it."""

    def branches(self, instruction: Instruction) -> bool:
        """Return True if the instruction jumps, always or on a condition."""

    def leaves(self, instruction: Instruction) -> bool:
        """Return True if other code may see the registers: for calls, returns, kernel entries."""

    def is_padding(self, instruction: Instruction) -> bool:
        """Return True if the instruction only fills the space between functions."""

    def before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Location
    ) -> Step:
        """Return the origin, before ``code[index]``, of the value in ``location`` after it.

        ``code`` is the function. Calls are stepped over: locations that they may change are Lost.
        """

    def at_caller(self, location: Location) -> Location | None:
        """Return the location, at the caller's call, of the value in ``location`` at the entry.

        None if no caller determines the value.
        """

    def target(self, instruction: Instruction) -> Location | None:
        """Return the location of an indirect call's or jump's target; None for a word of memory."""

    def summands(self, instruction: Instruction, location: Location) -> tuple[Location, ...] | None:
        """Return the locations whose sum ``location`` is after ``instruction``; None if not a sum.

        A summand that is a word of memory is left out.
        """

    def is_half(self, instruction: Instruction, location: Location) -> bool:
        """Return True if the lower half of ``location`` is written, and the upper half cleared."""

    def as_sum(self, image: Image, instruction: Instruction, register: str) -> Sum | None:
        """Return the value of ``register`` after ``instruction`` as a sum; None if unknown."""

    def sets(self, instruction: Instruction) -> str:
        """Return the register that is the first operand, if that is written; "" otherwise."""

    def dies(self, instruction: Instruction) -> bool:
        """Return True if the instruction raises a fatal signal, so that control ends there."""

    def makes_page(self, instruction: Instruction) -> bool:
        """Return True if the instruction sets a register to an address's page, as adrp does."""

    def preserves(self, image: Image, register: str) -> bool:
        """Return True if functions preserve ``register`` for their callers."""

    def mentions(self, instruction: Instruction, register: str) -> bool:
        """Return True if any operand is or contains a part of ``register``."""

    def ignores(self, instruction: Instruction, register: str) -> bool:
        """Return True only if it does not mention or change ``register``, and control runs on.

        Most instructions do so, and this is quick; False means that the others need to be asked.
        """

    def is_comparison(self, instruction: Instruction) -> bool:
        """Return True if the instruction only compares, and has no operand in memory."""

    def only_sets(self, instruction: Instruction, register: str) -> bool:
        """Return True if the instruction sets ``register``, independently of its old value."""

    def copied(self, instruction: Instruction) -> str | None:
        """Return the register that a move copies, whole or in part; None for other instructions."""

    def compared(self, instruction: Instruction) -> tuple[str, int] | None:
        """Return the register and the number, from 0 on, that are compared; None for others."""

    def masked(self, instruction: Instruction) -> tuple[str, int] | None:
        """Return the register of which bits are cleared, and its highest value; None for others."""

    def bounds(self, instruction: Instruction, *, jumping: bool) -> int:
        """Return by how much less than what it was compared with an unsigned value is, at least.

        It is 1 or 0 after the branch ``instruction``, which is taken if ``jumping`` is True; -1 if
        the value may also be greater.
        """

    def shows_zero(
        self, code: Sequence[Instruction], index: int, register: str, *, jumping: bool
    ) -> bool:
        """Return True if ``register`` is 0 after the branch ``code[index]``, by its test of it.

        The branch is taken if ``jumping`` is True. The register counts with its lower 32 bits.
        """

    def keeps_flags(self, instruction: Instruction) -> bool:
        """Return True if the instruction keeps the result of the comparison before it."""

    def table_load(self, instruction: Instruction) -> TableLoad | None:
        """Return the operands of a load that may be from a jump table; None if it cannot be."""

    def entries(
        self,
        image: Image,
        load: Instruction,
        addition: Instruction | None,
        table: int,
        base: int | None,
        function: AddressRange,
    ) -> Iterator[int]:
        """Yield the targets of the entries of a jump table at ``table``, as ``load`` loads them.

        ``addition`` adds them to ``base``; both are None for entries that are whole addresses.
        Narrow entries do not lead out of ``function``: the first that does ends the table.
        """
