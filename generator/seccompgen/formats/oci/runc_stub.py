"""runc's own instructions: ENOSYS for numbers above the highest that a profile names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.foreign import Runtime
from seccompgen.core.model import Action, ActionKind
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.tables import Table
    from seccompgen.formats.draft import Draft
    from seccompgen.formats.oci.form import ContainerProfile, ProfileEntry

ENOSYS = Action(ActionKind.ERRNO, errno_name="ENOSYS")
_MOST_GAPS = 1000
"""The most unassigned numbers to write rules for, where runc does not answer ENOSYS."""


def may_have_stub(default: Action, runtime: Runtime) -> bool:
    """Return True if the runtime answers ENOSYS to numbers above the highest that a profile names.

    runc does so even if the default is ENOSYS: its check for that compares another number.
    """
    if runtime is not Runtime.RUNC:
        return False
    return not default.kind.lets_through and default.kind is not ActionKind.TRACE


def last_named(table: Table, entries: Sequence[ProfileEntry]) -> int:
    """Return the highest number of the calls in ``entries``, except multiplexed calls."""
    multiplexers = MULTIPLEXED.keys() & table.numbers.keys()
    return max(
        (
            table.numbers[call]
            for entry in entries
            for call, _ in entry.names
            if call in table.numbers
            and ((through := entrance(call)) is None or through[0] not in multiplexers)
        ),
        default=0,
    )


def write_enosys(
    profile: ContainerProfile, draft: Draft, tables: Sequence[Table], last: dict[str, int]
) -> None:
    """Write rules for the answers of runc's own instructions, which precede the profile's.

    They are about numbers that no other rule names, so they come last here. ``last`` is the highest
    number that the profile names, by ABI, and 0 if it names none.
    """
    where, default = profile.default_position, str(profile.default)
    above: dict[tuple[str, ...], list[str]] = {}
    for table in tables:
        name = table.abi.name
        if not last[name]:
            text = f"the profile names no call of {name}: numbers that no call has get ENOSYS "
            text += f"here, and {default} from runc"
            draft.note(text, where, Problem.CALL_SKIPPED)
            continue
        later = tuple(call for nr, call in sorted(table.names.items()) if nr > last[name])
        above.setdefault(later, []).append(name)
    for calls, arches in above.items():
        if calls:
            listed = [Entry(call, where) for call in calls]
            draft.rule(str(ENOSYS), listed, where, arches=arches)
            draft.remark("newer than the calls that the profile names: ENOSYS from runc")
    for table in tables:
        if last[table.abi.name]:
            _write_gaps(profile, draft, table, last[table.abi.name], alone="x32" not in last)


def _write_gaps(
    profile: ContainerProfile, draft: Draft, table: Table, last: int, *, alone: bool
) -> None:
    """Write rules for unassigned numbers below ``last``; ``alone``: x32 is not served."""
    where, default = profile.default_position, str(profile.default)
    name = table.abi.name
    base = X32_SYSCALL_BIT if name == "x32" else 0
    own = table.names
    gaps = [n for n in range(base, last) if n not in own] if last - base < 1 << 16 else []
    if last - base >= 1 << 16 or len(gaps) > _MOST_GAPS:
        text = f"numbers below {last:#x} that no call of {name} has get ENOSYS here, and "
        text += f"{default} from runc"
        draft.note(text, where, Problem.CALL_SKIPPED)
        gaps = []
    if name in {"s390", "s390x"}:
        draft.rule(str(ENOSYS), [Entry(0, where)], where, arches=[name])
        gaps = [number for number in gaps if number]
    if alone and name == "x86_64":
        gaps.append(-1)
    if gaps:
        draft.rule(default, [Entry(n, where) for n in gaps], where, arches=[name])
        draft.remark("numbers without a call, below the highest that the profile names")
