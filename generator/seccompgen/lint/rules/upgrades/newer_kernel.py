"""Newer kernels have calls that no rule names and the default kills or traps.

With `--from` and `--to` lint compares kernels as well, those of Debian's releases or `linux:6.10`.
One note lists the calls by release. Libraries that try a new call are prepared for ENOSYS, not for
a kill. Name the release that you know, so that newer calls get ENOSYS ([horizon.md](horizon.md)).
Permit `uretprobe` (6.11) and `uprobe` if programs are traced by uprobes: the kernel itself puts
these calls into them. Later kernels let both pass every filter.

```diff
+kernel: v5.10
 default_action: kill_process
 arches: [x86_64]
 syscalls:
 - action: allow
   names: [read, write, close, fstat, futex, restart_syscall, exit_group, rt_sigreturn]
```
"""

from collections.abc import Iterator

from seccompgen.core.ages import Ages
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.releases import Release
from seccompgen.core.sets import EVERYTHING
from seccompgen.core.tables import Tables
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity
from seccompgen.lint.upgrade import Upgrade

_DEADLY = {
    ActionKind.KILL_PROCESS: "kills",
    ActionKind.KILL_THREAD: "kills",
    ActionKind.TRAP: "traps",
}


def _check(view: FilterView, upgrade: Upgrade, tables: Tables) -> Findings:
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
    listed = "; ".join(f"{release} {', '.join(calls)}" for release, calls in by_release.items())
    calls = "a call" if len(names) == 1 else f"{len(names)} calls"
    until = f"Linux {newer} has" if newer else "later ones have"
    yield RULE.finding(
        f"Linux {older} lacks {calls} that {until} and this filter {deadly}: {listed}",
        f"set `kernel: v{older}`, so that they get ENOSYS; permit those that programs need, and "
        "those that the kernel itself has them make",
        view=view,
        witness=view.shown(names[0], EVERYTHING),
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


RULE = LintRule("newer-kernel", Severity.NOTE, check_upgrade=_check)
