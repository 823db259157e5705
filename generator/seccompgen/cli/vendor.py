"""``seccompgen vendor``: put filters and their runtime into an application, and check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import outside_option
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, InputError
from seccompgen.io.console import print_json

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables


@click.command()
@options.filters_argument("places", "[POLICY]... DEST", required=True)
@click.option(
    "--single-file", is_flag=True, help="DEST is a single module that contains the runtime."
)
@options.report_only
@options.arches()
@options.optimize
@options.no_bitmap
@options.profile
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; exit 1 and list the files that are stale or were edited.",
)
@click.option(
    "--force", is_flag=True, help="Overwrite files that were edited since they were vendored."
)
@options.no_cache
@options.tables
@outside_option
@options.as_json
def vendor(
    places: tuple[str, ...],
    arches: tuple[Abi, ...],
    optimize: str | None,
    profile: Path | None,
    tables: Tables,
    outside: tuple[Path, ...],
    *,
    single_file: bool,
    report_only: bool,
    no_bitmap: bool,
    check: bool,
    force: bool,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Put filters and their runtime into an application, as the package DEST.

    A POLICY is a file, the name of a stock policy (no_network, sandboxed_code, compute_only ...),
    or a directory, for all policies in it. DEST then holds these filters and no others; its
    manifest says what they were made from. With DEST alone, it is brought to what its manifest
    says, from the policies as they are now.
    """
    from seccompgen.distribute import vendoring  # noqa: PLC0415 - keeps --help fast
    from seccompgen.pipeline.files import put  # noqa: PLC0415

    if check and force:
        raise InputError("--check overwrites nothing: leave --force out")
    *words, last = places
    dest = Path(last)
    single = single_file if words else dest.suffix == ".py"
    vendoring.check_dest(dest, single_file=single, report_only=report_only if words else None)
    only = tuple(abi for abi in ABIS.values() if abi in arches)
    if not words and (single_file or report_only or only or optimize or no_bitmap or profile):
        raise InputError(
            "--single-file, --report-only, --arch, --optimize, --no-bitmap and --profile need a "
            "POLICY; the manifest has the rest"
        )
    found = common.policies_named(words, "vendor")

    def read_request() -> vendoring.Request:
        if not words:
            return vendoring.recorded_request(dest, outside)
        goal = common.read_goal(optimize, no_bitmap=no_bitmap, profile=profile)
        return vendoring.Request(dest, single_file, found, only, goal, report_only=report_only)

    how = common.build_options(cached=not (check or no_cache))
    written: list[Path] = []
    findings: list[vendoring.FileFinding] = []
    with common.progress("compiling") as report:

        def make() -> vendoring.Vendoring:
            return vendoring.compile_request(read_request, tables, how, report, force=force)

        if check:
            result = make()
            findings = result.findings()
        else:
            result, written = put(make, dest.absolute().parent)
    common.print_notes(note for one in result.built for note in one.notes)
    common.print_warnings(warning for one in result.built for warning in one.warnings)
    if as_json:
        print_json(
            {
                "dest": str(dest),
                "policies": [one.policy.file for one in result.built],
                "findings": [
                    {"file": str(one.path), "state": one.state.value, "text": one.text}
                    for one in findings
                ],
                "written": [str(path) for path in written],
            }
        )
    if findings:
        raise AnswerNo(*(one.diagnostic for one in findings))
    if not as_json:
        for one in result.built:
            reports = one.policy.settings.report_only
            common.print_built(one.policy.name, one.programs, report_only=reports)
        common.print_written(written)
