"""Find the calls that a function makes next only if one failed: its fallbacks.

The code after a call is executed symbolically for one result after the other: for successes, and
for each of several errors. If a branch does not depend on the result, both ways are followed. A
call that comes next after some errors, and after no success, is a fallback for these errors.

Only code of the function's own is followed; other functions may change registers and errno, and
their calls count as their own. If a branch depends on the result in a way that is not understood,
or there are too many ways, the fallback is unknown.
"""

from __future__ import annotations

import errno
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.lint.companions import ANY, Fallback, Retry
from seccompgen.scan.ways import Goes, ImageAddress, Imports
from seccompgen.scan.x86_operands import word_of

from companions.returning import RETURN_NUMBERS
from companions.x86_state import LostError, Result, State, is_word_of_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from companions.library import Library, Made
    from companions.x86_state import Value

_ERRORS = ("ENOSYS", "EPERM", "EACCES", "EINVAL", "EOPNOTSUPP", "EIO")
"""The errors that are tried. A call that follows all of them does not depend on the errno."""
_SUCCESSES = (0, 7, 0x7F123000)
"""The successes that are tried for a call that returns a number, a descriptor or an address."""
_PRESERVED = frozenset({"rbx", "rbp", "rsi", "rdi", "r12", "r13", "r14", "r15"})
_MOST_STEPS = 500
_MOST_WAYS = 40
_DEEPEST = 8
_MOST_CALLERS = 24


_Retries: TypeAlias = dict[str, set[str]] | None
"""The errors after which each call comes next; None if that is unknown."""


class _TooMuchError(Exception):
    """There are too many ways to follow."""


class _Way(NamedTuple):
    """A way through the code: the next instruction, the function's start, and the state."""

    at: ImageAddress
    began: ImageAddress
    frames: tuple[tuple[ImageAddress, ImageAddress], ...]
    """the return addresses of calls on the way, each with the start of the function there"""
    state: State


class _Own:
    """The code of a function; ``asked`` records all tests of membership.

    A result found for one function also holds for any other that answers these tests the same.
    """

    def __init__(self, cells: frozenset[ImageAddress]) -> None:
        self._cells = cells
        self.asked: dict[ImageAddress | None, bool] = {}

    def __contains__(self, cell: ImageAddress | None) -> bool:
        answer = cell in self._cells
        self.asked[cell] = answer
        return answer


