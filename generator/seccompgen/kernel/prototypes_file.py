"""Prototypes as CSV: the parameters of entry points, and the entry point of each call by ABI.

There are two kinds of rows, with a blank line between them::

    sys_openat,dfd: int,filename: const char __user *,flags: int,mode: umode_t
    openat,all,sys_openat

If the kernel reads fewer bits than the type has, a parameter ends with their number, as in ``flags:
unsigned long: 32``. ``all-alpha-sparc`` are all ABIs but alpha and sparc, ``arm+mips`` are these
two alone. A call has a row for each of its entry points; on ABIs in none of its rows, the call does
not exist or its prototype is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.kernel.entry_points import AbiPrototypes, Declared, EntryPoint
from seccompgen.kernel.fact_rows import RowReader, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.facts import Prototype

_PARAMETER = re.compile(
    r"(?P<name>\w*): (?P<type>\w+(?: \w+)*(?: \*(?: (?:\w+ )*\*)*)?)(?:: (?P<bits>8|16|32))?",
    re.ASCII,
)
_ENTRY = re.compile(r"\w+(?:@[2-9])?", re.ASCII)
_CALL = re.compile(r"[a-z_][a-z0-9_]*")


def render(prototypes: Mapping[str, Mapping[str, Prototype]]) -> bytes:
    """Return ``prototypes``, as returned by `read` or the parser, as CSV.

    Entry points with the same name that differ by architecture are numbered:
    ``sys_rt_sigaction@2``.
    """
    abis = list(prototypes)
    names: dict[str, list[EntryPoint]] = {}
    calls: dict[str, dict[EntryPoint, list[str]]] = {}
    for abi, known in prototypes.items():
        if not isinstance(known, AbiPrototypes):
            raise TypeError("these prototypes were not read from a kernel")
        for call, entry in known.entry_points.items():
            variants = names.setdefault(entry.name, [])
            if entry not in variants:
                variants.append(entry)
            calls.setdefault(call, {}).setdefault(entry, []).append(abi)
    label = {
        entry: name if at == 1 else f"{name}@{at}"
        for name, variants in names.items()
        for at, entry in enumerate(variants, 1)
    }
    entries = sorted((name, entry) for entry, name in label.items())
    lines = [",".join((name, *map(_parameter, entry.parameters))) for name, entry in entries]
    lines.append("")
    for call in sorted(calls):
        rows = sorted((label[entry], having) for entry, having in calls[call].items())
        lines += (f"{call},{_abis(having, abis)},{name}" for name, having in rows)
    return ("\n".join(lines) + "\n").encode()


def _parameter(one: Declared) -> str:
    return f"{one.name}: {one.type}" + (f": {one.bits}" if one.bits else "")


def _abis(having: Sequence[str], abis: Sequence[str]) -> str:
    these = "+".join(having)
    others = "".join(f"-{abi}" for abi in abis if abi not in having)
    return min(f"all{others}", these, key=len)


def read(content: bytes, name: str, abis: Sequence[str]) -> dict[str, AbiPrototypes]:
    """Return the prototypes in ``content``, which `render` wrote for ``abis``.

    Raises InputError, with the position of each problem, for anything else. ``name`` is the file's
    name, for messages.
    """
    lines = rows_of(content, name)
    if "" not in lines:
        where = Position(name, len(lines) + 1, 1)
        raise InputError(Diagnostic("no blank line ends the entry points", where))
    reader = _PrototypeRows(name, abis)
    blank = lines.index("")
    for number, line in enumerate(lines[:blank], 1):
        reader.entry(number, line)
    for number, line in enumerate(lines[blank + 1 :], blank + 2):
        reader.call(number, line)
    reader.require_right()
    return {abi: AbiPrototypes(ABIS[abi], found) for abi, found in reader.found.items()}


class WrittenPrototypes(Mapping[str, AbiPrototypes]):
    """The prototypes in ``content``, which `render` is known to have written for ``abis``.

    Each row is parsed on first access to its call: there are hundreds, and a policy names a few.
    """

    def __init__(self, content: bytes, name: str, abis: Sequence[str]) -> None:
        lines = content.decode().split("\n")
        blank = lines.index("")
        self._entries = {row.partition(",")[0]: row for row in lines[:blank]}
        self.calls: dict[str, list[str]] = {}
        for row in lines[blank + 1 : -1]:
            self.calls.setdefault(row.partition(",")[0], []).append(row)
        self._file, self._abis = name, abis
        self._read: dict[str, dict[str, EntryPoint]] = {}
        self._of = {abi: AbiPrototypes(ABIS[abi], _WrittenCalls(self, abi)) for abi in abis}

    def entry_point(self, call: str, abi: str) -> EntryPoint:
        """Return the entry point of ``call`` on ``abi``; raise KeyError if it is unknown."""
        if call not in self._read:
            reader = _PrototypeRows(self._file, self._abis)  # not shared between threads
            for row in self.calls[call]:
                reader.entry(0, self._entries[row.rpartition(",")[2]])
                reader.call(0, row)
            self._read[call] = {one: had[call] for one, had in reader.found.items() if had}
        return self._read[call][abi]

    def __getitem__(self, abi: str) -> AbiPrototypes:
        """Return the prototypes of an ABI."""
        return self._of[abi]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ABIs."""
        return iter(self._of)

    def __len__(self) -> int:
        """Return the number of ABIs."""
        return len(self._of)


