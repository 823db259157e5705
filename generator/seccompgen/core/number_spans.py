"""Spans (first, last) of call numbers: those that reach an ABI, and parts of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi

Span: TypeAlias = tuple[int, int]
_BIT = X32_SYSCALL_BIT
_SHARED: dict[str, tuple[Span, ...]] = {
    "x86_64": ((0, _BIT - 1), (2 * _BIT, 3 * _BIT - 1), (U32, U32)),  # a tracer's -1 is native
    "x32": ((_BIT, 2 * _BIT - 1), (3 * _BIT, U32 - 1)),
}


def numbers_of(abi: Abi) -> tuple[Span, ...]:
    """Return the call numbers that belong to ``abi``, among those with its audit value."""
    return _SHARED.get(abi.name, ((0, U32),))


def common(spans: Iterable[Span], region: Iterable[Span]) -> Iterator[Span]:
    """Yield the parts of ``spans`` that are also in ``region``."""
    own = tuple(region)
    for first, last in spans:
        for start, end in own:
            if max(first, start) <= min(last, end):
                yield max(first, start), min(last, end)


def without(spans: Iterable[Span], numbers: Sequence[int]) -> Iterator[Span]:
    """Yield the parts of ``spans`` without ``numbers``, which must be sorted."""
    for first, last in spans:
        start = first
        for nr in numbers[bisect_left(numbers, first) : bisect_right(numbers, last)]:
            if start < nr:
                yield start, nr - 1
            start = nr + 1
        if start <= last:
            yield start, last


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same numbers in the fewest spans."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)
