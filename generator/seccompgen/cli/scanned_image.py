"""``seccompgen scan --image``: the programs of a container image, as files to scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.console import say

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from seccompgen.scan.image_programs import ImagePrograms, Reason, StartedProgram

RUNTIME_CALLS = frozenset(
    {"execve", "close", "close_range", "openat", "write", "fcntl", "fstatfs", "getdents64"}
    | {"epoll_ctl", "getpid", "futex", "nanosleep", "rt_sigreturn", "exit_group"}
)
"""The calls of runc and crun between the filter and the program (docs/oci.md, An allowlist)."""

_REASON: dict[str, str] = {
    "entry": "the entry point",
    "asked": "named on the command line",
    "interpreter": "the interpreter of",
    "word": "named in",
}


@dataclass(frozen=True, slots=True)
class Targets:
    """The programs to scan, each with libraries that it loads, and the system that they are for.

    ``started`` says, by the name of a program in an image, why it is scanned; ``incomplete`` are
    modules that the image cannot load, each with a library that it lacks.
    """

    programs: Sequence[tuple[Path, tuple[Path, ...]]]
    directories: Sequence[Path]
    root: Path
    started: Mapping[str, StartedProgram] = field(default_factory=dict)
    incomplete: Sequence[tuple[str, str]] = ()


def targets_in(
    stack: contextlib.ExitStack,
    place: Path,
    words: Iterable[str],
    libraries: Sequence[Path],
    directories: Sequence[Path],
) -> Targets:
    """Return the programs that the image at ``place`` starts, unpacked until ``stack`` is closed.

    ``libraries`` and ``directories`` are paths in the image.
    """
    from seccompgen.scan.image_programs import image_programs  # noqa: PLC0415
    from seccompgen.scan.inside import file_inside  # noqa: PLC0415
    from seccompgen.scan.saved_image import opened_image  # noqa: PLC0415

    image = stack.enter_context(opened_image(place))
    found = image_programs(image, words)
    more = [file_inside(image.root, str(path)) for path in libraries]
    missing = [path for path, known in zip(libraries, more, strict=True) if known is None]
    if missing:
        raise InputError(
            *(Diagnostic("is not in the image", Position(str(path))) for path in missing)
        )
    return _targets(found, image.root, [path for path in more if path], directories)


def _targets(
    found: ImagePrograms, root: Path, libraries: Sequence[Path], directories: Sequence[Path]
) -> Targets:
    return Targets(
        [(one.path, (*libraries, *found.modules.get(one.path, ()))) for one in found.programs],
        [root / str(path).lstrip("/") for path in directories],
        root,
        {_inside(root, one.path): one for one in found.programs},
        [(_inside(root, path), needed) for path, needed in found.incomplete],
    )


def _inside(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"


def show_targets(targets: Targets) -> None:
    """Print why each program of an image is scanned, and which modules are left out."""
    for name, one in targets.started.items():
        say(f"{name}: {_reason(one.reason)}{_source(one)}")
    for name, needed in targets.incomplete:
        say(f"note: {name} is left out: it needs {needed}, which the image lacks", err=True)


def _reason(reason: Reason) -> str:
    return _REASON[reason]


def _source(one: StartedProgram) -> str:
    if one.source or one.reason in {"entry", "asked"}:
        return f" {one.source}".rstrip()
    return " the entry point's command line"


def started_json(targets: Targets, name: str) -> dict[str, str] | None:
    """Return why a program of an image is scanned, for JSON; None for other programs."""
    one = targets.started.get(name)
    return {"kind": one.reason, "source": one.source} if one else None


def left_out_of(targets: Targets) -> list[str]:
    """Return lines for a policy's head about the modules that are left out."""
    if not targets.incomplete:
        return []
    head = "These modules are left out: the image lacks a library that each needs."
    return [head, *(f"  {name} ({needed})" for name, needed in targets.incomplete)]
