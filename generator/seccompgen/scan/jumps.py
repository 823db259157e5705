"""Indirect jumps and calls: by a pointer that was made whole, or from a jump table.

A table's entry is followed from the jump back to its load. The function itself must make the
addresses of the table and of the base added to the entry, on all paths. A check of the index just
before the load limits the table. Without such a check, the table is read as long as its entries
lead to instructions of the function or of a separate part of it: a compiler's tables lead nowhere
else, so the first entry that does is not part of the table. The result covers every target of the
jump, or is empty.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.processor import KnownValue, Lost, Moved, Register
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from seccompgen.scan.image import AddressRange, Image
    from seccompgen.scan.processor import Instruction, Location, Machine, Step

_MAX_BOUND_STATES = 500
"""The most steps back from the load of an entry in which the check of its index is searched."""
_WIDE = 4
"""The bytes of entries that may lead anywhere; narrower ones do not lead out of the function."""
_MOST_ENTRIES = 4096
_MAX_STATES = 20_000
_MAX_INTERVAL_STEPS = 400

_WORDS = frozenset({Why.MEMORY, Why.STORED})
_WHOLE = _WORDS | {Why.RETURNED, Why.CHANGED, Why.NO_STACK, Why.DECODED}
"""Origins of pointers that were made elsewhere, as whole addresses.

A pointer that is decoded, by XOR with a secret, was whole when it was encoded (glibc's
PTR_MANGLE).
"""


class FunctionBody(NamedTuple):
    """A function, with what the analysis of its jumps needs.

    ``sources`` maps targets within it to the addresses of the jumps there, ``leads`` the address of
    each direct jump to its target. ``endless`` returns True if the call at an address never
    returns. ``pads`` are the addresses at which it goes on after exceptions.
    """

    image: Image
    span: AddressRange
    code: Sequence[Instruction]
    addresses: Sequence[int]
    sources: dict[int, list[int]]
    leads: Mapping[int, int]
    endless: Callable[[int], bool]
    pads: tuple[int, ...]


def is_whole(
    machine: Machine, function: FunctionBody, index: int, location: Location | None
) -> bool:
    """Return True if ``location``, before ``code[index]``, holds a pointer that was made whole.

    ``location`` is None for a word of memory. The sum of two words of memory is also whole: only
    loaders compute such sums, of a file's load address and an address in the file, and all such
    addresses are known from the file's tables. The entries of jump tables are narrower, or are
    added to an address that the code makes.
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
                continue  # such a file is loaded above addresses that fit half a word
            summands = machine.summands(code[earlier], where)
            if summands is not None:
                if added:
                    return False
                places, in_sum_before, added_before = summands, True, 0
            else:
                step = machine.before(function.image, code, earlier, where)
                if isinstance(step, KnownValue):
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


def _is_taken(function: FunctionBody, value: int, *, in_sum: bool) -> bool:
    """Return True if ``value`` is null, or a code address, taken where it is made."""
    return value == 0 or (not in_sum and function.image.in_code(value))


def _before(machine: Machine, function: FunctionBody, index: int) -> list[int]:
    """Return the indices of the function's instructions that lead to ``code[index]``."""
    sources = function.sources.get(function.addresses[index], ())
    found = [bisect_left(function.addresses, source) for source in sources]
    if index > 0 and _goes_on(machine, function, index - 1):
        found.append(index - 1)
    return found


def _goes_on(machine: Machine, function: FunctionBody, index: int) -> bool:
    """Return True if control may run on from ``code[index]``; it does not from mere padding."""
    while machine.is_padding(function.code[index]):
        if index == 0 or function.addresses[index] in function.sources:
            return True
        index -= 1
    instruction = function.code[index]
    if machine.is_call(instruction):
        return not function.endless(instruction[0])
    return not machine.stops(instruction)


def stays_within(
    machine: Machine, function: FunctionBody, index: int, location: Location | None
) -> bool:
    """Return True if the jump ``code[index]`` stays within the function.

    It does if its target is a label plus a bounded number, as in unrolled loops. Numbers of calls
    are not followed through such jumps, so use this only for functions that make no calls.
    """
    if not isinstance(location, Register):
        return False
    found = _interval(machine, function, index, location.name, [_MAX_INTERVAL_STEPS])
    span = function.span
    return found is not None and span.start <= found[0] and found[1] < span.end


def _interval(
    machine: Machine, function: FunctionBody, index: int, register: str, left: list[int]
) -> tuple[int, int] | None:
    """Return the bounds of ``register``'s value before ``code[index]``; None if unknown."""
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


class _Table(NamedTuple):
    """A jump by a table: the index of the load of the entry, and of its addition to ``base``.

    ``addition`` and ``base`` are None if nothing is added.
    """

    load: int
    addition: int | None
    base: Location | None


