"""The ranges of a function that are not code: tables and strings between its instructions."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from seccompgen.scan.processor import EffectKind
from seccompgen.scan.ways import Goes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from seccompgen.scan.paths import FunctionBody
    from seccompgen.scan.processor import Machine
    from seccompgen.scan.ways import Way


def unreached(
    machine: Machine,
    function: FunctionBody,
    ways: Sequence[tuple[int, Way]],
    strange: AbstractSet[int],
) -> tuple[tuple[int, int], ...]:
    """Return the ranges to which nothing in the function leads, and that are not code.

    They contain ``strange`` instructions: undecodable bytes, or what leads into the middle of an
    instruction. Some functions have tables and strings after jumps and returns. Their apparent
    effects do not count; if something does lead into them, `analysis` decodes the code there as an
    overlay.
    """
    code, addresses, image = function.code, function.addresses, function.image
    leads: dict[int, list[int]] = defaultdict(list)
    for source, way in ways:
        if isinstance(way, Goes):
            leads[source].append(way.address)
    alive: set[int] = set()

    def flood(start: int) -> set[int]:
        reached: set[int] = set()
        waiting = [start]
        while waiting:
            at = bisect_left(addresses, waiting.pop())
            while (
                at < len(addresses) and addresses[at] not in alive and addresses[at] not in reached
            ):
                reached.add(addresses[at])
                waiting += filter(function.span.contains, leads.get(addresses[at], ()))
                if machine.stops(code[at]):
                    break
                at += 1
        return reached

    alive |= flood(addresses[0])
    for pad in image.pads:
        if function.span.contains(pad):
            alive |= flood(pad)
    for event in machine.events(image, code):
        # A label whose address is made is code, or a table.
        if event.kind is EffectKind.REFERENCE and function.span.contains(event.value):
            reached = flood(event.value)
            if not reached & strange:
                alive |= reached
    runs = groupby(code, lambda one: one[0] not in alive)
    spans = [list(run) for is_dead, run in runs if is_dead]
    return tuple(
        (run[0][0], run[-1][0] + run[-1][1])
        for run in spans
        if any(one[0] in strange for one in run)
    )
