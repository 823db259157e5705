"""First releases as CSV: one row per call, one column per ABI, empty if it never had the call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.releases import Introduced
from seccompgen.kernel.fact_rows import RowReader, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADER = ",".join(("call", *ABIS))
_CALL = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_RELEASE = r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){1,2}"
_CELL = re.compile(rf"<={_RELEASE}|{_RELEASE}(?:-{_RELEASE})?", re.ASCII)


def render(since: Mapping[str, Mapping[str, Introduced]]) -> bytes:
    """Return ``since``, by ABI and call, as CSV. Every ABI has a column, even a removed one."""
    columns = [since.get(abi, {}) for abi in ABIS]
    lines = [_HEADER]
    lines += (
        ",".join((call, *(str(column.get(call, "")) for column in columns)))
        for call in sorted({call for column in columns for call in column})
    )
    return ("\n".join(lines) + "\n").encode()


def read(content: bytes, name: str, _: Sequence[str]) -> dict[str, dict[str, Introduced]]:
    """Return the first releases in ``content``, which ``render`` wrote, by ABI and call.

    Raises InputError, with the position of each problem, for anything else. ``name`` is the file's
    name, for messages. The file has all ABIs that seccompgen knows, regardless of the lock.
    """
    reader = _ReleaseRows(name)
    for number, line in enumerate(rows_of(content, name, _HEADER), 2):
        reader.row(number, line)
    reader.require_right()
    return reader.since


class _ReleaseRows(RowReader):
    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.since: dict[str, dict[str, Introduced]] = {abi: {} for abi in ABIS}
        self._before = ""
        # A few different texts fill thousands of cells.
        self._cells: dict[str, Introduced] = {}

    def row(self, line: int, text: str) -> None:
        call, *cells = text.split(",")
        if not _CALL.fullmatch(call) or call <= self._before:
            self.fail(line, f"{call[:40]!r} is no name of a system call, or not in its place")
        elif len(cells) != len(self.since):
            self.fail(line, f"{len(cells)} releases for {len(self.since)} ABIs")
        elif not any(cells):
            self.fail(line, f"{call} has no release")
        self._before = max(self._before, call)
        column = len(call) + 2
        for calls, cell in zip(self.since.values(), cells, strict=False):
            if cell:
                introduced = self._cells.get(cell) or self._cell(cell, line, column)
                if introduced:
                    calls[call] = introduced
            column += len(cell) + 1

    def _cell(self, cell: str, line: int, column: int) -> Introduced | None:
        try:
            introduced = Introduced.parse(cell) if _CELL.fullmatch(cell) else None
        except InputError as error:
            self.fail(line, str(error), column)
            return None
        if introduced is None or str(introduced) != cell:
            self.fail(line, f"{cell[:40]!r} is no release such as 5.11, 5.3-5.4 or <=4.9", column)
            return None
        self._cells[cell] = introduced
        return introduced
