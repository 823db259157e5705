"""The ABIs that a policy is for which does not say it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.formats.draft import Draft


def target_abis(reading: Reading, draft: Draft, why: str) -> list[Abi]:
    """Return the ABIs that the reader names; x86_64, with a note that says ``why``, if none."""
    if reading.abis:
        return [ABIS[name] for name in dict.fromkeys(reading.abis)]
    text = f"{why}: read for x86_64, name another ABI with --for"
    draft.notes.append(Diagnostic(text, Position(draft.file), Problem.ABI_NEEDED))
    return [ABIS["x86_64"]]
