"""Write a policy file from allowed calls by ABI, as text that ``load_policy`` can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import Action, ActionKind
from seccompgen.core.multiplexed import entrance
from seccompgen.core.settings import FilterFlag
from seccompgen.core.text import printable
from seccompgen.policy.groups import MARK, calls_of, find_stock_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.releases import Release
    from seccompgen.core.tables import Tables

AS_RUNTIMES = Action(ActionKind.KILL_THREAD)
"""A ``bad_arch_action`` that every output format can express.

It refuses as much as the default, killing the process: the call is not executed.
"""
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Allowed:
    """A call to allow if any of ``conditions`` holds, or always if there are none.

    ``comment`` is the reason for the rule, at most one line; it is written after the name.
    """

    name: str
    conditions: tuple[Predicate, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Rules with one ``action`` below the comment ``heading``.

    ``groups`` are names of stock groups to mention; ``comment`` follows them. ``calls`` are as in
    `write_policy`; with ``strict``, each rule is limited to the ABIs that need it. The rules of an
    ``offered`` section are commented out, for people to enable.
    """

    heading: str
    calls: Mapping[Abi, Sequence[Allowed]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    comment: str = ""
    action: Action = Action.ALLOW
    strict: bool = False
    offered: bool = False


def write_policy(
    description: str,
    calls: Mapping[Abi, Iterable[Allowed]],
    default_action: Action,
    tables: Tables,
    heading: str = "",
    *,
    arches: Iterable[Abi] | None = None,
    compat_arches: Iterable[Abi] = (),
    kernel: Release | None = None,
    unknown_action: Action | None = None,
    bad_arch_action: Action | None = None,
    flags: FilterFlag = FilterFlag.TSYNC,
    sections: Sequence[Section] = (),
) -> str:
    """Return a policy file that allows ``calls`` and answers ``default_action`` to all others.

    The ABIs of ``calls`` become its ``arches``, in that order, unless ``arches`` and
    ``compat_arches`` divide them. A call that one ABI needs is allowed on all ABIs that have it.
    Conditions are written with names; a rule is limited to some ABIs only if others need another
    condition or lack these names. A number in place of a name is limited to the ABIs that need it.
    ``kernel`` is the release that the calls were chosen from. ``heading`` becomes a comment at the
    top. The same values give the same text; names are sorted, one per line, for readable diffs.
    ``sections`` follow in their order, each with a few rules of one topic; the first rule that
    matches a call decides it.

    Raises ValueError if there is no ABI, no call, or a name that none of the ABIs has.
    """
    merged = _merge(calls)
    if not calls or not (merged or sections):
        raise ValueError("a policy needs an ABI and a call")
    known = [tables.tables[abi.name] for abi in calls]
    unknown = [name for name in merged if all(table.number_of(name) is None for table in known)]
    if unknown:
        raise ValueError(f"no ABI of the policy has {', '.join(unknown)}")
    written = [_SectionWriter(one, tuple(calls), tables) for one in sections]
    entries = [
        entry
        for name, wanted in merged.items()
        for entry in _entries(name, wanted, list(calls), tables)
    ]
    lines = [f"# {line}".rstrip() for line in _lines(heading)]
    if lines:
        lines.append("")
    if description.strip():
        lines += ["description: |", *(f"  {line}".rstrip() for line in _lines(description)), ""]
    lines.append(f"arches: [{_names(calls if arches is None else arches)}]")
    compat = _names(compat_arches)
    if compat:
        lines.append(f"compat_arches: [{compat}]")
    if kernel:
        lines.append(f"kernel: v{kernel} # newer calls that nothing here names: errno(ENOSYS)")
    lines.append(f"default_action: {default_action}")
    if unknown_action:
        lines.append(f"unknown_action: {unknown_action}")
    if bad_arch_action:
        why = " # as container runtimes and systemd do" if bad_arch_action == AS_RUNTIMES else ""
        lines.append(f"bad_arch_action: {bad_arch_action}{why}")
    unseen = [(one.name, one.when) for one in entries]
    unseen += [condition for one in written for condition in one.conditions()]
    if any(_is_unseen(name, when, tables, calls) for name, when in unseen):
        lines.append(f"multiplexed: {default_action} # where no filter sees the arguments")
    lines.append(f"flags: [{', '.join(flags.names)}]")
    lines.append("syscalls:")
    everywhere = {name for name in merged if all(name in table.numbers for table in known)}
    for optional in (False, True):
        lines += _groups(
            [one for one in entries if not one.abis and (one.name not in everywhere) is optional],
            "optional: true # not on all of these ABIs" if optional else "",
        )
    for abis in dict.fromkeys(one.abis for one in entries if one.abis):
        alike = [one for one in entries if one.abis == abis]
        lines += _groups(alike, f"arches: [{', '.join(abis)}]")
    for one in written:
        lines += one.lines()
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _WrittenCall:
    """A call as a rule writes it; ``when`` is its condition, empty for none.

    ``abis`` are the names of the ABIs that the rule is limited to, empty for all.
    """

    name: str
    comment: str
    when: str = ""
    abis: tuple[str, ...] = ()


def _names(abis: Iterable[Abi]) -> str:
    return ", ".join(abi.name for abi in abis)


def _merge(
    calls: Mapping[Abi, Iterable[Allowed]], *, sort: bool = True
) -> dict[str, dict[Abi, Allowed]]:
    """Merge the entries of each name by ABI: conditions add up, and an unconditional one wins."""
    merged: dict[str, dict[Abi, Allowed]] = {}
    for abi, wanted in calls.items():
        for one in wanted:
            same = merged.setdefault(one.name, {})
            old = same.get(abi, one)
            always = not one.conditions or not old.conditions
            conditions = () if always else tuple(dict.fromkeys(old.conditions + one.conditions))
            same[abi] = Allowed(one.name, conditions, old.comment or one.comment)
    return dict(sorted(merged.items())) if sort else merged


def _entries(
    name: str,
    wanted: Mapping[Abi, Allowed],
    abis: Sequence[Abi],
    tables: Tables,
    *,
    strict: bool = False,
) -> Iterator[_WrittenCall]:
    """Yield the entries for a call: one, or one for each condition that some ABIs need."""
    comment = next((one.comment for one in wanted.values() if one.comment), "")
    numbered = name.lstrip("-").isdecimal()
    if strict:
        yield from _strict_entries(name, comment, wanted, abis, tables)
        return
    if not all(one.conditions for one in wanted.values()):
        yield _WrittenCall(name, comment, "", tuple(abi.name for abi in wanted) if numbered else ())
        return
    has = [abi for abi in abis if name in tables.tables[abi.name].numbers]
    texts: dict[str, list[Abi]] = {}
    for abi, one in wanted.items():
        texts.setdefault(tables.naming.alternatives(one.conditions, name, abi), []).append(abi)
    for text, some in texts.items():
        alone = (
            not numbered
            and len(texts) == 1
            and all(abi in some or _is_readable(text, name, abi, tables) for abi in has)
        )
        yield _WrittenCall(name, comment, text, () if alone else tuple(abi.name for abi in some))


def _strict_entries(
    name: str,
    comment: str,
    wanted: Mapping[Abi, Allowed],
    abis: Sequence[Abi],
    tables: Tables,
) -> Iterator[_WrittenCall]:
    """Yield an entry for each condition on a call, for the ABIs that need it."""
    has = {abi for abi in abis if tables.tables[abi.name].number_of(name) is not None}
    texts: dict[str, list[Abi]] = {}
    for abi, one in wanted.items():
        text = tables.naming.alternatives(one.conditions, name, abi) if one.conditions else ""
        texts.setdefault(text, []).append(abi)
    for text, some in texts.items():
        numbered = name.lstrip("-").isdecimal()
        everywhere = not numbered and set(some) == has
        yield _WrittenCall(
            name, comment, text, () if everywhere else tuple(abi.name for abi in some)
        )


def _is_readable(text: str, call: str, abi: Abi, tables: Tables) -> bool:
    """Return True if ``abi`` has all names in a condition on ``call``."""
    # Imported here because most recordings have no condition.
    from seccompgen.policy.conditions import Lookup  # noqa: PLC0415
    from seccompgen.policy.expressions import parse_condition  # noqa: PLC0415

    return Lookup(tables.facts, abi).numbers(parse_condition(text), call) is not None


def _lines(text: str) -> list[str]:
    """Return ``text`` as printable lines: YAML forbids control characters even in comments."""
    lines = []
    for line in text.strip().split("\n"):
        shown = printable(line.rstrip())
        if len(shown) <= _WIDTH:
            lines.append(shown)
            continue
        import textwrap  # noqa: PLC0415 - few lines are long

        indent = " " * (len(shown) - len(shown.lstrip()))
        lines += textwrap.wrap(
            shown,
            _WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines if text.strip() else []


def _is_unseen(name: str, when: str, tables: Tables, abis: Iterable[Abi]) -> bool:
    """Return True if a call with a condition can also be made where a filter cannot check that."""
    way = entrance(name)
    return bool(when and way) and any(
        way is not None and way[0] in tables.tables[abi.name].numbers for abi in abis
    )


def _groups(entries: Sequence[_WrittenCall], setting: str) -> Iterator[str]:
    """Yield the lines of the rules for ``entries``, those without conditions first."""
    plain = [one for one in entries if not one.when]
    conditional = [one for one in entries if one.when]
    for group, key in ((plain, "names"), (conditional, "names_with_args")):
        if not group:
            continue
        yield "- action: allow"
        if setting:
            yield f"  {setting}"
        yield f"  {key}:"
        for one in group:
            words = printable(" ".join(one.comment.split()))
            comment = f" # {words}" if words else ""
            yield f"  - {'name: ' if one.when else ''}{one.name}{comment}"
            if one.when:
                yield from _wrapped(one.when)


class _SectionWriter:
    """A writer of one section for the given ABIs."""

    def __init__(self, section: Section, abis: tuple[Abi, ...], tables: Tables) -> None:
        self._section = section
        self._tables = tables
        known = [tables.tables[abi.name] for abi in abis]
        self._rules: dict[_SectionRule, list[str]] = {}
        if section.groups:
            rule = _SectionRule("", (), False, section.comment)
            self._rules[rule] = [f"'{MARK}{name}'" for name in section.groups]
        for name, wanted in _merge(section.calls, sort=False).items():
            optional = any(table.number_of(name) is None for table in known)
            for one in _entries(name, wanted, list(abis), tables, strict=section.strict):
                rule = _SectionRule(one.when, one.abis, optional and not one.abis, one.comment)
                self._rules.setdefault(rule, []).append(name)

    def conditions(self) -> Iterator[tuple[str, str]]:
        """Yield the calls of the section and their conditions, empty for none."""
        if self._section.offered:
            return
        for rule, names in self._rules.items():
            yield from ((name, rule.when) for name in names)
        for name in self._section.groups:
            group = find_stock_group(name)
            yield from ((one.name, one.when) for one in (calls_of(group) if group else ()))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the section."""
        if not self._rules:
            return
        yield from (f"# {line}".rstrip() for line in _lines(self._section.heading))
        for rule, names in self._rules.items():
            for line in self._rule(rule, names):
                yield f"#{line}" if self._section.offered else line

    def _rule(self, rule: _SectionRule, names: Sequence[str]) -> Iterator[str]:
        yield f"- action: {self._section.action}"
        if rule.abis:
            yield f"  arches: [{', '.join(rule.abis)}]"
        if rule.optional:
            yield "  optional: true # not on all of these ABIs"
        words = printable(" ".join(rule.comment.split()))
        listed = list(_wrapped(f"[{', '.join(names)}]", "  names: ", "    "))
        yield from listed[:-1]
        yield listed[-1] + (f" # {words}" if words else "")
        if rule.when:
            yield from _wrapped(rule.when, "  when: ", "    ")


class _SectionRule(NamedTuple):
    """The settings that the calls of a section's rule share."""

    when: str
    abis: tuple[str, ...]
    optional: bool
    comment: str


def _wrapped(expression: str, first: str = "    when: ", rest: str = "      ") -> Iterator[str]:
    """Yield the lines of an expression; YAML reads a line break in it as a blank."""
    if len(first + expression) <= _WIDTH:
        yield first + expression
        return
    import textwrap  # noqa: PLC0415 - few are long

    yield from textwrap.wrap(
        expression,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
