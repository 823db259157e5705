"""``seccompgen intersect``, ``union`` and ``subtract``: several filters as one program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import readings_options
from seccompgen.core.errors import InputError
from seccompgen.formats import WRITABLE
from seccompgen.io.console import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.cli.reading_options import Readings
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options that the three commands have in common."""
    shared = (
        options.filters_argument("filters", "FILTER..."),
        click.option("--name", required=True, help="The name of the new filter."),
        options.output("DIR", "Where it goes; default: the current directory.", Path()),
        options.only_abi(),
        options.form(
            ["python", "bpf", *WRITABLE],
            "A Python module; or a file for each ABI: a raw sock_filter array (bpf), or, as "
            "'build' writes it, what another tool reads.",
        ),
        options.check,
        readings_options,
        options.tables,
        options.as_json,
    )
    for option in reversed(shared):  # the last that is added is shown first
        command = option(command)
    return command


@click.command()
@_options
def intersect(**given: Any) -> None:
    """Make one program of FILTERs that answers what all of them stacked would.

    The kernel takes the strictest answer; of equal actions, that of the filter named last, which
    counts as the newest. A FILTER is a policy file, a stock policy's name, a generated module, a
    raw .bpf file, or a directory of these, which means all
    filters in it, in the order of their names.
    """
    _combine("intersect", **given)


@click.command()
@_options
def union(**given: Any) -> None:
    """Make one program of FILTERs that lets through what any of them lets through.

    It takes the laxest answer; of equal actions, that of the filter named last. FILTER is as for
    'intersect'.
    """
    _combine("union", **given)


@click.command()
@_options
@click.option(
    "--action",
    metavar="ACTION",
    help="The answer to the calls taken away; default: the first policy's default_action.",
)
def subtract(**given: Any) -> None:
    """Make one program of the first FILTER that refuses what the others let through.

    What another FILTER allows or logs is answered as the first does, but at least as strictly as
    by ACTION. FILTER is as for 'intersect'.
    """
    _combine("subtract", **given)


def _with_readings(
    filters: tuple[str, ...], readings: Readings
) -> tuple[list[Path], list[Reading]]:
    """Return the files that FILTERs mean, and for each the reading of its FILTER."""
    from seccompgen.filters.find.locate import locate_all  # noqa: PLC0415 - keeps --help fast

    common.all_filters(filters)  # which reports everything that is wrong with any of them
    found = [
        (path, reading)
        for word, reading in zip(filters, readings.of(len(filters)), strict=True)
        for path in locate_all([word]).paths
    ]
    return [path for path, _ in found], [reading for _, reading in found]


def _combine(
    operation: str,
    *,
    filters: tuple[str, ...],
    name: str,
    output: Path,
    only: Abi | None,
    form: str,
    check: bool,
    tables: Tables,
    readings: Readings,
    as_json: bool,
    action: str | None = None,
) -> None:
    from seccompgen.core.built import is_device, is_module_name, module_name  # noqa: PLC0415
    from seccompgen.core.model import Action, ActionKind  # noqa: PLC0415
    from seccompgen.core.report_only import SUFFIX  # noqa: PLC0415
    from seccompgen.filters.combine.combined import (  # noqa: PLC0415
        combine,
        combined_files,
        parts_of,
    )
    from seccompgen.io.outputs import Outputs, exclusive  # noqa: PLC0415
    from seccompgen.pipeline.files import left_out, require_writable  # noqa: PLC0415
    from seccompgen.pipeline.packages import orphaned_sources, refuse_to_overwrite  # noqa: PLC0415
    from seccompgen.verify import Operation  # noqa: PLC0415

    if is_device(name):
        raise InputError(f"--name {name}: is a device on Windows; choose another")
    if not is_module_name(module_name(name)):
        raise InputError(f"--name {name}: cannot be the name of a Python module; choose another")
    if module_name(name).endswith(SUFFIX):
        raise InputError(f"--name {name}: means a filter that refuses nothing; choose another")
    try:
        refusal = None if action is None else Action.parse(action)
    except ValueError as error:
        raise InputError(f"--action: {error}") from None
    if refusal and refusal.kind is ActionKind.ALLOW:
        raise InputError("--action allow takes nothing away; name an action that refuses, or log")
    paths, each = _with_readings(filters, readings)
    require_writable(output)
    written: list[Path] = []
    while True:
        parts = parts_of(paths, tables, only, each)
        found = combine(
            name, Operation(operation), refusal, parts, tables, common.build_options(cached=False)
        )
        files = combined_files(found, tables, output, form, readings.others.systemd)
        notes = [*found.notes, *left_out(found.programs, form, found.name)]
        if check:
            from seccompgen.filters.compare.staleness import PlannedFilter  # noqa: PLC0415

            refuse_to_overwrite(files)
            common.print_notes(notes)
            outputs = Outputs(files, orphaned_sources(files, output))
            common.check_outputs(outputs, [PlannedFilter(name, name, found.programs)], tables)
            break
        with exclusive(output.absolute().parent):
            # As in `pipeline.files.put`, and for the same reason.
            if found.is_current():
                refuse_to_overwrite(files)
                common.print_notes(notes)
                written = Outputs(files, orphaned_sources(files, output)).write()
                break
    if as_json:
        about = {
            "name": name,
            "operation": operation,
            "action": found.refusal and str(found.refusal),
            "parts": [str(part.path) for part in parts],
            "programs": {p.abi.name: len(p.instructions) for p in found.programs},
        }
        print_json(
            {
                "filters": [about],
                "files": [str(path) for path in files],
                "written": [str(path) for path in written],
            }
        )
        return
    common.print_built(name, found.programs)
    common.print_written(written)
