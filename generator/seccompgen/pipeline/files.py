"""The files to write: filters in every form, projects and their tables; and files left over."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from seccompgen.core.errors import (
    Diagnostic,
    InputError,
    OutsideError,
    Position,
    SeccompgenError,
)
from seccompgen.core.model import FilterFlag
from seccompgen.io.outputs import Outputs, exclusive
from seccompgen.kernel import lockfile
from seccompgen.kernel.fact_files import FACT_FILES, render_facts
from seccompgen.pipeline.build import (
    LOCK_NAME,
    MATRIX_NAME,
    PLAIN_OPTIONS,
    SHIPPED,
    are_current,
    build_policies,
    module_name,
    read_objective,
)
from seccompgen.pipeline.packages import (
    INIT_NAME,
    is_ours,
    orphaned_filters,
    orphaned_sources,
    refuse_to_overwrite,
)
from seccompgen.pipeline.pool import spread
from seccompgen.pipeline.project import read_project
from seccompgen.pipeline.tag_tables import absent_abis
from seccompgen.render.templates import NOTIFICATION_NAME, RUNTIME_NAME, RUNTIME_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.build import BuildOptions, Built
    from seccompgen.pipeline.project import Project

_TYPED_NAME = "py.typed"
SCHEMA = Path("docs", "policy.schema.json")
"""The schema of policies for the pin, in our checkout."""

_NUMBERED_FORMS = ("minijail", "seccompiler")
FORMATS = ("python", "bpf", "c", "rust", "go", "oci", "spo", *_NUMBERED_FORMS, "systemd")
"""The forms in which filters can be written: see `filter_files`."""


def filter_files(
    built: Sequence[Built],
    tables: Tables,
    directory: Path,
    form: str = "python",
    means: BuildOptions = PLAIN_OPTIONS,
    systemd: int | None = None,
) -> dict[Path, bytes]:
    """Return the files that hold ``built`` under ``directory``.

    ``form`` is one of `FORMATS`, ``systemd`` the release that reads units. Raises one InputError
    with all that cannot be said in that form.
    """
    files: dict[Path, bytes] = {}
    problems: list[Diagnostic] = []
    task = (tables, form, systemd)
    with contextlib.closing(spread(_render_one, task, built, means.workers)) as rendered:
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
        files |= support_files(directory, [one.policy.flags for one in built])
    return files


def support_files(directory: Path, flags: Iterable[FilterFlag]) -> dict[Path, bytes]:
    """Return what lies in ``directory`` beside filters that have these flags.

    That is the runtime, and where one of them makes a listener, what its supervisor needs.
    """
    from seccompgen.render import render_runtime  # noqa: PLC0415 - jinja2

    listens = any(each & FilterFlag.NEW_LISTENER for each in flags)
    names = [*RUNTIME_NAMES, *[NOTIFICATION_NAME] * listens]
    return {directory / name: render_runtime(name) for name in names}


def _render_one(task: tuple[Tables, str, int | None], one: Built) -> dict[str, bytes]:
    """Return the files of one policy, by their paths below the directory of all."""
    from seccompgen import render  # noqa: PLC0415 - jinja2

    tables, form, systemd = task
    if form == "bpf":
        return {f"{one.policy.name}.{p.abi.name}.bpf": p.to_bytes() for p in one.programs}
    if form == "python":
        package = render.render_filter(one.policy, one.programs, tables, one.objective)
        return {f"{one.module_name}/{name}": source for name, source in package.items()}
    if form in {"oci", "spo"}:
        from seccompgen.pipeline.profile_files import profile_files  # noqa: PLC0415 - few want it

        return profile_files(one, tables, form)
    if form in _NUMBERED_FORMS:
        from seccompgen.pipeline.numbered_files import numbered_files  # noqa: PLC0415

        return numbered_files(one, tables, form)
    if form == "systemd":
        from seccompgen.pipeline.unit_files import unit_files  # noqa: PLC0415

        return unit_files(one, tables, systemd)
    from seccompgen.render import sources  # noqa: PLC0415 - few want them

    language = {"c": sources.render_c, "rust": sources.render_rust, "go": sources.render_go}[form]
    return language(one.module_name, one.policy, one.programs, tables, one.objective)


def has_place(abi: Abi, form: str) -> bool:
    """Return True if there are files for ``abi`` in ``form``, one of `FORMATS`."""
    from seccompgen.render.targets import TARGETS  # noqa: PLC0415

    if form in {"oci", "spo"}:
        from seccompgen.policy.oci import architecture  # noqa: PLC0415

        return architecture(abi) is not None
    if form in _NUMBERED_FORMS:
        from seccompgen.policy.numbered import NUMBERED_ABIS  # noqa: PLC0415

        return abi.name in NUMBERED_ABIS
    if form == "systemd":
        from seccompgen.policy.unit import in_units  # noqa: PLC0415

        return in_units(abi)
    return form in {"python", "bpf"} or getattr(TARGETS[abi.name], form) is not None


def left_out(built: Built, form: str) -> tuple[Diagnostic, ...]:
    """Return what is worth telling of a policy's programs that have no place in ``form``."""
    names = [program.abi.name for program in built.programs if not has_place(program.abi, form)]
    if not names:
        return ()
    text = f"{form} has nothing for {', '.join(names)}, so that these are left out"
    return (Diagnostic(text, Position(built.policy.sources[-1][0])),)


