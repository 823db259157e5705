"""Abilities of a confined process, in plain words: to start a program, to open a raw socket.

Each ability is a set of calls, some with a condition in the policy language (``abilities.toml``).
The arguments that the filter permits are compared with the condition as sets, exactly: a process
has the ability if any of them are permitted, and has it in part if not all are.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.core.filter_summary import (
    Ability,
    AbilityCall,
    CallRoute,
    Permission,
    PermissionCondition,
)
from seccompgen.core.model import condition_for
from seccompgen.core.sets import EVERYTHING, NOTHING, Sets
from seccompgen.core.value_conditions import conditions_of
from seccompgen.filters.tell.linting import views_on
from seccompgen.formats import load_policy
from seccompgen.kernel.powers import powers
from seccompgen.policy.document import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Rule
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.lint import FilterView

_FILE = Path(__file__).with_name("abilities.toml")


class _Given(NamedTuple):
    """A call that provides an ability if the condition ``when`` holds; empty for always.

    If all of ``plain`` is permitted, the process has the ability in full, whatever else is refused.
    """

    name: str
    when: str = ""
    plain: str = ""


class _Query(NamedTuple):
    """An ability, and the calls that provide it.

    ``limit`` is the reason why a process that may make the calls still has it only in part.
    """

    group: str
    title: str
    given: tuple[_Given, ...]
    limit: str


@lru_cache(maxsize=1)
def queries() -> tuple[_Query, ...]:
    """Return the abilities of ``abilities.toml``, in the order in which they are shown."""
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    words = data.pop("words")
    return tuple(
        _Query(group, title, tuple(_given(one, words)), one.get("limit", ""))
        for group, titles in data.items()
        for title, one in titles.items()
    )


def _given(one: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[_Given]:
    for call, when in powers().given(one.get("power", "")):
        yield _Given(call, when)
    for call in one.get("calls", "").split():
        alike = powers().same(call[1:]) if call.startswith("=") else (call,)
        yield from map(_Given, alike)
    for call, whens in one.get("when", {}).items():
        plain = one.get("plain", {}).get(call, "")
        for when in [whens] if isinstance(whens, str) else whens:
            yield _Given(call, *(Template(text).substitute(words) for text in (when, plain)))


def abilities(loaded: LoadedFilter, tables: Tables) -> tuple[Ability, ...]:
    """Return for each ability which calls the filter permits, and where."""
    finder = _Finder(loaded, tables)
    return tuple(map(finder.ability, queries()))


class _AbilityPart(NamedTuple):
    """A filter's answer to one call that provides an ability, on one ABI.

    ``permitted`` and ``others`` are the permitted and the refused arguments among those that
    provide it. The part is ``whole`` if all arguments that count are permitted.
    """

    permitted: Sequence[Box]
    others: Sequence[Box]
    whole: bool
    asked: bool


_UNKNOWN = _AbilityPart([EVERYTHING], [], whole=True, asked=False)
"""If the answer is too intricate, everything counts as permitted."""
_MOST_NODES = 20_000
"""The most nodes that the sets of one answer may need."""


class _Finder:
    def __init__(self, loaded: LoadedFilter, tables: Tables) -> None:
        self._sets = Sets()
        self._tables = tables
        self._views = tuple(
            view for name in loaded.sides for view in views_on(loaded, name, tables, self._sets)
        )
        self._conditions = _Conditions(self._views, tables, self._sets)

    def ability(self, asked: _Query) -> Ability:
        names = dict.fromkeys(one.name for one in asked.given)
        conditions: dict[str, dict[PermissionCondition, list[CallRoute]]] = defaultdict(
            lambda: defaultdict(list)
        )
        here: dict[CallRoute, bool] = {}
        supervised = False
        for view in self._views:
            way = CallRoute(view.program.name, view.abi.name)
            for name in filter(view.has, names):
                here.setdefault(way, False)
                parts = [self._part(view, one) for one in asked.given if one.name == name]
                supervised |= any(part.asked for part in parts)
                if any(part.permitted for part in parts):
                    whole = all(part.whole for part in parts)
                    here[way] |= whole
                    when = _ALWAYS if whole else self._condition(view, name, parts)
                    conditions[name][when].append(way)
        permitted = tuple(
            AbilityCall(name, tuple((when, tuple(ways)) for when, ways in conditions[name].items()))
            for name in names
            if name in conditions
        )
        ways = {way for one in permitted for _, ways in one.conditions for way in ways}
        return Ability(
            asked.group,
            asked.title,
            Permission.YES
            if permitted and all(here.values()) and not asked.limit
            else Permission.PARTLY
            if permitted
            else Permission.ASKED
            if supervised
            else Permission.NO,
            permitted,
            tuple(name for name in names if name not in conditions and self._anywhere(name)),
            tuple(way for way in here if way in ways),
            asked.limit if permitted else "",
        )

    def _anywhere(self, name: str) -> bool:
        return any(view.has(name) for view in self._views)

    def _part(self, view: FilterView, given: _Given) -> _AbilityPart:
        answer = view.answer(given.name)
        if answer is None:
            return _UNKNOWN
        wanted = self._conditions.boxes(given.name, given.when, view.abi)
        plain = self._conditions.boxes(given.name, given.plain or given.when, view.abi)
        try:
            with self._sets.attempt(_MOST_NODES):
                return _AbilityPart(
                    self._common(answer.permitted, wanted),
                    self._left(wanted, answer.permitted),
                    whole=not self._left(plain, answer.permitted),
                    asked=bool(self._common(answer.asked, wanted)),
                )
        except UndecidedError:
            return _UNKNOWN

    def _common(self, some: Iterable[Box], others: Sequence[Box]) -> list[Box]:
        both = (self._sets.common(one, other) for one in some for other in others)
        return [box for box in both if NOTHING not in box]

    def _left(self, boxes: Sequence[Box], cuts: Iterable[Box]) -> list[Box]:
        left = list(boxes)
        for cut in cuts:
            left = [part for box in left for part in self._sets.without(box, cut)]
        return left

    def _condition(
        self, view: FilterView, name: str, parts: Sequence[_AbilityPart]
    ) -> PermissionCondition:
        """Return the condition under which calls are permitted, or refused if that is shorter."""
        permitted = self._text(view, name, [box for part in parts for box in part.permitted])
        refused = self._text(view, name, [box for part in parts for box in part.others])
        longest = _LONGEST if permitted is None else len(permitted) * 3 // 4
        if refused is not None and len(refused) <= longest:
            return PermissionCondition(refused, excepted=True)
        return PermissionCondition(permitted)

    def _text(self, view: FilterView, name: str, boxes: Sequence[Box]) -> str | None:
        rules = (
            rule
            for rule in (view.policy.rules if view.policy else ())
            if rule.name == name and rule.applies_to(view.abi) and rule.action.kind.lets_through
        )
        try:
            tests = conditions_of(self._sets, boxes, rules, view.abi)
        except UndecidedError:
            return None
        text = self._tables.naming.alternatives(tests, name, view.abi)
        return text if len(text) <= _LONGEST else None


_ALWAYS = PermissionCondition("")
_LONGEST = 200


class _Conditions:
    """The arguments for which the condition of an ability holds, on the ABIs of some views."""

    def __init__(self, views: Sequence[FilterView], tables: Tables, sets: Sets) -> None:
        self._abis = tuple(dict.fromkeys(view.abi.name for view in views))
        self._tables = tables
        self._sets = sets
        self._rules: dict[tuple[str, ...], tuple[Rule, ...] | None] = {}

    def boxes(self, name: str, when: str, abi: Abi) -> list[Box]:
        """Return boxes of arguments: everything if the ABI lacks what the condition names."""
        if not when:
            return [EVERYTHING]
        having = [one for one in self._abis if name in self._tables.tables[one].numbers]
        rules = self._read(name, when, *having)
        if rules is None:  # one of the ABIs lacks a name in the condition
            rules = self._read(name, when, abi.name)
        if rules is None:
            return [EVERYTHING]
        here = [rule for rule in rules if rule.name == name and rule.applies_to(abi)]
        return [self._sets.box(condition_for(rule.condition, abi.argument_bits)) for rule in here]

    def _read(self, name: str, when: str, *abis: str) -> tuple[Rule, ...] | None:
        """Return the rules of a policy for one call on some ABIs; None if one lacks something."""
        key = (name, when, *abis)
        if key not in self._rules:
            text = (
                f"{{arches: [{', '.join(abis)}], default_action: errno, multiplexed: errno, "
                f"syscalls: [{{action: allow, names: [{name}], when: '{when}'}}]}}"
            )
            try:
                policy = load_policy(read_document(text.encode(), "ability"), self._tables)[0]
                self._rules[key] = policy.rules
            except (InputError, UndecidedError):
                self._rules[key] = None
        return self._rules[key]
