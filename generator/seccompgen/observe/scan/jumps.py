"""Indirect jumps and calls: by a pointer that somebody made whole, or from a jump table.

A jump table is read as far as its index is checked just before the jump. Where no check is seen, it
is read as far as its entries lead to instructions of the function, or to a part of it that was
laid elsewhere: what a compiler lays in a table leads nowhere else, so the first that does is not
of the table. Either way all that the jump can do is covered, or nothing is returned.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.observe.scan.machine import Event, Kind, Known, Lost, Register
from seccompgen.observe.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from seccompgen.observe.scan.image import Image, Span
    from seccompgen.observe.scan.machine import Instruction, Location, Machine, TableLoad

_NEAR_BYTES = 96
"""The distance before an indirect jump in which the code that prepares it may start."""
_MOST_ENTRIES = 4096
_MAX_STATES = 2000
_MOST_REFERENCES = 300
"""References to data of a function of which each may be a table; of more it is not tried."""
_MAX_INTERVAL_STEPS = 400
_DATA = frozenset({Kind.REFERENCE, Kind.LOAD, Kind.COMPARISON})

_WORDS = frozenset({Why.MEMORY, Why.STORED})
_WHOLE = _WORDS | {Why.RETURNED, Why.CHANGED, Why.NO_STACK, Why.DECODED}
"""Origins of a pointer that was made elsewhere, and whole.

