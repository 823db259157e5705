"""Resolve a policy: look up names, choose ABIs, refuse dead rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.abis import Abi, find_abi, serves_both, unknown_abi
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import PLAIN_READING
from seccompgen.core.model import Action, ActionKind, Origin, ResolvedPolicy
from seccompgen.core.problems import Problem
from seccompgen.core.settings import FilterFlag
from seccompgen.policy.dead import check_dead
from seccompgen.policy.document import Source, name_of
from seccompgen.policy.ground import Grounding
from seccompgen.policy.horizon import KEY, NO_LIMIT, horizon_of, newer_groups, unnamed_rules
from seccompgen.policy.layers import (
    OWN_FILES,
    Layer,
    PolicyFiles,
    holder,
    layers_of,
    no_default,
    setting,
)
from seccompgen.policy.source_rules import check_names, written_rules

if TYPE_CHECKING:
    from seccompgen.core.tables import Tables


_ACTIONS = ("default_action", "unknown_action", "bad_arch_action")


def resolve_policy(
    source: Source, tables: Tables, files: PolicyFiles = OWN_FILES
) -> tuple[ResolvedPolicy, tuple[Diagnostic, ...]]:
    """Return the resolved policy of ``source``, and notes about it that are no errors.

    Rules of included files come before a file's own, in the order in which they are included; a
    setting of the including file overrides included ones. Raises InputError with every error.
    """
    problems: list[Diagnostic] = []
    notes: list[Diagnostic] = []
    layers = layers_of(source, notes, files)
    main = layers[-1]

    arches = _abis(layers, "arches", tables, problems, notes)
    if arches is None:
        arches = [table.abi for table in tables.tables.values() if table.has_filters]
    compat = _abis(layers, "compat_arches", tables, problems, notes) or []
    _check_compat(layers, arches, compat, problems)

    default, default_origin = _action(layers, "default_action", None, problems)
    unknown, unknown_origin = _action(layers, "unknown_action", None, None)
    if unknown is None and setting(layers, KEY, None):
        unknown, unknown_origin = Action.errno("ENOSYS"), _origin(layers, KEY)
    bad_arch, bad_arch_origin = _action(
        layers, "bad_arch_action", Action(ActionKind.KILL_PROCESS), None
    )
    if default is None or bad_arch is None:
        raise InputError(*problems)

    if holder(layers, "syscalls") is None:
        text = (
            "'syscalls' is missing, so the filter would do nothing of its own; to answer every "
            "call alike, write syscalls: []"
        )
        problems.append(Diagnostic(text, main.position(), Problem.EMPTY_POLICY))
    answered = [tables.tables[name] for name in dict.fromkeys(a.name for a in (*arches, *compat))]
    horizon = horizon_of(layers, answered, tables, problems, notes)
    lists = written_rules(layers, answered, tables, problems, notes)
    rings = None
    if holder(layers, "io_uring"):
        from seccompgen.policy import ring_section  # noqa: PLC0415 - addresses; few policies have one

        rings = ring_section.section_rules(layers, arches, tables.facts, problems)
    if rings:
        lists = [*rings.calls, *ring_section.without_theirs(lists, layers, rings.section)]
    written = [one for rules in lists for one in rules]
    check_names(written, answered, tables, problems, notes)
    ground = Grounding(tables, answered, problems, notes, horizon or NO_LIMIT).ground(lists)
    rules = tuple(one.rule for one in ground.rules)
    if horizon:
        notes += newer_groups(horizon, written, ground.abis)
        if unknown and unknown != default:
            rules += unnamed_rules(horizon, rules, answered, unknown, _origin(layers, KEY))
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
        sources=tuple(one for layer in layers for one in layer.sources),
        in_memory=main.in_memory,
        foreign=main.reading is not None,
        reading=next((one.reading for one in layers if one.reading), PLAIN_READING),
        kernel=horizon.release if horizon else None,
        kernel_origin=_origin(layers, KEY) if horizon else None,
        without_flags=_without_flags(layers),
        unsaid=frozenset(key for key in _ACTIONS if holder(layers, key) is None),
        io_uring=rings.section if rings else None,
    )
    if rings and rings.mirror:
        from seccompgen.policy.ring_mirror import mirrored  # noqa: PLC0415 - few policies have one

        policy = replace(policy, io_uring=mirrored(policy, rings.named, tables, notes))
    problems += _unheard(policy)
    if not problems:
        check_dead(written, ground, answered, main.position().file, problems, notes)
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
        return layer.content[key], _origin(layers, key)
    if problems is not None:
        problems.append(no_default(layers))
    return default, _origin(layers, key)


def _origin(layers: list[Layer], key: str) -> Origin:
    """Return where ``key`` is set, or the first position of the policy's own file."""
    layer = holder(layers, key)
    return Origin(key, layer.position(key) if layer else layers[-1].position())


def _abis(
    layers: list[Layer],
    key: str,
    tables: Tables,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> list[Abi] | None:
    """Return the ABIs listed under ``key``; None if no layer sets it.

    ABIs that the tag lacks are left out with a note, so that one policy suits many tags; install()
    refuses if no program fits.
    """
    layer = holder(layers, key)
    if layer is None:
        return None
    result: list[Abi] = []
    left_out: list[Diagnostic] = []
    for i, spelling in enumerate(layer.content[key]):
        where = layer.position(key, i)
        abi = find_abi(spelling)
        table = tables.tables.get(abi.name) if abi else None
        if abi is None:
            problems.append(Diagnostic(unknown_abi(spelling), where, Problem.UNKNOWN_ABI))
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
    layer = holder(layers, "flags")
    if layer is None:
        return FilterFlag(0)
    flags: FilterFlag = layer.content["flags"]
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


def _without_flags(layers: list[Layer]) -> Position | None:
    """Return the first position of a file in our format if no layer sets ``flags``; else None."""
    main = layers[-1]
    if holder(layers, "flags") or main.in_memory or main.reading:
        return None
    return main.position()


def _unheard(policy: ResolvedPolicy) -> list[Diagnostic]:
    """Return an error for each user_notif without a listener: such calls fail with ENOSYS."""
    if policy.flags & FilterFlag.NEW_LISTENER:
        return []
    answers = [(rule.action, rule.position) for rule in policy.own_rules]
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
