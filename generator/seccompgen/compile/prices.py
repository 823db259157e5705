"""The prices of a search: executed instructions, instructions in all, and the longest path.

The figures were found by trying, on 49 policies that others run in production, against the best of
eight other compilers for each. They lie on a flat top: halving or doubling one moves the
results by 1 to 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.compile.weights import TOTAL
from seccompgen.core.objective import Optimize

if TYPE_CHECKING:
    from seccompgen.core.objective import Objective


@dataclass(frozen=True, slots=True)
class Prices:
    """In executed instructions of an average call.

    ``number_test`` is what an instruction costs for being there, among the tests on numbers,
    times the number of intervals: to a short program each instruction matters more.
    ``word_test`` is the same among the tests on one call's arguments, ``sharing`` where the order
    of words is chosen. ``depth`` is what the longest path costs, times the logarithm of
    its length; ``plain_depth`` the same for programs that never look at arguments. Where ``short``,
    no number of executed instructions is worth one in all.
    """

    number_test: float
    word_test: float
    sharing: float
    depth: float
    plain_depth: float
    short: bool = False


_SPEED = Prices(0.0001, 0.001, 0.01, 0.0, 0.0)
_SIZE = Prices(1000.0, 100.0, 100.0, 0.0, 0.0, short=True)
_BALANCED = Prices(3.5, 0.6, 0.6, 1.8, 4.5)
_BALANCED_NO_BITMAP = Prices(0.5, 0.2, 0.6, 0.05, 0.13)


def prices(objective: Objective) -> Prices:
    """Return what ``objective`` pays for what."""
    match objective.optimize:
        case Optimize.SPEED:
            return _SPEED
        case Optimize.SIZE:
            return _SIZE
        case Optimize.BALANCED:
            return _BALANCED if objective.bitmap else _BALANCED_NO_BITMAP


def saved_instruction(objective: Objective, intervals: int) -> float | None:
    """Return the weight of calls that may take a step more for an instruction less in all.

    The tests are those on numbers, with so many ``intervals``. None means any weight.
    It is less than what a search pays: a search at the full price has taken the steps that are
    worth it already. At a quarter of it, real policies execute more instructions in the mean than
    the best program of any peer, at an eighth fewer.
    """
    if objective.optimize is Optimize.SPEED:
        return 0
    paid = prices(objective)
    return None if paid.short else paid.number_test / 8 / intervals * TOTAL
