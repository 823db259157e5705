"""Rules that can never match, and rules that only repeat others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import Diagnostic
from seccompgen.core.model import ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.reach import reach
from seccompgen.core.text import some
from seccompgen.policy.expressions import tests_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Rule
    from seccompgen.core.tables import Table
    from seccompgen.policy.ground import Ground, GroundRule, WrittenRule

_Hiders: TypeAlias = "tuple[Rule, ...]"
_Verdicts: TypeAlias = "dict[Abi, _Hiders | None]"


def check_dead(
    written: Sequence[WrittenRule],
    ground: Ground,
    answered: Sequence[Table],
    main: str,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> None:
    """Report rules that can match nothing on any ABI that has the call.

    Two cases are only notes: a rule that repeats others with the same action, for example those of
    an included file, and a condition that is never true on some ABIs only, because their arguments
    are too short. A condition whose mask lacks bits of its value has a note already. Files that
    ``main`` includes side by side may refuse the same call.
    """
    said = {(note.kind, note.position): note.message for note in notes}
    verdicts = _verdicts(ground, answered)
    own: dict[int, list[Rule]] = {}
    for made in ground.rules:
        if made.source is not None:
            own.setdefault(made.source, []).append(made.rule)
    _check_mentions(written, verdicts, main, problems, notes)
    for place, (one, found) in enumerate(zip(written, verdicts, strict=True)):
        if one.mention or not found:
            continue
        if not _is_dead(found):
            _note_never(one, found, notes)
            continue
        hiders = max(found.items(), key=lambda item: item[0].argument_bits)[1] or ()
        every = [rule for rules in (hiders, *found.values()) for rule in rules or ()]
        values = [test.value_at for test in tests_of(one.expression)] if one.expression else []
        if any((Problem.MASK_NEVER_MATCHES, at) in said for at in values) and not every:
            continue
        if _composes(one, every, main):
            continue
        if {rule.action for rule in every} == {one.action}:
            text = f"{one.name!r} repeats {every[0].position}"
            notes.append(Diagnostic(text, one.position, Problem.REPEATED_RULE))
            continue
        narrow = {abi.argument_bits for abi in found} == {32}
        short = narrow and _lives_in_64_bits(own.get(place, []), hiders)
        wide = [said[key] for at in values if (key := (Problem.VALUE_TOO_WIDE, at)) in said]
        text = _explain(one, hiders, wide, narrow=short)
        problems.append(Diagnostic(text, one.position, Problem.DEAD_RULE))


def _is_dead(found: _Verdicts) -> bool:
    return all(hiders is not None for hiders in found.values())


def _composes(one: WrittenRule, hiders: Collection[Rule], main: str) -> bool:
    """Return True if included files refuse the same: each of them holds without the others.

    It does not matter which errno of the two is the answer. An answer of another kind does.
    """
    file = one.position.file
    kinds = {one.action.kind, *(other.action.kind for other in hiders)}
    aside = any(other.position.file != file for other in hiders)
    return file != main and aside and kinds == {ActionKind.ERRNO}


def _check_mentions(
    written: Sequence[WrittenRule],
    verdicts: Sequence[_Verdicts],
    main: str,
    problems: list[Diagnostic],
    notes: list[Diagnostic],
) -> None:
    """Report groups without a live call, and calls of a refusing group that earlier rules permit.

    Groups overlap, and earlier rules serve as exceptions from groups: calls that they refuse, or
    answer alike, are not reported.
    """
    mentions: dict[Position, list[tuple[WrittenRule, _Verdicts]]] = {}
    for one, found in zip(written, verdicts, strict=True):
        if one.mention and found:
            mentions.setdefault(one.position, []).append((one, found))
    for position, members in mentions.items():
        group, action = members[0][0].mention, members[0][0].action
        dead = [(one, _hiders(found)) for one, found in members if _is_dead(found)]
        if len(dead) < len(members):
            names = [
                one.name
                for one, hiders in dead
                if any(other.action.kind.lets_through for other in hiders)
            ]
            if names and not action.kind.lets_through:
                text = f"earlier rules allow calls of {group}: {some(names)}"
                notes.append(Diagnostic(text, position, Problem.HIDDEN_CALLS))
            continue
        hidden_by = {other for _, hiders in dead for other in hiders}
        if _composes(members[0][0], hidden_by, main):
            continue
        first = min(hidden_by, key=lambda other: other.position, default=None)
        if first is None:
            text = f"{group} can never match: {members[0][0].expression} is never true"
            problems.append(Diagnostic(text, position, Problem.DEAD_RULE))
        elif {other.action for other in hidden_by} == {action}:
            text = f"earlier rules have every call of {group}, the first at {first.position}"
            notes.append(Diagnostic(text, position, Problem.REPEATED_RULE))
        else:
            text = f"{group} can never match: earlier rules answer all of its calls, "
            text += f"the first {first.action} at {first.position}"
            problems.append(Diagnostic(text, position, Problem.DEAD_RULE))


def _hiders(found: _Verdicts) -> _Hiders:
    return tuple(dict.fromkeys(rule for rules in found.values() for rule in rules or ()))


def _verdicts(ground: Ground, answered: Sequence[Table]) -> list[_Verdicts]:
    """Return the rules that hide each written rule, by each ABI that it applies to.

    The hiders are None if some call reaches the rule, and empty if its condition is never true.
    """
    found: list[_Verdicts] = [dict.fromkeys(abis, ()) for abis in ground.abis]
    for table in answered:
        abi = table.abi
        by_number: dict[int, list[GroundRule]] = {}
        for one in ground.rules:
            number = table.number_of(one.rule.name) if one.rule.applies_to(abi) else None
            if number is not None:
                by_number.setdefault(number, []).append(one)
        for rules in by_number.values():
            result = reach(tuple(one.rule for one in rules), abi.argument_bits)
            dead = {one.index: one.hidden_by for one in result.dead}
            sources: dict[Rule, set[int | None]] = {}
            for one in rules if dead else ():
                sources.setdefault(one.rule, set()).add(one.source)
            for i, one in enumerate(rules):
                if one.source is None:
                    continue
                before = found[one.source][abi]
                if i not in dead or before is None:
                    found[one.source][abi] = None
                else:
                    others = (rule for rule in dead[i] if sources[rule] != {one.source})
                    found[one.source][abi] = tuple(dict.fromkeys((*before, *others)))
    return found


def _note_never(one: WrittenRule, found: _Verdicts, notes: list[Diagnostic]) -> None:
    """Report ABIs on which the condition of a live rule is never true."""
    never = [abi for abi, hiders in found.items() if hiders == ()]
    if never and not one.optional:
        short = ", where arguments have 32 bits" if never[0].argument_bits == 32 else ""
        text = f"{one.expression} is never true on {some([abi.name for abi in never])}{short}: "
        text += f"this rule for {one.name!r} is skipped there"
        notes.append(Diagnostic(text, one.position, Problem.RULE_SKIPPED))


def _lives_in_64_bits(own: Sequence[Rule], hiders: _Hiders) -> bool:
    """Return True if any of the rules ``own`` could match if arguments had 64 bits."""
    dead = [one for one in reach((*hiders, *own)).dead if one.index >= len(hiders)]
    return len(dead) < len(own)


def _explain(one: WrittenRule, hiders: _Hiders, wide: Sequence[str], *, narrow: bool) -> str:
    """Return why a rule is dead; ``narrow`` if only because arguments have 32 bits.

    ``wide`` are messages about values that do not fit into the bits that the kernel reads.
    """
    where = " where arguments have 32 bits" if narrow else ""
    if not hiders:
        never = f"this rule for {one.name!r} can never match"
        return f"{never}: {'; '.join(wide) or f'{one.expression} is never true'}{where}"
    what = f"{one.name!r} where {one.expression}" if one.expression else f"{one.name!r}"
    shown = [f"{rule.action} at {rule.position}" for rule in hiders[:3]]
    more = f" and {len(hiders) - 3} more" if len(hiders) > 3 else ""
    return (
        f"this rule for {what} can never match: {', '.join(shown)}{more} "
        f"comes first and answers all of it{where}"
    )