class _TableEntries(NamedTuple):
    """The entries of ``size`` bytes at ``table``, whose targets, from ``base``, are ``read``."""

    read: Callable[[int, int | None], Iterator[int]]
    table: int
    base: int | None
    size: int

    def at(self, number: int) -> Iterator[int]:
        """Yield the targets from an entry on."""
        return self.read(self.table + number * self.size, self.base)

    def anew(self, number: int) -> Iterator[int]:
        """Yield the targets of the table that follows a number of entries; none if it is unknown.

        It is known where a table's address is its base, too.
        """
        following = self.table + number * self.size
        return self.read(following, following) if self.base == self.table else iter(())


class _Origin(NamedTuple):
    """A state of the search: ``location``, before ``code[at]``, holds the target; see `_Table`."""

    at: int
    location: Location
    addition: int | None
    base: Location | None


def jump_targets(
    machine: Machine,
    function: FunctionBody,
    jumps: Iterable[int],
    may_enter: Callable[[int], bool],
) -> dict[int, list[int]]:
    """Return, by index, the targets of those ``jumps`` that are understood as jumps by tables.

    The targets are added to the sources of ``function``. As this may explain further jumps, the
    others are tried again.
    """
    found: dict[int, list[int]] = {}
    waiting = list(jumps)
    while waiting:
        new = {at: table_targets(machine, function, at, may_enter) for at in waiting}
        for at, targets in new.items():
            for target in targets:
                function.sources.setdefault(target, []).append(function.addresses[at])
        found.update((at, targets) for at, targets in new.items() if targets)
        if not any(new.values()):
            break
        waiting = [at for at in waiting if not new[at]]
    return found


def table_targets(
    machine: Machine, function: FunctionBody, index: int, may_enter: Callable[[int], bool]
) -> list[int]:
    """Return the targets of the jump ``code[index]`` by tables; none unless all are understood.

    ``may_enter`` returns True if an address outside the function is an instruction of its image.
    """
    found: dict[int, None] = {}
    for origin in _tables(machine, function, index):
        if isinstance(origin, int):
            targets = [origin] if may_enter(origin) else []
        else:
            targets = _entries(machine, function, origin, may_enter) if origin else []
        if not targets:
            return []
        found.update(dict.fromkeys(targets))
    return list(found)


def _tables(machine: Machine, function: FunctionBody, index: int) -> Iterator[_Table | int | None]:
    """Yield the tables and labels from which ``code[index]`` gets its target; None for others."""
    code = function.code
    location = machine.target(code[index])
    if location is None:
        yield _Table(index, None, None) if machine.table_load(code[index]) else None
        return
    seen: set[_Origin] = set()
    waiting = [_Origin(index, location, None, None)]
    while waiting:
        at, where, addition, base = waiting.pop()
        for earlier in _before(machine, function, at):
            if machine.table_load(code[earlier]) and where == Register(machine.sets(code[earlier])):
                yield _Table(earlier, addition, base)
                continue
            summands = machine.summands(code[earlier], where)
            if summands and len(summands) == 2 and addition is None:
                one, other = summands
                entry_first = _is_entry(machine, function, earlier, one)
                entry, base_there = (one, other) if entry_first else (other, one)
                new = [_Origin(earlier, entry, earlier, base_there)]
            else:
                step = machine.before(function.image, code, earlier, where)
                if isinstance(step, KnownValue) and addition is None:
                    yield step.value
                    continue
                if not isinstance(step, Moved) or step.add:
                    yield None
                    return
                new = [_Origin(earlier, place, addition, base) for place in step.places]
            waiting += [one for one in new if one not in seen]
            seen.update(new)
        if len(seen) > _MAX_STATES:
            yield None
            return


def _is_entry(machine: Machine, function: FunctionBody, index: int, location: Location) -> bool:
    """Return True if a load from a table is the last to set ``location`` before ``code[index]``."""
    for at in range(index - 1, -1, -1):
        instruction = function.code[at]
        if location == Register(machine.sets(instruction)):
            return machine.table_load(instruction) is not None
    return False


def _entries(
    machine: Machine, function: FunctionBody, table: _Table, may_enter: Callable[[int], bool]
) -> list[int]:
    """Return the targets of the entries of ``table``; none if its address is unknown."""
    code = function.code
    load = machine.table_load(code[table.load])
    assert load
    places = {load.offset}
    if load.base:
        places = _addresses(machine, function, table.load, Register(load.base), load.offset)
    if not places and load.either and load.by:
        places = _addresses(machine, function, table.load, Register(load.by), load.offset)
    bases: Iterable[int | None] = [None]
    if table.base and table.addition is not None:
        bases = _addresses(machine, function, table.addition, table.base)
    addition = None if table.addition is None else code[table.addition]
    bound = 0 if load.by is None else _bound(machine, function, table.load, load.by)
    read = partial(machine.entries, function.image, code[table.load], addition)
    found: list[int] = []
    for place in sorted(places):
        for base in bases:
            entries = _TableEntries(partial(read, function=function.span), place, base, load.size)
            targets = _plausible(function, entries, bound, may_enter)
            if not targets:
                return []
            found += targets
    return found


