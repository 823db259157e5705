"""Measurements, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from corpus import Figures

OURS = "seccompgen"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a tool has no figures for a policy; ``word`` is short, ``text`` says what happened."""

    word: str
    text: str


Cell: TypeAlias = "Figures | Problem"


@dataclass(frozen=True, slots=True)
class Times:
    """Many samples, in nanoseconds: the least of them, the median and the quartiles around it.

    The least is what is compared, for whatever else a machine does can only add to it.
    """

    least: float
    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Tool:
    """One column. ``same_as`` is an earlier tool whose programs are the same, byte for byte.

    ``open_to`` are the policies under which its programs allow calls of other ABIs.
    """

    name: str
    version: str
    same_as: str | None
    open_to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Install:
    """The time until a filter is in force in a forked child, by the Python that is named.

    ``bare`` is with all that the tool imports, ``loaded`` without.
    """

    tool: str
    python: str
    bare: Times
    loaded: Times


@dataclass(frozen=True, slots=True)
class Start:
    """Processes that a tool confines, by the Python that is named; without, if it has no name.

    ``process`` is from start to end, ``importing`` of the tool alone, both in nanoseconds of
    processor time; ``rss`` and ``uss`` are KiB at the end.
    """

    tool: str
    python: str
    process: Times
    importing: Times | None
    rss: int
    uss: int


@dataclass(frozen=True, slots=True)
class Starts:
    """All of them for one policy.

    ``code`` is what our install() takes where system calls do nothing, by the Python.
    """

    policy: str
    rows: tuple[Start, ...]
    code: Mapping[str, Times]


@dataclass(frozen=True, slots=True)
class Calls:
    """Nanoseconds for a system call under the programs for one policy.

    ``workloads`` maps a kind of call to the calls that were made; ``times`` maps the kind to a
    time for each tool, and ``None`` to the time without a filter.
    """

    policy: str
    workloads: Mapping[str, str]
    times: Mapping[str, Mapping[str | None, Times]]


@dataclass(frozen=True, slots=True)
class Results:
    """All of one run. ``exact`` maps policy and tool to a cell; ``notes`` say what is missing."""

    machine: Mapping[str, str]
    tools: tuple[Tool, ...]
    exact: Mapping[str, Mapping[str, Cell]]
    installs: Mapping[str, tuple[Install, ...]]
    calls: tuple[Calls, ...]
    notes: tuple[str, ...]
    starts: tuple[Starts, ...] = ()
