"""The common part of the plugins: bring a project's filters in its tree up to date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.pipeline.project import Project


@dataclass(frozen=True, slots=True)
class Package:
    """The filter package of a project: its files, and ``told``, lines to print."""

    project: Project
    files: tuple[Path, ...]
    told: tuple[str, ...]


def bring_up_to_date(root: Path) -> Package:
    """Build the filters of the project at ``root`` in place, as ``seccompgen build`` does.

    For a project whose filters are ``committed``, nothing is written: raises AnswerNo if they
    differ from what the policies generate. Raises InputError with every error of every policy.
    """
    from seccompgen.filters.compare.staleness import explain, new_filters  # noqa: PLC0415
    from seccompgen.pipeline.build import BuildOptions, shipped_tables  # noqa: PLC0415 - a plugin is loaded for projects without us, too
    from seccompgen.pipeline.cache import cache_directory  # noqa: PLC0415
    from seccompgen.pipeline.files import Compiled, put  # noqa: PLC0415
    from seccompgen.pipeline.packages import heads, summary  # noqa: PLC0415
    from seccompgen.pipeline.project_files import project_filters  # noqa: PLC0415

    project = require_project(root)
    cache = None if project.committed else cache_directory()
    # In this process alone: the main module of a build may not be safe to import.
    options = BuildOptions(cache=cache / "programs" if cache else None)
    tables = shipped_tables()

    def make() -> Compiled:
        return Compiled(*project_filters(project, tables, None, options), project.output, project)

    written: list[Path] = []
    if project.committed:
        compiled = make()
        new = new_filters(compiled.built)
        if stale := compiled.outputs().stale(
            lambda path, content: explain(path, content, new, tables), heads
        ):
            hint = "committed = true: run 'seccompgen build', look at what changes, and commit it"
            raise AnswerNo(*stale, hint)
    else:
        compiled, written = put(make, project.root)
    told = [note for one in compiled.built for note in (*one.notes, *one.warnings)]
    notes = [str(note) for note in told]
    lines = map(printable, (*dict.fromkeys(notes), *summary(written)))
    return Package(project, tuple(compiled.files), tuple(lines))


def require_project(root: Path) -> Project:
    """Return the project at ``root`` itself, not one around it.

    Raises InputError if its pyproject.toml has no section of ours, or if its filters are outside of
    the project.
    """
    from seccompgen.pipeline.project import read_project  # noqa: PLC0415 - as above

    project = read_project(root / "pyproject.toml")
    if project is None:
        message = "has no [tool.seccompgen], which says where policies and filters are"
        raise InputError(Diagnostic(message, Position(str(root / "pyproject.toml"))))
    if not project.output.is_relative_to(project.root):
        message = f"[tool.seccompgen]: 'output' {project.output} is not in this project"
        raise InputError(Diagnostic(message, Position(str(project.pyproject))))
    return project


def sources(project: Project) -> list[Path]:
    """Return the files below the root that a build from an sdist reads, sorted.

    These are all files of the directory of policies, and the profile; if ``committed``, also those
    of the output.
    """
    places = [project.policies, *([project.output] if project.committed else [])]
    found = {path for place in places for path in place.rglob("*") if path.is_file()}
    if project.profile:
        found.add(project.profile)
    return sorted(
        path
        for path in found
        if path.is_relative_to(project.root) and "__pycache__" not in path.parts
    )
