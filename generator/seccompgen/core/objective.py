"""The objective of a program, as frozen values: the goal, the kernel, measured frequencies."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.errors import Position


class Optimize(Enum):
    """The goal by which the compiler prefers one of two programs for the same policy.

    BALANCED limits the longest path, then minimises executed instructions, then the length; SPEED
    minimises executed instructions at any length; SIZE minimises the length.
    """

    BALANCED = "balanced"
    SPEED = "speed"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Profile:
    """The count of each system call, by name; a call without a count was not seen.

    ``file`` and ``sha256`` identify the file that the profile was read from; ``positions`` has the
    position of each name in the file, only for messages.
    """

    counts: Mapping[str, int]
    file: str
    sha256: str
    positions: Mapping[str, Position] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Objective:
    """The objective of the compiler.

    With ``bitmap``, the kernel has a bitmap of the calls that are allowed for any arguments, and
    answers these without running the filter (Linux 5.11 and newer: seccomp_cache_check_allow in
    kernel/seccomp.c). So only the other calls need short paths. Without ``bitmap``, all calls run
    the filter. ``profile`` replaces the assumption that all calls are equally frequent.
    """

    optimize: Optimize = Optimize.BALANCED
    bitmap: bool = True
    profile: Profile | None = None


DEFAULT_OBJECTIVE = Objective()
