"""Measure and write docs/userlands.md: ``python -m benchmarks.userlands``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.userlands import measure, predict, report, roots, runs
from benchmarks.userlands.programs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[2] / "docs" / "userlands.md"


def missing() -> str:
    """Return why programs cannot be tried here, if so."""
    if os.geteuid() != 0:
        return "it takes root: user lands are entered by chroot(2)"
    tools = [tool for tool in ("debootstrap", "unshare", "ip") if not shutil.which(tool)]
    return f"not installed: {', '.join(tools)}" if tools else ""


def measured(place: Path, lands: Sequence[str]) -> list[measure.Cell]:
    """Return all that was measured, this time or before."""
    files = [place / "measured" / f"{one}.{name}.json" for one in PROGRAMS for name in lands]
    return [cell for cell in map(measure.kept, files) if cell]


def compared(
    cells: Sequence[measure.Cell], policies: Path, place: Path
) -> dict[tuple[str, str, str], predict.Compared]:
    """Return what lint says beside what was seen, by program, user land and action."""
    found = {}
    for name in (*roots.LIBRARIES, *roots.LATER):
        here = [cell for cell in cells if cell.land == name]
        files = [policies / f"{cell.program}.yml" for cell in here]
        for action in runs.ACTIONS if here else ():
            said = predict.predictions(files, roots.user_land(name, place), action)
            for cell, file in zip(here, files, strict=True):
                partly = predict.constrained(file)
                found[cell.program, name, action] = predict.compare(
                    cell, said[cell.program], action, partly
                )
    return found


def main() -> int:
    """Make what is missing, measure what was not measured, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.userlands", description=__doc__)
    parser.add_argument("--place", type=Path, default=roots.PLACE, help="where the user lands are")
    parser.add_argument(
        "--only", action="append", choices=PROGRAMS, help="this program; repeatable"
    )
    parser.add_argument("--land", action="append", help="this user land; repeatable")
    parser.add_argument("--quick", action="store_true", help="do not try each refused call alone")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--no-page", action="store_true", help="measure only")
    options = parser.parse_args()
    if why := missing():
        print(why, file=sys.stderr)
        return 3
    lands = [roots.RECORDED, *roots.LIBRARIES, *roots.LATER]
    programs = [PROGRAMS[name] for name in options.only or PROGRAMS]
    packages = [program.package for program in PROGRAMS.values()]
    policies = options.place / "policies"
    recorded_in = roots.make(roots.RECORDED, packages, options.place)
    failed = False
    for name in options.land or lands:
        land = roots.make(name, packages, options.place)
        for program in programs:
            policy = policies / f"{program.name}.yml"
            if not policy.exists():
                runs.record(program, recorded_in, policy)
            file = options.place / "measured" / f"{program.name}.{name}.json"
            cell = None if options.fresh else measure.kept(file)
            if not cell or (cell.breaking is None and not options.quick):
                print(f"{program.name} in {name}", file=sys.stderr)
                try:
                    cell = measure.measure(program, land, policy, not options.quick)
                except runs.HarnessError as error:
                    print(error, file=sys.stderr)
                    failed = True
                else:
                    measure.keep(cell, file)
    if not options.no_page:
        cells = measured(options.place, lands)
        text = report.page(cells, compared(cells, policies, options.place), options.place)
        PAGE.write_text(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
