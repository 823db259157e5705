"""Changes of a filter, grouped for readers: calls with the same change together, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.filter_changes import ChangeEffect, Subject
from seccompgen.core.spelling import number
from seccompgen.core.text import many, some

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.filter_changes import ChangedCall, FilterDiff
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Tables

_MOST_CALLS = 24
_MOST_ABIS = 8
_MOST_MISSING = 4
_MOST_SPANS = 4
_MOST_RULES = 3


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Changes that agree in everything except the name of the call.

    ``calls`` names the calls, ``condition`` is that of the change, empty for always, and ``where``
    names the ABIs. ``rules`` name the sources of the answers before and after, empty if unknown.
    """

    effect: ChangeEffect
    calls: str
    condition: str
    where: str
    before: str
    after: str
    rules: tuple[str, str]
    example: str
    changes: tuple[ChangedCall, ...]

    @property
    def subject(self) -> str:
        """The calls and the condition: ``socket where family == AF_ALG``."""
        return f"{self.calls} where {self.condition}" if self.condition else self.calls


def grouped(diff: FilterDiff, tables: Tables) -> list[ChangeGroup]:
    """Return the changes of a filter in groups, in the order of their first calls."""
    alike: dict[object, list[ChangedCall]] = {}
    for one in diff.changes:
        key = (one.effect, one.subject, one.elsewhere, one.condition)
        alike.setdefault((*key, one.before, one.after, one.rules), []).append(one)
    found = [
        _group(part, abis, diff, tables)
        for changes in alike.values()
        for part, abis in _by_abis(changes, tables)
    ]
    places = {id(one): n for n, one in enumerate(diff.changes)}
    return sorted(found, key=lambda group: places[id(group.changes[0])])


def counted(diff: FilterDiff, groups: Sequence[ChangeGroup]) -> str:
    """Return the number of changes of each effect: ``2 newly permitted, 1 newly refused``."""
    parts = [
        f"{count} {effect.value}"
        for effect in ChangeEffect
        if (count := sum(group.effect is effect for group in groups))
    ]
    if diff.operations:
        parts.append(f"{many(len(diff.operations), 'change')} of what rings may do")
    if diff.settings:
        parts.append(f"{len(diff.settings)} setting{'s' if len(diff.settings) > 1 else ''}")
    if lonely := len(diff.only_before) + len(diff.only_after):
        parts.append(f"{lonely} ABI{'s' if lonely > 1 else ''} of one side only")
    return ", ".join(parts) or "no difference in meaning"


def _by_abis(
    changes: Sequence[ChangedCall], tables: Tables
) -> list[tuple[list[ChangedCall], tuple[str, ...]]]:
    """Return parts of ``changes``, each with the ABIs on which all its calls that exist changed."""
    buckets: dict[tuple[str, ...], list[ChangedCall]] = {}
    # A change on many ABIs absorbs those on a few of them, if the others lack the call.
    for one in sorted(changes, key=lambda one: -len(one.abis)):
        having = (abis for abis in buckets if _where_it_exists(one, abis, tables) == one.abis)
        buckets.setdefault(next(having, one.abis), []).append(one)
    order = {id(one): n for n, one in enumerate(changes)}
    return [(sorted(part, key=lambda one: order[id(one)]), abis) for abis, part in buckets.items()]


def _where_it_exists(
    one: ChangedCall, abis: Iterable[str], tables: Tables
) -> tuple[str, ...] | None:
    if one.subject is not Subject.CALL:
        return None
    # The tables give a call of several names the first of them.
    numbers = ((abi, tables.tables[abi].numbers.get(one.syscall)) for abi in abis)
    return tuple(
        abi for abi, nr in numbers if nr is not None and tables.tables[abi].names[nr] == one.syscall
    )


def _group(
    changes: list[ChangedCall], abis: tuple[str, ...], diff: FilterDiff, tables: Tables
) -> ChangeGroup:
    one = changes[0]
    return ChangeGroup(
        one.effect,
        _calls(changes, abis, tables),
        one.condition,
        _where(one, abis, diff),
        one.before,
        one.after,
        (rules_text(one.rules[0]), rules_text(one.rules[1])),
        one.example.text,
        tuple(changes),
    )


def _calls(changes: Sequence[ChangedCall], abis: Iterable[str], tables: Tables) -> str:
    one = changes[0]
    if one.subject is not Subject.CALL:
        return _numbers(one)
    names = [change.syscall for change in changes]
    there = {name for abi in abis for name in tables.tables[abi].names.values()}
    if len(names) > 1 and there <= set(names):
        return "every call"
    return some(names, _MOST_CALLS)


def _numbers(one: ChangedCall) -> str:
    if one.subject is Subject.OTHER_ABIS and one.every_number:
        return "every call through another ABI"
    if one.every_number:
        return "every number that no call has"
    stretches = {spans for _, spans in one.numbers}
    if len(stretches) == 1 and len(spans := stretches.pop()) <= _MOST_SPANS:
        shown = (number(a) if a == b else f"{number(a)}-{number(b)}" for a, b in spans)
        text = f"number{'s' if spans[0][0] != spans[-1][1] else ''} {', '.join(shown)}"
    else:
        text = "some numbers that no call has"
    other = one.subject is Subject.OTHER_ABIS
    return f"{text} through another ABI" if other else text


def _where(one: ChangedCall, abis: tuple[str, ...], diff: FilterDiff) -> str:
    if one.subject is Subject.OTHER_ABIS:
        several = "s" if len(one.programs) > 1 else ""
        return f"in the program{several} for {_names(one.programs, diff.abis)}"
    text = f"on {_names(abis, diff.answered)}"
    return f"{text}, where the program for another ABI answers" if one.elsewhere else text


def _names(abis: Sequence[str], everything: Sequence[str]) -> str:
    """Return the names of ABIs; of many, the number, and those that are missing if they are few."""
    if len(abis) <= _MOST_ABIS:
        return ", ".join(abis)
    missing = [name for name in everything if name not in abis]
    if not missing:
        return f"all {len(abis)} ABIs"
    if len(missing) <= _MOST_MISSING:
        return f"{len(abis)} ABIs, all but {', '.join(missing)}"
    return ", ".join(abis)


def rules_text(origins: Sequence[Origin]) -> str:
    """Return parts of a policy with their positions, at most a few."""
    return some([f"{one.label}, {one.position}" for one in origins], _MOST_RULES, "; ")