class _WrittenCalls(Mapping[str, EntryPoint]):
    """The entry points of one ABI by call, each parsed on first access."""

    def __init__(self, file: WrittenPrototypes, abi: str) -> None:
        self._file, self._abi = file, abi

    def __getitem__(self, call: str) -> EntryPoint:
        return self._file.entry_point(call, self._abi)

    def __iter__(self) -> Iterator[str]:
        return (call for call in self._file.calls if call in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _PrototypeRows(RowReader):
    def __init__(self, file: str, abis: Sequence[str]) -> None:
        super().__init__(file)
        self.found: dict[str, dict[str, EntryPoint]] = {abi: {} for abi in abis}
        self._entries: dict[str, EntryPoint] = {}
        # The same parameters and sets of ABIs recur in hundreds of rows.
        self._parameters: dict[str, Declared] = {}
        self._sets: dict[str, tuple[str, ...]] = {}

    def entry(self, line: int, text: str) -> None:
        label, *parts = text.split(",")
        if not _ENTRY.fullmatch(label) or label in self._entries:
            self.fail(line, f"{label[:40]!r} is no name of an entry point, or is here twice")
        parameters = []
        for part in parts:
            declared = self._parameters.get(part)
            if declared is None:
                match = _PARAMETER.fullmatch(part)
                if not match:
                    self.fail(line, f"{part[:40]!r} is no parameter with its type")
                    return
                declared = Declared(match["name"], match["type"], int(match["bits"] or 0))
                self._parameters[part] = declared
            parameters.append(declared)
        self._entries[label] = EntryPoint(label.partition("@")[0], tuple(parameters))

    def call(self, line: int, text: str) -> None:
        parts = text.split(",")
        if len(parts) != 3 or not _CALL.fullmatch(parts[0]):
            self.fail(line, "a row is a call, its ABIs and an entry point")
            return
        call, group, label = parts
        entry = self._entries.get(label)
        if entry is None:
            hint = did_you_mean(label, self._entries)
            self.fail(line, f"no row has the entry point {label[:40]!r}{hint}")
            return
        for abi in self._abis(group, line):
            if self.found[abi].setdefault(call, entry) is not entry:
                self.fail(line, f"{call} has two entry points on {abi}")

    def _abis(self, group: str, line: int) -> tuple[str, ...]:
        abis = self._sets.get(group)
        if abis is None:
            without = group == "all" or group.startswith("all-")
            names = group.split("-")[1:] if without else group.split("+")
            for unknown in (one for one in names if one not in self.found):
                hint = did_you_mean(unknown, self.found)
                self.fail(line, f"{unknown[:40]!r} is no ABI of the lock{hint}")
                return ()
            abis = tuple(abi for abi in self.found if (abi in names) != without)
            self._sets[group] = abis
        return abis
