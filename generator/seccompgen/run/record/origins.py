"""Find the origins of calls, program and function, for the comments of a policy.

Several of the first calls of each kind are examined, since the loader or the C library's startup
often makes the very first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from seccompgen.core.text import printable
from seccompgen.run.locations import locations_of
from seccompgen.run.process import Process
from seccompgen.run.python_lines import STANDARD_LIBRARY
from seccompgen.run.scripts import script_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from seccompgen.run.process import CodeLocation
    from seccompgen.run.record.observations import Arguments, CallNumber

    Sorted = Callable[[CallNumber, Arguments], Hashable | None]
    """A function that returns the kind of a call; None for a call that needs no location."""

_LOOKS, _LOOKS_AT_SCRIPTS = 12, 64
"""Calls examined per kind; more while an interpreter runs its own library."""
_SETTLED = 1 << 14
"""The most keys that are remembered as settled."""
_LOCATIONS = 6
"""The number of native functions among which one of the program itself is searched for."""
_LIBRARY = re.compile(
    r"(ld-linux|ld-musl|ld64|ld|libc|libpthread|linux-vdso)[-.0-9_a-z]*\.so[.0-9]*"
)
"""Files whose functions do not show who caused a call."""
_SYSCALL = re.compile(r"\b(Raw)?Syscall\w*(\.abi0)?$")
_STANDARD = re.compile(rf"{STANDARD_LIBRARY}|/perl(5|-base)?/")
"""Matches lines of an interpreter's own library."""
_WIDTH = 60
"""The most characters of a location."""


class Origins:
    """The origins of calls, by kind; calls with ``settled`` keys need no further look."""

    def __init__(self, sort: Sorted) -> None:
        self.settled: set[tuple[int, ...]] = set()
        self._sort = sort
        self._looks: dict[Hashable, float] = defaultdict(float)
        self._found: dict[Hashable, tuple[int, str]] = {}

    def look(
        self, tid: int, key: tuple[int, ...], number: CallNumber, arguments: Arguments
    ) -> None:
        """Find the origin of a call that a thread waits in; ``key`` identifies the call."""
        kind = self._sort(number, arguments)
        if kind is None or self._looks[kind] >= _LOOKS:
            if len(self.settled) < _SETTLED:
                self.settled.add(key)
            return
        degree, text = _location(Process(tid))
        self._looks[kind] += _LOOKS / _LOOKS_AT_SCRIPTS if degree == _SCRIPT else 1
        if degree > self._found.get(kind, (-1, ""))[0]:
            self._found[kind] = degree, text
        if degree == _LINE:
            self._looks[kind] = _LOOKS

    def found(self) -> Mapping[Hashable, str]:
        """Return the locations, by kind of call."""
        return {kind: text for kind, (_, text) in self._found.items()}


_SCRIPT, _PROGRAM, _FUNCTION, _OWN, _LINE = range(5)
"""Degrees of precision of a location, least first.

They are: an interpreter in its own library; a program alone, with a library's function, or with a
function of its own; the line of a script.
"""


def _location(process: Process) -> tuple[int, str]:
    """Return the precision of a location, and its text."""
    program = printable((process.executable or process.name).rpartition("/")[2])
    lines = script_lines(process).lines
    own_line = next((line for line in lines if not _STANDARD.search(line)), "")
    if own_line:
        return _LINE, _short(f"{program}: {printable(own_line.rpartition('/')[2])}")
    if lines:
        return _SCRIPT, program
    locations = locations_of(process, process.instruction_pointer, _LOCATIONS)
    named = [one for one in locations if one.function]
    if not named:
        return _PROGRAM, program
    own = [one for one in named if not _is_library(one)]
    # Go's packages make every call through one function.
    chosen = next((one for one in own if not _SYSCALL.search(one.function)), (own or named)[0])
    function = printable(chosen.function.removesuffix(".abi0"))
    return (_OWN if own else _FUNCTION), _short(f"{program}: {function}")


def _is_library(location: CodeLocation) -> bool:
    return _LIBRARY.fullmatch(location.file.rpartition("/")[2]) is not None


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
