"""A project that uses seccompgen: the settings in its pyproject.toml."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.objective import Optimize
from seccompgen.core.problems import Problem
from seccompgen.io.file_reach import beyond
from seccompgen.io.reading import decode_text, parse_toml, read_file, read_input
from seccompgen.policy.document import POLICY_SUFFIXES

_PIN = re.compile(rb'^(?P<before>[ \t]*linux[ \t]*=[ \t]*)"(?P<tag>[^"\n]*)"', re.MULTILINE)
_SECTION = re.compile(
    rb"^\[tool\.seccompgen\][^\n]*\n(?P<body>(?:(?!\[)[^\n]*\n)*(?:(?!\[)[^\n]*))", re.MULTILINE
)
_TEXTS = {"linux", "policies", "output", "profile"}
_GOALS = [goal.value for goal in Optimize]
_SWITCHES = {"bitmap", "committed", "report_only"}
_KEYS = (*sorted(_TEXTS), "optimize", *sorted(_SWITCHES))


@dataclass(frozen=True, slots=True)
class Project:
    """The settings in ``[tool.seccompgen]`` of a pyproject.toml; paths are absolute.

    ``linux`` is the pinned tag, ``policies`` the directory of policy files, ``output`` the package
    that filters and tables are generated into. ``optimize``, ``bitmap`` and ``profile``, a file or
    None, make up the objective of every filter (`objective.Objective`). ``committed`` means that
    the package is under version control, so building a wheel must not change it. With
    ``report_only`` each filter also has a report-only version. ``outside``, from the command line,
    are further directories in which the project may name files.
    """

    pyproject: Path
    linux: str | None
    policies: Path
    output: Path
    optimize: Optimize
    bitmap: bool
    profile: Path | None
    committed: bool
    report_only: bool = False
    outside: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def root(self) -> Path:
        """The directory of pyproject.toml."""
        return self.pyproject.parent

    @property
    def kernel(self) -> Path:
        """The directory of lock and matrix in seccompgen's own checkout."""
        return self.root / "generator" / "seccompgen" / "kernel"

    def policy_files(self) -> list[Path]:
        """Return the policy files, sorted, except those that are only included: ``_*``.

        Raises InputError if there are none, or if one leads out of the project.
        """
        found = [
            path
            for path in sorted(self.policies.glob("*"))
            if path.suffix in POLICY_SUFFIXES and path.name[0] not in "_."
        ]
        if not found:
            raise InputError(f"no policy files in {self.policies}")
        for path in found:
            self.require_reach(path)
        return found

    def require_reach(self, path: Path) -> None:
        """Raise InputError if ``path``, which the project names, leads out of it (`io.reach`)."""
        if reason := beyond(path, self.pyproject, self.outside):
            raise InputError(f"cannot read {path}: {reason}", kind=Problem.UNREADABLE_FILE)

    def with_pin(self, tag: str) -> bytes:
        """Return the text of pyproject.toml with the pin changed to ``tag`` and nothing else."""
        text = read_file(self.pyproject)
        section = _SECTION.search(text)
        pin = _PIN.search(text, *section.span("body")) if section else None
        if not pin:
            raise InputError(
                Diagnostic(
                    "no line 'linux = \"...\"' in [tool.seccompgen]", Position(str(self.pyproject))
                )
            )
        return text[: pin.start("tag")] + tag.encode() + text[pin.end("tag") :]


def find_project(start: Path, outside: tuple[Path, ...] = ()) -> Project | None:
    """Return the project that contains ``start``: the nearest pyproject.toml with our section."""
    for directory in (start, *start.parents):
        pyproject = directory / "pyproject.toml"
        if pyproject.is_file():
            project = read_project(pyproject)
            if project:
                return replace(project, outside=outside)
    return None


def read_project(pyproject: Path) -> Project | None:
    """Return the project of ``pyproject``, or None without our section. Raises InputError."""
    content = read_input(pyproject)
    data = parse_toml(decode_text(content, str(pyproject)), str(pyproject))
    tool = data.get("tool")
    section = tool.get("seccompgen") if isinstance(tool, dict) else None
    if not isinstance(section, dict):
        return None
    problems = [
        Diagnostic(f"[tool.seccompgen]: {what}", _position(pyproject, content, key))
        for key, value in section.items()
        if (what := _problem(key, value))
    ]
    if problems:
        raise InputError(*problems)

    def place(name: str) -> Path:
        return Path(os.path.normpath(pyproject.parent / name))

    return Project(
        pyproject=pyproject,
        linux=section.get("linux"),
        policies=place(section.get("policies", "policies")),
        output=place(section.get("output", "generated/seccomp_filters")),
        optimize=Optimize(section.get("optimize", "balanced")),
        bitmap=section.get("bitmap", True),
        profile=place(section["profile"]) if "profile" in section else None,
        committed=section.get("committed", False),
        report_only=section.get("report_only", False),
    )


def _problem(key: str, value: object) -> str:
    """Return the error in a key of our section, or an empty string."""
    if key not in _KEYS:
        return f"unknown key {key!r}{did_you_mean(key, _KEYS)}"
    if key in _TEXTS and not isinstance(value, str):
        return f"{key!r} must be text"
    if key in _SWITCHES and not isinstance(value, bool):
        return f"{key!r} must be true or false"
    if key == "optimize" and value not in _GOALS:
        hint = did_you_mean(str(value), _GOALS)
        return f"'optimize' must be one of {', '.join(_GOALS)}, not {value!r}{hint}"
    return ""


def _position(pyproject: Path, content: bytes, key: str) -> Position:
    """Return the position of ``key`` in our section; only the file if the key is spelled oddly."""
    section = _SECTION.search(content)
    spelling = re.compile(rb"^[ \t]*[\"']?(?P<key>%s)[\"']?[ \t]*=" % re.escape(key.encode()), re.M)
    found = spelling.search(content, *section.span("body")) if section else None
    if not found:
        return Position(str(pyproject))
    return Position.after(str(pyproject), content[: found.start("key")].decode())
