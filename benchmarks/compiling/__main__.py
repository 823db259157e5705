"""Measure how long compiling takes: ``python -m benchmarks.compiling``, from the checkout's top."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchmarks.compiling import drawn, page
from benchmarks.compiling.curves import SIZES, curves
from benchmarks.machine import describe

PLACE = Path(__file__).parents[1]


@click.group()
def main() -> None:
    """Measure how long the compiler takes."""


@main.command("curves")
@click.option("--most", default=SIZES[-1], show_default=True, help="The most rules of a policy.")
@click.option("--runs", default=3, show_default=True, help="The least of so many counts.")
@click.option("--jobs", default=1, show_default=True, help="Measure so many families at a time.")
@click.option(
    "-o",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=PLACE,
    show_default="benchmarks",
    help="Write COMPILING.md and compiling.svg here.",
)
def _curves(most: int, runs: int, jobs: int, directory: Path) -> None:
    """Draw CPU time by the size of the policy, next to libseccomp's and minijail's."""
    found = list(curves(most, runs, jobs, lambda text: click.echo(text, err=True)))
    directory.mkdir(parents=True, exist_ok=True)
    machine = describe() | {"Load": f"{os.getloadavg()[0]:.0f} processes at the end of the run"}
    path = directory / "COMPILING.md"
    random = page.random_of(path.read_text()) if path.exists() else ""
    path.write_text(page.rendered(machine, found) + random)
    (directory / "compiling.svg").write_bytes(page.picture(found))


main.add_command(drawn.main, "random")
main.add_command(drawn.outliers)


if __name__ == "__main__":
    main()
