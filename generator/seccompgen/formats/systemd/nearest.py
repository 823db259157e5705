"""Approximate a policy by settings of systemd's units, and report the differences.

Settings test no arguments, and a release knows only the calls of its time: others get ENOSYS. A
call that a rule permits under a condition is permitted with all arguments, since programs need it.
So the result permits more of calls whose arguments the policy tests, and less of calls that are
newer than systemd.

Other settings take back part of the surplus: each is written if it is proved to refuse nothing that
the policy permits. systemd compares whole arguments, although the kernel reads only 32 bits of
some; the proof assumes that no program sets their other bits, or clones with a signal above 127.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading
from seccompgen.core.model import U32, Action, ActionKind, Comparison, Op, Rule
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.core.problems import Problem
from seccompgen.formats.systemd import reader as systemd
from seccompgen.formats.systemd.groups import DEFAULT_RELEASE, systemd_groups
from seccompgen.formats.systemd.writer import in_units
from seccompgen.policy.resolve import resolve_policy
from seccompgen.verify import Proof, meaning, prove
from seccompgen.verify.call import Call
from seccompgen.verify.relation import Relation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables

_ENOSYS = Action.errno("ENOSYS")
_THROUGH = frozenset({ActionKind.ALLOW, ActionKind.LOG})
_PERMITS_ALL = Relation(up_to=ActionKind.LOG)
_NO_FAMILIES = frozenset({"AF_UNSPEC", "AF_MAX", "AF_LOCAL", "AF_ROUTE"})
"""AF_* constants that are no families, or second names of families."""
_TYPES = range(1, 7)
"""SOCK_STREAM to SOCK_DCCP."""
_NEVER = {
    "socket": (0, Op.GT, U32),
    "unshare": (0, Op.GT, U32),
    "personality": (0, Op.GT, U32),
    **dict.fromkeys(("mmap", "mprotect", "pkey_mprotect"), (2, Op.GT, U32)),
    "clone": (0, Op.ANY_BITS, 0x80),
}
"""By call: a test that matches only arguments which no program passes."""
_WITHOUT_KERNEL = 252
"""A release that implements MemoryDenyWriteExecute by a filter, which can be read."""


def nearest_units(
    built: Iterable[Built],
    tables: Tables,
    release: int | None,
    compiled: Callable[[ResolvedPolicy, Abi, Tables, Objective], CompiledProgram],
) -> list[Built]:
    """Return the nearest policies that drop-ins can express, with notes on the differences.

    ``compiled`` returns the proved program of a policy.
    """
    return [_nearest(one, tables, release, compiled) for one in built]


def _nearest(
    one: Built,
    tables: Tables,
    release: int | None,
    compiled: Callable[[ResolvedPolicy, Abi, Tables, Objective], CompiledProgram],
) -> Built:
    abis = [program.abi for program in one.programs if in_units(program.abi)]
    near = nearest_policy(one.policy, tables, release)
    if not abis or not (near.whole or near.absent):
        return one
    settings = [
        line
        for line in _candidates(near, abis, tables)
        if _refuses_nothing(line, near, abis, tables)
    ]
    notes = list(_notes(near, settings, release))
    return one._replace(
        policy=near.policy,
        programs=tuple(compiled(near.policy, abi, tables, one.objective) for abi in abis),
        notes=(
            *one.notes,
            *(Diagnostic(text, _top(one.policy), Problem.NOT_IN_UNIT) for text in notes),
        ),
        unit_lines=(*_comments(notes), *settings),
    )


class NearestPolicy(NamedTuple):
    """The nearest ``policy`` that settings can express.

    ``whole`` are calls that it permits with any arguments, the original only with some. ``absent``
    are calls that it answers with ENOSYS, although the original permits them. ``narrower`` is the
    policy that differs from the original in ``absent`` alone.
    """

    policy: ResolvedPolicy
    narrower: ResolvedPolicy
    whole: tuple[str, ...]
    absent: tuple[str, ...]


def nearest_policy(policy: ResolvedPolicy, tables: Tables, release: int | None) -> NearestPolicy:
    """Return the nearest policy for settings of a systemd ``release``; None: the default one."""
    abis = [abi for abi in (*policy.arches, *policy.compat_arches) if in_units(abi)]
    unknown: set[str] = set()
    if policy.unknown_action.kind is not ActionKind.ALLOW:
        calls = {call for abi in abis for call in tables.tables[abi.name].numbers}
        unknown = calls - systemd_groups(release)["known"]
    at = policy.default_origin
    refused = [
        Rule(call, None, _ENOSYS, at.position, at, abis=frozenset(abi.name for abi in abis))
        for call in sorted(unknown)
    ]
    absent = {rule.name for rule in policy.rules if rule.action.kind in _THROUGH} & unknown
    kept = (rule for rule in policy.rules if rule.name not in unknown)
    narrower = replace(policy, rules=(*refused, *kept))
    compared = {
        name: rules
        for name, rules in _by_call(narrower).items()
        if name not in MULTIPLEXED and any(rule.condition is not None for rule in rules)
    }
    said = [one for name, rules in compared.items() for one in _decided(policy, rules, abis)]
    rules = (*said, *(rule for rule in narrower.rules if rule.name not in compared))
    whole = {one.name for one in said if one.action.kind in _THROUGH}
    return NearestPolicy(
        replace(narrower, rules=rules), narrower, tuple(sorted(whole)), tuple(sorted(absent))
    )


def _by_call(policy: ResolvedPolicy) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in policy.rules:
        found.setdefault(rule.name, []).append(rule)
    return found


def _decided(policy: ResolvedPolicy, rules: list[Rule], abis: list[Abi]) -> Iterator[Rule]:
    """Yield a rule per ABI for all of a call; it permits the call if some of ``rules`` does."""
    for abi in abis:
        here = [rule for rule in rules if rule.applies_to(abi)]
        if not here:
            continue
        said = [rule.action for rule in here]
        if all(rule.condition is not None for rule in here):
            said.append(policy.default_action)
        through = [action for action in said if action.kind in _THROUGH]
        action = Action.ALLOW if Action.ALLOW in through else (*through, said[-1])[0]
        yield replace(here[0], condition=None, action=action, abis=frozenset({abi.name}))


def _comments(notes: Iterable[str]) -> Iterator[str]:
    for text in notes:
        yield from textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")


def _top(policy: ResolvedPolicy) -> Position:
    return Position(policy.file)


def _notes(near: NearestPolicy, settings: Sequence[str], release: int | None) -> Iterator[str]:
    if near.whole:
        text = "settings of a unit see no arguments, so that these calls are permitted with any: "
        text += ", ".join(near.whole)
        keys = ", ".join(line.partition("=")[0] + "=" for line in settings)
        yield text + (f"; a part of that is refused by {keys}" if keys else "")
    if near.absent:
        text = f"systemd {release or DEFAULT_RELEASE} does not know these, and answers ENOSYS: "
        yield text + ", ".join(near.absent)


def _candidates(near: NearestPolicy, abis: Sequence[Abi], tables: Tables) -> Iterator[str]:
    """Yield settings that refuse part of what the wholly permitted calls can do."""
    whole = {*near.whole}
    if whole & {"clone", "unshare"}:
        yield "RestrictNamespaces=yes"
    if "socket" in whole:
        families = sorted({name for abi in abis for name in _families(near.narrower, abi, tables)})
        yield f"RestrictAddressFamilies={' '.join(families) or 'none'}"
    if whole & {"mmap", "mprotect", "pkey_mprotect"}:
        yield "MemoryDenyWriteExecute=yes"
    if "personality" in whole:
        yield "LockPersonality=yes"


def _families(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Iterator[str]:
    """Yield the families for which some socket is permitted."""
    answers, number = meaning(policy, abi, tables), tables.tables[abi.name].numbers.get("socket")
    for name in tables.facts.constants:
        if name.startswith("AF_") and name not in _NO_FAMILIES and number is not None:
            family = tables.facts.value(name, abi)
            calls = (
                Call(number, abi.audit_arch, (family, kind, 0, 0, 0, 0))
                for kind in _TYPES
                if family is not None
            )
            if any(_PERMITS_ALL.permits(answers.answer(call)) for call in calls):
                yield name


def _as_called(policy: ResolvedPolicy, abi: Abi) -> ResolvedPolicy:
    """Return the policy with refusals added for arguments that no program passes."""
    at, refusal = policy.default_origin, Action(ActionKind.KILL_PROCESS)
    rules = (
        Rule(call, Comparison(argument, op, value, width=64), refusal, at.position, at)
        for call, (argument, op, value) in _NEVER.items()
        if abi.bits == 64
    )
    return replace(policy, rules=(*rules, *policy.rules))


def _refuses_nothing(line: str, near: NearestPolicy, abis: Sequence[Abi], tables: Tables) -> bool:
    """Return True if a setting refuses nothing that the policy permits."""
    reading = Reading(abis=tuple(abi.name for abi in abis), systemd=_WITHOUT_KERNEL)
    try:
        draft = systemd.read(f"[Service]\n{line}\n", "setting.conf", reading, tables)
        setting, _ = resolve_policy(draft.document(), tables)
    except InputError:
        return False
    return all(
        isinstance(
            prove(
                meaning(_as_called(near.narrower, abi), abi, tables),
                meaning(setting, abi, tables),
                relation=_PERMITS_ALL,
            ),
            Proof,
        )
        for abi in abis
    )
