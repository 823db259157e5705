"""The option ``--assume`` of ``seccompgen scan``: what unknown locations call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.cli.scan_unknown import assumption
from seccompgen.core.errors import Diagnostic, InputError, Position, for_each
from seccompgen.io.reading import read_input
from seccompgen.scan.result import Assumption

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.scan import Scan

_FORM = re.compile(r"([^@=]+)@([0-9a-f]{12,64})\+(0x[0-9a-f]{1,16})\s*=\s*(.+)")
_NOTHING = ["none"]


def assumptions(texts: Iterable[str]) -> tuple[Assumption, ...]:
    """Return the assumptions in ``texts``, each one, or the path of a file with one per line."""
    return tuple(one for text in texts for one in _assumptions(text))


def _assumptions(text: str) -> Sequence[Assumption]:
    if "=" in text:
        return [_assumption(text, None)]
    lines = read_input(Path(text)).decode(errors="replace").splitlines()
    numbered = [(i, line.partition("#")[0].strip()) for i, line in enumerate(lines, 1)]
    wanted = [(line, Position(text, i)) for i, line in numbered if line]
    return for_each(lambda one: _assumption(*one), wanted)


def _assumption(text: str, position: Position | None) -> Assumption:
    match = _FORM.fullmatch(text)
    calls = match[4].replace(",", " ").split() if match else []
    if not match or not calls:
        form = "FILE@HASH+0xADDRESS=CALLS, as the scan prints it, with names or none for CALLS"
        raise InputError(Diagnostic(f"--assume: {text!r} is not {form}", position))
    return Assumption(match[1], match[2], int(match[3], 16), () if calls == _NOTHING else (*calls,))


def require_used(given: Iterable[Assumption], found: Sequence[Scan]) -> None:
    """Raise InputError unless each assumption is about something unknown that was found."""
    used = {one for result in found for one in result.assumed}
    problems = [
        Diagnostic(f"--assume {assumption(one)}: {_problem(one, found)}")
        for one in given
        if one not in used
    ]
    if problems:
        raise InputError(*problems)


def _problem(one: Assumption, found: Sequence[Scan]) -> str:
    hashes = [sha for result in found for path, sha in result.files if Path(path).name == one.file]
    if not hashes:
        return f"no file {one.file} was read"
    if not any(sha.startswith(one.sha256) for sha in hashes):
        return f"{one.file} has changed, so look again: its hash begins with {hashes[0][:16]}"
    return f"nothing is unknown at {one.address:#x}"
