"""Read the trees of `upstream`: their files, the tables made from them, and rows as they stand."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from once_a_run import once_a_run
from seccompgen.kernel.parse import CANDIDATES, parse

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.tables import Tables


@cache
def read_tree(root: Path, tag: str) -> dict[str, bytes]:
    """Return the files of a tag that tables may be made from; whoever changes them copies first."""
    paths = {path: root / tag / path for path in CANDIDATES}
    return {path: file.read_bytes() for path, file in paths.items() if file.is_file()}


@cache
def tables_from(root: Path, tag: str) -> Tables:
    """Return the tables of a tag, which the processes of one run of the tests parse once."""
    name = "-".join((*root.parts[1:], tag))
    return once_a_run(name, lambda: parse(tag, read_tree(root, tag)))


def naive_rows(root: Path, tag: str, abi: str) -> dict[str, tuple[str, ...]]:
    """Return the entry points in each row of ``abi``'s table, by the call's name.

    ``abi`` is a name in arches.json. Tags before v6.11 have no table for some.
    """
    facts: list[dict[str, Any]] = json.loads((root / "arches.json").read_bytes())
    fact = next(fact for fact in facts if fact["abi"] == abi)
    rows = {}
    for line in (root / tag / fact["source_v7.3"]).read_text().splitlines():
        fields = line.split("#")[0].split()
        if fields and (fact["tbl_abis"] == ["*"] or fields[1] in fact["tbl_abis"]):
            rows[fields[2]] = tuple(fields[3:])
    return rows
