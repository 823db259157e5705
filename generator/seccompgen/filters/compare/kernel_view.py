"""Calls that programs answer differently although the kernel treats them alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errors import UndecidedError
from seccompgen.render.call_names import answer_texts, call_text
from seccompgen.verify import bits_read, indistinguishable_calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.verify import IndistinguishableCalls
    from seccompgen.verify.stack import FilterSemantics


@dataclass(frozen=True)
class KernelView:
    """The calls that a program for ``abi`` answers differently though the kernel treats them alike.

    If there are no pairs, it is proved that none exist; an UndecidedError means it is not known.
    """

    abi: Abi
    pairs: tuple[IndistinguishableCalls, ...] | UndecidedError

    @property
    def one_answer(self) -> bool | None:
        """True if calls that the kernel cannot tell apart get one answer; None if undecided."""
        return None if isinstance(self.pairs, UndecidedError) else not self.pairs

    def texts(self, tables: Tables) -> Iterator[str]:
        """Yield a line for each pair, or the reason why it is undecided."""
        if isinstance(self.pairs, UndecidedError):
            yield "; ".join(map(str, self.pairs.diagnostics))
            return
        for one in self.pairs:
            calls = [
                call_text(call.nr, call.arch, call.args, tables, one.argument + 1)
                for call in (one.call, one.other)
            ]
            answers = answer_texts(one.answer, one.other_answer, self.abi)
            yield (
                f"{calls[0]} gets {answers[0]}, {calls[1]} gets {answers[1]}; the kernel does not "
                f"read bit {one.bit} of argument {one.argument}"
            )


def kernel_views(sides: Iterable[tuple[Abi, FilterSemantics]], tables: Tables) -> list[KernelView]:
    """Return a view for each program; nothing if the tables do not say what the kernel reads."""
    if not tables.facts.prototypes:
        return []
    return [KernelView(abi, _pairs(side, abi, tables)) for abi, side in sides]


def _pairs(
    side: FilterSemantics, abi: Abi, tables: Tables
) -> tuple[IndistinguishableCalls, ...] | UndecidedError:
    try:
        return indistinguishable_calls(side, bits_read(tables, abi))
    except UndecidedError as error:
        return error
