"""Write a policy file: allowed calls by ABI, as text that ``load_policy`` reads back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64, FilterFlag, Op
from seccompgen.core.multiplexed import entrance
from seccompgen.core.naming import Naming
from seccompgen.core.sets import comparisons
from seccompgen.core.spelling import number
from seccompgen.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action, Comparison, Predicate
    from seccompgen.core.tables import Tables

_NO_FLAGS = FilterFlag(0)
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Allowed:
    """A call that shall be allowed: where any of ``conditions`` holds, or always if there are none.

    ``comment`` is the reason for the rule, at most one line; it is written behind the name.
    """

    name: str
    conditions: tuple[Predicate, ...] = ()
    comment: str = ""


def write_policy(
    description: str,
    calls: Mapping[Abi, Iterable[Allowed]],
    default_action: Action,
    tables: Tables,
    heading: str = "",
    *,
    arches: Iterable[Abi] | None = None,
    compat_arches: Iterable[Abi] = (),
    unknown_action: Action | None = None,
    flags: FilterFlag = _NO_FLAGS,
) -> str:
    """Return a policy file that allows ``calls`` and answers ``default_action`` to all others.

    The ABIs of ``calls`` become its ``arches``, in that order, unless ``arches`` and
    ``compat_arches`` say which are what. What one ABI needs is allowed on all that have a call of
    that name. ``heading`` becomes a comment at the top. Arguments and constants have names where
    these mean the same on all ABIs. The same values give the same text; names are sorted, one a
    line, so that differences read well.

    Raises ValueError for no ABI, no call, and a name that the tables of none of the ABIs have.
    """
    merged = _merge(calls)
    if not merged:
        raise ValueError("a policy needs an ABI and a call")
    has = [tables.tables[abi.name].numbers for abi in calls]
    unknown = [name for name in merged if not any(name in numbers for numbers in has)]
    if unknown:
        raise ValueError(f"no ABI of the policy has {', '.join(unknown)}")
    lines = [f"# {line}".rstrip() for line in _lines(heading)]
    if lines:
        lines.append("")
    if description.strip():
        lines += ["description: |", *(f"  {line}".rstrip() for line in _lines(description)), ""]
    lines.append(f"arches: [{_names(calls if arches is None else arches)}]")
    compat = _names(compat_arches)
    if compat:
        lines.append(f"compat_arches: [{compat}]")
    lines.append(f"default_action: {default_action}")
    if unknown_action:
        lines.append(f"unknown_action: {unknown_action}")
    if any(_is_unseen(one, tables, calls) for one in merged.values()):
        lines.append(f"multiplexed: {default_action} # where no filter sees the arguments")
    if flags:
        lines.append(f"flags: [{', '.join(flags.names)}]")
    lines.append("syscalls:")
    everywhere = {name for name in merged if all(name in numbers for numbers in has)}
    for optional in (False, True):
        group = [one for name, one in merged.items() if (name not in everywhere) is optional]
        lines += _group(group, tables, list(calls), optional=optional)
    return "\n".join(lines) + "\n"


def _names(abis: Iterable[Abi]) -> str:
    return ", ".join(abi.name for abi in abis)


def _merge(calls: Mapping[Abi, Iterable[Allowed]]) -> dict[str, Allowed]:
    """Join what is said of each name: alternatives add up, and no condition beats any."""
    merged: dict[str, Allowed] = {}
    for one in (one for wanted in calls.values() for one in wanted):
        old = merged.get(one.name)
        if old:
            always = not one.conditions or not old.conditions
            conditions = () if always else tuple(dict.fromkeys(old.conditions + one.conditions))
            one = Allowed(one.name, conditions, old.comment or one.comment)  # noqa: PLW2901
        merged[one.name] = one
    return dict(sorted(merged.items()))


def _lines(text: str) -> list[str]:
    """Return printable lines of ``text``: YAML forbids control characters even in comments."""
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


def _is_unseen(one: Allowed, tables: Tables, abis: Iterable[Abi]) -> bool:
    """Return True if a call with conditions can also be made where these cannot be seen."""
    way = entrance(one.name)
    return bool(one.conditions and way) and any(
        way is not None and way[0] in tables.tables[abi.name].numbers for abi in abis
    )


def _group(
    allowed: list[Allowed], tables: Tables, abis: Sequence[Abi], *, optional: bool
) -> Iterator[str]:
    """Yield the groups of rules for ``allowed``, first those without conditions."""
    plain = [one for one in allowed if not one.conditions]
    conditional = [one for one in allowed if one.conditions]
    naming = Naming(tables.facts)
    for group, key in ((plain, "names"), (conditional, "names_with_args")):
        if not group:
            continue
        yield "- action: allow"
        if optional:
            yield "  optional: true # not on all of these ABIs"
        yield f"  {key}:"
        for one in group:
            words = printable(" ".join(one.comment.split()))
            comment = f" # {words}" if words else ""
            if not one.conditions:
                yield f"  - {one.name}{comment}"
                continue
            yield f"  - name: {one.name}{comment}"
            has = [abi for abi in abis if one.name in tables.tables[abi.name].numbers]
            yield from _wrapped(_expression(one, naming, has))


def _wrapped(expression: str) -> Iterator[str]:
    """Yield the lines of an expression; YAML reads the break of a line as a blank."""
    first, rest = "    when: ", "      "
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


def _expression(one: Allowed, naming: Naming, abis: Iterable[Abi]) -> str:
    """Return the conditions of a call as one: with names, where all ABIs have the same."""
    texts = {naming.alternatives(one.conditions, one.name, abi) for abi in abis}
    if len(texts) == 1:
        return texts.pop()
    return " or ".join(" and ".join(map(_numeric, comparisons(each))) for each in one.conditions)


def _numeric(test: Comparison) -> str:
    """Return ``test`` without names, the same on every ABI."""
    mask = test.mask & (U64 if test.width == 64 else U32)
    side = f"u{test.width}(arg{test.argument})"
    if test.op in {Op.ANY_BITS, Op.NO_BITS}:
        return f"{side} & {test.value:#x} {'!=' if test.op is Op.ANY_BITS else '=='} 0"
    masked = f"{side} & {mask:#x}" if mask.bit_count() != test.width else side
    return f"{masked} {'==' if test.op is Op.MASKED_EQ else test.op.value} {number(test.value)}"
