"""The prices of a search: executed instructions, instructions in all, and the longest path.

The figures were found by trying, on 49 policies that others run in production, against the best of
eight other compilers for each. They lie on a plateau: halving or doubling one moves the
results by 1 to 2 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.compile.weights import TOTAL
from seccompgen.core.objective import Optimize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.lower import NumberRange
    from seccompgen.core.objective import Objective


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices, in executed instructions of an average call.

    ``number_test`` is the fixed price of an instruction among the tests on numbers, executed or
    not, times the number of intervals: in a short program each instruction matters more.
    ``word_test`` is the fixed price among the tests on one call's arguments, ``sharing`` that for
    choosing the order of words. ``depth`` is the price of the longest path, per unit of the
    logarithm of its length; ``plain_depth`` the same for programs that never look at arguments.
    With ``short`` a saved instruction is worth any number of executed ones.
    """

    number_test: float
    word_test: float
    sharing: float
    depth: float
    plain_depth: float
    short: bool = False


_BEFORE = 10
"""The instructions on a path before the tests of a call's arguments, about."""


class Measure(NamedTuple):
    """The prices that the plan of one call has in the objective of its whole program.

    ``executed`` is that of an instruction that each such call executes, ``length`` that of one in
    all, ``depth`` that of the longest path, as in `Prices`, or the call's part of it.
    """

    executed: float
    length: float
    depth: float = 0.0

    def of(self, executed: float, length: int, longest: int) -> float:
        """Return the measure of a plan; the last bit of a logarithm depends on the machine."""
        path = round(math.log(longest + _BEFORE) * 4096) / 4096
        return self.executed * executed + self.length * length + self.depth * path

    def most(self, executed: float, length: int, longest: int) -> float:
        """Return the length above which no plan is better, whatever it executes."""
        return self.of(executed, length, longest) / self.length


_SPEED = Prices(0.0001, 0.001, 0.01, 0.0, 0.0)
_SIZE = Prices(1000.0, 100.0, 100.0, 0.0, 0.0, short=True)
_BALANCED = Prices(3.5, 0.6, 0.6, 1.8, 4.5)
_BALANCED_NO_BITMAP = Prices(0.5, 0.2, 0.6, 0.05, 0.13)


def prices(objective: Objective) -> Prices:
    """Return the prices for ``objective``."""
    match objective.optimize:
        case Optimize.SPEED:
            return _SPEED
        case Optimize.SIZE:
            return _SIZE
        case Optimize.BALANCED:
            return _BALANCED if objective.bitmap else _BALANCED_NO_BITMAP


def depth_price(paid: Prices, spans: Sequence[NumberRange]) -> float:
    """Return the price of the longest path of a program for ``spans``."""
    return paid.depth if any(span.answer.function.rules for span in spans) else paid.plain_depth


def saved_instruction(objective: Objective, intervals: int) -> float | None:
    """Return the weight of calls that may execute one more instruction if that saves one in all.

    The tests are those on numbers, with so many ``intervals``. None means any weight.
    The price is lower than a search's, which has made the trades that are worth the full price
    already. At a quarter of that, real policies execute more instructions in the mean than the
    best program of any peer; at an eighth, fewer.
    """
    if objective.optimize is Optimize.SPEED:
        return 0
    paid = prices(objective)
    return None if paid.short else paid.number_test / 8 / intervals * TOTAL
