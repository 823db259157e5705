"""aarch64 addresses, which are made in parts: a page and an offset, or sixteen bits at a time."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.arm64_instructions import CALLS, COMPARES, STOPS, number, whole
from seccompgen.scan.processor import Effect, EffectKind, Instruction
from seccompgen.scan.ways import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

_MEMORY = re.compile(
    r"\[(?P<base>\w+)(?:, #(?P<offset>-?\w+))?\](?P<pre>!)?(?:, #(?P<post>-?\w+))?"
)
_CONDITIONS = (
    *("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc"),
    *("hi", "ls", "ge", "lt", "gt", "le", "al", "nv"),
)
_OTHER = -1
"""Stands for a value that is no page."""
_BY_REGISTER = frozenset({"br", "braa", "brab", "braaz", "brabz"})
_GOES = frozenset({"b", "cbz", "cbnz", "tbz", "tbnz"} | {f"b.{one}" for one in _CONDITIONS})


class BaseOffset(NamedTuple):
    """An operand in memory; ``base`` changes by ``moves``, before or after the access."""

    base: str
    offset: int
    moves: int


def memory_operand(operands: str) -> BaseOffset | None:
    """Return the memory operand of the form register plus number; None if there is none."""
    match = _MEMORY.search(operands)
    base = whole(match["base"]) if match else ""
    if not match or not base:
        return None
    offset = int(match["offset"] or "0", 0)
    if match["pre"]:
        return BaseOffset(base, offset, offset)
    if match["post"]:
        return BaseOffset(base, 0, int(match["post"], 0))
    return BaseOffset(base, offset, 0)


def page_made(instruction: Instruction) -> int | None:
    """Return the page that an instruction puts into a register; None for others.

    A linker may write ``adr`` in place of ``adrp``, as ld does for erratum 843419.
    """
    _, _, mnemonic, operands = instruction
    if mnemonic not in {"adr", "adrp"}:
        return None
    page = number(operands.partition(", ")[2])
    return None if page % PAGE else page


def pages_of(code: Sequence[Instruction]) -> dict[str, set[int]]:
    """Return the pages that ``code`` puts into each register."""
    pages: dict[str, set[int]] = defaultdict(set)
    for instruction in code:
        page = page_made(instruction)
        if page is not None:
            pages[whole(instruction[3].partition(", ")[0])].add(page)
    return pages


class PageFlow:
    """The pages that a register may hold where a function uses it.

    Control may come to ``pads`` from each call, by an exception, and from each jump by a table to
    what nothing else leads to, or what is behind a call, which may never return. If the code is not
    ``whole``, but a part of a function, it may come from elsewhere, too. Then each page counts that
    the code puts into the register.

    ``keeps`` returns True if a register may keep its content over a call. A compiler may know of a
    function in its file that it changes less than it is allowed to (GCC's -fipa-ra).
    """

    def __init__(
        self,
        code: Sequence[Instruction],
        keeps: Callable[[str], bool],
        pads: Collection[int],
        *,
        whole: bool,
    ) -> None:
        self.pages = pages_of(code)
        self._code = code
        self._keeps = keeps
        self._pads = pads
        self._whole = whole

    def at(self, index: int, register: str) -> Collection[int]:
        """Return the pages that may be in ``register`` before ``code[index]``."""
        pages = self.pages.get(register)
        if not pages:
            return ()
        found: set[int] = set()
        seen, waiting = {index}, [index]
        while waiting:
            earlier = self._before(waiting.pop())
            if earlier is None:
                return pages
            for before in earlier:
                page = self._page(before, register)
                if page is None:
                    if before not in seen:
                        seen.add(before)
                        waiting.append(before)
                elif page != _OTHER:
                    found.add(page)
        return found

    def _page(self, index: int, register: str) -> int | None:
        """Return the page that an instruction puts there; _OTHER for another value, None for none.

        The first page of a file that is loaded anywhere is 0.
        """
        _, _, mnemonic, operands = self._code[index]
        if mnemonic in CALLS:
            return None if self._keeps(register) else _OTHER
        if register[1:] not in operands:
            return None
        if mnemonic[:2] in {"cb", "tb"} or mnemonic in COMPARES:
            return _OTHER if register in map(whole, operands.split(", ")) else None
        first = operands.partition(", ")[0]
        if whole(first) != register or mnemonic[:2] == "st" or mnemonic == "movk":
            return None
        page = page_made(self._code[index])
        return _OTHER if page is None else page

    def _before(self, index: int) -> Sequence[int] | None:
        """Return the instructions from which control may come to one; None if that is unknown."""
        found = [*self._sources.get(index, ())]
        if index == 0:
            return found if self._whole else None
        behind_call = self._code[index - 1][2] in CALLS
        if self._code[index - 1][2] not in STOPS:
            found.append(index - 1)
        is_pad = self._code[index][0] in self._pads
        if found and not is_pad and not behind_call:
            return found
        if not self._whole:
            return None
        return [*found, *self._tables, *(self._calls if is_pad else ())]

    @cached_property
    def _calls(self) -> list[int]:
        return [i for i, one in enumerate(self._code) if one[2] in CALLS]

    @cached_property
    def _tables(self) -> list[int]:
        """The jumps through registers, but for those to a word that was loaded just before."""
        jumps = (i for i, one in enumerate(self._code) if one[2] in _BY_REGISTER)
        return [i for i in jumps if self._may_be_by_table(i)]

    def _may_be_by_table(self, index: int) -> bool:
        register = whole(self._code[index][3].partition(", ")[0])
        while index and index not in self._sources:
            index -= 1
            _, _, mnemonic, operands = self._code[index]
            if mnemonic in CALLS or mnemonic in STOPS:
                return True
            if whole(operands.partition(", ")[0]) == register and mnemonic[:2] != "st":
                return mnemonic != "ldr" or memory_operand(operands) is None
        return True

    @cached_property
    def _sources(self) -> dict[int, list[int]]:
        """The jumps within the function, by where they lead to."""
        index = {one[0]: i for i, one in enumerate(self._code)}
        found: dict[int, list[int]] = defaultdict(list)
        for i, (_, _, mnemonic, operands) in enumerate(self._code):
            if mnemonic in _GOES:
                target = number(operands.rpartition(", ")[2])
                if target in index:
                    found[index[target]].append(i)
        return found


def carried(code: Sequence[Instruction], pages: dict[str, set[int]]) -> Iterator[tuple[int, int]]:
    """Yield the pages that a function does not merely load from or add offsets to, by location.

    The offset may be added to them in another register, or in another function.
    """
    if not pages:
        return
    end = code[-1][0] + code[-1][1]
    for i, (place, _, mnemonic, operands) in enumerate(code):
        if mnemonic == "adrp":
            name, _, page = operands.partition(", ")
            if _is_carried(code, i, whole(name), end):
                yield place, number(page)


def _is_carried(code: Sequence[Instruction], index: int, register: str, end: int) -> bool:
    word = re.compile(rf"\b[wx]{register[1:]}\b")
    for _, _, mnemonic, operands in code[index + 1 :]:
        if mnemonic in {"ret", "br"}:
            return bool(word.search(operands))
        if mnemonic in _GOES:
            # Functions never receive mere pages, but a part of this one that is elsewhere may.
            target = number(operands.rpartition(", ")[2])
            if not code[0][0] <= target < end:
                return True
            if mnemonic == "b":
                return False  # the target is inside, and is checked as part of the function
            continue
        if not word.search(operands):
            continue
        first, _, rest = operands.partition(", ")
        second = ""
        if mnemonic == "ldp":
            second, _, rest = rest.partition(", ")
        memory = memory_operand(operands)
        based = memory is not None and memory.base == register and not memory.moves
        if mnemonic[:2] == "st":
            if not based or word.search(operands.partition("[")[0]):
                return True
            continue
        added = mnemonic == "add" and rest.count(", ") == 1 and ", #" in rest
        if (
            word.search(rest)
            and not (mnemonic[:3] in {"ldr", "ldp", "prf"} and based)
            and not added
        ):
            return True
        if register in {whole(first), whole(second)}:
            return False
    return False


def parts_of(code: Sequence[Instruction], index: int) -> Iterator[Effect]:
    """Yield a reference to the address that a ``movz`` and ``movk``s up to ``index`` assemble."""
    register = whole(code[index][3].partition(", ")[0])
    value, known = 0, 0
    for _, _, mnemonic, operands in reversed(code[: index + 1]):
        parts = operands.split(", ")
        if whole(parts[0]) != register:
            continue
        if mnemonic not in {"movk", "movz", "mov"} or parts[1][:1] != "#":
            return
        shift = number(parts[2].removeprefix("lsl ")) if len(parts) > 2 else 0
        if mnemonic != "movk":
            value |= number(parts[1]) & ~known
            break
        value |= (number(parts[1]) << shift) & ~known
        known |= 0xFFFF << shift
    yield Effect(EffectKind.REFERENCE, code[index][0], value)
