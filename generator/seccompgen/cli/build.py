"""``seccompgen build``: compile policies into static filters."""

from __future__ import annotations

import os
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen import languages
from seccompgen.cli import common, options
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.compiler_stage import CompilerStage
from seccompgen.core.errors import InputError, Position
from seccompgen.formats import WRITABLE
from seccompgen.formats.losses import LOSSES
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.foreign import Reading
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.files import Compiled

_MOST_RULES = 5
"""The most rules that are listed with the costs of a program."""


@click.command()
@options.filters_argument("words", "[POLICY]...")
@options.output("DIR", "Where the filters go: a package of the application, or any directory.")
@options.arches()
@options.form(
    [*languages.NAMES, *WRITABLE],
    "The language of the application, or raw sock_filter arrays (bpf), one file per ABI. "
    "For other tools, one file per ABI: profiles for Docker, Podman and Kubernetes (oci), objects "
    "of its Security Profiles Operator (spo), policies of minijail, filters of seccompiler, "
    "drop-ins for systemd.",
)
@options.report_only
@options.optimize
@options.no_bitmap
@options.profile
@options.check
@options.no_cache
@click.option(
    "--costs",
    is_flag=True,
    help="Print what each program costs, and the least that any program could cost.",
)
@click.option(
    "--dump",
    "dumped",
    type=click.Choice([stage.value for stage in CompilerStage]),
    multiple=True,
    help="Print what the compiler knows after a pass, and write nothing; may be repeated.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compile in up to N processes; default: as many as there are CPUs.",
)
@click.option(
    "--depfile",
    "depfile_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, for make and ninja, which files decided the outputs.",
)
@click.option(
    "--nearest",
    is_flag=True,
    help="With --format systemd: write the nearest settings, and list what differs.",
)
@click.option(
    "--accept",
    "losses",
    type=click.Choice(list(LOSSES)),
    multiple=True,
    help="With a --format of another tool: lose this setting if the format cannot express it, and "
    "say so; may be repeated.",
)
@reading_options
@options.tables_directory
@options.as_json
def build(
    words: tuple[str, ...],
    output: Path | None,
    arches: tuple[Abi, ...],
    form: str,
    dumped: tuple[str, ...],
    optimize: str | None,
    profile: Path | None,
    tables_directory: Path | None,
    jobs: int | None,
    depfile_path: Path | None,
    reading: Reading,
    losses: tuple[str, ...],
    *,
    report_only: bool,
    no_bitmap: bool,
    check: bool,
    nearest: bool,
    no_cache: bool,
    costs: bool,
    as_json: bool,
) -> None:
    """Compile policies into static filters.

    A POLICY is a file, the name of a stock policy, or a directory, for all policies in it. Without
    POLICY, all policies of the project that the current directory lies in: a section
    [tool.seccompgen] of its pyproject.toml says where they are and where their filters go.
    """
    from seccompgen.filters.compare.staleness import new_filters  # noqa: PLC0415
    from seccompgen.pipeline.build import build_policies  # noqa: PLC0415 - keeps --help fast
    from seccompgen.pipeline.depfile import depfile  # noqa: PLC0415
    from seccompgen.pipeline.files import (  # noqa: PLC0415
        Compiled,
        filter_files,
        left_out,
        put,
        read_files,
        require_writable,
    )
    from seccompgen.pipeline.project import find_project  # noqa: PLC0415
    from seccompgen.pipeline.reporting import report_only_filters  # noqa: PLC0415

    if dumped:
        if not words or output or check or depfile_path or as_json:
            raise InputError(
                "--dump needs a POLICY and writes nothing, so leave out -o, --check, --depfile "
                "and --json"
            )
        objective = common.read_goal(optimize, no_bitmap=no_bitmap, profile=profile)
        tables = options.read_tables(tables_directory)
        _dump(words, arches, dumped, objective, tables, reading)
        return
    if depfile_path and check:
        raise InputError("--check writes nothing, so it has no --depfile")
    if nearest and form != "systemd":
        raise InputError(
            "--nearest is for --format systemd; other formats express all of a policy or nothing"
        )
    if losses and form not in WRITABLE:
        raise InputError(f"--accept is for the --format of another tool: {', '.join(WRITABLE)}")
    tables = options.read_tables(tables_directory)
    how = common.build_options(cached=not (check or no_cache), jobs=jobs)
    policies = common.policies_named(words, "build")
    project = None if words else find_project(Path.cwd(), reading.outside)
    if not words and project is None:
        raise InputError(
            "name a policy file: there is no pyproject.toml with [tool.seccompgen] here"
        )
    if project and (output or arches or form != "python" or optimize or no_bitmap or profile):
        raise InputError(
            "-o, --arch, --format, --optimize, --no-bitmap and --profile need a POLICY; "
            "a project sets the rest in pyproject.toml"
        )
    if project and report_only:
        raise InputError(
            "--report-only needs a POLICY; to build one for every filter of the project, set "
            "report_only = true under [tool.seccompgen] in pyproject.toml"
        )
    if words and output is None:
        raise InputError(
            "choose a directory for the filters: -o DIR, such as -o sandbox for a package of that "
            "name, or -o . for here ('seccompgen verify' only tries a policy)"
        )
    directory = output or Path()
    require_writable(directory)

    def compile_all() -> Compiled:
        project = None if words else find_project(Path.cwd(), reading.outside)
        with common.progress("compiling") as report:
            if project:
                from seccompgen.pipeline.project_files import project_filters  # noqa: PLC0415

                built, files = project_filters(project, tables, report, how)
            else:
                objective = common.read_goal(optimize, no_bitmap=no_bitmap, profile=profile)
                built = build_policies(policies, tables, arches, report, objective, how, reading)
                if losses:
                    from seccompgen.pipeline.accepting import accepted_filters  # noqa: PLC0415

                    built = accepted_filters(built, losses, form, tables)
                if nearest:
                    from seccompgen.formats.systemd.nearest import nearest_units  # noqa: PLC0415
                    from seccompgen.pipeline.build import proved_program  # noqa: PLC0415

                    built = nearest_units(built, tables, reading.systemd, proved_program)
                if report_only:
                    built = report_only_filters(built, tables, form)
                files = filter_files(built, tables, directory, form, how, reading.systemd)
        if depfile_path:
            inputs = read_files(built, tables_directory, project)
            _require_not_among(depfile_path, (*inputs, *files))
            files[depfile_path] = depfile(list(files), inputs)
        return Compiled(built, files, directory, project)

    written: list[Path] = []
    if check:
        compiled = compile_all()
        outputs = compiled.outputs()
    else:
        place = project.root if project else directory.absolute().parent
        compiled, written = put(compile_all, place)
    notes = [
        note for one in compiled.built for note in left_out(one.programs, form, one.policy.file)
    ]
    common.print_notes([*notes, *(note for one in compiled.built for note in one.notes)])
    common.print_warnings(warning for one in compiled.built for warning in one.warnings)
    if check:
        common.check_outputs(outputs, new_filters(compiled.built), tables)
    if as_json:
        _print_json(compiled, written, tables)
        return
    for one in compiled.built:
        reports = one.policy.settings.report_only
        common.print_built(one.policy.name, one.programs, report_only=reports)
        if costs:
            _print_costs(one, tables)
    common.print_written(written)


