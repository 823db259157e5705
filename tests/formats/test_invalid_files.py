"""Invalid files of every format: each error is reported, all of a file's at once, at its place.

In tests/data/invalid_files.txt a line ``=== FORMAT: ABOUT`` begins a file, and § marks what is
wrong in it. A § alone in the last line marks the end of the file.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from proving import TABLES
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.formats import translate

MARK = "§"
_FILES = (Path(__file__).parents[1] / "data" / "invalid_files.txt").read_text()
FILES = re.findall(r"^=== (\w+): (.*)\n((?:(?!===).*\n)+)", _FILES, re.MULTILINE)


def places(marked: str) -> list[tuple[int, int]]:
    """Return the line and column of each mark, as they are without the marks."""
    return [
        (number, at - before + 1)
        for number, line in enumerate(marked.split("\n"), 1)
        for before, at in enumerate(found.start() for found in re.finditer(MARK, line))
    ]


@pytest.mark.parametrize(("form", "about", "marked"), FILES, ids=lambda one: one[:30].strip())
def test_each_error_is_at_its_place(form: str, about: str, marked: str) -> None:
    if marked.endswith(f"\n{MARK}\n"):
        marked = marked.removesuffix("\n")
    with pytest.raises(InputError) as caught:
        translate(marked.replace(MARK, "").encode(), about, Reading(form), TABLES)
    found = [one.position for one in caught.value.diagnostics]
    assert None not in found
    assert sorted((one.line, one.column) for one in found if one) == places(marked)


def test_there_are_enough_of_them() -> None:
    counts = Counter(form for form, _, _ in FILES)
    assert sum(counts.values()) == _FILES.count("\n===") + 1 >= 90
    assert {"oci", "minijail", "kafel", "seccompiler", "systemd", "lxc", "firejail"} <= {*counts}