What is decoded, by an exclusive or with a secret, was whole when it was encoded (PTR_MANGLE of
glibc).
"""


class Function(NamedTuple):
    """A function as these questions need it.

    ``sources`` are the jumps within it, by where they go, ``leads`` where all jumps go, by where
    they are; ``endless`` says whether the call at an
    address never comes back.
    """

    image: Image
    span: Span
    code: Sequence[Instruction]
    addresses: Sequence[int]
    sources: Mapping[int, Sequence[int]]
    leads: Mapping[int, int]
    endless: Callable[[int], bool]


def is_whole(machine: Machine, function: Function, index: int, location: Location | None) -> bool:
    """Return True if ``location`` holds a pointer that was made whole, before ``code[index]``.

    ``location`` is None for a word of memory. Whole is also the sum of two words of memory, which
    nobody makes but who loads programs: where a file is loaded, plus an address of that file. All
    such addresses are known, from the file's own tables. The entries of jump tables are narrower,
    or are added to an address that the code makes.
    """
    if location is None:
        return True
    first = (index, location, False, 0)
    seen, waiting = {first}, [first]
    code = function.code
    while waiting:
        at, where, in_sum, added = waiting.pop()
        for earlier in _before(machine, function, at):
            if not in_sum and machine.is_half(code[earlier], where) and function.image.relocatable:
                continue  # such a file is loaded above what half a word can say
            summands = machine.summands(code[earlier], where)
            if summands is not None:
                if added:
                    return False
                places, in_sum_before, added_before = summands, True, 0
            else:
                step = machine.before(function.image, code, earlier, where)
                if isinstance(step, Known):
                    # A page and the rest, put together once, count as taken where that is done.
                    if added and not machine.makes_page(code[earlier]):
                        return False
                    if not _is_taken(function, step.value + added, in_sum=in_sum):
                        return False
                    continue
                if isinstance(step, Lost):
                    if added or step.why not in (_WORDS if in_sum else _WHOLE):
                        return False
                    continue
                if step.add and (in_sum or added):
                    return False
                places, in_sum_before, added_before = step.places, in_sum, added + step.add
            for place in places:
                state = (earlier, place, in_sum_before, added_before)
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        if len(seen) > _MAX_STATES:
            return False
    return True


def _is_taken(function: Function, value: int, *, in_sum: bool) -> bool:
    """Return True for null, and an address of code: it counts as taken where it is made."""
    return value == 0 or (not in_sum and function.image.in_code(value))


def _before(machine: Machine, function: Function, index: int) -> list[int]:
    """Return from which instructions control gets to ``code[index]``, within the function."""
    sources = function.sources.get(function.addresses[index], ())
    found = [bisect_left(function.addresses, source) for source in sources]
    if index > 0 and _goes_on(machine, function, index - 1):
        found.append(index - 1)
    return found


def _goes_on(machine: Machine, function: Function, index: int) -> bool:
    """Return True if control may come out of ``code[index]``; nothing comes out of mere padding."""
    while machine.is_padding(function.code[index]):
        if index == 0 or function.addresses[index] in function.sources:
            return True
        index -= 1
    instruction = function.code[index]
    if machine.is_call(instruction):
        return not function.endless(instruction[0])
    return not machine.stops(instruction)


def stays_within(
    machine: Machine, function: Function, index: int, location: Location | None
) -> bool:
    """Return True if the jump ``code[index]`` goes to some instruction of the function itself.

    It does if it goes to a label plus a number that is cut off, as in copies of a loop. What it
    does to numbers of calls is not followed, so only a function counts that has none.
    """
    if not isinstance(location, Register):
        return False
    found = _interval(machine, function, index, location.name, [_MAX_INTERVAL_STEPS])
    span = function.span
    return found is not None and span.start <= found[0] and found[1] < span.end


def _interval(
    machine: Machine, function: Function, index: int, register: str, left: list[int]
) -> tuple[int, int] | None:
    """Return between which numbers ``register`` is before ``code[index]``; None if unknown."""
    low: int | None = None
    high = 0
    earlier = _before(machine, function, index)
    left[0] -= len(earlier)
    if not earlier or left[0] < 0:
        return None
    for before in earlier:
        made = machine.as_sum(function.image, function.code[before], register)
        if made is None:
            return None
        least, most = made.constant, made.constant + made.rest
        for name, factor in made.terms:
            part = _interval(machine, function, before, name, left)
            if part is None:
                return None
            least, most = least + part[0] * factor, most + part[1] * factor
        low, high = least if low is None else min(low, least), max(high, most)
    return None if low is None else (low, high)


def table_targets(
    machine: Machine,
    function: Function,
    events: Sequence[Event],
    index: int,
    may_enter: Callable[[int], bool],
    *,
    only_near: bool,
) -> list[int]:
    """Return where the jump ``code[index]`` can go by a jump table; nothing if none is understood.

    With ``only_near``, a table counts only if it is named just before. ``may_enter`` says whether
    an address outside of the function is an instruction of its image.
    """
    image = function.image
    jump = function.addresses[index]
    first = bisect_left(function.addresses, jump - _NEAR_BYTES)
    window = function.code[first : index + 1]
    load = _load_in(machine, window)
    if load is None:
        return []
    bound = _bound(machine, window, load)
    everywhere = [one for one in events if one.kind in _DATA]
    near = [one for one in everywhere if jump - _NEAR_BYTES <= one.address <= jump]
    bases = [one.value for one in near if function.span.start <= one.value < function.span.end]

    def reads(references: Iterable[int], bases: Iterable[int]) -> list[int]:
        found: list[int] = []
        for targets in machine.tables(image, window, references, bases, function.span):
            found += _plausible(function, targets, bound, may_enter)
        return found

    named = _named(machine, function, first + load[0], load[1].base)
    for table in (*named, *_candidates(machine, function, near, load)):
        targets = reads([table], bases)
        if targets:
            return list(dict.fromkeys(targets))
    if only_near or len(everywhere) > _MOST_REFERENCES:
        return []
    bases = [
        one.value for one in everywhere if function.span.start <= one.value < function.span.end
    ]
    tables = [one.value for one in everywhere if not image.in_code(one.value)]
    return list(dict.fromkeys(reads(dict.fromkeys(tables), dict.fromkeys(bases))))


def _named(machine: Machine, function: Function, index: int, register: str | None) -> list[int]:
    """Return the one address that ``register`` has before ``code[index]``, if all ways say so."""
    if register is None:
        return []
    first: tuple[int, Location] = (index, Register(register))
    seen, waiting = {first}, [first]
    found: set[int] = set()
    while waiting and len(seen) < _MAX_STATES:
        at, where = waiting.pop()
        before = _before(machine, function, at)
        if not before and at == 0:
            return []  # elsewhere, only this jump or one like it leads there
        for earlier in before:
            step = machine.before(function.image, function.code, earlier, where)
            if isinstance(step, Known):
                found.add(step.value)
            elif isinstance(step, Lost) or step.add:
                return []
            else:
                new = {(earlier, place) for place in step.places} - seen
                seen |= new
                waiting += new
    return sorted(found) if len(found) == 1 else []


def _candidates(
    machine: Machine, function: Function, near: Sequence[Event], load: tuple[int, TableLoad]
) -> list[int]:
    """Return what may be the table, the likeliest first: the base that is loaded from."""
    data = [one for one in reversed(near) if not function.image.in_code(one.value)]
    if load[1].base:
        data.sort(
            key=lambda one: (
                machine.sets(function.code[bisect_left(function.addresses, one.address)])
                != load[1].base
            )
        )
    return list(dict.fromkeys(one.value for one in data))


def _load_in(machine: Machine, window: Sequence[Instruction]) -> tuple[int, TableLoad] | None:
    """Return the last load by an index, and where it stands in ``window``."""
    for i in range(len(window) - 1, -1, -1):
        load = machine.table_load(window[i])
        if load:
            return i, load
    return None


def _bound(
    machine: Machine, window: Sequence[Instruction], found: tuple[int, TableLoad]
) -> int | None:
    """Return what the index is compared with before the load; None where that is not seen."""
    i, load = found
    index = load.by
    for at in range(i - 1, -1, -1):
        instruction = window[at]
        compared = machine.compared(window, at)
        if compared and compared[0] == index:
            return compared[1]
        if machine.sets(instruction) == index:
            copied = machine.copied(instruction)
            if copied is None:
                return None
            index = copied
    return None


def _plausible(
    function: Function,
    targets: Iterator[int],
    bound: int | None,
    may_enter: Callable[[int], bool],
) -> list[int]:
    """Return ``targets`` as far as they are of the table; none of one that is none."""
    found: list[int] = []
    span, addresses = function.span, function.addresses
    most = _MOST_ENTRIES if bound is None else bound + 1
    for target in targets:
        if len(found) >= most:
            break
        if span.start <= target < span.end:
            at = bisect_left(addresses, target)
            if at >= len(addresses) or addresses[at] != target:
                break
        elif not may_enter(target):
            break
        found.append(target)
    return found if bound is None or len(found) >= bound else []


def only_calls(machine: Machine, function: Function, index: int) -> list[int] | None:
    """Return which instructions call what ``code[index]`` loads, if it is used for nothing else.

    None if it may be handed on: copied, stored, given to a function that is called or back to the
    caller, or carried out of the function. A register that functions preserve is handed to none.
    """
    code = function.code
    register = machine.sets(code[index])
    if not register:
        return None
    calls: list[int] = []
    seen: set[int] = set()
    waiting = _after(machine, function, index)
    while waiting:
        at = waiting.pop()
        if at is None:
            return None
        if at in seen:
            continue
        seen.add(at)
        instruction = code[at]
        kept = machine.preserves(function.image, register)
        if machine.target(instruction) == Register(register) and machine.is_call(instruction):
            calls.append(instruction[0])
            if not kept:
                continue  # it holds something else, when that comes back
        elif not kept and (machine.is_call(instruction) or machine.returns(instruction)):
            return None
        elif machine.mentions(instruction, register):
            if machine.is_comparison(instruction):
                pass
            elif machine.only_sets(instruction, register):
                continue
            else:
                return None
        waiting += _after(machine, function, at)
    return calls


def _after(machine: Machine, function: Function, index: int) -> list[int | None]:
    """Return the instructions that may follow ``code[index]``; None for some elsewhere."""
    instruction = function.code[index]
    found: list[int | None] = []
    if instruction[0] in function.leads:
        target = function.leads[instruction[0]]
        at = bisect_left(function.addresses, target)
        inside = at < len(function.addresses) and function.addresses[at] == target
        found.append(at if inside else None)
    if machine.returns(instruction) or (
        machine.is_call(instruction) and function.endless(instruction[0])
    ):
        return found
    if machine.stops(instruction):
        return found if found or machine.dies(instruction) else [None]
    return [*found, index + 1 if index + 1 < len(function.code) else None]
