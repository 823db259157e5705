"""One filter of a file that has several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, did_you_mean
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.errors import Position


def chosen(names: Sequence[str], wanted: str | None, at: Position) -> str:
    """Return the name that is ``wanted``, or the only one; raise InputError if it is not clear."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    listed = ", ".join(names)
    text = "has several filters: name one with --filter, or let convert write all of them with "
    text += f"-o DIR/: {listed}"
    if wanted is not None:
        text = f"has no filter {wanted!r}{did_you_mean(wanted, names)}, but {listed}"
    raise InputError(Diagnostic(text, at, Problem.SEVERAL_FILTERS))
