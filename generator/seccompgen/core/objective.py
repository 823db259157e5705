"""The objective of a program, as frozen values: the goal, the kernel, measured frequencies."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.errors import Position


class Optimize(Enum):
    """The goal by which one of two programs for the same policy is the better one.

    BALANCED bounds the longest path, then wants few executed instructions, then few in all;
    SPEED wants few executed instructions at any length; SIZE a short program.
    """

    BALANCED = "balanced"
    SPEED = "speed"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Profile:
    """The count of each system call, by name; calls that it does not name were not seen.

    ``file`` and ``sha256`` name what it was read from; ``positions`` has the place of each
    name in it, only for messages.
    """

    counts: Mapping[str, int]
    file: str
    sha256: str
    positions: Mapping[str, Position] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Objective:
    """The aim of the compiler.

    With ``bitmap`` the kernel answers calls that are allowed whatever their arguments from a
    bitmap, without running the filter (Linux 5.11 and newer: seccomp_cache_check_allow in
    kernel/seccomp.c), so that the other calls are what deserves short paths. Without, all
    calls run it. ``profile`` replaces the assumption that all calls are made equally often.
    """

    optimize: Optimize = Optimize.BALANCED
    bitmap: bool = True
    profile: Profile | None = None


DEFAULT_OBJECTIVE = Objective()
