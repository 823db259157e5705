"""Constants as CSV: one row per name, with the value on most ABIs and those on the others."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import TYPE_CHECKING

from seccompgen.core.errors import did_you_mean
from seccompgen.core.facts import Constant
from seccompgen.kernel.fact_rows import RowReader, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER = "name,value,elsewhere,reason"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VALUE = r"0|-?[1-9][0-9]{0,19}"
_ABIS = r"[a-z0-9_]+(?:\+[a-z0-9_]+)*"
_ELSEWHERE = rf"(?:{_ABIS}=(?:{_VALUE})?(?: (?=[a-z]))?)*"
_ROW = re.compile(rf"({_NAME}),((?:{_VALUE})?),({_ELSEWHERE}),([^,\"\r]*)", re.ASCII)
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1


def render(constants: Mapping[str, Constant]) -> bytes:
    """Return ``constants`` as CSV, sorted by name.

    ABIs with the same value are grouped: ``alpha=32768 arm+aarch64=16384``. No value after the
    ``=`` means that these ABIs lack the constant.
    """
    lines = [_HEADER]
    for name in sorted(constants):
        one = constants[name]
        groups: dict[int | None, list[str]] = {}
        for abi, value in one.elsewhere.items():
            groups.setdefault(value, []).append(abi)
        elsewhere = " ".join(f"{'+'.join(a)}={_text(value)}" for value, a in groups.items())
        lines.append(f"{name},{_text(one.value)},{elsewhere},{one.reason}")
    return ("\n".join(lines) + "\n").encode()


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def read(content: bytes, name: str, abis: Sequence[str]) -> dict[str, Constant]:
    """Return the constants in ``content``, which ``render`` wrote for ``abis``.

    Raises InputError, with the position of each problem, for anything else. ``name`` is the file's
    name, for messages.
    """
    reader = _ConstantRows(name, abis)
    for number, line in enumerate(rows_of(content, name, _HEADER), 2):
        reader.row(number, line)
    reader.require_right()
    return reader.constants


class WrittenConstants(Mapping[str, Constant]):
    """The constants in ``content``, which `render` is known to have written for ``abis``.

    Each constant is parsed on first access: there are thousands, and a filter names a few.
    """

    def __init__(self, content: bytes, name: str, abis: Sequence[str]) -> None:
        # Rows are sorted like their names: a comma sorts before every character of a name.
        self._rows = content.decode().split("\n")[1:-1]
        self._reader = _ConstantRows(name, abis)

    def __getitem__(self, name: str) -> Constant:
        """Return the constant called ``name``."""
        read = self._reader.constants
        if name not in read:
            at = bisect_left(self._rows, f"{name},")
            if not self._rows[at : at + 1] or not self._rows[at].startswith(f"{name},"):
                raise KeyError(name)
            self._reader.row(0, self._rows[at], ordered=False)
        return read[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in alphabetical order."""
        return iter([row.partition(",")[0] for row in self._rows])

    def __len__(self) -> int:
        """Return the number of constants."""
        return len(self._rows)


class _ConstantRows(RowReader):
    def __init__(self, file: str, abis: Sequence[str]) -> None:
        super().__init__(file)
        self.constants: dict[str, Constant] = {}
        self._abis = frozenset(abis)
        self._before = ""
        # Groups of ABIs recur in hundreds of rows, so each text is split once.
        self._groups: dict[str, tuple[str, ...] | None] = {}

    def row(self, line: int, text: str, *, ordered: bool = True) -> None:
        match = _ROW.fullmatch(text)
        if not match:
            self.fail(line, "a row is a name, a value, values elsewhere, and a reason")
            return
        name, value, elsewhere, reason = match.groups()
        if ordered and name <= self._before:
            self.fail(line, f"{name!r} is not in its place: rows are sorted by name")
        self._before = max(self._before, name)
        common = self._number(value, line, match.start(2))
        values: dict[str, int | None] = {}
        at = match.start(3)
        for item in elsewhere.split(" ") if elsewhere else ():
            group, _, number = item.partition("=")
            there = self._number(number, line, at + len(group) + 1)
            for abi in self._names(group, line, at):
                if abi in values:
                    self.fail(line, f"{abi} has two values", at + 1)
                values[abi] = there
            at += len(item) + 1
        self.constants[name] = Constant(name, common, values, reason)

    def _number(self, text: str, line: int, at: int) -> int | None:
        if not text:
            return None
        value = int(text)
        if not _LOWEST <= value <= _HIGHEST:
            self.fail(line, f"{text} does not fit into 64 bits", at + 1)
        return value

    def _names(self, group: str, line: int, at: int) -> tuple[str, ...]:
        names = self._groups.get(group)
        if names is None:
            names = tuple(group.split("+"))
            for name in names:
                if name not in self._abis:
                    hint = did_you_mean(name, self._abis)
                    self.fail(line, f"{name!r} is no ABI of the lock{hint}", at + 1)
                    return names
            self._groups[group] = names
        return names
