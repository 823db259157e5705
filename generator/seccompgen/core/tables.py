"""System call tables as values: the calls of every ABI at one kernel tag."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS, X32_SYSCALL_BIT
from seccompgen.core.errors import InputError
from seccompgen.core.facts import NO_FACTS
from seccompgen.core.model import U32
from seccompgen.core.releases import Since

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.naming import Naming

_TAG = re.compile(r"v(?P<major>[0-9]{1,3})\.(?P<minor>[0-9]{1,3})(\.[0-9]{1,5})?(-rc[0-9]{1,3})?")
_OLDEST = (5, 10)


def release(tag: str) -> tuple[int, int]:
    """Return (major, minor) of an upstream tag such as ``v7.3.4`` or ``v7.4-rc1``.

    Raises InputError if ``tag`` is not of that form, or older than v5.10.
    """
    match = _TAG.fullmatch(tag)
    if not match:
        raise InputError(f"{tag!r} is not a Linux release tag; write it like v7.3.4 or v7.4-rc1")
    version = (int(match["major"]), int(match["minor"]))
    if version < _OLDEST:
        raise InputError(f"{tag} is too old: tags from v5.10 on can be read")
    return version


class UpstreamFile(NamedTuple):
    """A file of the kernel tree that a table was made from; ``size`` is in bytes."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, content: bytes) -> UpstreamFile:
        """Return the entry for a file with ``content``."""
        return cls(path, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Table:
    """The system calls of one ABI at one tag.

    ``numbers`` maps every name that user space may use to the value that ``seccomp_data.nr``
    holds for it (32 bits; x32 with bit 30, MIPS with its base). Two names may share a number.
    """

    abi: Abi
    tag: str
    numbers: Mapping[str, int]
    inputs: tuple[UpstreamFile, ...]

    @cached_property
    def names(self) -> dict[int, str]:
        """Number to name; of several names for one number, the alphabetically first."""
        return {self.numbers[name]: name for name in sorted(self.numbers, reverse=True)}

    def number_of(self, name: str) -> int | None:
        """Return the number of the call ``name`` in a rule; None if this ABI has no such call.

        ``name`` may also be a number, such as ``435``, or ``-1`` for 0xffffffff.
        """
        if name.lstrip("-").isdecimal():
            return int(name) & U32
        return self.numbers.get(name)

    @cached_property
    def has_filters(self) -> bool:
        """True if kernels of this tag have SECCOMP_MODE_FILTER on this ABI."""
        since = self.abi.filters_since
        return since is not None and release(self.tag) >= since

    @cached_property
    def sha256(self) -> str:
        """One sha256 over the inputs, as hex: that of one line ``sha256  path`` per input."""
        lines = "".join(f"{file.sha256}  {file.path}\n" for file in self.inputs)
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Tables:
    """The tables of all ABIs that one tag supports, by canonical ABI name.

    ``facts`` are the constants and the arguments of calls at the same tag.
    """

    tag: str
    tables: Mapping[str, Table] = field(repr=False)
    facts: Facts = field(default=NO_FACTS, repr=False)

    @cached_property
    def files(self) -> tuple[UpstreamFile, ...]:
        """Every upstream file that some table was made from, sorted by path."""
        unique = {file.path: file for table in self.tables.values() for file in table.inputs}
        return tuple(unique[path] for path in sorted(unique))

    @cached_property
    def calls(self) -> frozenset[str]:
        """The names of the calls of all ABIs."""
        return frozenset[str]().union(*(table.numbers for table in self.tables.values()))

    @cached_property
    def naming(self) -> Naming:
        """The translator of arguments and values to names, by the facts."""
        from seccompgen.core.naming import Naming  # noqa: PLC0415 - not all that read tables print

        return Naming(self.facts)

    @cached_property
    def since(self) -> Since:
        """The first release of each call, as far as the facts contain it."""
        return Since(self.facts.since)

    def under(self, audit_arch: int | None) -> tuple[Table, ...]:
        """Return the tables of ABIs with filter support and the audit value ``audit_arch``."""
        names = (name for name in self.tables if ABIS[name].audit_arch == audit_arch)
        return tuple(t for t in map(self.tables.__getitem__, names) if t.has_filters)

    def table_of(self, audit_arch: int | None, nr: int) -> Table | None:
        """Return the table of the ABI through which a call is made; None if there is none."""
        x32 = bool(nr & X32_SYSCALL_BIT) and nr != U32
        found = self.under(audit_arch)
        served = (table for table in found if (table.abi.name == "x32") == x32)
        return next(served, found[0] if found else None)

    def dispatched_with(self, abi: Abi) -> tuple[Table, ...]:
        """Return the tables of other ABIs whose calls a task of ``abi`` can make by their numbers.

        A MIPS kernel selects the handler for any of its ABIs by the call number, whatever the
        task's ABI is (arch/mips/kernel/scall*.S). Other architectures have no such tables.
        """
        if not abi.audit_arch_name.startswith("AUDIT_ARCH_MIPS"):
            return ()
        return tuple(
            table
            for table in self.tables.values()
            if table.abi.audit_arch_name.startswith("AUDIT_ARCH_MIPS")
            and table.abi.byte_order == abi.byte_order
            and table.abi != abi
        )

    def digest_for(self, abis: Iterable[Abi]) -> str:
        """One sha256, as hex, over all table contents that affect programs for ``abis``."""
        answered = tuple(abis)
        names = {abi.name for abi in answered}
        names |= {table.abi.name for abi in answered for table in self.dispatched_with(abi)}
        return self.digest(names)

    def digest(self, names: Iterable[str]) -> str:
        """One sha256, as hex, over the calls and numbers in the tables of the ABIs ``names``."""
        lines = [
            f"{name} {call} {nr}\n"
            for name in sorted(names)
            for call, nr in sorted(self.tables[name].numbers.items())
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
