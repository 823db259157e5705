"""The uses of a pointer that an instruction puts into a register."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from seccompgen.scan.processor import Moved, Register

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.scan.paths import FunctionBody
    from seccompgen.scan.processor import Instruction, Machine


def only_calls(
    machine: Machine,
    function: FunctionBody,
    index: int,
    targets: Mapping[int, Sequence[int]],
) -> list[int] | None:
    """Return the addresses of calls of the pointer that ``code[index]`` puts into a register.

    None if the pointer may be used otherwise: stored, passed to a callee, returned, or carried out
    of the function. A register that functions preserve is not passed to any. Copies in other
    registers are followed as well. ``targets`` are those of jumps by tables, by index.
    """
    code = function.code
    first = machine.sets(code[index])
    if not first:
        return None
    calls: dict[int, None] = {}
    seen: set[tuple[int, str]] = set()
    waiting = [(at, first) for at in _after(machine, function, index, targets)]
    while waiting:
        at, register = waiting.pop()
        while at is not None and at < len(code) and machine.ignores(code[at], register):
            at += 1
        kept = machine.preserves(function.image, register)
        if at == len(code) and kept and function.image.starts_function(function.span.end):
            continue  # a function does not read what it preserves, before it sets it
        if at is None or at == len(code):
            return None
        if (at, register) in seen:
            continue
        seen.add((at, register))
        instruction = code[at]
        if machine.is_call(instruction) and machine.target(instruction) == Register(register):
            calls[instruction[0]] = None
            if not kept:
                continue  # the register holds something else when the call returns
        elif not kept and _is_seen_outside(machine, function, instruction, register):
            return None
        elif machine.mentions(instruction, register):
            if machine.is_comparison(instruction):
                pass
            elif machine.only_sets(instruction, register):
                continue
            elif copy := _copy(machine, function, at, register):
                waiting += [(one, copy) for one in _after(machine, function, at, targets)]
            else:
                return None
        waiting += [(one, register) for one in _after(machine, function, at, targets)]
    return list(calls)


def _is_seen_outside(
    machine: Machine, function: FunctionBody, instruction: Instruction, register: str
) -> bool:
    """Return True if ``instruction`` is a call, or a return to a caller that may read a register.

    A C function returns values in few registers, and its caller knows what the others hold.
    """
    if machine.returns(instruction):
        return function.image.is_go or register in machine.returned_in
    return machine.is_call(instruction)


def _copy(machine: Machine, function: FunctionBody, index: int, register: str) -> str:
    """Return the register to which ``code[index]`` moves the whole of ``register``, or ""."""
    target = machine.sets(function.code[index])
    if not target or machine.copied(function.code[index]) != register:
        return ""
    step = machine.before(function.image, function.code, index, Register(target))
    return target if step == Moved((Register(register),)) else ""


def _after(
    machine: Machine, function: FunctionBody, index: int, targets: Mapping[int, Sequence[int]]
) -> list[int | None]:
    """Return the indices of the instructions that may follow ``code[index]``, None if elsewhere.

    The index of what is behind the function is the number of its instructions. A call may end
    where the function goes on after its exceptions.
    """
    instruction = function.code[index]
    leads = [function.leads[instruction[0]]] if instruction[0] in function.leads else []
    leads += targets.get(index, ())
    is_call = machine.is_call(instruction)
    if is_call:
        leads += [pad for start, end, pad in function.landings if start <= instruction[0] < end]
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
