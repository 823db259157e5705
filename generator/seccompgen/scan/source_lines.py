"""Find the source line of an address in a file's debug information, where there is any."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

from seccompgen.core.text import printable
from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_BYTES = 1 << 30


class SourceLines:
    """The source lines of the ELF files ``places``, of which the first with them answers."""

    def __init__(self, *places: Path | None) -> None:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - only where something is unknown

        self._found: list[Any] = []
        for place in filter(None, places):
            with contextlib.suppress(Exception):  # pyelftools raises anything
                elf = ELFFile(BytesIO(read_file(place, _MAX_BYTES)))
                if elf.has_dwarf_info(strict=True):
                    self._found.append(elf.get_dwarf_info())

    def at(self, address: int) -> str:
        """Return ``file:line`` of ``address``; "" if it is not known."""
        for dwarf in self._found:
            with contextlib.suppress(Exception):
                for unit in _units(dwarf, address):
                    line = _line(dwarf, unit, address)
                    if line:
                        return line
        return ""


def _units(dwarf: Any, address: int) -> Iterator[Any]:
    """Yield the units that may contain ``address``: gcc has an index, LLVM by default none."""
    index = dwarf.get_aranges()
    offset = index.cu_offset_at_addr(address) if index else None
    if offset is not None:
        yield dwarf.get_CU_at(offset)
        return
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE().attributes
        if "DW_AT_stmt_list" in top and any(
            start <= address < end for start, end in _spans(dwarf, unit, top)
        ):
            yield unit


def _spans(dwarf: Any, unit: Any, top: Any) -> Iterator[tuple[int, int]]:
    low = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
    if "DW_AT_high_pc" in top:
        high = top["DW_AT_high_pc"]
        yield low, high.value if high.form == "DW_FORM_addr" else low + high.value
    elif "DW_AT_ranges" in top:
        lists = dwarf.range_lists()
        for one in lists.get_range_list_at_offset(top["DW_AT_ranges"].value, unit):
            if hasattr(one, "begin_offset"):
                base = 0 if getattr(one, "is_absolute", False) else low
                yield base + one.begin_offset, base + one.end_offset
            elif hasattr(one, "base_address"):
                low = one.base_address


def _line(dwarf: Any, unit: Any, address: int) -> str:
    """Return the line of the last row of the unit's table that is not after ``address``."""
    program = dwarf.line_program_for_CU(unit)
    before = None
    for entry in program.get_entries() if program else ():
        state = entry.state
        if state is None:
            continue
        if before and before.address <= address < state.address and not before.end_sequence:
            # Files are counted from 1 up to version 4 of DWARF, then from 0.
            file = program["file_entry"][before.file - (program["version"] < 5)]
            return f"{printable(file.name.decode(errors='replace'))}:{before.line}"
        before = state
    return ""
