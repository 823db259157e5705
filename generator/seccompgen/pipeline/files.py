"""The files of filters in every format, and writing them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from seccompgen import languages
from seccompgen.core.errors import (
    Diagnostic,
    InputError,
    OutsideError,
    Position,
    SeccompgenError,
)
from seccompgen.core.problems import Problem
from seccompgen.core.settings import FilterFlag
from seccompgen.formats import WRITABLE
from seccompgen.io.outputs import Outputs, exclusive
from seccompgen.kernel.fact_files import FACT_FILES
from seccompgen.pipeline.build import (
    LOCK_NAME,
    MATRIX_NAME,
    PLAIN_OPTIONS,
    SHIPPED,
    are_current,
)
from seccompgen.pipeline.packages import (
    orphaned_filters,
    orphaned_sources,
    refuse_to_overwrite,
)
from seccompgen.pipeline.pool import spread
from seccompgen.render.templates import IO_URING_NAME, NOTIFICATION_NAME, RUNTIME_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.pipeline.project import Project

FORMATS = (*languages.NAMES, *WRITABLE)
"""The formats that `filter_files` writes."""


def filter_files(
    built: Sequence[Built],
    tables: Tables,
    directory: Path,
    form: str = "python",
    options: BuildOptions = PLAIN_OPTIONS,
    systemd: int | None = None,
) -> dict[Path, bytes]:
    """Return the files for ``built`` under ``directory``.

    ``form`` is one of `FORMATS`, ``systemd`` the release that reads units. Raises one InputError
    with all that the format cannot express.
    """
    files: dict[Path, bytes] = {}
    problems: list[Diagnostic] = []
    task = (tables, form, systemd)
    with contextlib.closing(spread(_render_one, task, built, options.workers)) as rendered:
        for some in rendered:
            if isinstance(some, InputError):
                problems.extend(some.diagnostics)
            elif isinstance(some, SeccompgenError):
                raise some
            else:
                files |= {directory / name: data for name, data in some.items()}
    if problems:
        raise InputError(*problems)
    if form == "python":
        files |= support_files(directory, [one.policy.settings for one in built])
    return files


def support_files(directory: Path, settings: Iterable[Settings]) -> dict[Path, bytes]:
    """Return the runtime's files, for filters with these settings in ``directory``.

    If a filter makes a listener, they include the supervisor's module; if one has a section for
    rings, that section's runtime.
    """
    from seccompgen.languages.python import render_runtime  # noqa: PLC0415 - jinja2

    every = list(settings)
    listens = any(each.flags & FilterFlag.NEW_LISTENER for each in every)
    rings = any(each.without for each in every)
    names = [*RUNTIME_NAMES, *[NOTIFICATION_NAME] * listens, *[IO_URING_NAME] * rings]
    return {directory / name: render_runtime(name) for name in names}


def _render_one(task: tuple[Tables, str, int | None], one: Built) -> dict[str, bytes]:
    """Return the files of one policy, by their paths below the directory of all filters."""
    tables, form, systemd = task
    if one.policy.io_uring and not filters_rings(form):
        others = " or ".join(name for name in languages.NAMES if filters_rings(name))
        text = (
            f"{form} cannot filter rings: leave out the section io_uring, or use {others}; a "
            "launcher, or seccompgen run, starts any program"
        )
        position = one.policy.io_uring.position
        raise InputError(Diagnostic(text, position, Problem.RINGS_NOT_SUPPORTED))
    if form in languages.NAMES:
        return languages.language(form).write(one, tables)
    from seccompgen.formats.writing import write_files  # noqa: PLC0415 - few want it

    return write_files(form, one, tables, systemd)


def filters_rings(form: str) -> bool:
    """Return True if filters in ``form``, one of `FORMATS`, may have a section ``io_uring``."""
    return form in languages.NAMES and languages.language(form).filters_rings


def fits(abi: Abi, form: str) -> bool:
    """Return True if there are files for ``abi`` in ``form``, one of `FORMATS`."""
    if form in languages.NAMES:
        return languages.language(form).has(abi.name)
    from seccompgen.formats.writing import writer  # noqa: PLC0415 - as above

    return writer(form).fits(abi)


def left_out(programs: Iterable[CompiledProgram], form: str, file: str) -> tuple[Diagnostic, ...]:
    """Return a note about the programs of ``file`` that ``form`` cannot contain, if any."""
    names = [program.abi.name for program in programs if not fits(program.abi, form)]
    text = f"{form} has nothing for {', '.join(names)}, so these are left out"
    return (Diagnostic(text, Position(file), Problem.ABI_LEFT_OUT),) if names else ()


def read_files(
    built: Iterable[Built], tables: Path | None = None, project: Project | None = None
) -> list[Path]:
    """Return all files that determine the outputs: the inputs, and seccompgen's own files.

    ``tables`` is the directory of the tables, None for those that are part of seccompgen. For a
    ``project``, the result includes the directory of policies, since a new file in it is a policy.
    """
    from seccompgen.render.templates import template_files  # noqa: PLC0415 - jinja2

    found = [Path(file) for one in built for file, _ in one.policy.sources]
    found += [Path(one.objective.profile.file) for one in built if one.objective.profile]
    if project:
        found += [project.pyproject, project.policies]
    directory = tables or SHIPPED
    found += [directory / name for name in (LOCK_NAME, MATRIX_NAME)]
    found += [path for one in FACT_FILES if (path := directory / one.name).exists()]
    found += sorted(Path(__file__).parents[1].rglob("*.py"))
    return list(dict.fromkeys(found + template_files()))


class Compiled(NamedTuple):
    """Filters and the files to write for them; ``project`` is set if they are a whole project's."""

    built: Sequence[Built]
    files: Mapping[Path, bytes]
    directory: Path
    project: Project | None = None

    def outputs(self) -> Outputs:
        """Return the files to write, compared with the existing ones.

        Raises InputError if one of them exists and was not generated by seccompgen.
        """
        refuse_to_overwrite(self.files)
        if self.project:
            return Outputs(self.files, orphaned_filters(self.project.output, self.files))
        return Outputs(self.files, orphaned_sources(self.files, self.directory))

    def is_current(self) -> bool:
        """Return True if the inputs are unchanged."""
        if self.project:
            from seccompgen.pipeline.project import read_project  # noqa: PLC0415

            # A report-only filter shares its policy with the enforced one.
            main = list(dict.fromkeys(Path(one.policy.file) for one in self.built))
            now = read_project(self.project.pyproject)
            now = now and replace(now, outside=self.project.outside)
            if now != self.project or now.policy_files() != main:
                return False
        return are_current(self.built)


class Made(Protocol):
    """Compiled filters, and the files to write for them."""

    def outputs(self) -> Outputs:
        """Return the files to write, compared with the existing ones."""

    def is_current(self) -> bool:
        """Return True if the inputs are unchanged."""


_Made = TypeVar("_Made", bound=Made)


def put(make: Callable[[], _Made], place: Path) -> tuple[_Made, list[Path]]:
    """Write what ``make`` compiles; return it, and the files that changed.

    ``place`` is locked (`outputs.exclusive`) only while files are replaced. Another run may have
    replaced them since this one read its inputs. So the inputs are compared under the lock, and
    compiled again if they have changed.
    """
    while True:
        compiled = make()
        with exclusive(place):
            if compiled.is_current():
                return compiled, compiled.outputs().write()


def require_writable(directory: Path) -> None:
    """Raise OutsideError if ``directory`` exists and is not a directory."""
    if directory.exists() and not directory.is_dir():
        raise OutsideError(f"{directory} is not a directory")
