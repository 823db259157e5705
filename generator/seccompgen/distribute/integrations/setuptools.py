"""A build command for setuptools, for projects whose ``build-system.requires`` names seccompgen."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from setuptools import Command
from setuptools.errors import BaseError

if TYPE_CHECKING:
    from setuptools import Distribution

    from seccompgen.pipeline.project import Project

_COMMAND = "build_seccomp"
_US = re.compile(r"\s*seccompgen(?![\w.-])", re.IGNORECASE)


def finalize_distribution_options(distribution: Distribution) -> None:
    """Make building filters the first part of ``build``, if the project requires seccompgen.

    setuptools calls this for every project that is built where seccompgen is installed.
    """
    if _COMMAND in distribution.cmdclass or not _asks_for_us(Path("pyproject.toml")):
        return
    build = distribution.get_command_class("build")
    # A class of its own, since all projects share setuptools' class.
    parts = [(_COMMAND, None), *build.sub_commands]
    distribution.cmdclass["build"] = type("build", (build,), {"sub_commands": parts})
    distribution.cmdclass[_COMMAND] = BuildSeccomp


def _asks_for_us(pyproject: Path) -> bool:
    from seccompgen.core.errors import InputError  # noqa: PLC0415 - loaded for other projects too
    from seccompgen.io.reading import decode_text, parse_toml, read_file  # noqa: PLC0415

    try:
        name = str(pyproject)
        data = parse_toml(decode_text(read_file(pyproject), name), name)
        requires = data["build-system"]["requires"]
        return any(_US.match(requirement) for requirement in requires)
    except (OSError, InputError, LookupError, TypeError):
        return False  # setuptools itself reports the error


class BuildSeccomp(Command):  # type: ignore[misc] # setuptools may be absent when types are checked
    """A sub-command of ``build``, by the protocol setuptools.command.build.SubCommand."""

    description = "compile seccomp policies into filter modules"
    user_options: ClassVar[list[tuple[str, str, str]]] = []
    editable_mode = False

    def initialize_options(self) -> None:
        """Leave unset what `finalize_options` takes from ``build_py``."""
        self.build_lib: str | None = None

    def finalize_options(self) -> None:
        """Take the directory that becomes the wheel from ``build_py``."""
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        """Build the filters in place, then copy them to the directory that becomes the wheel."""
        from seccompgen.core.errors import SeccompgenError  # noqa: PLC0415
        from seccompgen.io.console import error_text  # noqa: PLC0415 - loaded for other projects too

        try:
            self._run()
        except SeccompgenError as error:
            # setuptools reports this exception as a message, without a traceback.
            message = "\n".join(
                ["the seccomp filters cannot be built:", error_text(error.diagnostics)]
            )
            raise BaseError(message) from None

    def _run(self) -> None:
        from seccompgen.distribute.integrations.in_place import bring_up_to_date  # noqa: PLC0415
        from seccompgen.io.outputs import Outputs  # noqa: PLC0415
        from seccompgen.io.reading import MAX_FILTER, read_file  # noqa: PLC0415
        from seccompgen.pipeline.packages import orphaned_filters  # noqa: PLC0415

        package = bring_up_to_date(Path.cwd())
        for line in package.told:
            self.announce(line, 2)
        # When setuptools looked for packages, some of these did not exist, or others did.
        here, name = package.project.output, self._package(package.project)
        places = sorted({path.parent.relative_to(here) for path in package.files})
        names = [".".join([name, *place.parts]) for place in places]
        found = [
            one
            for one in self.distribution.packages or []
            if not one.startswith(f"{name}.")
            or here.joinpath(*one.removeprefix(f"{name}.").split(".")).is_dir()
        ]
        self.distribution.packages = list(dict.fromkeys([*found, *names]))
        self.get_finalized_command("build_py").packages = found
        if self.editable_mode:
            return
        there = self._place(package.project)
        files = {
            there / path.relative_to(here): read_file(path, MAX_FILTER) for path in package.files
        }
        # build_lib is kept between builds, so it may hold files that the tree no longer has.
        Outputs(files, orphaned_filters(there, files)).write()

    def get_source_files(self) -> list[str]:
        """Return the files that an sdist needs so that the filters can be built from it."""
        from seccompgen.distribute.integrations.in_place import sources  # noqa: PLC0415

        project = self._project()
        return [str(path.relative_to(project.root)) for path in sources(project)]

    def get_outputs(self) -> list[str]:
        """Return the files that become part of the wheel."""
        return list(self.get_output_mapping())

    def get_output_mapping(self) -> dict[str, str]:
        """Map the files that become part of the wheel to those in the tree."""
        from seccompgen.pipeline.project_files import package_names  # noqa: PLC0415

        project = self._project()
        there = self._place(project)
        here = project.output.relative_to(project.root)
        return {str(there / name): str(here / name) for name in package_names(project)}

    def _project(self) -> Project:
        from seccompgen.core.errors import SeccompgenError  # noqa: PLC0415
        from seccompgen.distribute.integrations.in_place import require_project  # noqa: PLC0415
        from seccompgen.io.console import error_text  # noqa: PLC0415

        try:
            return require_project(Path.cwd())
        except SeccompgenError as error:
            raise BaseError(error_text(error.diagnostics)) from None

    def _place(self, project: Project) -> Path:
        """Return the directory that becomes the filter package of the wheel."""
        assert self.build_lib is not None, "finalized by setuptools before it asks for anything"
        return Path(self.build_lib, *self._package(project).split("."))

    def _package(self, project: Project) -> str:
        """Return the dotted name under which the filter package is imported."""
        below = project.output.relative_to(project.root).as_posix()
        # Directories of packages, the deepest first; "" is the directory of all others.
        places = sorted((self.distribution.package_dir or {}).items(), key=lambda x: -len(x[1]))
        for name, directory in places:
            where = PurePosixPath(directory)
            if PurePosixPath(below).is_relative_to(where):
                rest = PurePosixPath(below).relative_to(where).parts
                return ".".join([*filter(None, [name]), *rest])
        if any(name == "" for name, _ in places):
            from seccompgen.core.text import printable  # noqa: PLC0415

            place = printable(f"{project.pyproject}: output {below}")
            raise BaseError(f"{place} is not where the packages are")
        return below.replace("/", ".")