class Failures:
    """The fallbacks of the functions of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._graph = library.graph
        self._callers = lru_cache(maxsize=1 << 16)(self._callers_of)
        self._decoded = lru_cache(maxsize=1 << 16)(self._decode)
        self._settled = lru_cache(maxsize=1 << 16)(self._settled_in)
        self._errnos: set[object] = set()
        self._known: dict[Made, list[tuple[dict[ImageAddress | None, bool], _Retries]]] = {}

    def fallback(self, function: str, made: Iterable[Made]) -> Fallback:
        """Return the fallback of ``function`` for its one call, which it makes at ``made``."""
        if self._library.table.abi.name not in {"x86_64", "i386"}:
            return Fallback(known=False)
        found: dict[str, set[str]] = {}
        known = True
        for one in made:
            retries = self._once(self._library.own_of(function), one)
            if retries is None:
                known = False
                continue
            for call, errors in retries.items():
                found.setdefault(call, set()).update(errors)
        return Fallback(
            tuple(
                Retry((ANY,) if len(errors) == len(_ERRORS) else _in_order(errors), call)
                for call, errors in sorted(found.items())
            ),
            known,
        )

    def _once(self, cells: frozenset[ImageAddress], made: Made) -> _Retries:
        """Return the result of `_retries`, cached from a function whose code answers the same."""
        known = self._known.setdefault(made, [])
        for asked, retries in known:
            if all((cell in cells) == answer for cell, answer in asked.items()):
                return retries
        own = _Own(cells)
        try:
            found: _Retries = self._retries(own, made)
        except (LostError, _TooMuchError):
            found = None
        known.append((own.asked, found))
        return found

    def _retries(self, own: _Own, made: Made) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        self._errnos.clear()
        for name in _ERRORS:
            for call in self._next_calls(own, made, -int(getattr(errno, name))):
                found.setdefault(call, set()).add(name)
        successes = _SUCCESSES if made.name in RETURN_NUMBERS else (0,)
        for result in successes if found else ():
            for call in self._next_calls(own, made, result):
                found.pop(call, None)
        return found

    def _next_calls(self, own: _Own, made: Made, result: int) -> set[str]:
        """Return the calls that come next after the call ``made`` returned ``result``."""
        word = self._library.table.abi.bits // 8
        found: set[str] = set()
        waiting: list[_Way] = []
        for cell in self._graph.cells_at(made.entrance):
            following = self._following(cell, made.entrance.address)
            if following is not None:
                state = State(word)
                state.registers |= self._settled(cell)
                state.registers["rax"] = Result(result & ((1 << 8 * word) - 1))
                waiting.append(_Way(following, cell, (), state))
        seen: set[object] = set()
        steps = ways = 0
        while waiting:
            way = waiting.pop()
            ways += 1
            while True:
                steps += 1
                if steps > _MOST_STEPS or ways > _MOST_WAYS:
                    raise _TooMuchError
                onward = self._step(made, own, way, found)
                if len(onward) == 1:
                    way = onward[0]
                    continue
                for one in onward:
                    key = one.at, one.began, one.frames, one.state.key()
                    if key not in seen:
                        seen.add(key)
                        waiting.append(one)
                break
        return found

    def _step(
        self,
        made: Made,
        own: _Own,
        way: _Way,
        found: set[str],
    ) -> list[_Way]:
        """Return the ways on from ``way``; add the calls that it makes next to ``found``."""
        graph, machine, state = self._graph, self._library.machine, way.state
        at = way.at
        cell = self._cell(at)
        if cell is None or cell not in own:
            return []
        code, addresses, targets, enters = self._decoded(cell)
        index = bisect_left(addresses, at.address)
        if index >= len(addresses) or addresses[index] != at.address:
            return []
        instruction = code[index]
        if at.address in enters:
            found |= self._names(own, at, state)
            return []
        after = ImageAddress(at.image, instruction[0] + instruction[1])
        if machine.returns(instruction):
            return list(self._return(made, own, way))
        if machine.dies(instruction):
            return []
        ways = targets.get(at.address, ())
        if machine.is_call(instruction):
            inside = [one for one in ways if self._cell(one) in own]
            if inside and len(way.frames) < _DEEPEST:
                return [self._enter(way, one, after) for one in inside]
            if graph.never_returns(cell, at.address):
                return []
            state.after_opaque_call()
            return [way._replace(at=after)]
        word = word_of(instruction)
        if word[0] == "j" or word[:4] == "loop":
            return self._jump(made, own, way, word, ways, after)
        state.carry_out(instruction)
        self._errnos.update(state.marked_words())
        return [way._replace(at=after)]

    def _enter(self, way: _Way, target: ImageAddress, after: ImageAddress) -> _Way:
        state = way.state.copy()
        state.enter(after.address)
        return _Way(target, target, (*way.frames, (after, way.began)), state)

    def _jump(
        self,
        made: Made,
        own: _Own,
        way: _Way,
        word: str,
        targets: tuple[ImageAddress, ...],
        after: ImageAddress,
    ) -> list[_Way]:
        state = way.state
        taken = True if word == "jmp" else state.holds(word[1:])
        if taken is None and state.compares_word_of(self._errnos):
            return []  # code reads errno only after a failure, and this was a success
        onward: list[_Way] = []
        if taken is not False:
            inside = [one for one in targets if self._cell(one) in own]
            onward += [way._replace(at=one, state=state.copy()) for one in inside]
            if not inside and not (targets and all(map(self._library.ends, targets))):
                # A tail call: the other function returns to this one's caller.
                leaving = way._replace(state=state.copy())
                leaving.state.after_opaque_call()
                onward += self._return(made, own, leaving)
        if taken is not True:
            onward.append(way._replace(at=after, state=state.copy()))
        return onward

    def _return(self, made: Made, own: _Own, way: _Way) -> Iterator[_Way]:
        """Yield the ways on from a return: to the call on the way, or else to all known callers."""
        if way.frames:
            way.state.leave()
            back, began = way.frames[-1]
            yield _Way(back, began, way.frames[:-1], way.state)
            return
        callers = [one for one in self._callers(way.began) if one[1] in own]
        if any(one[0] == made.site for one in callers):
            callers = [one for one in callers if one[0] == made.site]
        if len(callers) > _MOST_CALLERS:
            raise _TooMuchError
        for source, cell in callers:
            following = self._following(cell, source.address)
            if following is not None:
                state = way.state.copy()
                known = {**self._settled(cell), "rax": state.get("rax")}
                fresh = State(state.word, known, state.lasting(), None, state.escaped)
                yield _Way(following, cell, (), fresh)

    def _callers_of(self, cell: ImageAddress) -> tuple[tuple[ImageAddress, ImageAddress], ...]:
        """Return the calls of the function that contains ``cell``, each with its own cell."""
        graph = self._graph
        found: dict[tuple[ImageAddress, ImageAddress], None] = {}
        seen = {cell}
        waiting = [cell]
        while waiting:
            one = waiting.pop()
            places = [ImageAddress(one.image, at) for at in self._decoded(one)[1]]
            callers = {caller for place in places for caller in graph.callers.get(place, ())}
            here = set(places)
            for caller in sorted(callers | {one}):
                for source, way in self._library.reading(caller).ways:
                    if not isinstance(way, Goes | Imports):
                        continue
                    if here.isdisjoint(self._targets(caller.image, way)):
                        continue
                    if way.is_call:
                        found[ImageAddress(caller.image, source), caller] = None
                    elif caller not in seen:
                        seen.add(caller)
                        waiting.append(caller)
        return tuple(sorted(found))

    def _targets(self, image: int, way: Goes | Imports) -> tuple[ImageAddress, ...]:
        if isinstance(way, Goes):
            return (ImageAddress(image, way.address),)
        return () if way.is_taken else tuple(self._graph.exports.get(way.name, ()))

    def _decode(
        self, cell: ImageAddress
    ) -> tuple[
        list[tuple[int, int, str, str]],
        list[int],
        dict[int, tuple[ImageAddress, ...]],
        frozenset[int],
    ]:
        """Return a cell's instructions, their addresses, targets by address, and kernel entries."""
        reading = self._library.reading(cell)
        targets: dict[int, tuple[ImageAddress, ...]] = {}
        for source, way in reading.ways:
            if isinstance(way, Goes | Imports):
                known = targets.get(source, ())
                targets[source] = (*known, *self._targets(cell.image, way))
        enters = frozenset(at for at, _ in reading.entrances)
        return reading.code, reading.addresses, targets, enters

    def _settled_in(self, cell: ImageAddress) -> dict[str, Value]:
        """Return the registers that a function sets only from one word of its file.

        In such a register it may keep the address of errno across calls.
        """
        word = self._library.table.abi.bits // 8
        loads: dict[str, list[Value]] = {}
        for instruction in self._decoded(cell)[0]:
            register = self._library.machine.sets(instruction)
            if register not in _PRESERVED or word_of(instruction) == "pop":
                continue
            state = State(word)
            if word_of(instruction) == "mov":
                state.carry_out(instruction)
            loads.setdefault(register, []).append(state.registers.get(register))
        return {
            name: values[0]
            for name, values in loads.items()
            if len(set(map(repr, values))) == 1 and is_word_of_file(values[0])
        }

    def _following(self, cell: ImageAddress, address: int) -> ImageAddress | None:
        """Return the address of the instruction after the one at ``address``; None at the end."""
        addresses = self._decoded(cell)[1]
        at = bisect_left(addresses, address) + 1
        return ImageAddress(cell.image, addresses[at]) if at < len(addresses) else None

    def _cell(self, place: ImageAddress) -> ImageAddress | None:
        facts = self._graph.known[place.image].cell(place.address)
        return ImageAddress(place.image, facts.start) if facts else None

    def _names(self, own: _Own, entrance: ImageAddress, state: State) -> set[str]:
        """Return the calls that may enter the kernel at ``entrance``."""
        number = state.get(self._library.machine.number.name)
        if isinstance(number, int):
            name = self._library.table.names.get(number & 0xFFFFFFFF)
            return {name} if name else set()
        return {
            one.name
            for cell, several in self._library.made.items()
            for one in several
            if one.entrance == entrance and cell in own
        }


def _in_order(errors: set[str]) -> tuple[str, ...]:
    return tuple(name for name in _ERRORS if name in errors)
