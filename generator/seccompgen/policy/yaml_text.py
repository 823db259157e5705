"""Write the data of a policy as the text of a policy file."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from seccompgen.policy.form import keys_of
from seccompgen.policy.keys import POLICY_KEYS, NameWithConditions, SyscallGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_WIDTH = 96
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\([A-Za-z0-9]+\))?|v[0-9]+\.[0-9]+")
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
"""Words that some YAML parsers read as another value than text, in any case."""


def policy_text(data: dict[str, Any], comments: Mapping[int, Iterable[str]] | None = None) -> str:
    """Return the text of a policy file with ``data``, which must have passed `schema.validate`.

    ``comments`` are printable lines to write above a group of rules, by the group's index.
    """
    return "".join(f"{line}\n" for line in _lines(data, comments or {}))


def _lines(data: dict[str, Any], comments: Mapping[int, Iterable[str]]) -> Iterator[str]:
    for key in [key for key in POLICY_KEYS if key not in {"include", "syscalls"}]:
        if key == "description" and _is_block(data.get(key, "")):
            whole = data[key].endswith("\n")
            yield f"description: |{'' if whole else '-'}"
            yield from (f"  {line}".rstrip() for line in data[key].removesuffix("\n").split("\n"))
        elif key == "groups" and data.get(key):
            yield "groups:"
            for name, members in data[key].items():
                yield from (f"  {line}" for line in _listed(f"{name}: {_flow(members)}"))
        elif key in data:
            yield f"{key}: {_flow(data[key])}"
    yield "syscalls:" if data["syscalls"] else "syscalls: []"
    for i, group in enumerate(data["syscalls"]):
        yield from (f"# {line}" for line in comments.get(i, ()))
        yield from _item(_section(SyscallGroup, group))


def _section(form: type, data: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a group or an entry, in the order of the declared keys."""
    for key in (key for key in keys_of(form) if key in data):
        if key == "names":
            names = [name if isinstance(name, int) else _flow(name) for name in data[key]]
            yield from _listed(f"names: [{', '.join(map(str, names))}]")
        elif key == "names_with_args":
            yield f"{key}:"
            for entry in data[key]:
                yield from _item(_section(NameWithConditions, entry))
        elif key == "arguments":
            yield f"{key}:"
            yield from (f"- {_flow(argument)}" for argument in data[key])
        else:
            yield f"{key}: {_flow(data[key])}"


def _item(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a mapping that is an item of a list."""
    yield from (f"{'  ' if i else '- '}{line}" for i, line in enumerate(lines))


def _listed(text: str) -> list[str]:
    """Return the wrapped lines of a key with a list, which is nested below another key."""
    return textwrap.wrap(
        text, _WIDTH - 2, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _is_block(text: str) -> bool:
    """Return True if a YAML block scalar preserves ``text``: printable lines without odd blanks."""
    lines = text.removesuffix("\n").split("\n")
    ends = bool(lines[0] and lines[-1]) and lines[0][0] != " "
    return ends and all(line.isprintable() and line == line.rstrip() for line in lines)


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value > 9:
        return f"{value:#x}"
    return json.dumps(value)
