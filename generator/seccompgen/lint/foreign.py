"""Other ABIs of the same kernel: calls through them that the filter does not refuse.

A filter that does not look at the architecture, or at x32's bit, takes the numbers of another ABI
for its own, or for unknown ones. One that answers for several may refuse a call through one alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.lint.view import FilterView

_TELLING = (
    "execve execveat open openat socket connect ptrace clone fork unshare mount io_uring_setup bpf "
    "kill unlink unlinkat write ioctl"
)
"""Calls that are looked at first, so that a witness shows something that matters."""


_MOST_NAMED = 4
"""So many calls are named in a finding."""


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

    The same filter answers for that of ``view``, and permits them whatever their arguments are.
    """
    names = dict.fromkeys((*_TELLING.split(), *other.table.numbers))
    found = [
        (name, answer.permitted[0], refused[0])
        for name in names
        if (refused := other.refused_on_purpose(name))
        and (answer := view.answer(name))
        and len(answer.permitted) == len(answer.parts)
    ]
    if not found:
        return
    name, permitted, refused_box = found[0]
    named = ", ".join(one for one, _, _ in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    yield Finding(
        Problem.FOREIGN_ABI,
        severity,
        f"what is refused through {other.abi.name} is permitted through {view.abi.name}, for which "
        f"the filter answers as well: {named}{more}",
        f"refuse them through {view.abi.name} as well",
        (view.abi.name,),
        witness=view.witness(view.call(name, permitted)),
        beside=other.witness(other.call(name, refused_box)),
        programs=(view.program.name,),
    )
