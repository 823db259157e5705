"""The permissions of known policies, by the table of powers, so that policies can be merged.

A call that a policy permits counts as used if its permitted arguments are on one line of the table.
A call with arguments on several lines, such as ``openat`` with any flags, opens no kind: it stays
permitted as before unless something else covers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import Action, ActionKind, condition_for
from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.core.ring import RING_CALLS
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
"""The beginning of a comment for lint, which may follow another comment."""
ENOSYS = Action.errno("ENOSYS")
_ALLOW = Action.ALLOW
_FILE_MAX = 1 << 20
_MOST_WRAPPED = 64
"""The most lines that a list of names is wrapped over."""


@dataclass(frozen=True)
class KnownPolicy:
    """A known policy: its permissions by ABI, and the origin of each call, if its comments name it.

    ``absent`` are the calls that it answers with ENOSYS, as a kernel without them does.
    """

    policy: ResolvedPolicy
    permitted: Mapping[Abi, Grants]
    absent: frozenset[str]
    origins: Mapping[tuple[str, Predicate | None], str] = field(default_factory=dict)


def known_policy(policy: ResolvedPolicy, *, exact: bool = False) -> KnownPolicy:
    """Return a policy's permissions; raise InputError unless all its rules allow.

    Unless ``exact``, rules may also answer ENOSYS without a condition, as recorded policies do.
    """
    default = policy.default_action
    own_rules = [
        rule
        for rule in policy.own_rules
        if policy.io_uring is None or rule.name not in RING_CALLS  # its section decides those
    ]
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
        for rule in own_rules
        if rule.action != _ALLOW and (exact or not (_is_absent(rule) or _is_through(rule, default)))
    ]
    if problems:
        raise InputError(*problems)
    absent = frozenset(rule.name for rule in own_rules if _is_absent(rule))
    abis = (*policy.arches, *policy.compat_arches)
    permitted = {abi: Grants(abi) for abi in abis}
    for rule in own_rules:
        for abi in abis:
            if rule.action == _ALLOW and rule.name not in absent and rule.applies_to(abi):
                permitted[abi].add(rule.name, (rule.condition,))
    return KnownPolicy(policy, permitted, absent, _origins(policy))


def _is_absent(rule: Rule) -> bool:
    return rule.action == ENOSYS and rule.condition is None


def _is_through(rule: Rule, default: Action) -> bool:
    """Return True if a rule, of a multiplexed call, only repeats the default action."""
    return is_multiplexed(rule.name) and rule.action == default


def _origins(policy: ResolvedPolicy) -> dict[tuple[str, Predicate | None], str]:
    """Return the comment after each call or group in a recorded file, by name and condition."""
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
    """Return the comment at the end of a list of names that starts or continues in ``lines[0]``."""
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
    """Yield the permitted calls of a known policy that give something and are on a single line."""
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
                    # kill with one of `REASONS` is for a signal that a program sends itself.
                    own = call in RAISE or (call == "kill" and comment in REASONS)
                    own = own and bool(asked)
                    yield PowerUse(abi, call, line, asked, origin, to_itself=own)


def _only_line(
    call: str, condition: Predicate | None, abi: Abi, cases: PowerCases
) -> PowerLine | None:
    """Return the line that a call with ``condition`` is on; None if it is on several or none.

    Lines that are permitted in any case do not count.
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