def _addresses(
    machine: Machine, function: FunctionBody, index: int, location: Location, more: int = 0
) -> set[int]:
    """Return the addresses that ``location`` can hold before ``code[index]``, plus ``more``.

    Returns none if one of them is not made by the function itself. Paths from code that only tables
    lead to are ignored: this jump, or a similar one, leads there.
    """
    first = (index, location, more)
    seen, waiting = {first}, [first]
    found: set[int] = set()
    while waiting and len(seen) < _MAX_STATES:
        at, where, added = waiting.pop()
        if at == 0:
            return set()
        for earlier in _before(machine, function, at):
            step = machine.before(function.image, function.code, earlier, where)
            if _is_kept(machine, function, step, where):
                step = Moved((where,))
            if isinstance(step, KnownValue):
                found.add(step.value + added)
            elif isinstance(step, Lost):
                return set()
            else:
                places = (
                    machine.spilled(function.image, function.code, one) for one in step.places
                )
                new = {(earlier, place, added + step.add) for place in places} - seen
                seen |= new
                waiting += new
    return found if not waiting else set()


def _is_kept(machine: Machine, function: FunctionBody, step: Step, location: Location) -> bool:
    """Return True if a call preserves ``location``, although the ABI lets it change.

    If a C compiler reads a register after a call, and the call returns nothing there, the compiler
    knows that the callee preserves it (GCC's -fipa-ra).
    """
    changed = isinstance(step, Lost) and step.why is Why.CHANGED
    register = isinstance(location, Register) and location.name not in machine.returned_in
    return changed and register and not function.image.is_go


def _bound(machine: Machine, function: FunctionBody, load: int, index: str) -> int | None:
    """Return the highest value of register ``index`` at the load, on all ways there; None if none.

    It is the nearest one on each way, which need not be the least.
    """
    first = (load, index, -1)
    seen, waiting, most = {first}, [first], -1
    while waiting:
        at, register, less = waiting.pop()
        ways = [(earlier, earlier != at - 1) for earlier in _before(machine, function, at)]
        if not ways or len(seen) > _MAX_BOUND_STATES:
            return None
        for earlier, by_jump in ways:
            instruction = function.code[earlier]
            bound = machine.compared(instruction) if less >= 0 else machine.masked(instruction)
            if bound and bound[0] == register:
                most = max(most, bound[1] - max(less, 0))
                continue
            origin = _copied_from(machine, function, earlier, register)
            if origin is None:
                return None
            if machine.branches(instruction):
                less_before = max(less, machine.bounds(instruction, jumping=by_jump))
            else:
                less_before = less if machine.keeps_flags(instruction) else -1
            state = (earlier, origin, less_before)
            waiting += [state] if state not in seen else []
            seen.add(state)
    return most if most >= 0 else None


def _copied_from(machine: Machine, function: FunctionBody, index: int, register: str) -> str | None:
    """Return the register that held the value of ``register``, or more, before an instruction.

    Compilers check a part of a register, such as a byte, only if they know that the rest is zero.
    """
    instruction = function.code[index]
    step = machine.before(function.image, function.code, index, Register(register))
    if isinstance(step, Moved) and len(step.places) == 1 and not step.add:
        (place,) = step.places
        return place.name if isinstance(place, Register) else None
    return machine.copied(instruction) if machine.sets(instruction) == register else None


def _plausible(
    function: FunctionBody,
    entries: _TableEntries,
    bound: int | None,
    may_enter: Callable[[int], bool],
) -> list[int]:
    """Return the targets of the first ``entries``, those of the table; none if it is not a table.

    A table ends at its ``bound``, or before: the nearest comparison may be looser than another.
    Then it is followed by other data, such as the function's next table.
    """
    most = _MOST_ENTRIES if bound is None else min(bound + 1, _MOST_ENTRIES)
    leads = partial(_leads, function, may_enter)
    found = list(takewhile(leads, islice(entries.at(0), most)))
    if bound is None or len(found) == most:
        return found
    beyond = next(entries.at(len(found)), None)
    # The middle of an instruction may be code that was not read as such, in hand-written code.
    if entries.size < _WIDE or (beyond and function.image.in_code(beyond)):
        return found if any(map(leads, islice(entries.anew(len(found)), 1))) else []
    return found


def _leads(function: FunctionBody, may_enter: Callable[[int], bool], target: int) -> bool:
    """Return True if ``target`` is an instruction."""
    if not function.span.contains(target):
        return may_enter(target)
    at = bisect_left(function.addresses, target)
    return at < len(function.addresses) and function.addresses[at] == target
