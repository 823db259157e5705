"""Filters of io_uring's operations: what the kernel shows them, rules about it, and programs.

Since Linux 7.0 a ring asks a classic BPF program before each operation
(``IORING_REGISTER_BPF_FILTER``). The program reads ``struct io_uring_bpf_ctx``: 40 bytes, with
fields of their own for three kinds of operations. It permits the operation, or refuses it; it has
no other answer. Sources: include/uapi/linux/io_uring/bpf_filter.h, io_uring/bpf_filter.c,
io_uring/opdef.c (``filter_pdu_size``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import Action, Rule
from seccompgen.core.program import LD_W_ABS, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.program import CompiledProgram, Instruction

CONTEXT_SIZE = 40
"""sizeof(struct io_uring_bpf_ctx) in bytes."""
PERMIT, REFUSE = 1, 0
"""The answers of a program; any other number than 0 permits, too."""
RING_CALLS = ("io_uring_setup", "io_uring_enter", "io_uring_register")
"""The system calls of a ring, which a policy's section decides."""


class RingField(NamedTuple):
    """A field of the context: ``size`` bytes from ``offset``, in the kernel's byte order.

    A field in ``network`` order is big-endian everywhere. ``bits`` are those that mean the same on
    every kernel; rules compare no others. The kernel sets ``padding`` bytes behind the field to 0;
    a comparison for equality of the whole field covers them, which saves a mask.
    """

    name: str
    offset: int
    size: int
    network: bool = False
    bits: int = (1 << 128) - 1
    padding: int = 0

    @property
    def full(self) -> int:
        """The greatest value."""
        return (1 << 8 * self.size) - 1


FAMILY = RingField("family", 16, 4)
PORT = RingField("port", 20, 2, network=True, padding=2)
IPV4 = RingField("IPv4 address", 24, 4, network=True)
IPV6 = RingField("IPv6 address", 24, 16, network=True)
SQE_FLAGS = RingField("sqe_flags", 9, 1, bits=0xFF & ~0x12)
"""The request's flags. The kernel sets two of them by itself: IOSQE_IO_DRAIN and IOSQE_ASYNC."""
_OPEN = (RingField("flags", 16, 8), RingField("mode", 24, 8), RingField("resolve", 32, 8))

OPERATION_FIELDS: Mapping[str, tuple[RingField, ...]] = {
    "CONNECT": (FAMILY, PORT, IPV4, IPV6),
    "OPENAT": _OPEN,
    "OPENAT2": _OPEN,
    # Before 7.3.4 the kernel shows SOCK_CLOEXEC and SOCK_NONBLOCK in the type.
    "SOCKET": (FAMILY, RingField("type", 20, 4, bits=0xF), RingField("protocol", 24, 4)),
}
"""The fields of operations beyond SQE_FLAGS; operations that are missing here have none."""
PDU_SIZES: Mapping[str, int] = {"CONNECT": 24, "OPENAT": 24, "OPENAT2": 24, "SOCKET": 12}
"""``pdu_size`` of the operations with fields: bytes from offset 16. CONNECT has 0 before 7.2."""


class RingOperation(NamedTuple):
    """An operation of a ring: ``IORING_OP_`` and its name, and the opcode."""

    name: str
    opcode: int

    @property
    def pdu_size(self) -> int:
        """The size of its fields in bytes; a program is given to the kernel together with it."""
        return PDU_SIZES.get(self.name, 0)


@dataclass(frozen=True, slots=True)
class ContextTest:
    """The test that ``field & mask`` is in ``relation`` to ``value``, unsigned.

    ``relation`` is one of ``== != < <= > >=``. Fields of more than 8 bytes are tested by ``==`` and
    ``!=`` alone.
    """

    field: RingField
    relation: str
    value: int
    mask: int

    def holds(self, value: int) -> bool:
        """Return True if the test holds for a field with ``value``."""
        left = value & self.mask
        return {
            "==": left == self.value,
            "!=": left != self.value,
            "<": left < self.value,
            "<=": left <= self.value,
            ">": left > self.value,
            ">=": left >= self.value,
        }[self.relation]

    def __str__(self) -> str:
        masked = "" if self.mask == self.field.full & self.field.bits else f" & {self.mask:#x}"
        return f"{self.field.name}{masked} {self.relation} {self.value:#x}"


