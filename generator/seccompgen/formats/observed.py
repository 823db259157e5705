"""A policy that allows the calls in a log, and calls that programs need and logs do not show.

`record` does the same: it allows the calls that were seen, and those that they imply
(`policy.implied`), such as the end of a process or the return from a signal handler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.abis import apart_by_kernel
from seccompgen.core.errors import Position
from seccompgen.formats.draft import Entry
from seccompgen.policy.implied import RunFacts, implied

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft

_DEFAULT = "errno(EPERM)"
"""The answer to all other calls; `record` has the same default."""


@dataclass
class Observed:
    """The calls of a log.

    ``calls`` maps the calls of each ABI, by name or number, to their group and first position.
    Groups are written in alphabetical order, each with its name as the comment.
    """

    threads: bool = False
    processes: bool = False
    catches: set[int] = field(default_factory=set)
    calls: dict[Abi, dict[str | int, tuple[str, Position]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, abi: Abi, call: str | int, group: str, position: Position) -> None:
        """Count a call."""
        self.calls.setdefault(abi, {}).setdefault(call, (group, position))
        if isinstance(call, str):
            self.counts[call] = self.counts.get(call, 0) + 1

    def write(self, draft: Draft, tables: Tables) -> None:
        """Add rules to ``draft`` that allow these calls."""
        start = Position(draft.file, 1, 1)
        arches, compat = apart_by_kernel(self.calls)
        draft.setting("default_action", _DEFAULT, start)
        draft.setting("arches", [abi.name for abi in arches], start)
        if compat:
            draft.setting("compat_arches", [abi.name for abi in compat], start)
        for abi, calls in self.calls.items():
            more = {"arches": [abi.name]} if len(self.calls) > 1 else {}
            for group in sorted({group for group, _ in calls.values()}):
                entries = [
                    Entry(call, at)
                    for call, (own, at) in sorted(calls.items(), key=lambda one: str(one[0]))
                    if own == group
                ]
                first = min(entry.position for entry in entries)
                draft.rule("allow", entries, first, **more)
                draft.remark(group)
            self._add_implied(draft, abi, tables, more)
        draft.profile.update(self.counts)

    def _add_implied(
        self, draft: Draft, abi: Abi, tables: Tables, more: dict[str, list[str]]
    ) -> None:
        calls, start = self.calls[abi], Position(draft.file, 1, 1)
        table = tables.tables.get(abi.name)
        names = {name for name in calls if isinstance(name, str)}
        catches = frozenset(self.catches)
        facts = RunFacts(names, self.threads, self.processes, catches=catches)
        needed = [
            one for one in implied(facts, table.numbers if table else ()) if one.name not in names
        ]
        if not needed:
            return
        entries = [
            Entry(one.name, start, " or ".join(map(str, one.conditions)) or None) for one in needed
        ]
        draft.rule("allow", entries, start, **more)
        reasons = "".join(f"\n{one.name}: {one.why}" for one in needed)
        draft.remark(f"not seen, and needed all the same:{reasons}")
