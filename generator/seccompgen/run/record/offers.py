"""The offers of a recorded policy, comments to be taken in, where it is merged without a run.

Only a run shows which code it executed (`near_misses`); what an earlier one offered stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.core.foreign import PLAIN_READING
from seccompgen.formats import load_policy
from seccompgen.io.reading import read_file
from seccompgen.run.record.near_misses import NOT_SEEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.grants import Grants


def still_offered(
    policies: Sequence[ResolvedPolicy], granted: Mapping[Abi, Grants], tables: Tables
) -> str:
    """Return what the one recorded policy offers and is not ``granted``, as text; "" for nothing.

    Of several policies nobody knows which code each is about.
    """
    if len(policies) != 1 or policies[0].in_memory or policies[0].foreign:
        return ""
    file = policies[0].sources[-1][0]
    try:
        lines = read_file(Path(file)).decode().splitlines()
        start = next(n for n, one in enumerate(lines) if one.startswith(f"# {NOT_SEEN}"))
        first = next(n for n, one in enumerate(lines) if n > start and one.startswith("#-"))
        taken_in = [*lines[:first], *(one.removeprefix("#") for one in lines[first:])]
        content = "\n".join(taken_in).encode()
        policy = load_policy(Path(file), tables, PLAIN_READING, {file: content})[0]
    except (OSError, ValueError, StopIteration, InputError):
        return ""  # nothing is offered, or somebody wrote other comments behind it
    kept: list[str] = []
    for begin, end in _rules(lines, first):
        rules = [one for one in policy.own_rules if begin < one.position.line <= end]
        if not all(
            grants.covers(rule.name, rule.condition)
            for rule in rules
            for abi, grants in granted.items()
            if rule.applies_to(abi)
        ):
            kept += lines[begin:end]
    return "".join(f"{line}\n" for line in (*lines[start:first], *kept)) if kept else ""


def _rules(lines: Sequence[str], first: int) -> Iterator[tuple[int, int]]:
    """Yield where each offered rule begins and ends, from line ``first`` on, counted from 0."""
    begins = [n for n in range(first, len(lines)) if lines[n].startswith("#-")]
    yield from zip(begins, [*begins[1:], len(lines)], strict=True)