@dataclass(frozen=True, slots=True)
class RingRule:
    """A rule about one operation: if all ``tests`` hold, it is permitted, or refused.

    A ``mirrored`` rule follows from those for system calls.
    """

    operation: RingOperation
    tests: tuple[ContextTest, ...]
    permits: bool
    origin: Origin
    mirrored: bool = False


class Without(Enum):
    """The choice for kernels that cannot filter rings: install() refuses all rings, or fails."""

    REFUSE_RINGS = "refuse_rings"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class RingSection:
    """The section ``io_uring`` of a policy, in numbers.

    ``rules`` has for each ABI the rules in order; the first that matches an operation decides it,
    and what no rule matches is refused. Their numbers differ by ABI: O_CREAT has several values.
    ``position`` is that of the section, and all its rules for system calls have ``origin``.
    """

    rules: tuple[tuple[str, tuple[RingRule, ...]], ...]
    without: Without
    origin: Origin

    @property
    def position(self) -> Position:
        """The position of the section."""
        return self.origin.position

    def rules_for(self, abi: Abi) -> tuple[RingRule, ...]:
        """Return the rules for ``abi``, one of the policy's ``arches``."""
        return dict(self.rules)[abi.name]

    def operations(self, abi: Abi) -> tuple[RingOperation, ...]:
        """Return the operations that some rule permits, by opcode."""
        found = {rule.operation for rule in self.rules_for(abi) if rule.permits}
        return tuple(sorted(found, key=lambda one: one.opcode))


@dataclass(frozen=True)
class RingProgram:
    """The program of one operation: it answers PERMIT or REFUSE."""

    operation: RingOperation
    abi: Abi
    instructions: tuple[Instruction, ...]
    origins: tuple[tuple[Origin, ...], ...] = ()

    @property
    def is_constant(self) -> bool:
        """True if the answer is the same whatever the operation does."""
        return len(self.instructions) == 1

    @property
    def permits(self) -> bool:
        """False if it refuses every operation, as the kernel does without a program."""
        return not self.is_constant or self.instructions[0].k != REFUSE

    @property
    def pdu_size(self) -> int:
        """The size of the fields that the kernel must have; 0 if the program reads none.

        A kernel whose CONNECT has no fields yet can take a program that asks for none.
        """
        reads = any(one.code == LD_W_ABS and one.k >= FAMILY.offset for one in self.instructions)
        return self.operation.pdu_size if reads else 0

    def to_bytes(self) -> bytes:
        """Return the array of ``struct sock_filter`` in the byte order of ``abi``."""
        return encode(self.instructions, self.abi)


def refusing_rings(policy: ResolvedPolicy) -> ResolvedPolicy:
    """Return ``policy`` for kernels that cannot filter rings: no ring can be made.

    The calls of a ring get ENOSYS, as from a kernel without io_uring, so that programs go on
    without.
    """
    assert policy.io_uring
    origin = policy.io_uring.origin
    refused = tuple(
        Rule(name, None, Action.errno("ENOSYS"), origin.position, origin) for name in RING_CALLS
    )
    rest = tuple(rule for rule in policy.rules if rule.name not in RING_CALLS)
    return replace(policy, rules=refused + rest, io_uring=None)


class Trial(NamedTuple):
    """An operation that install() tries in a child, and whether it must be permitted.

    ``values`` are the sockaddr for CONNECT, else the fields in their order; empty for operations
    without fields.
    """

    opcode: int
    values: bytes | tuple[int, ...]
    permitted: bool


@dataclass(frozen=True)
class BuiltRings:
    """All that a filter has for the rings of one ABI.

    ``programs`` are those of permitted operations, by opcode: all others are refused. ``other`` is
    the program for system calls on kernels that cannot filter rings, None for `Without.FAIL`. With
    ``permits_exec`` the filter of system calls may let a process become another program.
    """

    programs: tuple[RingProgram, ...]
    trials: tuple[Trial, ...]
    permits_exec: bool
    other: CompiledProgram | None
