"""Collect the facts of a tag other than call numbers: constants and prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.facts import Facts
from seccompgen.core.tables import UpstreamFile
from seccompgen.kernel.parse.constants import read_constants
from seccompgen.kernel.parse.prototypes import read_prototypes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.tables import Table
    from seccompgen.kernel.parse.served import Served
    from seccompgen.kernel.parse.tree import Tree


def gather(
    tables: Mapping[str, Table], served: Mapping[str, Mapping[str, Served]], tree: Tree
) -> Facts:
    """Return the facts of the ABIs in ``tables``, including the files that they come from.

    ``served`` has the functions that serve each call of an ABI. Raises OutsideError with every
    problem found.
    """
    constants, used = read_constants(tables, tree)
    prototypes, declaring = read_prototypes(served, tree)
    used |= declaring
    known = {file.path for table in tables.values() for file in table.inputs}
    inputs = {path: UpstreamFile.of(path, tree.files[path]) for path in sorted(used - known)}
    return Facts(constants, prototypes, inputs)
