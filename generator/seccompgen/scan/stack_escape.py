"""A function's uses of addresses: those that it only compares, and pointers to its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction, Machine, Slot

_MAX_USES = 500
"""The most instructions that are searched for the uses of a register."""
_MOST_KNOWN = 1 << 16
"""The most functions whose frames are remembered."""


def is_only_compared(machine: Machine, code: Sequence[Instruction], index: int) -> bool:
    """Return True if the register that ``code[index]`` sets is only compared, until it is set anew.

    Instructions are read in the order of addresses. Returns False if a jump comes before the
    comparison, or if other functions may see the register.
    """
    register = machine.sets(code[index])
    leaves, branches, mentions = machine.leaves, machine.branches, machine.mentions
    compared = False
    for at in range(index + 1, min(index + _MAX_USES, len(code))):
        instruction = code[at]
        if leaves(instruction) or (not compared and branches(instruction)):
            return False
        if machine.is_padding(instruction) or not mentions(instruction, register):
            continue
        if not machine.is_comparison(instruction):
            return compared and machine.only_sets(instruction, register)
        compared = True
    return compared and index + _MAX_USES >= len(code)


class Frames:
    """Writes to the stack, other than by instructions that name a slot on it.

    ``stack`` is the name of the stack pointer, ``above`` the number of bytes that a call puts
    between a frame and the caller's. ``size`` returns the size of a function's frame in bytes,
    ``pointer`` the slot to which an instruction makes a pointer, or None.
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
        """Return True if a call, or without ``by_call`` a store by a pointer, may write ``slot``.

        It may if the function makes a pointer to the stack. A Go function spills its register
        arguments into its caller's frame, and pointers into that are rare. Its callees may store
        results into its own frame.
        """
        if slot.only_named:
            return False
        frame, pointers = self._of(image, code)
        if image.is_go and slot.base == self._stack:
            if slot.offset >= frame:
                return any(one.base != self._stack or one.offset >= frame for one in pointers)
            return by_call or bool(pointers)
        return bool(pointers)

    def _of(self, image: Image, code: Sequence[Instruction]) -> tuple[int, tuple[Slot, ...]]:
        key = (image.sha256, code[0][0])
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            pointers = tuple(filter(None, map(self._pointer, code)))
            self._known[key] = (self._size(code) + self._above, pointers)
        return self._known[key]
