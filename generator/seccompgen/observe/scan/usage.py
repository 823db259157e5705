"""What a function does with addresses: does it only compare one, and who may write its stack."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.observe.scan.image import Image
    from seccompgen.observe.scan.machine import Instruction, Slot

_MAX_USES = 500
"""Instructions within which a register must be set anew for its uses to be known."""


def is_only_compared(
    code: Sequence[Instruction],
    index: int,
    sets: frozenset[str],
    leaves: Callable[[Instruction], bool],
    branches: Callable[[Instruction], bool],
) -> bool:
    """Return True if what ``code[index]`` sets is next compared, and then not used any more.

    Then is until it is set anew, by one of the mnemonics ``sets``, in the order in which the
    function is laid; ``leaves`` says whether an instruction may hand it to another function,
    ``branches`` whether it may go elsewhere before the comparison.
    """
    target = code[index][3].partition(", ")[0]
    word = re.compile(rf"\b{target}\b")
    compared = False
    for instruction in code[index + 1 : index + _MAX_USES]:
        _, _, mnemonic, operands = instruction
        if leaves(instruction) or (not compared and branches(instruction)):
            return False
        if not word.search(operands):
            continue
        if mnemonic == "cmp" and "[" not in operands:
            compared = True
            continue
        first, _, rest = operands.partition(", ")
        return compared and first == target and not word.search(rest) and mnemonic in sets
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
        key = (image.path, code[0][0])
        if key not in self._known:
            pointers = tuple(filter(None, map(self._pointer, code)))
            self._known[key] = (self._size(code) + self._above, pointers)
        frame, pointers = self._known[key]
        if image.is_go and slot.base == self._stack:
            if slot.offset >= frame:
                return any(one.base != self._stack or one.offset >= frame for one in pointers)
            return by_call or bool(pointers)
        return bool(pointers)
