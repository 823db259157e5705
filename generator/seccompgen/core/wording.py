"""Conditions of rules as text, for several ABIs, on which numbers may have different names."""

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
    """Return the condition under which one of ``rules``, all for one call, holds; empty for always.

    The text differs between ABIs if names do: ``cmd == FIONREAD; on mips: cmd == 0x541b``. If it
    differs too often, it consists of numbers. ABIs of ``abis`` that lack the call are ignored.
    """
    where = answered(rules, abis, tables)
    wordings = _wordings(rules, where, tables, ordered=False)
    if len(wordings) > 1:  # perhaps only the order of the parts differs
        wordings = _wordings(rules, where, tables, ordered=True)
    plain = numbers_text(rules)
    if len(wordings) > _MOST_WORDINGS and all(one.abis is None for one in rules):
        return plain
    if not wordings:
        return plain
    # The text for most ABIs comes first.
    (most, _), *others = sorted(wordings.items(), key=lambda item: -len(item[1]))
    parts = [f"on {some(which)}: {text or 'always'}" for text, which in others]
    return "; ".join([most or "always", *parts]) if parts else most


def numbers_text(rules: Iterable[Rule]) -> str:
    """Return the condition under which one of ``rules`` holds, in numbers; empty for always."""
    conditions = [one.condition for one in rules]
    return "" if None in conditions else " or ".join(dict.fromkeys(map(str, conditions)))


def answered(rules: Sequence[Rule], abis: Iterable[Abi], tables: Tables) -> list[Abi]:
    """Return those of ``abis`` that have the call of ``rules`` and to which one of them applies."""
    return [
        abi
        for abi in abis
        if tables.tables[abi.name].number_of(rules[0].name) is not None
        and any(rule.applies_to(abi) for rule in rules)
    ]


def some(abis: Sequence[Abi]) -> str:
    """Return the names of the first ABIs, and how many more there are."""
    shown = ", ".join(abi.name for abi in abis[:_MOST_ABIS])
    return f"{shown} and {len(abis) - _MOST_ABIS} more" if len(abis) > _MOST_ABIS else shown


def _wordings(
    rules: Sequence[Rule], abis: Iterable[Abi], tables: Tables, *, ordered: bool
) -> dict[str, list[Abi]]:
    """Return each text for ``rules`` with its ABIs; ``ordered`` sorts the parts of a text."""
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
