"""Named groups of calls: those that come with seccompgen, and those that a policy defines.

``'@basic-io'`` in a rule's ``names`` is a mention; it stands for the members of the group: calls,
calls with a condition, or other groups. Stock groups contain calls that the table of powers puts
together.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errors import MOST_HINTS, Diagnostic, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.kernel.powers import powers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from seccompgen.core.errors import Position

MARK = "@"
"""The first character of a mention."""
_SAME = "="
"""The first character of a stock group's member that means all calls on its line of the table."""
_FILE = Path(__file__).with_name("groups.toml")
_FIRST = ".v1"
_VERSIONED = re.compile(r"(?P<base>[a-z][a-z0-9-]*)(\.v(?P<version>[1-9][0-9]{0,2}))?")
_OWN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MOST_NESTED = 32


class Member(NamedTuple):
    """A member of a group: a call or a mention, and its condition, empty for always.

    ``spelled`` is True for a call that a policy's own group lists itself.
    """

    name: str
    when: str = ""
    spelled: bool = False


class StockGroup(NamedTuple):
    """A group that comes with seccompgen; ``promise`` is a sentence about what its calls do.

    It contains the calls of the powers ``kinds``, except those in ``without``, and ``members``.
    """

    name: str
    promise: str
    members: tuple[Member, ...] = ()
    kinds: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


class Definition(NamedTuple):
    """A group that a policy defines: its position, and its members with their positions."""

    position: Position
    members: tuple[tuple[str, Position], ...]


class _Meaning(NamedTuple):
    """The calls of a group that a policy defines, and the depth of groups within it."""

    calls: tuple[Member, ...]
    depth: int = 0


def is_mention(text: str) -> bool:
    """Return True if an item of ``names`` is a mention of a group."""
    return text.startswith(MARK)


def check_own_name(name: object) -> object:
    """Return ``name`` if a policy's own group may be called so; raise ValueError if not."""
    if isinstance(name, str) and not _OWN_NAME.fullmatch(name):
        hint = ": write it without '@' where it is defined" if is_mention(name) else ""
        raise ValueError(f"{name!r} is not the name of a group{hint}")
    return name


@lru_cache(maxsize=1)
def stock_groups() -> dict[str, StockGroup]:
    """Return the groups that come with seccompgen, by name, sorted.

    The name of a group includes its version from the second on: ``basic-io.v2``.
    """
    import tomllib  # noqa: PLC0415 - few policies name a group that comes with us

    read = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: StockGroup(
            name,
            one["promise"],
            tuple(_members(one.get("members", ()))),
            tuple(one.get("kinds", ())),
            frozenset(one.get("without", ())),
        )
        for name, one in sorted(read.items())
    }


def _members(items: Iterable[str | dict[str, Any]]) -> Iterator[Member]:
    for item in items:
        if isinstance(item, str):
            yield Member(item)
        else:
            yield from (Member(name, item["when"]) for name in item["names"])


def find_stock_group(name: str) -> StockGroup | None:
    """Return the group that comes with seccompgen under ``name``; ``basic-io.v1`` is basic-io."""
    return stock_groups().get(name.removesuffix(_FIRST))


def calls_of(group: StockGroup) -> tuple[Member, ...]:
    """Return the calls of a group and of the groups in it, each once with each condition.

    The calls of inner groups come first, then the group's own: without conditions by name, then
    those with conditions.
    """
    calls: list[Member] = []
    own = [
        Member(call, when)
        for kind in group.kinds
        for call, when in powers().given(kind)
        if call not in group.without
    ]
    for member in group.members:
        inner = (
            find_stock_group(member.name.removeprefix(MARK)) if is_mention(member.name) else None
        )
        if inner:
            calls += calls_of(inner)
        elif member.name.startswith(_SAME):
            own += map(Member, powers().same(member.name.removeprefix(_SAME)))
        else:
            own.append(member)
    own.sort(key=lambda one: (bool(one.when), "" if one.when else one.name))
    return _without_repeats((*calls, *own))