def _dump(
    words: tuple[str, ...],
    only: Sequence[Abi],
    dumped: Sequence[str],
    objective: Objective,
    tables: Tables,
    reading: Reading,
) -> None:
    """Print the stages ``dumped`` of each program."""
    from seccompgen.compile import compilation  # noqa: PLC0415 - numpy
    from seccompgen.formats import load_policy_for  # noqa: PLC0415
    from seccompgen.pipeline.build import not_for  # noqa: PLC0415
    from seccompgen.policy.document import name_of  # noqa: PLC0415
    from seccompgen.render.stages import stage_text  # noqa: PLC0415

    for source in common.policies_named(words, "build"):
        policy, _ = load_policy_for(source, only, tables, reading)
        if strange := [abi for abi in only if abi not in policy.arches]:
            raise not_for(name_of(source), policy, strange)
        for abi in (abi for abi in policy.arches if not only or abi in only):
            made = compilation(policy, abi, tables, objective)
            for stage in map(CompilerStage, dumped):
                say(f"# {policy.name}, {abi.name}: {stage.value}")
                say(*stage_text(stage, made, tables).splitlines())


def _require_not_among(path: Path, files: Iterable[Path]) -> None:
    if os.path.realpath(path) in map(os.path.realpath, files):
        raise InputError(f"--depfile {path} would overwrite what is read or written already")


def _print_json(compiled: Compiled, written: Sequence[Path], tables: Tables) -> None:
    print_json(
        {
            "filters": [
                {
                    "policy": one.policy.file,
                    "name": one.policy.name,
                    "report_only": one.policy.settings.report_only,
                    "programs": {p.abi.name: len(p.instructions) for p in one.programs},
                    "costs": {p.abi.name: _costs(p) for p in one.programs},
                    "rules": {p.abi.name: _rules(one, p, tables) for p in one.programs},
                    "optimize": one.objective.optimize.value,
                    "bitmap": one.objective.bitmap,
                    "profile": one.objective.profile and one.objective.profile.file,
                    "accepted": list(one.losses),
                }
                for one in compiled.built
            ],
            "files": [str(path) for path in compiled.files],
            "written": [str(path) for path in written],
        }
    )


def _rules(built: Built, program: CompiledProgram, tables: Tables) -> list[dict[str, object]]:
    from seccompgen.render.costs import costly_rules  # noqa: PLC0415 - keeps --help fast

    return [
        {
            "instructions": rule.instructions,
            "position": str(rule.position),
            "calls": rule.calls,
            "condition": rule.condition,
        }
        for rule in costly_rules(built.policy, program, tables, _MOST_RULES)
    ]


def _costs(program: CompiledProgram) -> dict[str, dict[str, float]]:
    least = asdict(program.bound)
    return {name: {"cost": n, "bound": least[name]} for name, n in asdict(program.cost).items()}


def _print_costs(built: Built, tables: Tables) -> None:
    """Print the cost of each program with its lower bound, and the costly rules of the first."""
    from seccompgen.render.costs import costly_rules  # noqa: PLC0415 - keeps --help fast

    say(f"  {'':12}{'length':>14}{'longest path':>18}{'mean executed':>18}")
    for program in built.programs:
        cells = [
            f"{n:.4g} ({least:.4g})"
            for n, least in zip(astuple(program.cost), astuple(program.bound), strict=True)
        ]
        say(f"  {program.abi.name:12}{cells[0]:>14}{cells[1]:>18}{cells[2]:>18}")
    first = built.programs[0]
    say(f"  instructions on {first.abi.name} by rule, most first:")
    for rule in costly_rules(built.policy, first, tables, _MOST_RULES):
        where = Position(Path(rule.position.file).name, rule.position.line)
        say(f"  {rule.instructions:5}  {where}  {rule}")
