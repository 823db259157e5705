"""Steps that several commands share: find FILTERs, check files, print results, show progress."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, InputError, OutsideError
from seccompgen.core.objective import DEFAULT_OBJECTIVE, Optimize
from seccompgen.core.styled import Style
from seccompgen.io.console import can_redraw, redraw, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.foreign import Reading
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Table, Tables
    from seccompgen.filters.compare.staleness import PlannedFilter
    from seccompgen.filters.find.locate import Located
    from seccompgen.io.outputs import Outputs
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.pipeline.project import Project

_QUIET_SECONDS = 1.0
_BAR = 30
"""Characters of a bar."""


def table_of(tables: Tables, abi: Abi) -> Table:
    """Return the table of ``abi``; raise InputError if the tag has none."""
    if abi.name not in tables.tables:
        raise InputError(f"Linux {tables.tag} has no {abi.name}")
    return tables.tables[abi.name]


def running_table(tables: Tables) -> Table:
    """Return the table of this interpreter's ABI."""
    from seccomp_filters._runtime import running_abi  # noqa: PLC0415 - generated: maybe not yet

    try:
        name = running_abi()
    except OSError as error:
        raise OutsideError(str(error.strerror)) from None
    if name not in tables.tables:
        raise InputError(f"Linux {tables.tag} has no {name}, which this Python is")
    return tables.tables[name]


def text_width() -> int:
    """Return the columns for a report on differences: those of the terminal, if stdout is one."""
    from seccompgen.render.filter_diff import WIDTH  # noqa: PLC0415

    return shutil.get_terminal_size((WIDTH, 1)).columns if sys.stdout.isatty() else WIDTH


def required_project(reading: Reading) -> Project:
    """Return the project that the current directory lies in; raise InputError without one.

    The project may name files that ``reading`` allows.
    """
    from seccompgen.pipeline.project import find_project  # noqa: PLC0415

    project = find_project(Path.cwd(), reading.outside)
    if project is None:
        raise InputError(
            "name a policy or a filter: there is no pyproject.toml with [tool.seccompgen] here"
        )
    return project


def build_options(*, cached: bool, jobs: int | None = None) -> BuildOptions:
    """Return the options for builds: ``jobs`` processes or one per CPU, and a cache or none."""
    from seccompgen.pipeline.build import BuildOptions  # noqa: PLC0415
    from seccompgen.pipeline.pool import available_cpus  # noqa: PLC0415

    workers = jobs or available_cpus()
    if not cached:
        return BuildOptions(workers)
    from seccompgen.pipeline.cache import cache_directory  # noqa: PLC0415

    directory = cache_directory()
    return BuildOptions(workers, directory / "programs" if directory else None)


def read_goal(optimize: str | None, *, no_bitmap: bool, profile: Path | None) -> Objective:
    """Return the objective that these options ask for."""
    from seccompgen.pipeline.build import read_objective  # noqa: PLC0415

    goal = Optimize(optimize) if optimize else DEFAULT_OBJECTIVE.optimize
    return read_objective(goal, bitmap=not no_bitmap, profile=profile)


def one_filter(word: str) -> Path:
    """Return the one file that FILTER means. Raises InputError if there is none, or several."""
    from seccompgen.filters.find.locate import locate_one  # noqa: PLC0415

    return _paths(locate_one(word))[0]


def all_filters(words: Iterable[str]) -> tuple[Path, ...]:
    """Return all files that FILTERs mean."""
    from seccompgen.filters.find.locate import locate_all  # noqa: PLC0415

    return _paths(locate_all(words))


def project_policies(reading: Reading) -> list[Path]:
    """Return the project's policies, relative to the current directory if they are in it."""
    here = Path.cwd()
    return [
        path.relative_to(here) if path.is_relative_to(here) else path
        for path in required_project(reading).policy_files()
    ]


def policies_named(words: Iterable[str], wanted_by: str) -> tuple[Path, ...]:
    """Return the policy files that words mean; ``wanted_by`` is what needs their rules."""
    from seccompgen.filters.find.locate import locate_policies  # noqa: PLC0415

    return _paths(locate_policies(words, wanted_by))


def policy_named(word: str, wanted_by: str) -> Path:
    """Return the one policy file that a word means; ``wanted_by`` is what needs its rules."""
    from seccompgen.filters.find.locate import locate_policy  # noqa: PLC0415

    return _paths(locate_policy(word, wanted_by))[0]


def _paths(found: Located) -> tuple[Path, ...]:
    print_notes(found.notes)
    return found.paths


def print_notes(notes: Iterable[Diagnostic]) -> None:
    """Print notes to stderr, each once."""
    for note in dict.fromkeys(notes):
        say(note.line(("note", Style.CYAN) if note.position else None), err=True)


def print_warnings(warnings: Iterable[Diagnostic]) -> None:
    """Print lint's warnings to stderr, each once."""
    for one in dict.fromkeys(warnings):
        say(one.line(("warning", Style.YELLOW)), err=True)


def check_outputs(outputs: Outputs, filters: Sequence[PlannedFilter], tables: Tables) -> None:
    """Raise AnswerNo, with all changes, if writing ``outputs`` would change anything.

    ``filters`` are those whose files are among the outputs.
    """
    from seccompgen.filters.compare.staleness import explain  # noqa: PLC0415
    from seccompgen.pipeline.packages import heads  # noqa: PLC0415

    stale = outputs.stale(lambda path, content: explain(path, content, filters, tables), heads)
    if stale:
        hint = "run the same command without --check, look at what changes, and commit it"
        raise AnswerNo(*stale, hint)


def print_built(name: str, programs: Sequence[Program], *, report_only: bool = False) -> None:
    """Print a summary of the programs that were compiled and proved."""
    lengths = [len(program.instructions) for program in programs]
    span = f"{min(lengths)} to {max(lengths)}" if len(set(lengths)) > 1 else str(lengths[0])
    abis = f"{len(lengths)} ABIs" if len(lengths) > 1 else programs[0].abi.name
    reports = ": REPORT ONLY" if report_only else ""
    say(f"{name}: {abis}, {span} instruction{'s' * (span != '1')}, proved{reports}")


def print_written(written: list[Path]) -> None:
    """Print the files that were written."""
    from seccompgen.pipeline.packages import summary  # noqa: PLC0415 - keeps --help fast

    here = Path.cwd()
    shown = [path.relative_to(here) if path.is_relative_to(here) else path for path in written]
    for line in summary(shown) or ["everything is up to date"]:
        say(line)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callback ``(done, total)``, which draws a bar once the work has taken a second.

    Yield None if a bar cannot be redrawn.
    """
    if not can_redraw():
        yield None
        return
    started = time.monotonic()
    drawn = ""

    def report(done: int, total: int) -> None:
        nonlocal drawn
        if time.monotonic() - started < _QUIET_SECONDS:
            return
        filled = _BAR * done // max(total, 1)
        line = f"{what} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}"
        if line != drawn:
            redraw(line)
            drawn = line

    try:
        yield report
    finally:
        if drawn:
            redraw("")