def _without_repeats(calls: Iterable[Member]) -> tuple[Member, ...]:
    """Return ``calls`` without repetitions, and without conditions on calls that are unconditional.

    A call that a policy's own group lists itself replaces all other entries of its name.
    """
    listed = dict.fromkeys(calls)
    always = {one.name for one in listed if not one.when}
    spelled = {one.name for one in listed if one.spelled}
    return tuple(
        one
        for one in listed
        if one.spelled or (one.name not in spelled and (not one.when or one.name not in always))
    )


class Groups:
    """The groups that a policy can mention: those that come with seccompgen and its own.

    A file can mention the groups of earlier files, which it includes, and its own, in any order.
    Errors are added to ``problems``, each once; faulty members contribute no calls. ``known_calls``
    returns the names of all calls; it is called only if a file defines a group.
    """

    def __init__(
        self, known_calls: Callable[[], frozenset[str]], problems: list[Diagnostic]
    ) -> None:
        self._find_known_calls = known_calls
        self._problems = problems
        self._own: dict[str, Definition] = {}
        self._meanings: dict[str, _Meaning] = {}

    @cached_property
    def _known_calls(self) -> frozenset[str]:
        return self._find_known_calls()

    def define(self, groups: Mapping[str, Definition]) -> None:
        """Add the groups that a file defines."""
        fresh: dict[str, Definition] = {}
        for name, definition in groups.items():
            earlier = self._own.get(name)
            if name in stock_groups():
                text = f"{MARK}{name} comes with seccompgen: choose another name"
            elif earlier:
                text = f"{MARK}{name} is defined already, at {earlier.position}"
            else:
                fresh[name] = definition
                continue
            self._problems.append(Diagnostic(text, definition.position, Problem.REPEATED_GROUP))
        self._own |= fresh
        for name, definition in fresh.items():
            self._of_own(name, definition.position, ())

    def calls(self, mention: str, position: Position) -> tuple[Member, ...]:
        """Return the calls that ``mention`` at ``position`` stands for."""
        return self._mentioned(mention, position, ()).calls

    def _mentioned(self, mention: str, position: Position, chain: tuple[str, ...]) -> _Meaning:
        name = mention.removeprefix(MARK)
        if name in self._own:
            return self._of_own(name, position, chain)
        stock = find_stock_group(name)
        if stock:
            return _Meaning(calls_of(stock))
        known = [f"{MARK}{one}" for one in (*stock_groups(), *self._own)]
        text = f"unknown group {mention!r}"
        match = _VERSIONED.fullmatch(name)
        if match and match["base"] in stock_groups():
            text += f": there is {MARK}{match['base']} only"
        else:
            text += self._hint(mention, known)
        self._problems.append(Diagnostic(text, position, Problem.UNKNOWN_GROUP))
        return _Meaning(())

    def _of_own(self, name: str, position: Position, chain: tuple[str, ...]) -> _Meaning:
        """Return the calls of a policy's own group; ``chain`` are the groups that led to it."""
        if name in self._meanings:
            return self._meanings[name]
        if name in chain:
            names = " has ".join(f"{MARK}{one}" for one in (*chain[chain.index(name) :], name))
            text = f"a circle of groups: {names}"
            self._problems.append(Diagnostic(text, position, Problem.CIRCULAR_GROUP))
            return _Meaning(())
        calls: list[Member] = []
        depth = 0
        # A longer chain is reported for the group at its beginning.
        members = self._own[name].members if len(chain) <= _MOST_NESTED else ()
        for member, where in members:
            if is_mention(member):
                inner = self._mentioned(member, where, (*chain, name))
                calls += inner.calls
                depth = max(depth, inner.depth + 1)
            elif member in self._known_calls:
                calls.append(Member(member, spelled=True))
            else:
                text = f"unknown system call {member!r}{self._hint(member, self._known_calls)}"
                self._problems.append(Diagnostic(text, where, Problem.UNKNOWN_CALL))
        if depth > _MOST_NESTED:
            text = f"groups nested deeper than {_MOST_NESTED}"
            self._problems.append(Diagnostic(text, self._own[name].position, Problem.DEEP_GROUP))
            depth = 0
        return self._meanings.setdefault(name, _Meaning(_without_repeats(calls), depth))

    def _hint(self, name: str, known: Collection[str]) -> str:
        return did_you_mean(name, known) if len(self._problems) < MOST_HINTS else ""
