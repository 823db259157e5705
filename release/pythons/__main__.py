"""``python -m release.pythons``: build a wheel, try it with every Python, write the table."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from release.pythons import root, trials

if TYPE_CHECKING:
    from collections.abc import Sequence

TREE = Path(__file__).parents[2]
PAGE = TREE / "docs" / "installing.md"
_TABLE = re.compile(r"(?<=<!-- make pythons writes this table -->\n).*?(?=\n\n)", re.DOTALL)
_COLUMNS = {
    "Python": "---",
    "modules imported": "---:",
    "confine": "---",
    "the lock": "---",
    "files with the same bytes": "---:",
    "tests passed": "---:",
}


def table(outcomes: list[trials.Trial]) -> str:
    """Return the outcomes as a table, without the columns of what was not tried at all."""
    rows = [_cells(one) for one in outcomes]
    shown = [n for n in range(len(_COLUMNS)) if not rows or any(row[n] for row in rows)]
    lines = [_line([cells[n] for n in shown]) for cells in (tuple(_COLUMNS), *rows)]
    lines.insert(1, "|".join(["", *(tuple(_COLUMNS.values())[n] for n in shown), ""]))
    return "\n".join(lines)


def with_table(page: str, outcomes: list[trials.Trial]) -> str:
    """Return the page with these outcomes in the place of others."""
    return _TABLE.sub(lambda _: table(outcomes), page)


def _cells(one: trials.Trial) -> tuple[str, ...]:
    name = one.release + ("t" if one.version.endswith("t") else "")
    return name, one.imported, one.confines, one.lock, one.command_line, one.tests


def _line(cells: Sequence[str]) -> str:
    return "|".join(["", *(f" {cell} " if cell else " " for cell in cells), ""])


def build(place: Path) -> None:
    """Build sdist and wheel of this tree."""
    words = ["-m", "build", "--no-isolation", "--outdir", str(place), str(TREE)]
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def main() -> int:
    """Try what was asked for, and write the table if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m release.pythons", description=__doc__)
    parser.add_argument("--only", action="append", choices=root.VERSIONS, help="repeatable")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    options = parser.parse_args()
    versions = options.only or root.VERSIONS
    try:
        root.make()
    except root.UnavailableError as error:
        print(f"{error}; only Pythons of this machine are tried", file=sys.stderr)
    failed = []
    with tempfile.TemporaryDirectory(prefix="pythons-") as place:
        dist = Path(place)
        build(dist)
        for version in versions:
            try:
                python = root.obtain(version)
                outcome = trials.attempt(python, dist)
                trials.keep(outcome)
                if not options.no_tests:
                    outcome = trials.tested(python, outcome)
                    trials.keep(outcome)
            except root.UnavailableError as error:
                print(f"{version}: {error}", flush=True)
                continue
            except trials.FailedError as error:
                failed.append(version)
                print(error, file=sys.stderr, flush=True)
                continue
            print(_line(_cells(outcome)), flush=True)
    if failed:
        return 1
    outcomes = [one for version in root.VERSIONS if (one := trials.kept(version))]
    PAGE.write_text(with_table(PAGE.read_text(), outcomes))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
