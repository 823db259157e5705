"""The measure of each objective, and the searches whose programs are compared by it.

No search is optimal for its own objective, since tests are shared only after it. So a program for
size or speed is the best of those that the searches for all objectives find. The balanced one,
which is the default, stays with its own: the others take as long again, and improve its measure by
at most 0.2 % on real policies, but for very small ones without a bitmap (2 %).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from seccompgen.compile.bounds import cost
from seccompgen.compile.prices import depth_price, prices
from seccompgen.compile.weights import is_in_bitmap
from seccompgen.core.objective import Optimize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.bounds import WeightedLine
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram


def others(objective: Objective) -> list[Optimize]:
    """Return the goals whose programs may be better for ``objective`` than that of its own."""
    if objective.optimize is Optimize.BALANCED:
        return []
    return [goal for goal in Optimize if goal is not objective.optimize]


def rank(
    program: CompiledProgram, objective: Objective, lines: Sequence[WeightedLine]
) -> tuple[float, ...]:
    """Return the measure of ``program`` for ``objective``; the least is the best."""
    made = program.cost
    match objective.optimize:
        case Optimize.SIZE:
            return made.length, made.expected, made.longest
        case Optimize.SPEED:
            return _running(program, objective, lines), made.expected, made.length
        case Optimize.BALANCED:
            spans = lines[0].line.spans
            paid = prices(objective)
            depth = (
                round(math.log(made.longest) * 4096) / 4096
            )  # its last bit depends on the machine
            price = depth_price(paid, spans)
            return (made.expected + paid.number_test * made.length / len(spans) + price * depth,)


def _running(
    program: CompiledProgram, objective: Objective, lines: Sequence[WeightedLine]
) -> float:
    """Return the mean over the calls for which the kernel runs the filter."""
    main = lines[0]
    weights = [
        0 if objective.bitmap and is_in_bitmap(span) else weight
        for span, weight in zip(main.line.spans, main.weights, strict=True)
    ]
    if not any(weights):
        return program.cost.expected
    return cost(program.instructions, [main._replace(weights=weights)], program.abi).expected
