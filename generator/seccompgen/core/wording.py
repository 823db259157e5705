"""Conditions of rules in words, for several ABIs, on which numbers may mean other things."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Rule
    from seccompgen.core.tables import Tables

_MOST_WORDINGS = 3
_MOST_ABIS = 4


def condition_text(rules: Sequence[Rule], abis: Iterable[Abi], tables: Tables) -> str:
    """Return when one of ``rules`` holds, all for one call; empty if always.

    Names are used where they are right on all of ``abis`` that have the call. Where it reads
    differently on some, it says so: ``cmd == FIONREAD; on mips: cmd == 0x541b``.
    """
    where = answered(rules, abis, tables)
    wordings = _wordings(rules, where, tables, ordered=False)
    if len(wordings) > 1:  # perhaps only because ABIs have the same in another order
        wordings = _wordings(rules, where, tables, ordered=True)
    plain = numbers_text(rules)
    if len(wordings) > _MOST_WORDINGS and all(one.abis is None for one in rules):
        return plain
    if not wordings:
        return plain
    # What holds on most ABIs comes first.
    (most, _), *others = sorted(wordings.items(), key=lambda item: -len(item[1]))
    parts = [f"on {some(which)}: {text or 'always'}" for text, which in others]
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


def _wordings(
    rules: Sequence[Rule], abis: Iterable[Abi], tables: Tables, *, ordered: bool
) -> dict[str, list[Abi]]:
    """Return what is said of ``rules``, and where; if ``ordered``, by the texts of their parts."""
    call = rules[0].name
    wordings: dict[str, list[Abi]] = {}
    for abi in abis:
        conditions = [one.condition for one in rules if one.applies_to(abi)]
        known = [one for one in conditions if one is not None]
        text = ""
        if len(known) == len(conditions):
            if ordered:
                known.sort(key=lambda one: tables.naming.condition(one, call, abi))
            text = tables.naming.alternatives(known, call, abi)
        wordings.setdefault(text, []).append(abi)
    return wordings
