"""A checkout or project that uses seccompgen: where its pyproject.toml says things are."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.errors import Diagnostic, InputError, Position

if TYPE_CHECKING:
    from pathlib import Path

_PIN = re.compile(rb'^(?P<before>[ \t]*linux[ \t]*=[ \t]*)"(?P<tag>[^"\n]*)"', re.MULTILINE)
_SECTION = re.compile(
    rb"^\[tool\.seccompgen\][^\n]*\n(?P<body>(?:(?!\[)[^\n]*\n)*(?:(?!\[)[^\n]*))", re.MULTILINE
)
_KEYS = {"linux", "policies", "output"}


@dataclass(frozen=True, slots=True)
class Project:
    """What ``[tool.seccompgen]`` of a pyproject.toml says; paths are absolute.

    ``linux`` is the pinned tag, ``policies`` the directory of policy files, ``output`` the
    package that filters and tables are generated into.
    """

    pyproject: Path
    linux: str | None
    policies: Path
    output: Path

    @property
    def root(self) -> Path:
        """The directory of pyproject.toml."""
        return self.pyproject.parent

    @property
    def kernel(self) -> Path:
        """Where seccompgen's own checkout keeps the lock and the matrix."""
        return self.root / "generator" / "seccompgen" / "kernel"

    def policy_files(self) -> list[Path]:
        """Return the policy files, sorted; those that start with ``_`` are only included."""
        found = [
            path
            for path in sorted(self.policies.glob("*"))
            if path.suffix in {".yml", ".yaml", ".json", ".toml"} and path.name[0] not in "_."
        ]
        if not found:
            raise InputError(f"no policy files in {self.policies}")
        return found

    def with_pin(self, tag: str) -> bytes:
        """Return the text of pyproject.toml with the pin at ``tag``, nothing else changed."""
        text = self.pyproject.read_bytes()
        section = _SECTION.search(text)
        pin = _PIN.search(text, *section.span("body")) if section else None
        if not pin:
            raise InputError(
                Diagnostic(
                    "no line 'linux = \"...\"' in [tool.seccompgen]", Position(str(self.pyproject))
                )
            )
        return text[: pin.start("tag")] + tag.encode() + text[pin.end("tag") :]


def find_project(start: Path) -> Project | None:
    """Return the project that ``start`` lies in: the nearest pyproject.toml that names us."""
    for directory in (start, *start.parents):
        pyproject = directory / "pyproject.toml"
        if pyproject.is_file():
            project = _read(pyproject)
            if project:
                return project
    return None


def _read(pyproject: Path) -> Project | None:
    try:
        data = tomllib.loads(pyproject.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(Diagnostic(f"not TOML: {error}", Position(str(pyproject)))) from None
    tool = data.get("tool")
    section = tool.get("seccompgen") if isinstance(tool, dict) else None
    if not isinstance(section, dict):
        return None
    for key, value in section.items():
        if key not in _KEYS or not isinstance(value, str):
            what = f"{key!r} must be text" if key in _KEYS else f"unknown key {key!r}"
            raise InputError(Diagnostic(f"[tool.seccompgen]: {what}", Position(str(pyproject))))
    root = pyproject.parent
    return Project(
        pyproject=pyproject,
        linux=section.get("linux"),
        policies=root / section.get("policies", "policies"),
        output=root / section.get("output", "generated/seccomp_filters"),
    )
