"""Indirect jumps and calls: by a pointer that was made whole, or from a jump table.

A table's entry is followed from the jump back to its load. The function itself must make the
addresses of the table and of the base added to the entry, on all paths. A check of the index just
before the load limits the table. Without such a check, the table is read up to the next one of the
function, as long as its entries lead to instructions of the function or of a separate part of it: a
compiler's tables lead nowhere else, so the first entry that does is not part of the table. The
result covers every target of the jump, or is empty.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cached_property, partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.index_bounds import bound_of
from seccompgen.scan.jump_tables import relative_targets
from seccompgen.scan.paths import back_past, leading_to
from seccompgen.scan.processor import EffectKind, KnownValue, Lost, Moved, Register, Slot
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from seccompgen.scan.paths import FunctionBody
    from seccompgen.scan.processor import Location, Machine, Step, TableLoad

_WIDE = 4
"""The bytes of entries that may lead anywhere; narrower ones do not lead out of the function."""
_MOST_ENTRIES = 4096
_FEWEST_ENTRIES = 4
_MOST_BYTES = 1 << 16
_MAX_STATES = 20_000

_ADDRESS = (1 << 64) - 1
_VSYSCALLS = range(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000)
"""The page at which old x86_64 programs call the kernel (Documentation/arch/x86/x86_64/mm.rst)."""
_WORDS = frozenset({Why.MEMORY, Why.STORED})
_WHOLE = _WORDS | {Why.RETURNED, Why.CHANGED, Why.NO_STACK, Why.DECODED}
"""Origins of pointers that were made elsewhere, as whole addresses.