def read_files(
    built: Iterable[Built], tables: Path | None = None, project: Project | None = None
) -> list[Path]:
    """Return all that decides what was built: what was read, and seccompgen's own files.

    ``tables`` is the directory of the tables, None for those that are part of seccompgen. Of a
    ``project``, the directory of policies is there as well, since a new file in it is a policy.
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


def depfile(outputs: Iterable[Path], inputs: Iterable[Path]) -> bytes:
    """Return a depfile that says ``outputs`` depend on ``inputs``.

    Paths below the current directory are relative to it, as build files have them. Raises
    InputError for a name that no depfile can hold.
    """
    from seccompgen.render.depfile import render_depfile  # noqa: PLC0415 - few want one

    here = Path.cwd()

    def names(paths: Iterable[Path]) -> list[str]:
        return [str(p.relative_to(here) if p.is_relative_to(here) else p) for p in paths]

    return render_depfile(names(outputs), names(inputs))


def table_files(tables: Tables, package: Path, kernel: Path) -> dict[Path, bytes]:
    """Return the table package in ``package``; lock, matrix and facts in ``kernel``."""
    from seccompgen.render.table_module import render_table, render_tables_package  # noqa: PLC0415

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
    means: BuildOptions = PLAIN_OPTIONS,
) -> tuple[list[Built], dict[Path, bytes]]:
    """Return every filter of ``project`` and the files of its filter package."""
    from seccompgen.render import render_package  # noqa: PLC0415

    objective = read_objective(project.optimize, bitmap=project.bitmap, profile=project.profile)
    built = build_policies(project.policy_files(), tables, (), progress, objective, means)
    files = filter_files(built, tables, project.output, means=means)
    ours = project.kernel.is_dir()
    if ours:
        # In our own checkout it is there to be read, whatever flags the stock filters have.
        files |= support_files(project.output, [FilterFlag.NEW_LISTENER])
    about = {
        one.module_name: (one.policy.description or "no description").splitlines()[0]
        for one in built
    }
    files[project.output / INIT_NAME] = render_package(about, tables.tag, tables=ours)
    files[project.output / _TYPED_NAME] = b""
    return built, files


@dataclass(frozen=True, slots=True)
class Compiled:
    """Filters with the files that they are written to, and the project if they are all of one."""

    built: Sequence[Built]
    files: Mapping[Path, bytes]
    project: Project | None = None

    def outputs(self) -> Outputs:
        """Return what is to be written, beside what is there now.

        Raises InputError if a file is in the way that seccompgen did not generate.
        """
        refuse_to_overwrite(self.files)
        if self.project:
            return Outputs(self.files, orphaned_filters(self.project.output, self.files))
        return Outputs(self.files, orphaned_sources(self.files))

    def is_current(self) -> bool:
        """Return whether what it was made from is still the same."""
        if self.project:
            main = [Path(one.policy.sources[-1][0]) for one in self.built]
            now = read_project(self.project.pyproject)
            if now != self.project or now.policy_files() != main:
                return False
        return are_current(self.built)


class Made(Protocol):
    """Compiled filters, and the files to write of them."""

    def outputs(self) -> Outputs:
        """Return what is to be written, beside what is there now."""

    def is_current(self) -> bool:
        """Return whether what it was made from is still the same."""


_Made = TypeVar("_Made", bound=Made)


def put(make: Callable[[], _Made], place: Path) -> tuple[_Made, list[Path]]:
    """Write what ``make`` compiles; return it, and the files that changed.

    ``place`` is locked (`outputs.exclusive`) only while files are replaced. Runs that compiled at
    the same time replace them one after the other, so the last must not have read what an earlier
    one found changed: under the lock, what was read is looked at again, and compiled anew if it is
    another by then.
    """
    while True:
        compiled = make()
        with exclusive(place):
            if compiled.is_current():
                return compiled, compiled.outputs().write()


def package_names(project: Project) -> list[str]:
    """Return the paths of the files in the filter package of ``project``, as it was last built."""
    packages = [project.output / module_name(path.stem) for path in project.policy_files()]
    modules = [path for package in packages for path in sorted(package.glob("*.py"))]
    # Whether a filter has a listener is not to be known without reading its policy.
    listeners = [NOTIFICATION_NAME] if (project.output / NOTIFICATION_NAME).exists() else []
    inside = [path.relative_to(project.output).as_posix() for path in modules]
    return [*inside, *RUNTIME_NAMES, *listeners, INIT_NAME, _TYPED_NAME]


def orphaned_tables(tables: Tables, package: Path) -> frozenset[Path]:
    """Return the table modules in ``package`` of ABIs that the tag does not have."""
    absent = (package / f"{name}.py" for name in absent_abis(tables))
    return frozenset(path for path in absent if path.is_file() and is_ours(path))


def project_outputs(
    project: Project,
    tables: Tables,
    progress: Callable[[int, int], None] | None = None,
    means: BuildOptions = PLAIN_OPTIONS,
) -> tuple[list[Built], Outputs]:
    """Return all that is generated in our checkout from ``tables``, and every filter in it.

    That is pin, lock, tables, the schema of policies, and filters, also those of the examples that
    commit theirs: what is written as one step is never new in one place and old in another.
    """
    built: list[Built] = []
    files: dict[Path, bytes] = {}
    superfluous: frozenset[Path] = frozenset()
    for one in (project, *_examples(project)):
        filters, written = project_filters(one, tables, progress, means)
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
    """Return the projects in ``examples`` whose filters are there, sorted."""
    found = map(read_project, sorted(project.root.glob("examples/*/pyproject.toml")))
    return [one for one in found if one and (one.output / RUNTIME_NAME).is_file()]


def require_writable(directory: Path) -> None:
    """Raise OutsideError if ``directory`` exists and is none."""
    if directory.exists() and not directory.is_dir():
        raise OutsideError(f"{directory} is not a directory")
