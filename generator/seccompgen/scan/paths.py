"""A function, and the ways through it, one instruction back."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.processor import Register

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.scan.image import AddressRange, Image, Landing
    from seccompgen.scan.processor import Instruction, Location, Machine


class FunctionBody(NamedTuple):
    """A function, with what the analysis of its jumps needs.

    ``sources`` maps targets within it to the addresses of the jumps there, ``leads`` the address of
    each direct jump to its target. ``endless`` returns True if the call at an address never
    returns. ``landings`` are the addresses at which it goes on after exceptions.
    """

    image: Image
    span: AddressRange
    code: Sequence[Instruction]
    addresses: Sequence[int]
    sources: dict[int, list[int]]
    leads: Mapping[int, int]
    endless: Callable[[int], bool]
    landings: tuple[Landing, ...]


def leading_to(machine: Machine, function: FunctionBody, index: int) -> list[int]:
    """Return the indices of the function's instructions that lead to ``code[index]``."""
    sources = function.sources.get(function.addresses[index], ())
    found = [bisect_left(function.addresses, source) for source in sources]
    if index > 0 and _goes_on(machine, function, index - 1):
        found.append(index - 1)
    return found


def back_past(machine: Machine, function: FunctionBody, index: int, location: Location) -> int:
    """Return the index to go on from, back over instructions that ignore a register.

    Only they lead to ``code[index]`` from there. It is ``index`` itself for a word of the stack.
    """
    if not isinstance(location, Register):
        return index
    code, addresses, sources = function.code, function.addresses, function.sources
    while (
        index
        and addresses[index] not in sources
        and machine.ignores(code[index - 1], location.name)
    ):
        index -= 1
    return index


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
