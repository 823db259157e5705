"""Calls that newer kernels have, and that a filter kills because it does not name them.

A library that tries a new call is prepared for ENOSYS, and nobody is for a kill; and the kernel
itself has programs make some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.ages import Ages
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.releases import Release
    from seccompgen.core.tables import Tables
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.lint.view import FilterView

_DEADLY = {
    ActionKind.KILL_PROCESS: "kills",
    ActionKind.KILL_THREAD: "kills",
    ActionKind.TRAP: "traps",
}


def newer_kernel(view: FilterView, upgrade: Upgrade, tables: Tables) -> Iterator[Finding]:
    """Yield one finding with all calls of an upgrade's kernels that die by the filter's default."""
    if upgrade.kernels is None:
        return
    deadly = _DEADLY.get(ActionKind(view.default & ~RET_DATA_MAX))
    if deadly is None:
        return
    older, newer = upgrade.kernels
    names = [name for name in _began(view, tables, older, newer) if _is_unnamed(view, name)]
    if not names:
        return
    by_release: dict[str, list[str]] = {}
    for name in names:
        by_release.setdefault(str(tables.since.of(view.abi.name, name) or "later"), []).append(name)
    told = "; ".join(f"{release} {', '.join(calls)}" for release, calls in by_release.items())
    calls = "a call" if len(names) == 1 else f"{len(names)} calls"
    until = f"Linux {newer} has" if newer else "later ones have"
    yield Finding(
        Problem.NEWER_KERNEL,
        Severity.NOTE,
        f"Linux {older} lacks {calls} that {until} and this filter {deadly}: {told}",
        f"set `kernel: v{older}`, so that they get ENOSYS; permit those that programs need, and "
        "those that the kernel itself has them make",
        (view.abi.name,),
        witness=view.witness(view.call(names[0], EVERYTHING)),
        programs=(view.program.name,),
    )


def _began(
    view: FilterView, tables: Tables, older: Release, newer: Release | None
) -> Iterator[str]:
    """Yield the calls that a kernel began with after ``older``, in the order of their releases."""
    before, after = Ages(tables, older), newer and Ages(tables, newer)
    abi = view.abi.name
    names = [
        name
        for name in view.table.numbers
        if before.is_newer(abi, name) and not (after and after.is_newer(abi, name))
    ]

    def age(name: str) -> tuple[object, ...]:
        known = tables.since.of(abi, name)
        return (known is None, known and (known.latest, known.earliest or known.latest), name)

    yield from sorted(names, key=age)


def _is_unnamed(view: FilterView, name: str) -> bool:
    """Return True for a call that gets the default because the filter does not name it."""
    answer = view.answer(name)
    if answer is None or answer.only != view.default:
        return False
    rules = view.policy.rules if view.policy else ()
    return not any(rule.name == name and rule.applies_to(view.abi) for rule in rules)
