"""Write a policy file: allowed calls by ABI, as text that ``load_policy`` reads back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import U64, All, Comparison, FilterFlag, Op
from seccompgen.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action, Predicate
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
    ``compat_arches`` say which are what. A rule has no ABI, so what one ABI needs is allowed on all
    that have a call of that name. ``heading`` becomes a comment at the top. The same values give
    the same text; names are sorted, one a line, so that differences read well.

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
    if flags:
        lines.append(f"flags: [{', '.join(flags.names)}]")
    lines.append("syscalls:")
    everywhere = {name for name in merged if all(name in numbers for numbers in has)}
    for optional in (False, True):
        group = [one for name, one in merged.items() if (name not in everywhere) is optional]
        lines += _group(group, optional=optional)
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


def _group(allowed: list[Allowed], *, optional: bool) -> Iterator[str]:
    """Yield the groups of rules for ``allowed``, first those without conditions."""
    plain = [one for one in allowed if not one.conditions]
    conditional = [one for one in allowed if one.conditions]
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
            for condition in one.conditions:
                yield f"  - name: {one.name}{comment}"
                yield "    arguments:"
                yield from (f"    - {_argument(test)}" for test in _tests(condition))


def _tests(condition: Predicate) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, All):
        for part in condition.parts:
            yield from _tests(part)


def _argument(test: Comparison) -> str:
    fields = [f"argument: {test.argument}", f"operation: {test.op}"]
    fields.append(f"value: {_number(test.value)}")
    if test.op is Op.MASKED_EQ:
        fields.append(f"mask: {_number(test.mask)}")
    if test.width != U64.bit_length():
        fields.append(f"width: {test.width}")
    return f"{{{', '.join(fields)}}}"


def _number(value: int) -> str:
    return str(value) if value < 10 else f"{value:#x}"
