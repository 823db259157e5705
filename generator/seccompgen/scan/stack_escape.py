"""Uses of addresses by a function: those that it only compares, and writers of its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction, Machine, Slot

_MAX_USES = 500
"""Instructions within which a register must be set anew for its uses to be known."""


def is_only_compared(machine: Machine, code: Sequence[Instruction], index: int) -> bool:
    """Return True if what ``code[index]`` sets is next compared, and then not used any more.

    Then is until it is set anew, in the order in which the function is laid, and before anything
    that may hand it to another function.
    """
    register = machine.sets(code[index])
    compared = False
    for instruction in code[index + 1 : index + _MAX_USES]:
        if machine.leaves(instruction) or (not compared and machine.branches(instruction)):
            return False
        if not machine.mentions(instruction, register):
            continue
        if not machine.is_comparison(instruction):
            return compared and machine.only_sets(instruction, register)
        compared = True
    return compared and index + _MAX_USES >= len(code)


class Frames:
    """Who may write to the stack besides the instructions that name a place on it.

    ``stack`` is the name of the stack pointer, ``above`` how many bytes a call puts between a
    frame and the caller's. ``size`` says how large a function's frame is, in bytes, ``pointer``
    where a pointer to the stack points that an instruction makes.
    """

    def __init__(
        self,
        stack: str,
        above: int,
        size: Callable[[Sequence[Instruction]], int],
        pointer: Callable[[Instruction], Slot | None],
    ) -> None:
        self._stack = stack
        self._above = above
        self._size = size
        self._pointer = pointer
        self._known: dict[tuple[str, int], tuple[int, tuple[Slot, ...]]] = {}

    def may_be_written(
        self, image: Image, code: Sequence[Instruction], slot: Slot, *, by_call: bool
    ) -> bool:
        """Return True if a call, or else a store by some pointer, may write ``slot``.

        It may if the function makes a pointer to the stack. A Go function keeps the registers
        that it was called with in its caller's frame, and pointers into that are rare; into its
        own frame, the functions that it calls may return.
        """
        if slot.only_named:
            return False
        frame, pointers = self._of(image, code)
        if image.is_go and slot.base == self._stack:
            if slot.offset >= frame:
                return any(one.base != self._stack or one.offset >= frame for one in pointers)
            return by_call or bool(pointers)
        return bool(pointers)

    def all_point_above(self, image: Image, code: Sequence[Instruction], slot: Slot) -> bool:
        """Return True if each pointer to the stack that the function makes points above ``slot``.

        Whoever gets one reaches the variable that begins there and, in C, all of what it is a part
        of. What is below all variables that are pointed to holds registers.
        """
        return all(
            one.base == slot.base and one.offset > slot.offset for one in self._of(image, code)[1]
        )

    def _of(self, image: Image, code: Sequence[Instruction]) -> tuple[int, tuple[Slot, ...]]:
        key = (image.path, code[0][0])
        if key not in self._known:
            pointers = tuple(filter(None, map(self._pointer, code)))
            self._known[key] = (self._size(code) + self._above, pointers)
        return self._known[key]
