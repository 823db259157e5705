"""The other way in: one call is refused, and another that does the same is not.

Both are asked for what they answer, whatever the filter is made of. What is refused of the first is
translated into the arguments of the second; a call that is left is the witness. An allowlist that
simply names one of two calls is no finding: that refuses the other by default, not on purpose
(`FilterView.refused_on_purpose`). It is one where no rule can look behind the call that it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Box
from seccompgen.lint.answers import asks, refuses
from seccompgen.lint.doors import OTHER_FORMS, WAYS
from seccompgen.lint.fallback import enosys_fix
from seccompgen.lint.finding import Finding, Severity
from seccompgen.lint.way import Named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.lint.view import FilterView
    from seccompgen.lint.way import Door, Way

_SWAPPED = {("clone", 0): {"s390": 1, "s390x": 1}}
"""Arguments that stand elsewhere on some ABIs (CLONE_BACKWARDS2 in arch/s390/Kconfig)."""

_ENOSYS_BECAUSE = {
    "clone3": "its flags are in memory, and libraries fall back",
    "openat2": "its flags are in memory, and libraries fall back",
    "io_uring_setup": "programs take their other path",
}
"""Why a call that is left should get ENOSYS."""


def ways_in(view: FilterView) -> Iterator[Finding]:
    """Yield a finding for each call by which something else that is refused can be done."""
    told: set[tuple[Problem, int]] = set()
    for way in WAYS:
        for finding in _through(way, view):
            assert finding.witness is not None
            key = (finding.kind, finding.witness.call.nr)
            # What is refused by default is of no weight beside what is refused on purpose.
            if not way.by_default or key not in told:
                yield finding
            told.add(key)


def racing_memory(view: FilterView) -> Iterator[Finding]:
    """Yield userfaultfd where a supervisor reads what lies in memory: it stops that reading.

    A thread that handles the fault changes the memory meanwhile (seccomp_unotify(2)).
    """
    answer = view.answer("userfaultfd")
    if answer is None or not answer.permitted:
        return
    for name in _ASKED_ABOUT.split():
        asked = view.answer(name)
        box = next((box for box, ret in asked.parts if asks(ret)), None) if asked else None
        if box is not None:
            yield Finding(
                Problem.RACING_MEMORY,
                Severity.NOTE,
                f"userfaultfd is permitted, and stops whoever reads the memory of {name}, which a "
                "supervisor or a tracer decides",
                "answer userfaultfd with errno(ENOSYS)",
                (view.abi.name,),
                witness=view.witness(view.call("userfaultfd", answer.permitted[0])),
                beside=view.witness(view.call(name, box)),
                programs=(view.program.name,),
            )
            return


_ASKED_ABOUT = (
    "open openat execve execveat connect bind mount unlink unlinkat rename renameat renameat2 "
    "mkdir mkdirat mknod mknodat chmod fchmodat chown fchownat link linkat symlink "
    "symlinkat truncate"
)
"""Calls with a name or an address in memory by which supervisors decide."""


def _through(way: Way, view: FilterView) -> Iterator[Finding]:
    others = [door for door in way.others or way.doors if _is_there(door, view)]
    told: set[int] = set()
    for door in way.doors:
        asked = _is_there(door, view) and not door.only_other
        refused = _refused(door, way, view) if asked else []
        if not refused or not _matters(way, view):
            continue
        for other in others:
            if other is door or id(other) in told or _is_other_form(way, door, other):
                continue
            found = common(door, refused, other, view)
            if found is not None:
                told.add(id(other))
                yield finding_of(way, door, other, found, view)


def _matters(way: Way, view: FilterView) -> bool:
    """Return True if what a way needs is permitted, and what must be shut is."""
    needed = not way.needs or any(_is_open(one, view) for one in way.needs)
    return needed and not any(_is_open(one, view) for one in way.shut)


def _is_other_form(way: Way, door: Door, other: Door) -> bool:
    """Return True for two forms of one call, which a way of their own is about."""
    return way.kind is not Problem.TIME64_TWIN and (door.call, other.call) in OTHER_FORMS


def finding_of(
    way: Way, door: Door, other: Door, found: tuple[Box, Box], view: FilterView
) -> Finding:
    """Return the finding that ``other`` is permitted, and ``door`` is not, with these arguments."""
    box, own = found
    part = f" with {_parts_text(other, view)}" if other.where else ""
    own_part = ""
    if door.call == other.call and not any(bits.masked for bits in door.where.values()):
        own_part = f" with {_parts_text(door, view)}"
    beside = view.witness(view.call(door.call, own))
    fate = "which is asked about" if asks(beside.ret) else "which is refused"
    return Finding(
        way.kind,
        _severity(way, door, other, view),
        f"{other.call}{part} is permitted, and {way.reason} as {door.call}{own_part}, {fate}"
        + ("" if door.where or _whole(door, view) else " in part"),
        _advice(other.call, part, view),
        (view.abi.name,),
        witness=view.witness(view.call(other.call, box)),
        beside=beside,
        programs=(view.program.name,),
    )


def _advice(call: str, part: str, view: FilterView) -> str:
    """Return the fix for a call that is left, ``part`` of it."""
    if call in _ENOSYS_BECAUSE:
        return enosys_fix(call, view, _ENOSYS_BECAUSE[call])
    return f"refuse {call}{' with the same flags' if call == 'clone' else part} as well"


def _severity(way: Way, door: Door, other: Door, view: FilterView) -> Severity:
    """Return the weight: less where the author of an allowlist has evidently looked at both calls.

    That is where the other one has conditions, too, or where it is permitted and the first is
    refused outright.
    """
    answer = view.answer(other.call)
    meant = answer is not None and (answer.refused or _whole(door, view))
    return Severity.NOTE if meant and view.is_allowlist and not way.others else way.severity


def _is_there(door: Door, view: FilterView) -> bool:
    return view.has(door.call) and view.abi.name not in door.not_on


def _is_open(door: Door, view: FilterView) -> bool:
    """Return True if some of a door is permitted."""
    answer = view.answer(door.call)
    return answer is not None and any(True for _ in inside(answer.permitted, door, view))


def _whole(door: Door, view: FilterView) -> bool:
    answer = view.answer(door.call)
    return answer is not None and not answer.permitted


def _parts_text(door: Door, view: FilterView) -> str:
    parts = []
    for index, (value, masked, other, _, under) in door.where.items():
        argument = _moved(door.call, index, view)
        shown = value.name if isinstance(value, Named) else f"{value:#x}" if value else "0"
        asked = f"argument {argument} & {under:#x}" if under else f"argument {argument}"
        parts.append(f"{asked} {'&' if masked else '!=' if other else '=='} {shown}")
    return " and ".join(parts)


def _refused(door: Door, way: Way, view: FilterView) -> list[Box]:
    """Return what is refused on purpose of a door, by its own arguments."""
    if (door.in_part or way.nowhere) and _whole(door, view):
        return []
    refused = view.refused_on_purpose(door.call)
    if way.by_default:
        answer = view.answer(door.call)
        refused = (*answer.refused, *answer.asked) if answer else ()
    if refused and door.in_part and view.is_allowlist:
        answer = view.answer(door.call)
        assert answer is not None
        refused = tuple(box for box, ret in answer.parts if refuses(ret) and ret != view.default)
    boxes = list(inside(refused, door, view))
    if way.nowhere:
        boxes = _permitted_nowhere(boxes, door, way.nowhere, view)
    if not boxes or way.flips is None:
        return boxes
    name, flag = way.flips
    n, bit = _index(door, name, view), view.constant(*flag)
    answer = view.answer(door.call)
    assert answer is not None
    kept = []
    for box in boxes:
        for part in answer.permitted:
            # The arguments of ``box`` that are in ``part`` once the bit is cleared.
            cleared = view.sets.both(view.sets.given(part[n], bit, 0), view.sets.masked(bit, bit))
            both = tuple(
                view.sets.both(a, cleared if m == n else b)
                for m, (a, b) in enumerate(zip(box, part, strict=True))
            )
            if NOTHING not in both:
                kept.append(both)
    return kept  # type: ignore[return-value] # six each


def _permitted_nowhere(boxes: list[Box], door: Door, name: str, view: FilterView) -> list[Box]:
    """Return the parts of ``boxes`` with values of an argument that no permitted call has."""
    answer = view.answer(door.call)
    n, sets = _index(door, name, view), view.sets
    left = boxes
    for permitted in answer.permitted if answer else ():
        cut = ((*box[:n], sets.minus(box[n], permitted[n]), *box[n + 1 :]) for box in left)
        left = [box for box in cut if NOTHING not in box]  # type: ignore[misc] # six each
    return left


def inside(boxes: Iterable[Box], door: Door, view: FilterView) -> Iterator[Box]:
    """Yield the parts of ``boxes`` that are of the door, among arguments as callers pass them."""
    boxes = tuple(boxes)
    if not boxes:
        return  # so that most policies are built without reading the kernel's constants
    sets = view.sets
    limits = list(EVERYTHING)
    used = {_index(door, name, view) for name in door.takes}
    conditions = {_moved(door.call, n, view): bits for n, bits in door.where.items()}
    names = [bits.value.name for bits in conditions.values() if isinstance(bits.value, Named)]
    if any(map(view.lacks, names)):
        return
    for n in used | conditions.keys():
        limits[n] = view.plain_values(view.bits(door.call, n))
    for n, (value, masked, other, none, under) in conditions.items():
        number = _value(value, view)
        mask = number if masked else under or U32
        values = sets.masked(mask, number & mask)
        if none is not None:
            values = sets.minus(values, sets.masked(U32, none))
        limits[n] = sets.minus(limits[n], values) if other else sets.both(limits[n], values)
    for box in boxes:
        part = tuple(map(sets.both, box, limits))
        if NOTHING not in part:
            yield part  # type: ignore[misc] # six


def common(door: Door, refused: list[Box], other: Door, view: FilterView) -> tuple[Box, Box] | None:
    """Return arguments of ``other`` that are permitted, and of ``door`` for the same, refused."""
    answer = view.answer(other.call)
    if answer is None:
        return None
    sets = view.sets
    for permitted in inside(answer.permitted, other, view):
        theirs = _meaning(permitted, other, view)
        for box in refused:
            ours = _meaning(box, door, view)
            both = {
                name: sets.both(ours.get(name, ALL), theirs.get(name, ALL))
                for name in ours.keys() | theirs.keys()
            }
            if NOTHING not in both.values():
                return _back(permitted, other, both, view), _back(box, door, both, view)
    return None


def _meaning(box: Box, door: Door, view: FilterView) -> Mapping[str, int]:
    """Return the sets of what matters, by name, of a box of the door's arguments."""
    found = {name: box[_index(door, name, view)] for name in door.takes}
    for name, values in door.always.items():
        number = _joined(values, view)
        sets = view.sets
        found[name] = sets.either(sets.masked(U64, number & U64), sets.masked(U64, number & U32))
    return found


def _joined(values: tuple[Named | int, ...], view: FilterView) -> int:
    number = 0
    for value in values:
        number |= _value(value, view)
    return number


def _back(box: Box, door: Door, meaning: Mapping[str, int], view: FilterView) -> Box:
    """Return the box with what matters as in ``meaning``."""
    result = list(box)
    for name in door.takes:
        result[_index(door, name, view)] = meaning[name]
    return tuple(result)  # type: ignore[return-value] # six


def _index(door: Door, name: str, view: FilterView) -> int:
    return _moved(door.call, door.takes[name], view)


def _moved(call: str, index: int, view: FilterView) -> int:
    return _SWAPPED.get((call, index), {}).get(view.abi.name, index)


def _value(value: Named | int, view: FilterView) -> int:
    return view.constant(*value) if isinstance(value, Named) else value
