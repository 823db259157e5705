"""Other ABIs of the same kernel: calls through them that the filter does not refuse.

A filter that does not look at the architecture, or at x32's bit, takes the numbers of another ABI
for its own, or for unknown ones. One that answers for several may refuse a call through one alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.lint.doors import WAYS
from seccompgen.lint.finding import Finding, Severity, Witness
from seccompgen.lint.way import Door
from seccompgen.lint.ways import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.sets import Box
    from seccompgen.lint.view import FilterView

_TELLING = (
    "execve execveat open openat socket connect ptrace clone fork unshare mount io_uring_setup bpf "
    "kill unlink unlinkat write ioctl"
)
"""Calls that are looked at first, so that a witness shows something that matters."""


_MOST_NAMED = 4
"""So many calls are named in a finding."""
_ALSO: Mapping[str, tuple[Door, ...]] = {
    "mmap": (Door("mmap2"),),
    **{
        door.call: way.others
        for way in WAYS
        if way.kind is Problem.MULTIPLEXED_WAY
        for door in way.doors
    },
}
"""Calls that other ABIs have in the place of a call."""


def foreign_abis(native: FilterView, others: Iterable[FilterView]) -> Iterator[Finding]:
    """Yield the ABIs through which calls are permitted that ``native`` refuses.

    ``others`` are views of the same program through ABIs that it was not made for.
    """
    names = dict.fromkeys((*_TELLING.split(), *native.table.numbers))
    for view in others:
        for name in names:
            found = _opened(name, native, view)
            if found is not None:
                yield found
                break


def _opened(name: str, native: FilterView, view: FilterView) -> Finding | None:
    refused = native.answer(name)
    if refused is None or refused.permitted or not refused.refused or not view.has(name):
        return None
    if refused.only is not None and native.is_enosys(refused.only):
        return None
    try:
        answer = view.answer_to(view.table.numbers[name])
    except UndecidedError:
        return None
    if not answer.permitted:
        return None
    abi = view.abi.name
    return Finding(
        Problem.FOREIGN_ABI,
        Severity.WARNING,
        f"calls through {abi}, which the same kernel serves, are permitted where the same calls "
        f"through {native.abi.name} are refused: {name}",
        f"refuse all calls through {abi}, or treat them by their own numbers",
        (abi,),
        witness=view.witness(view.call(name, answer.permitted[0])),
        beside=native.witness(native.call(name, refused.refused[0])),
        programs=(view.program.name,),
    )


def refused_less(view: FilterView, other: FilterView, severity: Severity) -> Iterator[Finding]:
    """Yield a finding on the calls that are refused on purpose through the ABI of ``other`` alone.

    The same filter answers for that of ``view``, and permits them, or another call that does the
    same: whatever its arguments are, or some of those that all are refused.
    """
    names = dict.fromkeys((*_TELLING.split(), *other.table.numbers))
    found: list[tuple[Door, Box, Witness]] = []
    for name in names:
        refused, answer = other.refused_on_purpose(name), other.answer(name)
        # Where the call is refused there, too, a way of that ABI's own is about the others.
        also = () if view.refused_on_purpose(name) else _ALSO.get(name, ())
        for door in (*also, Door(name)) if refused else ():
            permitted = _permitted(door, view, whole=bool(answer and answer.permitted))
            if permitted is not None:
                found.append((door, permitted, other.witness(other.call(name, refused[0]))))
    if not found:
        return
    door, permitted, beside = found[0]
    calls = list(dict.fromkeys(one.call for one, _, _ in found))
    more = f" and {len(calls) - _MOST_NAMED} more" if len(calls) > _MOST_NAMED else ""
    yield Finding(
        Problem.FOREIGN_ABI,
        severity,
        f"what is refused through {other.abi.name} is permitted through {view.abi.name}, for which "
        f"the filter answers as well: {', '.join(calls[:_MOST_NAMED])}{more}",
        f"refuse them through {view.abi.name} as well",
        (view.abi.name,),
        witness=view.witness(view.call(door.call, permitted)),
        beside=beside,
        programs=(view.program.name,),
    )


def _permitted(door: Door, view: FilterView, *, whole: bool) -> Box | None:
    """Return permitted arguments of a door; None where none are, or ``whole`` and not all are."""
    answer = view.answer(door.call)
    permitted = list(inside(answer.permitted, door, view)) if answer else []
    if answer is None or not permitted:
        return None
    left = whole and len(list(inside((box for box, _ in answer.parts), door, view))) > len(
        permitted
    )
    return None if left else permitted[0]
