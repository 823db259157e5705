"""Gather the facts of a tag besides its numbers: constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.facts import Facts
from seccompgen.core.tables import UpstreamFile
from seccompgen.kernel.parse.constants import read_constants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.tables import Table
    from seccompgen.kernel.parse.tree import Tree


def gather(tables: Mapping[str, Table], tree: Tree) -> Facts:
    """Return the facts of the ABIs that have ``tables``, and the files that they are from.

    Raises OutsideError with every problem found.
    """
    constants, used = read_constants(tables, tree)
    known = {file.path for table in tables.values() for file in table.inputs}
    inputs = {path: UpstreamFile.of(path, tree.files[path]) for path in sorted(used - known)}
    return Facts(constants, inputs=inputs)
