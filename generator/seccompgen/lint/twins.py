"""Twins: calls that give the same as one that is refused, as the table of powers has them.

Calls on one line of a kind that gives something do the same, whatever their arguments are. Where
one is refused in part, its arguments are those of the other that have the same name. What calls
give by other arguments is in `doors`; a pair that has a way there is not looked for here.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from typing import TYPE_CHECKING

from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL
from seccompgen.kernel.powers import powers
from seccompgen.lint.doors import WAYS
from seccompgen.lint.finding import Severity
from seccompgen.lint.kin import are_kin
from seccompgen.lint.way import Door, Way
from seccompgen.lint.ways import common, finding_of, inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.sets import Box
    from seccompgen.kernel.powers import PowerLine
    from seccompgen.lint.finding import Finding
    from seccompgen.lint.view import FilterView

_CODES = {
    "files-read": Problem.FILE_TWIN,
    "files-write": Problem.FILE_TWIN,
    "files-own": Problem.FILE_TWIN,
    "exec": Problem.EXEC_TWIN,
    "processes": Problem.PROCESS_TWIN,
    "others": Problem.MEMORY_TWIN,
    "connect": Problem.SOCKET_TWIN,
    "listen": Problem.SOCKET_TWIN,
    "limits": Problem.LIMIT_TWIN,
    "identity": Problem.IDENTITY_TWIN,
    "namespaces": Problem.NAMESPACE_TWIN,
    "mounts": Problem.MOUNT_TWIN,
}
"""By kind; `Problem.KERNEL_TWIN` for all others."""
_WORDS = {
    "exec": "executes the same programs",
    "files-read": "learns the same of files",
    "files-write": "changes the same files",
    "files-own": "changes the same files",
}
"""The end of "CALL is permitted, and ...", by kind; for others it is the reason of the line."""
_LINES = {
    "kill": (Problem.SIGNAL_TWIN, Severity.NOTE, "signals the same processes"),
    "accept": (Problem.SOCKET_TWIN, Severity.WARNING, "accepts the same connections"),
    "init_module": (Problem.MODULE_TWIN, Severity.WARNING, "loads the same kernel modules"),
    "kexec_load": (Problem.MODULE_TWIN, Severity.WARNING, "loads the same kernels"),
    "settimeofday": (Problem.CLOCK_TWIN, Severity.WARNING, "sets the same clock"),
    "adjtimex": (Problem.CLOCK_TWIN, Severity.WARNING, "adjusts the same clock"),
    "open_tree": (Problem.MOUNT_TWIN, Severity.WARNING, "mounts the same again"),
    "pivot_root": (Problem.MOUNT_TWIN, Severity.WARNING, "changes the same root directory"),
    "quotactl": (Problem.KERNEL_TWIN, Severity.WARNING, "sets the same quotas"),
    "add_key": (Problem.KERNEL_TWIN, Severity.WARNING, "uses the same keys of the kernel"),
    "sched_setscheduler": (Problem.LIMIT_TWIN, Severity.WARNING, "schedules the same processes"),
}
"""Lines with a code or words of their own, by their first call."""
_VAGUE = {"flag", "flags"}
"""Names of arguments that mean something else for each call."""


def twins(view: FilterView) -> Iterator[Finding]:
    """Yield a finding for each call that gives what another gives that is refused."""
    for line in _shared():
        yield from _of_line(line, view)


@lru_cache(maxsize=1)
def _shared() -> tuple[PowerLine, ...]:
    """Return the lines whose calls give the same, and something."""
    return tuple(
        line
        for line in powers().lines
        if line.power.gives and not line.when and len(line.calls) > 1
    )


@lru_cache(maxsize=1)
def _elsewhere() -> frozenset[tuple[str, str]]:
    """Return the pairs that have a way of their own, in either order."""
    pairs = {
        (door.call, other.call)
        for way in WAYS
        for door, other in product(way.doors, way.others or way.doors)
    }
    return frozenset(pairs | {(other, call) for call, other in pairs})


def _of_line(line: PowerLine, view: FilterView) -> Iterator[Finding]:
    calls = [call for call in line.calls if view.has(call)]
    told: set[str] = set()
    for call, other in permutations(calls, 2):
        if other in told or (call, other) in _elsewhere():
            continue
        refused = view.refused_on_purpose(call) or _refused_for_good(call, other, view)
        if refused:
            door, beside, boxes = _translated(call, other, refused, view)
            found = common(door, boxes, beside, view)
            if found is not None:
                told.add(other)
                yield finding_of(_way(line), door, beside, found, view)


def _refused_for_good(call: str, other: str, view: FilterView) -> tuple[Box, ...]:
    """Return what is refused of a call by ENOSYS, unless that leads libraries to the other one.

    They come from newer calls to older ones. What falls to the default was not meant at all.
    """
    answer = view.answer(call)
    if answer is None or answer.only is None or not view.is_enosys(answer.only):
        return ()
    if answer.only == view.default or are_kin(other, call):
        return ()
    since = view.facts.since.get(view.abi.name, {})
    began, before = since.get(call), since.get(other)
    older = began is None or before is None or before.latest < began.latest
    return () if older else answer.refused


def _way(line: PowerLine) -> Way:
    kind = line.power.name
    code, severity, words = _LINES.get(
        line.calls[0],
        (
            _CODES.get(kind, Problem.KERNEL_TWIN),
            Severity.WARNING,
            _WORDS.get(kind, line.reason),
        ),
    )
    return Way(code, severity, words, ())


def _translated(
    call: str, other: str, refused: tuple[Box, ...], view: FilterView
) -> tuple[Door, Door, list[Box]]:
    """Return both calls with the arguments that they share, and what is refused by these alone."""
    answer = view.answer(call)
    if answer is None or not answer.permitted:
        return Door(call), Door(other), list(refused)
    ours, theirs = _arguments(call, view), _arguments(other, view)
    shared = ours.keys() & theirs.keys()
    used = {ours[name] for name in shared}
    door = Door(call, {name: ours[name] for name in shared})
    beside = Door(other, {name: theirs[name] for name in shared})
    alone = (
        box for box in refused if all(one == ALL for n, one in enumerate(box) if n not in used)
    )
    return door, beside, list(inside(alone, door, view))


def _arguments(call: str, view: FilterView) -> dict[str, int]:
    """Return the arguments of a call that are values, by their names."""
    prototype = view.prototype(call)
    return {
        one.name: n
        for n, one in enumerate(prototype.parameters if prototype else ())
        if one.name and not one.pointer and one.name not in _VAGUE
    }
