"""The generated files of a project: its filters; in our own checkout, ``tables``' output, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.built import module_name
from seccompgen.core.foreign import Reading
from seccompgen.core.report_only import REFUSES_NOTHING, SUFFIX
from seccompgen.core.settings import FilterFlag, Settings
from seccompgen.io.outputs import Outputs
from seccompgen.kernel import lockfile
from seccompgen.kernel.fact_files import FACT_FILES, render_facts
from seccompgen.languages.python import render_package, render_table, render_tables_package
from seccompgen.pipeline.build import (
    LOCK_NAME,
    MATRIX_NAME,
    PLAIN_OPTIONS,
    build_policies,
    read_objective,
)
from seccompgen.pipeline.files import filter_files, support_files
from seccompgen.pipeline.packages import INIT_NAME, is_ours, orphaned_filters
from seccompgen.pipeline.project import read_project
from seccompgen.pipeline.tag_tables import absent_abis
from seccompgen.render.templates import EXTRA_NAMES, RUNTIME_NAME, RUNTIME_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.pipeline.project import Project

_TYPED_NAME = "py.typed"
SCHEMA = Path("docs", "policy.schema.json")
"""The path of the schema of policies in our checkout; the schema is for the pinned tag."""


def table_files(tables: Tables, package: Path, kernel: Path) -> dict[Path, bytes]:
    """Return the table package in ``package``; lock, matrix and facts in ``kernel``."""
    matrix, facts = lockfile.render_matrix(tables), render_facts(tables.facts)
    files = {package / f"{name}.py": render_table(t) for name, t in tables.tables.items()}
    files[package / "__init__.py"] = render_tables_package(tables)
    files[kernel / MATRIX_NAME] = matrix
    files |= {kernel / one.name: facts[one.part] for one in FACT_FILES if one.part in facts}
    files[kernel / LOCK_NAME] = lockfile.render_lock(tables, matrix, facts)
    return files


def project_filters(
    project: Project,
    tables: Tables,
    progress: Callable[[int, int], None] | None = None,
    options: BuildOptions = PLAIN_OPTIONS,
) -> tuple[list[Built], dict[Path, bytes]]:
    """Return every filter of ``project`` and the files of its filter package."""
    if project.profile:
        project.require_reach(project.profile)
    objective = read_objective(project.optimize, bitmap=project.bitmap, profile=project.profile)
    reading = Reading(outside=project.outside)
    built = build_policies(
        project.policy_files(), tables, (), progress, objective, options, reading
    )
    if project.report_only:
        from seccompgen.pipeline.reporting import report_only_filters  # noqa: PLC0415 - few want it

        built += report_only_filters(built, tables)
    files = filter_files(built, tables, project.output, options=options)
    ours = project.kernel.is_dir()
    if ours:
        # In our own checkout the supervisor's module is always written, so that people can read it.
        files |= support_files(project.output, [Settings(FilterFlag.NEW_LISTENER)])
    about = {
        one.module_name: REFUSES_NOTHING
        if one.policy.enforced
        else (one.policy.description or "no description").splitlines()[0]
        for one in built
    }
    files[project.output / INIT_NAME] = render_package(about, tables.tag, tables=ours)
    files[project.output / _TYPED_NAME] = b""
    return built, files


def packages_of(project: Project) -> dict[Path, Path]:
    """Return the packages of all filters of ``project``, each with its policy file."""
    endings = ("", SUFFIX) if project.report_only else ("",)
    return {
        project.output / f"{module_name(policy.stem)}{ending}": policy
        for policy in project.policy_files()
        for ending in endings
    }


def package_names(project: Project) -> list[str]:
    """Return the paths of the files in the filter package of ``project``, as it was last built."""
    modules = [path for package in packages_of(project) for path in sorted(package.glob("*.py"))]
    # Only a policy shows what else its filter needs, and policies are not read here.
    extra = [name for name in EXTRA_NAMES if (project.output / name).exists()]
    inside = [path.relative_to(project.output).as_posix() for path in modules]
    return [*inside, *RUNTIME_NAMES, *extra, INIT_NAME, _TYPED_NAME]


def orphaned_tables(tables: Tables, package: Path) -> frozenset[Path]:
    """Return the table modules in ``package`` for ABIs that the tag lacks."""
    absent = (package / f"{name}.py" for name in absent_abis(tables))
    return frozenset(path for path in absent if path.is_file() and is_ours(path))


def project_outputs(
    project: Project,
    tables: Tables,
    progress: Callable[[int, int], None] | None = None,
    options: BuildOptions = PLAIN_OPTIONS,
) -> tuple[list[Built], Outputs]:
    """Return all files generated in our checkout from ``tables``, and every filter in it.

    These are pin, lock, tables, the schema of policies, and filters, including those that examples
    commit. They are written in one step, so that they always match each other.
    """
    built: list[Built] = []
    files: dict[Path, bytes] = {}
    superfluous: frozenset[Path] = frozenset()
    for one in (project, *_examples(project)):
        filters, written = project_filters(one, tables, progress, options)
        built += filters
        files |= written
        superfluous |= orphaned_filters(one.output, written)
    package = project.output / "tables"
    files |= table_files(tables, package, project.kernel)
    from seccompgen.policy.json_schema import schema_text  # noqa: PLC0415 - only our own tree has it

    files[project.root / SCHEMA] = schema_text(tables).encode()
    if tables.tag != project.linux:
        files[project.pyproject] = project.with_pin(tables.tag)
    return built, Outputs(files, superfluous | orphaned_tables(tables, package))


def _examples(project: Project) -> list[Project]:
    """Return the projects in ``examples`` whose generated filters exist, sorted."""
    found = map(read_project, sorted(project.root.glob("examples/*/pyproject.toml")))
    return [one for one in found if one and (one.output / RUNTIME_NAME).is_file()]
