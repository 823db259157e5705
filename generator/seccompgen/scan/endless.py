"""Find functions that never return, by their own code alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.scan.processor import EffectKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.scan.code import ImageCode
    from seccompgen.scan.processor import Instruction, Machine

NO_RETURN = frozenset({"abort", "exit", "_exit", "__assert_fail", "__stack_chk_fail"})
"""Functions of other files that do not return, by the C standard and the ABI."""
LEAVING = frozenset({EffectKind.INDIRECT_JUMP, EffectKind.JUMP_SLOT, EffectKind.UNREAD})
"""Effects after which control may be anywhere."""
_MAX_PARTS = 8
"""The most functions and parts of functions that are followed to see if one returns."""


def last_of(machine: Machine, code: Sequence[Instruction]) -> Instruction | None:
    """Return the last instruction that is not padding; None if there is none."""
    return next((one for one in reversed(code) if not machine.is_padding(one)), None)


class Endless:
    """The functions of an image that never return."""

    def __init__(self, code: ImageCode) -> None:
        self._code = code
        self._known: dict[int, bool] = {}
        self._jumps: dict[int, list[int] | None] = {}

    def never_returns(self, address: int) -> bool:
        """Return True if the function at ``address`` never returns, by its own code alone.

        It does not if neither it, nor any code that it jumps to, has a return or another way out.
        Code that is jumped to may be a part of it, or a function that never returns either.
        """
        if address not in self._known:
            name = self._code.stub(address)
            if name is not None:
                self._known[address] = name in NO_RETURN
                return self._known[address]
            seen, waiting = {address}, [address]
            endless = True
            while waiting and endless:
                jumps = self._jumps_out(waiting.pop())
                endless = jumps is not None and len(seen) < _MAX_PARTS
                for target in jumps or ():
                    if self._code.stub(target) in NO_RETURN:
                        continue
                    cell = self._code.layout.cell(target)
                    if cell and cell[0] not in seen:
                        seen.add(cell[0])
                        waiting.append(cell[0])
                    endless = endless and cell is not None
            self._known[address] = endless
        return self._known[address]

    def _jumps_out(self, address: int) -> list[int] | None:
        """Return where the function at ``address`` jumps to; None if it may end otherwise.

        Many functions jump to the same ones, so each is looked at once.
        """
        if address not in self._jumps:
            self._jumps[address] = self._looked_at(address)
        return self._jumps[address]

    def _looked_at(self, address: int) -> list[int] | None:
        cell = self._code.layout.cell(address)
        if cell is None or cell[0] != address:
            return None
        machine = self._code.machine
        code, _, mnemonics = self._code.decoded(*cell)
        if machine.any_returns(mnemonics):
            code = self._reached(code)
        last = last_of(machine, code)
        if last is None or not (machine.stops(last) or machine.is_call(last)):
            return None
        events = list(machine.events(self._code.image, code))
        if any(event.kind in LEAVING for event in events) or any(map(machine.returns, code)):
            return None
        return [
            event.value
            for event in events
            if event.kind is EffectKind.JUMP and not cell[0] <= event.value < cell[1]
        ]

    def _reached(self, code: Sequence[Instruction]) -> list[Instruction]:
        """Return the instructions that control can reach from the first, as each call returns.

        In files without symbols, what follows a function may be another's code, which returns.
        """
        machine = self._code.machine
        index_of = {instruction[0]: index for index, instruction in enumerate(code)}
        jumps: dict[int, list[int]] = {}
        for event in machine.events(self._code.image, code):
            if event.kind is EffectKind.JUMP and event.value in index_of:
                jumps.setdefault(event.address, []).append(index_of[event.value])
        reached, waiting = set[int](), [0]
        while waiting:
            index = waiting.pop()
            if index in reached or index == len(code):
                continue
            reached.add(index)
            waiting += jumps.get(code[index][0], [])
            if not machine.stops(code[index]):
                waiting.append(index + 1)
        return [code[index] for index in sorted(reached)]
