"""A function, and the ways through it, one instruction back."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.scan.image import AddressRange, Image
    from seccompgen.scan.processor import Instruction, Machine


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


def leading_to(machine: Machine, function: FunctionBody, index: int) -> list[int]:
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
