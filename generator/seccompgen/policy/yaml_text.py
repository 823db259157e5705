"""Write the data of a policy as the text of a policy file."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from seccompgen.policy.form import keys_of
from seccompgen.policy.keys import POLICY_KEYS, NameWithConditions, SyscallGroup
from seccompgen.policy.ring_keys import IoUring, OperationGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.policy.document import Path

_WIDTH = 96
_PLAIN = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]*(\([A-Za-z0-9]+\))?|v[0-9]+\.[0-9]+|[A-Za-z_.][A-Za-z0-9_./+-]*\.yml"
)
_PLAIN_CONDITION = re.compile(r"[A-Za-z0-9(][A-Za-z0-9_ ()&|~<>=!{},^+-]*")
"""Conditions that are the same text in YAML without quotes."""
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
"""Words that some YAML parsers read as another value than text, in any case."""


def policy_text(data: dict[str, Any], comments: Mapping[Path, Sequence[str]] | None = None) -> str:
    """Return the text of a policy file with ``data``, which must have passed `schema.validate`.

    ``comments`` are printable lines to write above the parts of the file, by path: ``()`` is its
    head, and the index after the last group its end. An empty line stays one.
    """
    return "".join(f"{line}\n" for line in _lines(data, comments or {}))


def _lines(data: dict[str, Any], comments: Mapping[Path, Sequence[str]]) -> Iterator[str]:
    if comments.get(()):
        yield from (*_comment(comments[()]), "")
    for key in [key for key in POLICY_KEYS if key not in {"syscalls", "io_uring"}]:
        if key == "description" and _is_long(data.get(key, "")):
            yield "description: >-"
            yield from (f"  {line}" for line in _wrapped(data[key]))
        elif key == "description" and _is_block(data.get(key, "")):
            whole = data[key].endswith("\n")
            yield f"description: |{'' if whole else '-'}"
            yield from (f"  {line}".rstrip() for line in data[key].removesuffix("\n").split("\n"))
        elif key == "groups" and data.get(key):
            yield "groups:"
            for name, members in data[key].items():
                yield from (f"  {line}" for line in _listed(f"{name}: {_flow(members)}"))
        elif key in data:
            yield from _setting(key, data[key])
    yield "syscalls:" if data["syscalls"] else "syscalls: []"
    for i, group in enumerate((*data["syscalls"], None)):
        lines = comments.get(("syscalls", i), ())
        if i and (lines or (group is not None and ("syscalls", i - 1) in comments)):
            yield ""
        yield from _comment(lines)
        if group is not None:
            yield from _item(_section(SyscallGroup, group, ("syscalls", i), comments))
    if data.get("io_uring") is not None:
        yield "io_uring:"
        yield from (f"  {line}" for line in ring_lines(data["io_uring"], comments))


def ring_lines(data: dict[str, Any], comments: Mapping[Path, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of the section ``io_uring``, without indentation."""
    for key in (key for key in keys_of(IoUring) if key in data):
        if key != "operations":
            yield from _setting(key, data[key])
        elif not data[key]:
            yield "operations: []"
        else:
            yield "operations:"
            for i, group in enumerate(data[key]):
                place = ("io_uring", key, i)
                yield from _comment(comments.get(place, ()))
                yield from _item(_section(OperationGroup, group, place, comments))


def _section(
    form: type, data: dict[str, Any], path: Path, comments: Mapping[Path, Sequence[str]]
) -> Iterator[str]:
    """Yield the lines of a group or an entry in the order of the declared keys, ``when`` last."""
    keys = sorted(keys_of(form), key=lambda key: key == "when")
    for key in (key for key in keys if key in data):
        if key == "names":
            yield from _names(data[key], (*path, key), comments)
        elif key == "names_with_args":
            yield f"{key}:"
            for j, entry in enumerate(data[key]):
                place = (*path, key, j)
                yield from _comment(comments.get(place, ()))
                yield from _item(_section(NameWithConditions, entry, place, comments))
        elif key == "arguments":
            yield f"{key}:"
            yield from (f"- {_flow(argument)}" for argument in data[key])
        elif key == "when" and _PLAIN_CONDITION.fullmatch(data[key]):
            yield from _condition(f"{key}: {data[key]}")
        else:
            yield from _setting(key, data[key])


def _condition(text: str) -> list[str]:
    """Return the wrapped lines of a condition; a long union is broken at its operators."""
    lines = _listed(text)
    if max(map(len, lines)) <= _WIDTH - 2:
        return lines
    return _listed(re.sub(r"(?<=\w)\|(?=\w)", " | ", text))


def _setting(key: str, value: Any) -> list[str]:
    """Return the lines of a key; a list is wrapped."""
    text = f"{key}: {_flow(value)}"
    return _listed(text) if isinstance(value, list) else [text]


def _names(
    names: Sequence[int | str], path: Path, comments: Mapping[Path, Sequence[str]]
) -> Iterator[str]:
    """Yield a list of names: each on a line if one of them has a comment."""
    texts = [str(name) if isinstance(name, int) else _flow(name) for name in names]
    if not any((*path, j) in comments for j in range(len(names))):
        yield from _listed(f"names: [{', '.join(texts)}]")
        return
    yield "names:"
    for j, text in enumerate(texts):
        lines = list(_comment(comments.get((*path, j), ())))
        if len(lines) == 1 and len(text) + len(lines[0]) <= _WIDTH - 5:
            yield f"- {text} {lines[0]}"
        else:
            yield from (*lines, f"- {text}")


def _comment(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a comment; long ones are wrapped."""
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        wrapped = textwrap.wrap(
            line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        yield from (f"# {one}" for one in wrapped) if wrapped else [""]


def _item(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a mapping that is an item of a list."""
    yield from (f"{'  ' if i else '- '}{line}" for i, line in enumerate(lines))


def _listed(text: str) -> list[str]:
    """Return the wrapped lines of a key with a list, which is nested below another key."""
    return textwrap.wrap(
        text, _WIDTH - 2, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _is_long(text: str) -> bool:
    """Return True for a line that YAML may fold: printable words with single blanks."""
    return len(text) > _WIDTH and text.isprintable() and text == " ".join(text.split())


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)


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
