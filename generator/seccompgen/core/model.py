"""The meaning of a policy, as frozen values: actions, conditions, rules.

The front ends make these, the compiler and the renderers read them. Nothing here knows a
file format or an instruction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntFlag
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errnos import errno_number

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position

U32 = 0xFFFFFFFF
U64 = 0xFFFFFFFFFFFFFFFF

RET_DATA_MAX = 0xFFFF
"""SECCOMP_RET_DATA: the low 16 bits of a filter's answer."""
ERRNO_MAX = 4095
"""MAX_ERRNO: the kernel caps SECCOMP_RET_ERRNO's data here, so more would not be delivered."""


class ActionKind(Enum):
    """SECCOMP_RET_* without their data (include/uapi/linux/seccomp.h)."""

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    USER_NOTIF = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000

    @property
    def takes_data(self) -> bool:
        """True where the kernel hands the low 16 bits on: to errno, si_errno or the tracer."""
        return self in {ActionKind.ERRNO, ActionKind.TRAP, ActionKind.TRACE}


@dataclass(frozen=True, slots=True)
class Action:
    """The kernel's answer to a call.

    ``data`` is 0 to 65535 (0 to 4095 for errno). ``errno_name`` names an errno instead, whose
    number depends on the ABI: ENOSYS is 38 on most, 89 on MIPS.
    """

    kind: ActionKind
    data: int = 0
    errno_name: str | None = None

    def __str__(self) -> str:
        """Render as a policy file spells it: ``errno(EACCES)``, ``trace(7)``, ``allow``."""
        name = self.kind.name.lower()
        if self.errno_name:
            return f"{name}({self.errno_name})"
        return f"{name}({self.data})" if self.kind.takes_data and self.data else name

    def ret(self, abi: Abi) -> int:
        """Return the 32-bit SECCOMP_RET value of this action on ``abi``."""
        data = errno_number(self.errno_name, abi) if self.errno_name else self.data
        return self.kind.value | data


class Op(Enum):
    """The comparison of an argument; comparisons are unsigned."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    MASKED_EQ = "&=="
    """``(arg & mask) == value``"""
    ANY_BITS = "&"
    """``(arg & value) != 0``"""
    NO_BITS = "!&"
    """``(arg & value) == 0``"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of one argument.

    ``argument`` is 0 to 5. ``width`` is 64, or 32 where only the argument's low word counts;
    ``value`` and ``mask`` fit into it. ``mask`` is used by MASKED_EQ only.
    """

    argument: int
    op: Op
    value: int
    mask: int = U64
    width: int = 64

    def __str__(self) -> str:
        """Render as the expression a reader of C or Python knows."""
        arg = f"arg{self.argument}" if self.width == 64 else f"u32(arg{self.argument})"
        value = f"{self.value:#x}" if self.value > 9 else str(self.value)
        match self.op:
            case Op.MASKED_EQ:
                return f"{arg} & {self.mask:#x} == {value}"
            case Op.ANY_BITS:
                return f"{arg} & {value} != 0"
            case Op.NO_BITS:
                return f"{arg} & {value} == 0"
            case _:
                return f"{arg} {self.op.value} {value}"

    def of_low_word(self) -> Comparison:
        """Return what this asks of an argument of which only the low word counts."""
        op, value = self.op, self.value & U32
        if self.value > U32 and op not in {Op.ANY_BITS, Op.NO_BITS}:
            # The value is more than any word, so the answer is always the same one.
            op, value = Op.NO_BITS if op in {Op.NE, Op.LT, Op.LE} else Op.ANY_BITS, 0
        return replace(self, op=op, value=value, mask=self.mask & U32, width=32)


@dataclass(frozen=True, slots=True)
class All:
    """True where every part is; with no parts, always."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        """Render the parts joined by ``and``."""
        return " and ".join(map(str, self.parts))

    def of_low_word(self) -> All:
        """Return what this asks of arguments of which only the low words count."""
        return All(tuple(part.of_low_word() for part in self.parts))


Condition: TypeAlias = Comparison | All


def condition_for(condition: Condition | None, argument_bits: int) -> Condition | None:
    """Return what ``condition`` asks of arguments of which ``argument_bits`` count, 32 or 64."""
    return condition if condition is None or argument_bits == 64 else condition.of_low_word()


@dataclass(frozen=True, slots=True)
class Origin:
    """The part of a policy that an instruction comes from; ``label`` names it in reports."""

    label: str
    position: Position


@dataclass(frozen=True, slots=True)
class Rule:
    """One system call by name, the condition (None: always) and what then happens.

    ``position`` is where the name stands; ``origin`` is the part of the policy that reports
    show, shared by the names of one list. ``optional`` rules may name calls that no ABI has.
    """

    name: str
    condition: Condition | None
    action: Action
    position: Position
    origin: Origin
    optional: bool = False


class FilterFlag(IntFlag):
    """SECCOMP_FILTER_FLAG_* of seccomp(2) (include/uapi/linux/seccomp.h)."""

    TSYNC = 1
    LOG = 2
    SPEC_ALLOW = 4
    NEW_LISTENER = 8
    TSYNC_ESRCH = 16
    WAIT_KILLABLE_RECV = 32


class Settings(NamedTuple):
    """The settings with which a filter is installed."""

    flags: FilterFlag = FilterFlag(0)
    no_new_privs: bool = True
    install_on_import: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. The first rule that matches a call decides it.

    ``arches`` get a program each; a program also answers for the ABIs in ``compat_arches``
    that its kernel can serve. ``sources`` names each file read, with its sha256.
    """

    name: str
    description: str
    arches: tuple[Abi, ...]
    arches_origin: Origin
    compat_arches: tuple[Abi, ...]
    default_action: Action
    default_origin: Origin
    unknown_action: Action
    unknown_origin: Origin
    bad_arch_action: Action
    bad_arch_origin: Origin
    no_new_privs: bool
    flags: FilterFlag
    install_on_import: bool
    rules: tuple[Rule, ...]
    sources: tuple[tuple[str, str], ...]

    @property
    def settings(self) -> Settings:
        """The settings with which it is installed."""
        return Settings(self.flags, self.no_new_privs, self.install_on_import)

    def compat_of(self, abi: Abi) -> tuple[Abi, ...]:
        """Return the ABIs that the program for ``abi`` answers for besides ``abi``."""
        return tuple(other for other in self.compat_arches if serves_both(abi, other))


def serves_both(abi: Abi, other: Abi) -> bool:
    """Return True if a kernel that takes programs of ``abi`` can serve ``other`` as well.

    Programs are in the kernel's byte order. Little-endian ppc64le kernels serve ppc, and call it
    so, but no ppc program, which is big-endian, fits them.
    """
    if other.name in abi.siblings:
        return True
    return abi.name in other.siblings and abi.byte_order == other.byte_order