A pointer that is decoded, by XOR with a secret, was whole when it was encoded (glibc's
PTR_MANGLE).
"""


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
        at = back_past(machine, function, at, where)
        for earlier in leading_to(machine, function, at):
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
    """Return True if ``value`` is null, or leads to code at most where it is taken.

    A code address counts as taken where it is made. No other constant of a file that is loaded
    anywhere leads to code, but for the old entries of the kernel, whose addresses are fixed.
    """
    if in_sum or function.image.in_code(value) or value == 0:
        return not in_sum or value == 0
    return function.image.relocatable and value & _ADDRESS not in _VSYSCALLS


class _Table(NamedTuple):
    """A jump by a table: the index of the load of the entry, and of its addition to ``base``.

    ``addition`` and ``base`` are None if nothing is added.
    """

    load: int
    addition: int | None
    base: Location | None


class _TableEntries(NamedTuple):
    """The entries of ``size`` bytes at ``table``, whose targets, from ``base``, are ``read``.

    Those of one or two bytes that LLVM makes count instructions, so they ``are shifted``.
    """

    read: Callable[[int, int | None], Iterator[int]]
    table: int
    base: int | None
    size: int
    is_shifted: bool

    def at(self, number: int) -> Iterator[int]:
        """Yield the targets from an entry on."""
        return self.read(self.table + number * self.size, self.base)

    def anew(self, number: int) -> Iterator[int]:
        """Yield the targets of the table that follows a number of entries; none if it is unknown.

        It is known where a table's address is its base, too.
        """
        following = self.table + number * self.size
        return self.read(following, following) if self.base == self.table else iter(())


class _TableLabels:
    """The addresses of tables whose entries are relative to them, as a function makes these.

    Such an address is the label at which a compiler begins the table: it adds that to an entry, so
    it holds no offset of the index. So a table before it ends there at the latest. Something else
    in that table could be no address of anything, and its entries are relative to another one: by
    chance, some few would lead to instructions of the function as well.
    """

    def __init__(self, machine: Machine, function: FunctionBody) -> None:
        self._machine = machine
        self._function = function

    def distance(self, table: int) -> int:
        """Return the number of bytes from ``table`` to the next one; many if none follows."""
        at = bisect_right(self._found, table)
        return self._found[at] - table if at < len(self._found) else _MOST_BYTES

    def up_to_data(self, table: int) -> int:
        """Return the number of bytes from ``table`` to the next data that is known.

        Such data begins at addresses that the function makes, or where a symbol says so: LLVM makes
        none before the data to which it leads.
        """
        marks = self._function.image.data_marks
        ends = [
            one[at] for one in (marks, self._made) if (at := bisect_right(one, table)) < len(one)
        ]
        return min(ends, default=table + _MOST_BYTES) - table

    @cached_property
    def _made(self) -> list[int]:
        events = self._machine.events(self._function.image, self._function.code)
        return sorted({one.value for one in events if one.kind is EffectKind.REFERENCE})

    @cached_property
    def _found(self) -> list[int]:
        return list(filter(self._is_table, self._made))

    def _is_table(self, address: int) -> bool:
        function = self._function
        targets = islice(relative_targets(function.image, address, _WIDE, address), _FEWEST_ENTRIES)
        leads = [
            function.span.contains(one) and _leads(function, function.image.in_code, one)
            for one in targets
        ]
        return len(leads) == _FEWEST_ENTRIES and all(leads)


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
    labels = _TableLabels(machine, function)
    while waiting:
        new = {at: table_targets(machine, function, at, may_enter, labels) for at in waiting}
        for at, targets in new.items():
            for target in targets:
                function.sources.setdefault(target, []).append(function.addresses[at])
        found.update((at, targets) for at, targets in new.items() if targets)
        if not any(new.values()):
            break
        waiting = [at for at in waiting if not new[at]]
    return found


def table_targets(
    machine: Machine,
    function: FunctionBody,
    index: int,
    may_enter: Callable[[int], bool],
    labels: _TableLabels | None = None,
) -> list[int]:
    """Return the targets of the jump ``code[index]`` by tables; none unless all are understood.

    ``may_enter`` returns True if an address outside the function is an instruction of its image.
    ``labels`` are those of the function's tables, if they are known already.
    """
    labels = labels or _TableLabels(machine, function)
    found: dict[int, None] = {}
    for origin in _tables(machine, function, index):
        if isinstance(origin, int):
            targets = [origin] if may_enter(origin) else []
        else:
            targets = _entries(machine, function, origin, may_enter, labels) if origin else []
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
    waiting = [_Origin(index, _spilled(location), None, None)]
    while waiting:
        at, where, addition, base = waiting.pop()
        at = back_past(machine, function, at, where)
        for earlier in leading_to(machine, function, at):
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
                new = [_Origin(earlier, _spilled(one), addition, base) for one in step.places]
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
    machine: Machine,
    function: FunctionBody,
    table: _Table,
    may_enter: Callable[[int], bool],
    labels: _TableLabels,
) -> list[int]:
    """Return the targets of the entries of ``table``; none if its address is unknown.

    If the load adds a number to the address, the index may be negative (gmp's assembly): then the
    table begins at the address.
    """
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
    is_same = _has_one_register(machine, function, table, load)
    bound = 0 if load.by is None else bound_of(machine, function, table.load, load.by)
    read = partial(machine.entries, function.image, code[table.load], addition)
    is_shifted = load.size < _WIDE and bool(addition and ", lsl #" in addition[3])
    found: list[int] = []
    for place in sorted(places):
        for base in bases:
            if is_same and place - load.offset != base:
                continue
            reading = partial(read, function=function.span)
            entries = _TableEntries(reading, place, base, load.size, is_shifted)
            targets = _plausible(function, entries, bound, may_enter, labels)
            if not targets and bound is None and place - load.offset == base:
                entries = entries._replace(table=base)
                targets = _plausible(function, entries, None, may_enter, labels)
                targets = targets if len(targets) * load.size >= load.offset else []
            if not targets:
                return []
            found += targets
    return found


def _has_one_register(
    machine: Machine, function: FunctionBody, table: _Table, load: TableLoad
) -> bool:
    """Return True if one register holds the table's address and the base, with the same value.

    So it does if control only runs straight on from the load to the addition, and nothing there
    changes the register. Then an address and a base that belong to different tables do not meet.
    """
    if table.addition is None or not load.base or table.base != Register(load.base):
        return False
    between = range(table.load, table.addition)
    same = Moved((table.base,))
    return bool(between) and all(
        machine.before(function.image, function.code, at, table.base) == same
        and function.addresses[at + 1] not in function.sources
        for at in between
    )


def _addresses(
    machine: Machine, function: FunctionBody, index: int, location: Location, more: int = 0
) -> set[int]:
    """Return the addresses that ``location`` can hold before ``code[index]``, plus ``more``.

    Returns none if one of them is not made by the function itself. Paths from code that only tables
    lead to are ignored: this jump, or a similar one, leads there. So are paths on which it is made
    elsewhere, if they come out of a call to a place that other code jumps to, and the function
    makes the address on another path. The base of a table is a constant, which compilers make anew
    where they need it and do not pass on, so it holds nothing else on any path that is taken:
    such a call never returns, which the compiler knew (noreturn, __builtin_unreachable()).
    """
    first = (index, location, more, False)
    seen, waiting = {first}, [first]
    found: set[int] = set()
    while waiting and len(seen) < _MAX_STATES:
        at, where, added, after_call = waiting.pop()
        at = back_past(machine, function, at, where)
        if at == 0 and not after_call:
            return set()
        for earlier in leading_to(machine, function, at):
            step = machine.before(function.image, function.code, earlier, where)
            out_of_call = after_call or _joins_others(machine, function, earlier, at)
            if _is_kept(machine, function, step, where):
                step = Moved((where,))
            if isinstance(step, KnownValue):
                found.add(step.value + added)
            elif isinstance(step, Lost):
                if not out_of_call:
                    return set()
            else:
                places = map(_spilled, step.places)
                new = {(earlier, place, added + step.add, out_of_call) for place in places} - seen
                seen |= new
                waiting += new
    return found if not waiting else set()


def _spilled(location: Location) -> Location:
    """Return ``location``, which no pointer reaches if it is a word of the stack.

    The address of a jump table is no value of the program's, nor is the sum of an entry and a base.
    So a word that holds one is the compiler's own, not a part of a variable. If a whole address is
    loaded instead, so is what could replace it, which counts as taken where it is made.
    """
    return location._replace(only_named=True) if isinstance(location, Slot) else location


def _joins_others(machine: Machine, function: FunctionBody, earlier: int, index: int) -> bool:
    """Return True if a call is in front of ``code[index]``, to which other code jumps."""
    if earlier != index - 1 or function.addresses[index] not in function.sources:
        return False
    while earlier and machine.is_padding(function.code[earlier]):
        earlier -= 1
    return machine.is_call(function.code[earlier])


def _is_kept(machine: Machine, function: FunctionBody, step: Step, location: Location) -> bool:
    """Return True if a call preserves ``location``, although the ABI lets it change.

    If a C compiler reads a register after a call, and the call returns nothing there, the compiler
    knows that the callee preserves it (GCC's -fipa-ra). In languages whose functions return values
    in more registers, none returns the address of a jump table.
    """
    changed = isinstance(step, Lost) and step.why is Why.CHANGED
    register = isinstance(location, Register) and location.name not in machine.c_returned_in
    return changed and register and not function.image.is_go


def _plausible(
    function: FunctionBody,
    entries: _TableEntries,
    bound: int | None,
    may_enter: Callable[[int], bool],
    labels: _TableLabels,
) -> list[int]:
    """Return the targets of the first ``entries``, those of the table; none if it is not a table.

    A table ends at its ``bound``, or before: the nearest comparison may be looser than another, and
    a mask only say how wide the index is. Then it is followed by other data, such as the function's
    next table. Narrow entries that seem to lead out of the function do not end the table if its end
    may be further than what is read as the function. An entry of zero, which would lead to the
    table itself, is for an index that does not occur.
    """
    most = _MOST_ENTRIES if bound is None else min(bound + 1, _MOST_ENTRIES)
    if bound is None and entries.base == entries.table and entries.size == _WIDE:
        most = min(most, labels.distance(entries.table) // entries.size)
    if bound is None and entries.is_shifted:
        most = min(most, labels.up_to_data(entries.table) // entries.size)
    leads = partial(_leads, function, may_enter)
    nowhere = entries.base if bound is not None and entries.base == entries.table else None
    found = list(takewhile(lambda one: one == nowhere or leads(one), islice(entries.at(0), most)))
    if bound is not None and len(found) < most:
        beyond = next(entries.at(len(found)), None)
        # The middle of an instruction may be code that was not read as such, in hand-written code.
        cut = entries.size < _WIDE and not function.image.is_sized(function.span)
        unsure = cut or (beyond and function.image.in_code(beyond))
        if unsure and not _is_followed(leads, entries, len(found)):
            return []
    return [one for one in found if one != nowhere]


def _is_followed(leads: Callable[[int], bool], entries: _TableEntries, count: int) -> bool:
    """Return True if another table follows the first ``count`` entries, or some of these.

    By chance, its first entries may lead to code from here as well. So to begin before, it must
    have as many as compilers make tables for, which lead into one function.
    """
    if any(map(leads, islice(entries.anew(count), 1))):
        return True
    for cut in range(1, count):
        following = list(takewhile(leads, islice(entries.anew(cut), _FEWEST_ENTRIES)))
        if len(following) == _FEWEST_ENTRIES and max(following) - min(following) < _MOST_BYTES:
            return True
    return False


def _leads(function: FunctionBody, may_enter: Callable[[int], bool], target: int) -> bool:
    """Return True if ``target`` is an instruction."""
    if not function.span.contains(target):
        return may_enter(target)
    at = bisect_left(function.addresses, target)
    return at < len(function.addresses) and function.addresses[at] == target
