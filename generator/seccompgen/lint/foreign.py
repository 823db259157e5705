"""Other ABIs of the same kernel: calls through them that the filter does not refuse.

A filter that does not look at the architecture, or at x32's bit, takes the numbers of another ABI
for its own, or for unknown ones.
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
