"""The horizon of a policy: the release that its author considered, and the calls that are newer.

``kernel: v6.1`` sets it. A rule applies to a newer call only if it names the call itself. Newer
calls that no rule names get ``unknown_action``, as if the tables did not have them. So new tables
change answers only for calls that the policy names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.ages import Ages
from seccompgen.core.errors import Diagnostic
from seccompgen.core.model import Rule
from seccompgen.core.problems import Problem
from seccompgen.core.releases import Release
from seccompgen.core.text import some
from seccompgen.policy.layers import holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Action, Origin
    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.ground import WrittenRule
    from seccompgen.policy.layers import Layer

KEY = "kernel"


class Horizon(NamedTuple):
    """The latest release that an author considered; ``newer`` has the newer calls, by ABI."""

    release: Release
    newer: Mapping[str, frozenset[str]]

    def lacks(self, call: str, abi: str) -> bool:
        """Return True if ``call`` is newer than the horizon on ``abi``."""
        return call in self.newer.get(abi, ())


NO_LIMIT = Horizon(Release(0, 0), {})
"""The horizon of a policy that sets none: no call is newer."""


def horizon_of(
    layers: list[Layer],
    answered: Iterable[Table],
    tables: Tables,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> Horizon | None:
    """Return the horizon of a policy; None if no layer sets one.

    The policy's own file takes precedence; without it, the included files must agree.
    """
    layer = holder(layers, KEY)
    if layer is None:
        return None
    release = Release.parse(layer.content[KEY])
    if layer is not layers[-1]:
        for other in layers:
            if other.content.get(KEY) not in {None, layer.content[KEY]}:
                text = f"{other.position(KEY)} says {other.content[KEY]}, and "
                text += f"{layer.position(KEY)} v{release}: say here which one this policy is for"
                problems.append(Diagnostic(text, layers[-1].position(), Problem.DIFFERENT_KERNELS))
    where = layer.position(KEY)
    if release > Release.parse(tables.tag):
        text = f"v{release} is newer than the tables, those of Linux {tables.tag}: until they have "
        text += "the calls that came between, these get unknown_action"
        notes.append(Diagnostic(text, where, Problem.KERNEL_AHEAD))
    ages = Ages(tables, release)
    newer: dict[str, frozenset[str]] = {}
    unsure: dict[str, None] = {}
    for table in answered:
        found = {call: ages.is_newer(table.abi.name, call) for call in table.numbers}
        newer[table.abi.name] = frozenset(call for call, is_newer in found.items() if is_newer)
        unsure |= dict.fromkeys(
            call for call, is_newer in found.items() if is_newer and not ages.is_sure(table, call)
        )
    if unsure:
        text = f"nobody knows whether v{release} has {some(sorted(unsure))} on every ABI of the "
        text += "policy: where that is so, they count as newer"
        notes.append(Diagnostic(text, where, Problem.UNCERTAIN_AGE))
    return Horizon(release, newer)


def unnamed_rules(
    horizon: Horizon, rules: Iterable[Rule], answered: Sequence[Table], action: Action, said: Origin
) -> tuple[Rule, ...]:
    """Return the rules that answer ``action`` to newer calls that none of ``rules`` names.

    They belong after all other rules; their origin is ``said``, where the horizon is set.
    """
    listed = list(rules)
    where: dict[str, list[str]] = {}
    for table in answered:
        abi = table.abi
        named = {table.number_of(rule.name) for rule in listed if rule.applies_to(abi)}
        known = {nr for call, nr in table.numbers.items() if not horizon.lacks(call, abi.name)}
        for nr, call in table.names.items():
            if nr not in known and nr not in named:
                where.setdefault(call, []).append(abi.name)
    return tuple(
        Rule(call, None, action, said.position, said, abis=frozenset(abis))
        for call, abis in sorted(where.items())
    )


def newer_groups(
    horizon: Horizon, written: Sequence[WrittenRule], abis: Sequence[Sequence[Abi]]
) -> Iterator[Diagnostic]:
    """Yield a note for each group that has no effect because all of its calls are newer.

    ``abis`` are the ABIs that each of ``written`` applies to.
    """
    mentions: dict[Position, list[tuple[WrittenRule, Sequence[Abi]]]] = {}
    for one, said in zip(written, abis, strict=True):
        if one.mention:
            mentions.setdefault(one.position, []).append((one, said))
    for position, members in mentions.items():
        lacking = any(horizon.lacks(one.name, abi) for one, _ in members for abi in horizon.newer)
        if lacking and not any(said for _, said in members):
            text = f"v{horizon.release} has no call of {members[0][0].mention}: it names none here"
            yield Diagnostic(text, position, Problem.NEWER_GROUP)
