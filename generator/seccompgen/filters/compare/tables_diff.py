"""A filter under the tables of two tags: its answers to the calls that the newer ones add."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.filter_changes import NewCall, TablesDiff
from seccompgen.core.model import U32
from seccompgen.core.word import ARCH, NR
from seccompgen.filters.compare.meaning_diff import diff_filters
from seccompgen.filters.find.box_walk import ALL_CALLS, BoxWalk, with_field
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.render.listing import ret_action
from seccompgen.verify import Meaning
from seccompgen.verify.followers import follower

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Table, Tables
    from seccompgen.verify.stack import FilterSemantics


def diff_tables(
    path: Path, before: Tables, after: Tables, only: Abi | None, reading: Reading
) -> TablesDiff:
    """Return what the tables ``after`` change for the filter at ``path``, made for ``before``.

    The meaning of a policy depends on the tables; a program answers numbers as before. Raises
    InputError if ``path`` is no filter, or the policy names something that ``before`` lacks.
    """
    left = load_filter(path, before, only, reading)
    right = load_filter(path, after, only, reading)
    names = f"{path} on {before.tag}", after.tag
    return TablesDiff(
        str(path),
        before.tag,
        after.tag,
        new_calls(right.sides, before, after),
        diff_filters(left, right, after, names),
    )


def new_calls(
    sides: Mapping[str, FilterSemantics], before: Tables, after: Tables
) -> tuple[NewCall, ...]:
    """Return the calls that ABIs have gained, sorted, with the filter's answers to each."""
    found: dict[tuple[str, tuple[str, ...], tuple[Origin, ...]], list[str]] = {}
    for abi, side in sides.items():
        for name, new in _answers(ABIS[abi], side, _gained(before, after, abi)).items():
            key = (name, tuple(sorted(new.answers)), tuple(new.rules))
            found.setdefault(key, []).append(abi)
    calls = (
        NewCall(name, tuple(abis), answers, rules) for (name, answers, rules), abis in found.items()
    )
    return tuple(sorted(calls, key=lambda one: (one.syscall, one.abis)))


@dataclass(slots=True)
class _NewCallAnswers:
    """The answers to a new call, and the rules behind them."""

    answers: set[str] = field(default_factory=set)
    rules: dict[Origin, None] = field(default_factory=dict)


def _gained(before: Tables, after: Tables, abi: str) -> Mapping[int, str]:
    """Return the calls that an ABI has gained, by number; nothing if the ABI itself is new."""
    old: Table | None = before.tables.get(abi)
    if old is None:
        return {}
    names = after.tables[abi].names
    return {nr: name for nr, name in names.items() if name not in old.numbers}


def _answers(
    abi: Abi, side: FilterSemantics, calls: Mapping[int, str]
) -> dict[str, _NewCallAnswers]:
    """Return the answers of the program for ``abi`` to calls of that ABI."""
    found: dict[str, _NewCallAnswers] = {}
    walk = BoxWalk()
    box = with_field(ALL_CALLS, ARCH, walk.sets.masked(U32, abi.audit_arch))
    box = with_field(box, NR, walk.sets.among(calls))
    for part, answer in walk.parts(follower(side), box):
        for nr, name in calls.items():
            if walk.sets.has(part[NR], nr):
                new = found.setdefault(name, _NewCallAnswers())
                new.answers.add(ret_action(answer, abi))
                if isinstance(side, Meaning):
                    here = with_field(part, NR, walk.sets.masked(U32, nr))
                    new.rules[side.case(walk.example(here)).origin] = None
    return found
