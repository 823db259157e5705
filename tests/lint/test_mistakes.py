"""Bad and good policies, written before lint's code was looked at: what it finds of them.

The first line of a bad one says what is wrong, with a call that passes, or breaks the program.
``mistakes/expected.csv`` has that call, the weight that was wished for, and what is found of it, or
``-`` for a miss that is known. Of a good one it has all that is found, and why that is right. The
policies stay as they were written; bad ones from 61 on and good ones from 41 on came later, when
what the first had shown was mended.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.lint import Finding

FOLDER = Path(__file__).with_name("mistakes")
with (FOLDER / "expected.csv").open(newline="") as table:
    ROWS = {row["file"]: row for row in csv.DictReader(table)}
PROGRAMS = {"i386": "x86_64", "x32": "x86_64"}
"""The ABIs whose programs answer for others."""


def findings(file: str) -> tuple[Finding, ...]:
    """Return the findings on a policy, for the one ABI that shows the mistake."""
    abi = ROWS[file]["abi"]
    only = ABIS[PROGRAMS.get(abi, abi)]
    return lint_filter(FOLDER / file, shipped_tables(), only).findings


def shown(found: tuple[Finding, ...], row: dict[str, str]) -> Iterator[Finding]:
    """Yield the findings that show a call of the witness, through its ABI."""
    names = re.findall(r"(\w+)\(", row["witness"])
    numbers = {shipped_tables().tables[row["abi"]].numbers.get(name) for name in names}
    for one in found:
        call = one.witness.call if one.witness else None
        if call and call.arch == ABIS[row["abi"]].audit_arch and call.nr in numbers:
            yield one


def codes(found: Iterator[Finding] | tuple[Finding, ...]) -> str:
    return " ".join(sorted({f"{one.kind.value}:{one.severity.value}" for one in found})) or "-"


def test_each_policy_has_a_row() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.yml")}
    assert files == ROWS.keys()
    # Why something is found of a good one, and why nothing of a bad one.
    assert all(row["why"] or bool(row["witness"]) == (row["found"] != "-") for row in ROWS.values())


@pytest.mark.few(25, "each is read and followed: a hundredth of a second or more")
@pytest.mark.parametrize("file", ROWS)
def test_what_is_found(file: str) -> None:
    row, found = ROWS[file], findings(file)
    assert codes(tuple(shown(found, row)) if row["witness"] else found) == row["found"]
