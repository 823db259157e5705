"""Patterns of calls: the arguments that matter, and conditions on them.

A pattern has the index of each argument that matters, such as ``flags``, or the value that the call
always has for it. Any other argument that matters is in memory, where no filter can look, so it may
have any value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import U32, U64
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.lint.view import FilterView

_SWAPPED = {("clone", 0): {"s390": 1, "s390x": 1}}
"""Arguments that have another index on some ABIs (CLONE_BACKWARDS2 in arch/s390/Kconfig)."""


class PatternCondition(NamedTuple):
    """A condition on an argument: its bits under ``mask`` equal ``value``; with ``differs``, not.

    ``value`` is a number or the name of a constant; with ``bits`` all its bits must be set. An
    argument equal to ``except_for`` does not match.
    """

    value: str | int
    mask: int = U32
    bits: bool = False
    differs: bool = False
    except_for: int | None = None

    def text(self, argument: int) -> str:
        """Return the condition on ``argument`` as messages write it."""
        value = self.value if isinstance(self.value, str) or not self.value else f"{self.value:#x}"
        asked = f"argument {argument}" + ("" if self.mask == U32 else f" & {self.mask:#x}")
        return f"{asked} {'&' if self.bits else '!=' if self.differs else '=='} {value}"


def equal(value: str | int, mask: int = U32) -> PatternCondition:
    """Return the condition that an argument equals a value under a mask."""
    return PatternCondition(value, mask)


def has(bits: str | int, *, except_for: int | None = None) -> PatternCondition:
    """Return the condition that an argument has all of ``bits``."""
    return PatternCondition(bits, bits=True, except_for=except_for)


NOT_ZERO = PatternCondition(0, differs=True)


@dataclass(frozen=True, slots=True)
class CallPattern:
    """A call, the arguments that matter, and conditions that select some of its calls.

    ``arguments`` maps names to indices; ``always`` maps other names to the constants that the call
    implies, joined by ``|``. ``where`` maps indices to conditions. ``not_on`` are ABIs on which the
    name means another call. An ``opaque`` call matters only where it is permitted: it is refused
    because a filter cannot see its arguments, which implies nothing for other calls. A call refused
    ``in_part`` matters only if it is permitted with other arguments, and not refused by the default
    of an allowlist.
    """

    call: str
    arguments: Mapping[str, int] = field(default_factory=dict)
    always: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    where: Mapping[int, PatternCondition] = field(default_factory=dict)
    not_on: frozenset[str] = frozenset()
    opaque: bool = False
    in_part: bool = False

    def is_on(self, view: FilterView) -> bool:
        """Return True if the ABI has the call."""
        return view.has(self.call) and view.abi.name not in self.not_on

    def is_permitted(self, view: FilterView) -> bool:
        """Return True if the filter permits some of the matching calls."""
        answer = view.answer(self.call)
        return answer is not None and any(True for _ in self.inside(answer.permitted, view))

    def is_refused_whole(self, view: FilterView) -> bool:
        """Return True if the filter permits the call with no arguments at all."""
        answer = view.answer(self.call)
        return answer is not None and not answer.permitted

    def conditions_text(self, view: FilterView) -> str:
        """Return the conditions as messages write them."""
        tests = self.where.items()
        return " and ".join(test.text(self._moved(n, view)) for n, test in tests)

    def index(self, name: str, view: FilterView) -> int:
        """Return the index of an argument on the ABI."""
        return self._moved(self.arguments[name], view)

    def inside(self, boxes: Iterable[Box], view: FilterView) -> Iterator[Box]:
        """Yield the parts of ``boxes`` that match, among arguments as callers pass them."""
        boxes = tuple(boxes)
        # Most policies are built without reading the kernel's constants.
        limits = self._limits(view) if boxes else None
        for box in boxes if limits else ():
            part = tuple(map(view.sets.both, box, limits))  # type: ignore[arg-type] # just asked
            if NOTHING not in part:
                yield part  # type: ignore[misc] # six

    def _limits(self, view: FilterView) -> list[int] | None:
        """Return the values of each argument that match; None if the ABI lacks a constant."""
        sets = view.sets
        limits = list(EVERYTHING)
        conditions = {self._moved(n, view): test for n, test in self.where.items()}
        for n in {self.index(name, view) for name in self.arguments} | conditions.keys():
            limits[n] = view.plain_values(view.bits(self.call, n))
        for n, test in conditions.items():
            number = _number(test.value, view)
            if number is None:
                return None
            mask = number if test.bits else test.mask
            values = sets.masked(mask, number & mask)
            if test.except_for is not None:
                values = sets.minus(values, sets.masked(U32, test.except_for))
            limits[n] = (sets.minus if test.differs else sets.both)(limits[n], values)
        return limits

    def meaning(self, box: Box, view: FilterView) -> dict[str, int]:
        """Return the values of the arguments that matter, as sets by name, in one box."""
        sets = view.sets
        found = {name: box[self.index(name, view)] for name in self.arguments}
        for name, values in self.always.items():
            number = 0
            for value in values:
                number |= _number(value, view) or 0
            found[name] = sets.either(*(sets.masked(U64, number & mask) for mask in (U64, U32)))
        return found

    def with_meaning(self, box: Box, meaning: Mapping[str, int], view: FilterView) -> Box:
        """Return the box with the values of ``meaning`` for the arguments that matter."""
        result = list(box)
        for name in self.arguments:
            result[self.index(name, view)] = meaning[name]
        return tuple(result)  # type: ignore[return-value] # six

    def _moved(self, index: int, view: FilterView) -> int:
        return _SWAPPED.get((self.call, index), {}).get(view.abi.name, index)


def common_calls(
    one: CallPattern, refused: Iterable[Box], other: CallPattern, view: FilterView
) -> tuple[Box, Box] | None:
    """Return permitted arguments of ``other`` and equivalent refused ones of ``one``, or None."""
    answer = view.answer(other.call)
    if answer is None:
        return None
    for permitted in other.inside(answer.permitted, view):
        theirs = other.meaning(permitted, view)
        for box in refused:
            ours = one.meaning(box, view)
            both = {
                name: view.sets.both(ours.get(name, ALL), theirs.get(name, ALL))
                for name in ours.keys() | theirs.keys()
            }
            if NOTHING not in both.values():
                return other.with_meaning(permitted, both, view), one.with_meaning(box, both, view)
    return None


def same(names: str, **arguments: int) -> tuple[CallPattern, ...]:
    """Return patterns of calls that have the arguments that matter at the same indices."""
    return tuple(CallPattern(name, arguments) for name in names.split())


def _number(value: str | int, view: FilterView) -> int | None:
    return view.constant(value) if isinstance(value, str) else value


OWNER_CALLS = tuple(
    CallPattern(call, where={1: equal(request)}, in_part=True)
    for call, request in (
        ("fcntl", "F_SETOWN"),
        ("fcntl", "F_SETOWN_EX"),
        ("ioctl", "FIOSETOWN"),
        ("ioctl", "SIOCSPGRP"),
    )
)
"""Calls that set who is signalled when a descriptor becomes ready; F_SETSIG sets the signal."""
