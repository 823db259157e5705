"""Conditions of rules in words, for several ABIs, on which numbers may mean other things."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate, Rule
    from seccompgen.core.tables import Tables

_MOST_WORDINGS = 3
_MOST_ABIS = 4


def condition_text(rules: Sequence[Rule], abis: Iterable[Abi], tables: Tables) -> str:
    """Return when one of ``rules`` holds, all for one call; empty if always.

    Names are used where they are right on all of ``abis`` that have the call. Where it reads
    differently on some, it says so: ``cmd == FIONREAD; on mips: cmd == 0x541b``.
    """
    first = rules[0]
    wordings: dict[str, list[Abi]] = {}
    for abi in answered(rules, abis, tables):
        conditions = [one.condition for one in rules if one.applies_to(abi)]
        wordings.setdefault(_text(conditions, first.name, abi, tables), []).append(abi)
    plain = numbers_text(rules)
    if len(wordings) > _MOST_WORDINGS and all(one.abis is None for one in rules):
        return plain
    if not wordings:
        return plain
    # What holds on most ABIs comes first.
    (most, _), *others = sorted(wordings.items(), key=lambda item: -len(item[1]))
    parts = [f"on {some(where)}: {text or 'always'}" for text, where in others]
    return "; ".join([most or "always", *parts]) if parts else most


def numbers_text(rules: Iterable[Rule]) -> str:
    """Return when one of ``rules`` holds, in numbers; empty if always."""
    conditions = [one.condition for one in rules]
    return "" if None in conditions else " or ".join(dict.fromkeys(map(str, conditions)))


def answered(rules: Sequence[Rule], abis: Iterable[Abi], tables: Tables) -> list[Abi]:
    """Return those of ``abis`` on which one of ``rules``, all for one call, is about a call."""
    return [
        abi
        for abi in abis
        if tables.tables[abi.name].number_of(rules[0].name) is not None
        and any(rule.applies_to(abi) for rule in rules)
    ]


def some(abis: Sequence[Abi]) -> str:
    """Return the names of a few ABIs, and how many more there are."""
    shown = ", ".join(abi.name for abi in abis[:_MOST_ABIS])
    return f"{shown} and {len(abis) - _MOST_ABIS} more" if len(abis) > _MOST_ABIS else shown


def _text(conditions: Sequence[Predicate | None], call: str, abi: Abi, tables: Tables) -> str:
    some_conditions = [one for one in conditions if one is not None]
    if len(some_conditions) < len(conditions):
        return ""
    return tables.naming.alternatives(some_conditions, call, abi)
