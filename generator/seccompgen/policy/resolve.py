"""Give a policy its meaning: names looked up, ABIs chosen, dead rules refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.abis import ALIASES, Abi, find_abi
from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import (
    U64,
    Action,
    ActionKind,
    All,
    Comparison,
    FilterFlag,
    Origin,
    ResolvedPolicy,
    Rule,
    serves_both,
)
from seccompgen.core.problems import Problem
from seccompgen.core.reach import DeadRule, reach
from seccompgen.policy.document import Source, name_of
from seccompgen.policy.groups import Groups, is_mention
from seccompgen.policy.layers import (
    Layer,
    all_flags,
    holder,
    layers_of,
    no_default,
    setting,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.schema import Argument

_MOST_HINTS = 50
"""The most unknown names that get a suggestion; each is compared with every known name."""
_MOST_RULES = 100_000
_LET_THROUGH = frozenset((ActionKind.ALLOW, ActionKind.LOG))


def load_policy(source: Source, tables: Tables) -> tuple[ResolvedPolicy, tuple[Diagnostic, ...]]:
    """Return the policy of ``source``, with notes that are worth telling but no errors.

    Rules of included files come before a file's own, in the order in which they are included;
    of a setting, the including file's own value counts. Raises InputError with every error.
    """
    problems: list[Diagnostic] = []
    notes: list[Diagnostic] = []
    layers = layers_of(source, notes)
    main = layers[-1]

    arches = _abis(layers, "arches", tables, problems, notes)
    if arches is None:
        arches = [table.abi for table in tables.tables.values() if table.has_filters]
    compat = _abis(layers, "compat_arches", tables, problems, notes) or []
    _check_compat(layers, arches, compat, problems)

    default, default_origin = _action(layers, "default_action", None, problems)
    unknown, unknown_origin = _action(layers, "unknown_action", None, None)
    bad_arch, bad_arch_origin = _action(
        layers, "bad_arch_action", Action(ActionKind.KILL_PROCESS), None
    )
    if default is None or bad_arch is None:
        raise InputError(*problems)

    rules = _all_rules(layers, tables, (*arches, *compat), problems)
    if not any(layer.content.syscalls for layer in layers):
        text = "'syscalls' is missing or empty: the filter would do nothing of its own"
        problems.append(Diagnostic(text, main.position(), Problem.EMPTY_POLICY))
    policy = ResolvedPolicy(
        name=source.stem if isinstance(source, Path) else name_of(source),
        description=setting(layers, "description", ""),
        arches=tuple(arches),
        arches_origin=_origin(layers, "arches"),
        compat_arches=tuple(compat),
        default_action=default,
        default_origin=default_origin,
        unknown_action=unknown or default,
        unknown_origin=unknown_origin if unknown else default_origin,
        bad_arch_action=bad_arch,
        bad_arch_origin=bad_arch_origin,
        no_new_privs=setting(layers, "no_new_privs", True),
        flags=_flags(layers, problems),
        install_on_import=setting(layers, "install_on_import", False),
        rules=rules,
        sources=tuple((layer.file, layer.sha256) for layer in layers),
        in_memory=main.in_memory,
    )
    problems += _unheard(policy)
    _check_names(policy, tables, problems, notes)
    if not problems:
        _check_dead(policy, tables, problems, notes)
    if problems:
        raise InputError(*sorted(dict.fromkeys(problems), key=_order))
    return policy, tuple(sorted(dict.fromkeys(notes), key=_order))


def _order(diagnostic: Diagnostic) -> Position:
    return diagnostic.position or Position("")


def _action(
    layers: list[Layer], key: str, default: Action | None, problems: list[Diagnostic] | None
) -> tuple[Action | None, Origin]:
    layer = holder(layers, key)
    if layer:
        return getattr(layer.content, key), _origin(layers, key)
    if problems is not None:
        problems.append(no_default(layers))
    return default, _origin(layers, key)


def _origin(layers: list[Layer], key: str) -> Origin:
    """Return where ``key`` is set, or the top of the file whose defaults count."""
    layer = holder(layers, key)
    return Origin(key, layer.position(key) if layer else layers[-1].position())


def _abis(
    layers: list[Layer],
    key: str,
    tables: Tables,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> list[Abi] | None:
    """Return the ABIs listed under ``key``, or None if it is not there.

    What other tags have is left out with a note, so that a policy serves many tags; install()
    refuses where no program fits.
    """
    layer = holder(layers, key)
    if layer is None:
        return None
    result: list[Abi] = []
    left_out: list[Diagnostic] = []
    for i, spelling in enumerate(getattr(layer.content, key)):
        where = layer.position(key, i)
        abi = find_abi(spelling)
        table = tables.tables.get(abi.name) if abi else None
        if abi is None:
            hint = did_you_mean(spelling, ALIASES)
            text = f"unknown architecture {spelling!r}{hint}"
            problems.append(Diagnostic(text, where, Problem.UNKNOWN_ABI))
        elif abi.filters_since is None:
            text = f"Linux has no seccomp filters on {abi.name}"
            problems.append(Diagnostic(text, where, Problem.ABI_WITHOUT_FILTERS))
        elif table is None or not table.has_filters:
            lack = f"seccomp filters on {abi.name}" if table else abi.name
            message = f"Linux {tables.tag} has no {lack}: left out"
            notes.append(Diagnostic(message, where, Problem.ABI_LEFT_OUT))
            left_out.append(Diagnostic(message, where, Problem.ABI_LEFT_OUT))
        elif abi in result:
            problems.append(Diagnostic(f"{abi.name} is listed twice", where, Problem.REPEATED_ABI))
        else:
            result.append(abi)
    if not result and key == "arches":
        problems.extend(left_out)
    return result


def _check_compat(
    layers: list[Layer], arches: list[Abi], compat: list[Abi], problems: list[Diagnostic]
) -> None:
    layer = holder(layers, "compat_arches")
    for i, other in enumerate(compat):
        if layer and not any(serves_both(abi, other) for abi in arches):
            names = ", ".join(abi.name for abi in arches)
            text = (
                f"no kernel serves {other.name} beside {names}; list it in 'arches' "
                "if it shall have a program of its own"
            )
            problems.append(
                Diagnostic(text, layer.position("compat_arches", i), Problem.UNSERVED_ABI)
            )


def _flags(layers: list[Layer], problems: list[Diagnostic]) -> FilterFlag:
    layer, flags = holder(layers, "flags"), all_flags(layers)
    if layer is None:
        return flags
    where = layer.position("flags")
    listener = bool(flags & FilterFlag.NEW_LISTENER)
    if flags & FilterFlag.TSYNC and listener and not flags & FilterFlag.TSYNC_ESRCH:
        text = (
            "tsync with new_listener needs tsync_esrch as well: the call can return "
            "only one of a thread and a descriptor"
        )
        problems.append(Diagnostic(text, where, Problem.CONFLICTING_FLAGS))
    if flags & FilterFlag.WAIT_KILLABLE_RECV and not listener:
        text = "wait_killable_recv needs new_listener"
        problems.append(Diagnostic(text, where, Problem.CONFLICTING_FLAGS))
    return flags


def _unheard(policy: ResolvedPolicy) -> list[Diagnostic]:
    """Report user_notif without a listener: each such call would fail with ENOSYS."""
    if policy.flags & FilterFlag.NEW_LISTENER:
        return []
    answers = [(rule.action, rule.position) for rule in policy.rules]
    answers += [
        (policy.default_action, policy.default_origin.position),
        (policy.unknown_action, policy.unknown_origin.position),
        (policy.bad_arch_action, policy.bad_arch_origin.position),
    ]
    message = (
        "user_notif needs the flag new_listener: without a listener every such call "
        "fails with ENOSYS"
    )
    return [
        Diagnostic(message, position, Problem.NO_LISTENER)
        for action, position in answers
        if action.kind is ActionKind.USER_NOTIF
    ]


def _all_rules(
    layers: list[Layer], tables: Tables, abis: Iterable[Abi], problems: list[Diagnostic]
) -> tuple[Rule, ...]:
    """Return the rules of all layers; of a group, those for calls that one of ``abis`` has."""
    groups = Groups(_names_on(tables, tables.tables), problems)
    had = _names_on(tables, (abi.name for abi in abis))
    rules: list[Rule] = []
    for layer in layers:
        groups.define(layer.groups)
        for rule in _rules(layer, groups):
            if rule.group and rule.name not in had:
                continue
            rules.append(rule)
            if len(rules) > _MOST_RULES:
                text = f"more than {_MOST_RULES:,} rules, which no policy has"
                raise InputError(Diagnostic(text, rule.position, Problem.TOO_LARGE))
    return tuple(rules)


def _names_on(tables: Tables, abis: Iterable[str]) -> frozenset[str]:
    return frozenset(name for abi in abis for name in tables.tables[abi].numbers)


def _rules(layer: Layer, groups: Groups) -> Iterable[Rule]:
    for i, group in enumerate(layer.content.syscalls):
        label, here = f"rule {i + 1}", ("syscalls", i)
        listed = Origin(label, layer.position(*here))
        for j, name in enumerate(group.names):
            where = layer.position(*here, "names", j)
            if is_mention(name):
                origin = Origin(f"{label}, {name}", where)
                for call in groups.calls(name, where):
                    yield Rule(call, None, group.action, where, origin, optional=True, group=name)
                continue
            yield Rule(name, None, group.action, where, listed, group.optional)
        for j, entry in enumerate(group.names_with_args):
            where = layer.position(*here, "names_with_args", j, "name")
            tests = tuple(map(_comparison, entry.arguments))
            condition = tests[0] if len(tests) == 1 else All(tests)
            origin = Origin(label, where)
            yield Rule(entry.name, condition, group.action, where, origin, group.optional)


def _comparison(argument: Argument) -> Comparison:
    mask = U64 if argument.mask is None else argument.mask
    return Comparison(argument.argument, argument.operation, argument.value, mask, argument.width)


def _tables_of(policy: ResolvedPolicy, tables: Tables) -> list[Table]:
    names = dict.fromkeys(abi.name for abi in (*policy.arches, *policy.compat_arches))
    return [tables.tables[name] for name in names]


def _check_names(
    policy: ResolvedPolicy, tables: Tables, problems: list[Diagnostic], notes: list[Diagnostic]
) -> None:
    wanted = _tables_of(policy, tables)
    if not wanted:
        return
    known = set().union(*(table.numbers for table in wanted))
    for rule in policy.rules:
        lacking = [table.abi.name for table in wanted if rule.name not in table.numbers]
        if len(lacking) == len(wanted):
            if rule.optional:
                continue
            elsewhere = [t.abi.name for t in tables.tables.values() if rule.name in t.numbers]
            hint = did_you_mean(rule.name, known) if len(problems) < _MOST_HINTS else ""
            if elsewhere:
                hint = f" on {_some(lacking)}: Linux {tables.tag} has it on {_some(elsewhere)} only"
            text = f"unknown system call {rule.name!r}{hint}"
            problems.append(Diagnostic(text, rule.position, Problem.UNKNOWN_CALL))
        elif lacking and not rule.optional:
            text = f"{rule.name!r} does not exist on {_some(lacking)}: skipped there"
            notes.append(Diagnostic(text, rule.position, Problem.CALL_SKIPPED))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _check_dead(
    policy: ResolvedPolicy, tables: Tables, problems: list[Diagnostic], notes: list[Diagnostic]
) -> None:
    """Report rules that match nothing on any ABI that has the call.

    Naming a call twice with one action changes nothing, as happens when a file lists what it
    also includes: worth a note, unless the whole group is idle. So is a condition that is never
    true on some ABIs, since their arguments are too short for it.
    """
    verdicts: dict[Rule, dict[Abi, DeadRule | None]] = {}
    for table in _tables_of(policy, tables):
        by_number: dict[int, list[Rule]] = {}
        for rule in policy.rules:
            if rule.name in table.numbers:
                by_number.setdefault(table.numbers[rule.name], []).append(rule)
        for rules in map(tuple, by_number.values()):
            dead_here = {dead.index: dead for dead in reach(rules, table.abi.argument_bits).dead}
            for i, rule in enumerate(rules):
                verdicts.setdefault(rule, {})[table.abi] = dead_here.get(i)
    alive = {_group(rule) for rule, found in verdicts.items() if not all(found.values())}
    _check_mentions(verdicts, problems, notes)
    for rule, found in verdicts.items():
        if rule.group:
            continue
        dead = max(found.items(), key=lambda one: one[0].argument_bits)[1]
        if dead is None or not all(found.values()):
            never = [abi.name for abi, one in found.items() if one and not one.hidden_by]
            if never and not rule.optional:
                message = f"{rule.condition} is never true on {_some(never)}, where arguments have "
                message += f"32 bits: this rule for {rule.name!r} is skipped there"
                notes.append(Diagnostic(message, rule.position, Problem.RULE_SKIPPED))
            continue
        repeats = {other.action for other in dead.hidden_by} == {rule.action}
        if repeats and _group(rule) in alive:
            message = f"{rule.name!r} repeats {dead.hidden_by[0].position}"
            notes.append(Diagnostic(message, rule.position, Problem.REPEATED_RULE))
        else:
            narrow = {abi.argument_bits for abi in found} == {32}
            text = _explain_dead(dead, narrow=narrow)
            problems.append(Diagnostic(text, rule.position, Problem.DEAD_RULE))


def _check_mentions(
    verdicts: Mapping[Rule, Mapping[Abi, DeadRule | None]],
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> None:
    """Report groups of which nothing is left, and calls that one should refuse and does not.

    Groups overlap, and what stands before one is an exception from it: so there is nothing to say
    of a call of a group that an earlier rule answers alike, or refuses.
    """
    mentions: dict[Position, list[tuple[Rule, DeadRule | None]]] = {}
    for rule, found in verdicts.items():
        if rule.group:
            dead = next(iter(found.values())) if all(found.values()) else None
            mentions.setdefault(rule.position, []).append((rule, dead))
    for position, members in mentions.items():
        rule, dead_members = members[0][0], [dead for _, dead in members if dead]
        hiders = {other for dead in dead_members for other in dead.hidden_by}
        if len(dead_members) < len(members):
            names = [
                dead.rule.name
                for dead in dead_members
                if any(other.action.kind in _LET_THROUGH for other in dead.hidden_by)
            ]
            if names and rule.action.kind not in _LET_THROUGH:
                text = f"earlier rules allow calls of {rule.group}: {_some(names)}"
                notes.append(Diagnostic(text, position, Problem.HIDDEN_CALLS))
            continue
        first = min(hiders, key=lambda other: other.position)
        if {other.action for other in hiders} == {rule.action}:
            text = f"earlier rules have every call of {rule.group}, the first at {first.position}"
            notes.append(Diagnostic(text, position, Problem.REPEATED_RULE))
        else:
            text = f"{rule.group} can never match: earlier rules answer all of its calls, "
            text += f"the first {first.action} at {first.position}"
            problems.append(Diagnostic(text, position, Problem.DEAD_RULE))


def _group(rule: Rule) -> tuple[str, str]:
    return rule.origin.position.file, rule.origin.label


def _explain_dead(dead: DeadRule, *, narrow: bool) -> str:
    """Say why a rule is dead; ``narrow`` where arguments have 32 bits on each of the ABIs."""
    rule = dead.rule
    alive = narrow and all(one.rule is not rule for one in reach((*dead.hidden_by, rule)).dead)
    where = " where arguments have 32 bits" if alive else ""
    if not dead.hidden_by:
        return f"this rule for {rule.name!r} can never match: {rule.condition} is never true{where}"
    what = f"{rule.name!r} where {rule.condition}" if rule.condition else f"{rule.name!r}"
    hiders = [f"{other.action} at {other.position}" for other in dead.hidden_by[:3]]
    more = f" and {len(dead.hidden_by) - 3} more" if len(dead.hidden_by) > 3 else ""
    return (
        f"this rule for {what} can never match: {', '.join(hiders)}{more} "
        f"comes first and answers all of it{where}"
    )
