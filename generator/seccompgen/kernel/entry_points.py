"""Entry points as the kernel declares them, and their prototypes on one ABI.

Many ABIs share a declaration, but not the bits of a ``long``, nor the positions of the halves of a
64-bit argument on a 32-bit ABI. So declarations are stored once, and become prototypes when those
of an ABI are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.facts import Parameter, Prototype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi

MOST_PARAMETERS = 6
"""The number of arguments in ``seccomp_data``; mips o32 has calls with a seventh, on the stack."""

HALVES = "u64 in two"
"""The type of an argument that a macro of the kernel (``compat_arg_u64``) splits into two."""

_TYPES: Mapping[str, str] = {
    "s32": "int pid_t clockid_t key_t key_serial_t mqd_t timer_t __s32 s32 rwf_t utrap_entry_t"
    " compat_int_t compat_long_t compat_off_t compat_pid_t compat_ssize_t compat_clock_t",
    "u32": "unsigned uint u32 __u32 uint32_t uid_t gid_t qid_t"
    " compat_uint_t compat_ulong_t compat_size_t compat_aio_context_t compat_mode_t",
    "u16": "umode_t old_uid_t old_gid_t u16",
    "long": "long off_t ssize_t",
    "ulong": "size_t aio_context_t old_sigset_t uintptr_t",
    "s64": "loff_t",
    "u64": "u64 __u64",
    "pointer": "cap_user_header_t cap_user_data_t __sighandler_t utrap_handler_t",
    "pointer32": "compat_uptr_t",
}
"""Kinds of C types, each with the names of its types; `kind_of` knows more types."""

_KIND_OF: Mapping[str, str] = {
    **{name: kind for kind, types in _TYPES.items() for name in types.split()},
    "unsigned int": "u32",
    "unsigned long": "ulong",
    "unsigned long long": "u64",
    HALVES: "halves",
}
_FIXED = {"u16": 16, "s32": 32, "u32": 32, "pointer32": 32, "halves": 32}
_SIGNED = frozenset({"s32", "long", "s64"})
_ALIGNED = frozenset({"arm", "mips", "mipsel", "ppc", "xtensa", "hexagon"})
"""ABIs that pass 64 bits in a pair of registers that begins at an even one; a register may be
skipped.

Source: each ABI's calling convention. This is why these ABIs have ``sync_file_range2`` and
``arm_fadvise64_64``, whose arguments are ordered so that none is skipped.
"""
_UNALIGNED = frozenset(
    {"arc", "arm_oabi", "i386", "loongarch32", "m68k", "microblaze", "nios2", "openrisc"}
    | {"riscv32", "s390", "sh", "sheb", "sparc"}
)
"""ABIs that pass 64 bits in the next two arguments, even or odd.

The other ABIs are in neither set: csky's two calling conventions differ
(arch/csky/kernel/syscall.c), and all of parisc's calls with such arguments take halves.
"""


def kind_of(ctype: str) -> str:
    """Return the kind of a C type; empty if it is unknown."""
    if ctype.endswith("*"):
        return "pointer"
    plain = ctype.removeprefix("const ")
    return "u32" if plain.startswith("enum ") else _KIND_OF.get(plain, "")


class Declared(NamedTuple):
    """One parameter of a declaration; ``name`` is empty if the declaration has none.

    ``bits`` is the number of bits that the kernel reads if the type has more; else 0.
    """

    name: str
    type: str
    bits: int = 0


class EntryPoint(NamedTuple):
    """A function of the kernel that serves a system call, as upstream declares it."""

    name: str
    parameters: tuple[Declared, ...]

    def is_known_on(self, abi: Abi) -> bool:
        """Return True if the positions of all arguments on ``abi`` are known."""
        return abi.name in _ALIGNED | _UNALIGNED or wide_registers(abi) or self._even()

    def on(self, abi: Abi) -> Prototype:
        """Return the prototype on ``abi``, which must be known there."""
        parameters: list[Parameter] = []
        for one in self.parameters:
            kind = kind_of(one.type)
            if kind == "halves" or (kind in {"s64", "u64"} and not wide_registers(abi)):
                if kind != "halves" and len(parameters) % 2 and abi.name in _ALIGNED:
                    parameters.append(Parameter("__pad", "u32", 32))
                parameters += _halves(one.name, abi)
            else:
                parameters.append(_whole(one, kind, abi))
        return Prototype(self.name, tuple(parameters[:MOST_PARAMETERS]))

    def _even(self) -> bool:
        """Return True if all 64-bit arguments have even positions, which suits all conventions."""
        at = 0
        for one in self.parameters:
            kind = kind_of(one.type)
            if kind in {"s64", "u64"} and at % 2:
                return False
            at += 2 if kind in {"s64", "u64", "halves"} else 1
        return True


def wide_registers(abi: Abi) -> bool:
    """Return True if a 64-bit parameter takes one argument, not two, on ``abi``."""
    return abi.bits == 64 or abi.name in {"x32", "mips64n32", "mips64n32el"}


def word_bits(abi: Abi) -> int:
    """Return the number of bits that the kernel reads of a ``long`` on ``abi``.

    It is 64 if a 64-bit kernel serves the ABI and passes whole registers on. A filter that compares
    64 bits is correct on the ABI's own 32-bit kernel as well, where the high words are 0.
    """
    if abi.bits == 64:
        return 64
    served = any(abi.name in other.siblings for other in ABIS.values() if other.bits == 64)
    return abi.argument_bits if served else 32


def _halves(name: str, abi: Abi) -> list[Parameter]:
    order = ("lo", "hi") if abi.byte_order == "little" else ("hi", "lo")
    return [Parameter(f"{name}_{half}", "u32", 32) for half in order]


def _whole(one: Declared, kind: str, abi: Abi) -> Parameter:
    if not kind:
        return Parameter(one.name, one.type, None)
    bits = _FIXED.get(kind, 64 if kind in {"s64", "u64"} else word_bits(abi))
    bits = min(bits, abi.argument_bits, one.bits or bits)
    return Parameter(one.name, one.type, bits, kind in _SIGNED, kind.startswith("pointer"))


class AbiPrototypes(Mapping[str, Prototype]):
    """The prototypes of one ABI by call, created from ``entry_points`` on first access."""

    def __init__(self, abi: Abi, entry_points: Mapping[str, EntryPoint]) -> None:
        self._abi, self._all = abi, entry_points
        self._made: dict[str, Prototype] = {}

    @cached_property
    def entry_points(self) -> dict[str, EntryPoint]:
        """The entry points whose prototypes on the ABI are known; computed only if needed."""
        return {call: entry for call, entry in self._all.items() if entry.is_known_on(self._abi)}

    def __getitem__(self, call: str) -> Prototype:
        """Return the prototype of ``call``."""
        if call not in self._made:
            entry = self._all[call]
            if not entry.is_known_on(self._abi):
                raise KeyError(call)
            self._made[call] = entry.on(self._abi)
        return self._made[call]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the calls."""
        return iter(self.entry_points)

    def __len__(self) -> int:
        """Return the number of known calls."""
        return len(self.entry_points)
