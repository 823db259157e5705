"""The uses of a pointer that an instruction puts into a register."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from seccompgen.scan.processor import Register

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.scan.jumps import FunctionBody
    from seccompgen.scan.processor import Machine


def only_calls(
    machine: Machine,
    function: FunctionBody,
    index: int,
    targets: Mapping[int, Sequence[int]],
) -> list[int] | None:
    """Return the addresses of calls of the pointer that ``code[index]`` puts into a register.

    None if the pointer may be used otherwise: copied, stored, passed to a callee, returned, or
    carried out of the function. A register that functions preserve is not passed to any.
    ``targets`` are those of jumps by tables, by index.
    """
    code = function.code
    register = machine.sets(code[index])
    if not register:
        return None
    kept = machine.preserves(function.image, register)
    calls: list[int] = []
    seen: set[int] = set()
    waiting = _after(machine, function, index, targets)
    while waiting:
        at = waiting.pop()
        if at == len(code) and kept and function.image.starts_function(function.span.end):
            continue  # a function does not read what it preserves, before it sets it
        if at is None or at == len(code):
            return None
        if at in seen:
            continue
        seen.add(at)
        instruction = code[at]
        if machine.target(instruction) == Register(register) and machine.is_call(instruction):
            calls.append(instruction[0])
            if not kept:
                continue  # the register holds something else when the call returns
        elif not kept and (machine.is_call(instruction) or machine.returns(instruction)):
            return None
        elif machine.mentions(instruction, register):
            if machine.is_comparison(instruction):
                pass
            elif machine.only_sets(instruction, register):
                continue
            else:
                return None
        waiting += _after(machine, function, at, targets)
    return calls


def _after(
    machine: Machine, function: FunctionBody, index: int, targets: Mapping[int, Sequence[int]]
) -> list[int | None]:
    """Return the indices of the instructions that may follow ``code[index]``, None if elsewhere.

    The index of what is behind the function is the number of its instructions. A call may end at
    each place where the function goes on after exceptions.
    """
    instruction = function.code[index]
    leads = [function.leads[instruction[0]]] if instruction[0] in function.leads else []
    leads += targets.get(index, ())
    is_call = machine.is_call(instruction)
    if is_call:
        leads += function.pads
    found: list[int | None] = []
    for target in leads:
        at = bisect_left(function.addresses, target)
        inside = at < len(function.addresses) and function.addresses[at] == target
        found.append(at if inside else None)
    if machine.returns(instruction) or (is_call and function.endless(instruction[0])):
        return found
    if machine.stops(instruction):
        return found if found or machine.dies(instruction) else [None]
    return [*found, index + 1]
