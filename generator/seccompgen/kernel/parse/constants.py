"""Constants of the kernel's headers, on each ABI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.facts import Constant
from seccompgen.kernel.parse.cpp import evaluate
from seccompgen.kernel.parse.sources import AUDIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.kernel.parse.tree import Tree


def read_constants(_abis: Iterable[str], tree: Tree) -> tuple[dict[str, Constant], set[str]]:
    """Return the constants that ``abis`` have, by name, and the files that they are from."""
    macros = {name: one for name, one in tree.audit.items() if name.startswith("AUDIT_ARCH_")}
    constants = {name: Constant(name, evaluate(tree.audit, name)) for name in macros}
    return constants, {AUDIT}
