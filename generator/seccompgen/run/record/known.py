"""The permissions of known policies, by the table of powers: a merged policy can be read again.

A call that a policy permits counts as used if what that gives is on one line of the table. One that
it permits with arguments of several lines, such as ``openat`` whatever its flags are, opens no
kind: it is permitted as before where nothing else covers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import Action, ActionKind, condition_for
from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.core.sets import NOTHING, Sets
from seccompgen.io.reading import read_start
from seccompgen.kernel.powers import powers
from seccompgen.policy.implied import REASONS
from seccompgen.run.record.closure import ON_DEMAND, RAISE, PowerUse, to_itself
from seccompgen.run.record.grants import Grants, members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate, ResolvedPolicy, Rule
    from seccompgen.core.tables import Tables
    from seccompgen.kernel.powers import PowerLine
    from seccompgen.run.record.power_cases import PowerCases

SILENCED = " # lint: ignore"
"""The beginning of a comment for lint, after others."""
ENOSYS = Action.errno("ENOSYS")
_ALLOW = Action.ALLOW
_FILE_MAX = 1 << 20
_MOST_WRAPPED = 64
"""Lines of a list of names."""


@dataclass(frozen=True)
class KnownPolicy:
    """A known policy: what it permits, by ABI, and where each call came from, if it says so.

    ``absent`` are the calls that it answers as a kernel does that has none.
    """

    policy: ResolvedPolicy
    permitted: Mapping[Abi, Grants]
    absent: frozenset[str]
    origins: Mapping[tuple[str, Predicate | None], str] = field(default_factory=dict)


def known_policy(policy: ResolvedPolicy, *, exact: bool = False) -> KnownPolicy:
    """Return what a policy permits; raise InputError if it is more than rules that allow.

    Unless ``exact``, rules may also answer ENOSYS, without a condition: such are written here.
    """
    default = policy.default_action
    problems = [
        Diagnostic(
            f"{default} by default: only what a policy allows by its rules merges",
            policy.default_origin.position,
        )
    ] * (default.kind in {ActionKind.ALLOW, ActionKind.LOG})
    problems += [
        Diagnostic(
            f"{rule.action} for {rule.name!r}: only rules that allow merge",
            rule.position,
        )
        for rule in policy.own_rules
        if rule.action != _ALLOW and (exact or not (_is_absent(rule) or _is_through(rule, default)))
    ]
    if problems:
        raise InputError(*problems)
    absent = frozenset(rule.name for rule in policy.own_rules if _is_absent(rule))
    abis = (*policy.arches, *policy.compat_arches)
    permitted = {abi: Grants(abi) for abi in abis}
    for rule in policy.own_rules:
        for abi in abis:
            if rule.action == _ALLOW and rule.name not in absent and rule.applies_to(abi):
                permitted[abi].add(rule.name, (rule.condition,))
    return KnownPolicy(policy, permitted, absent, _origins(policy))


def _is_absent(rule: Rule) -> bool:
    return rule.action == ENOSYS and rule.condition is None


def _is_through(rule: Rule, default: Action) -> bool:
    """Return True for what `multiplexed` says of calls whose arguments nobody sees."""
    return is_multiplexed(rule.name) and rule.action == default


def _origins(policy: ResolvedPolicy) -> dict[tuple[str, Predicate | None], str]:
    """Return the comments after calls and groups in a recorded file."""
    found: dict[tuple[str, Predicate | None], str] = {}
    lines: dict[str, list[str]] = {}
    for rule in policy.own_rules:
        where = rule.position
        if where.path or policy.in_memory:
            continue
        if where.file not in lines:
            lines[where.file] = _lines(where.file)
        if comment := _comment(lines[where.file][where.line - 1 :]):
            found.setdefault((rule.name, rule.condition), comment)
    return found


def _comment(lines: Sequence[str]) -> str:
    """Return the comment after a list of names that begins, or goes on, in the first line."""
    for line in lines[:_MOST_WRAPPED]:
        text, _, comment = line.partition(" # ")
        if comment or not text.rstrip().endswith(","):
            return comment.partition(SILENCED)[0].strip()
    return ""


def _lines(file: str) -> list[str]:
    try:
        return read_start(Path(file), _FILE_MAX).decode(errors="replace").split("\n")
    except OSError:
        return []


def uses_of(known: KnownPolicy, cases: PowerCases, tables: Tables) -> Iterator[PowerUse]:
    """Yield what a known policy permits that gives something, and that is on one line."""
    for abi, permitted in known.permitted.items():
        done = Grants(abi)
        for power in powers().kinds.values():
            if not power.gives and power.name not in ON_DEMAND:
                for call, conditions in members(power, abi, cases):
                    done.add(call, conditions)
        for one in to_itself((), abi, tables):
            done.add(one.name, one.conditions)
        for call, conditions in permitted:
            for condition in conditions:
                if not cases.has(call, abi) or done.covers(call, condition):
                    continue
                line = _only_line(call, condition, abi, cases)
                if line is not None:
                    asked = () if condition is None else (condition,)
                    comment = known.origins.get((call, condition), "")
                    origin = comment.removeprefix(line.reason).removeprefix("; ")
                    # kill with a reason of its own is for a signal that a program sends itself.
                    own = call in RAISE or (call == "kill" and comment in REASONS)
                    own = own and bool(asked)
                    yield PowerUse(abi, call, line, asked, origin, to_itself=own)


def _only_line(
    call: str, condition: Predicate | None, abi: Abi, cases: PowerCases
) -> PowerLine | None:
    """Return the line that a call is on where ``condition`` holds; None if there are several.

    Lines of what is permitted in any case do not count.
    """
    sets = Sets()
    box = sets.box(condition_for(condition, abi.argument_bits))
    found: list[PowerLine] = []
    for case in cases.of(call, abi):
        if not case.line.power.gives and case.line.power.name not in ON_DEMAND:
            continue
        for one in cases.exactly(case.line, call, abi):
            other = sets.box(condition_for(one, abi.argument_bits))
            if NOTHING not in sets.common(box, other):
                found.append(case.line)
                break
    return found[0] if len(found) == 1 else None
