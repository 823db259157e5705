"""Changes of policies in place: what `amend` makes of a text, and what the text permits then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.foreign import Reading
from seccompgen.core.model import kind_of_ret
from seccompgen.filters.combine.amend import Amended, amend
from seccompgen.formats import load_policy
from seccompgen.formats.amending import ChangedRule
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from pathlib import Path

AF_ALG = "socket when family == AF_ALG"


def changed(
    path: Path, text: str, *rules: str, reading: Reading | None = None, **more: object
) -> Amended:
    """Write a policy to ``path``, and change it by rules as on a command line."""
    path.write_text(text)
    words = [ChangedRule.parse(rule) for rule in rules]
    return amend(str(path), words, TABLES, reading or Reading(), **more)  # type: ignore[arg-type]


def lines(found: Amended) -> list[str]:
    """Return the lines that a change removes and adds."""
    return [line for line in found.diff[2:] if line[0] in "+-"]


def lets_through(path: Path, text: str, name: str, *args: int, abi: str = "x86_64") -> bool:
    """Return True if a call passes the filter of x86_64 for a policy in ``text``."""
    path.write_text(text)
    policy, _ = load_policy(path, TABLES, Reading())
    means = meaning(policy, ABIS["x86_64"], TABLES)
    return kind_of_ret(means.answer(named_call(abi, name, *args))).lets_through
