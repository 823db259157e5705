"""The profiles in a file of Kubernetes' objects: SeccompProfiles, and those in ConfigMaps.

The file may have other objects, separated by ``---``, and profiles may be values of a ConfigMap.
Each profile is returned as the text of the file with everything else blanked, so that positions in
it are those of the file. Only the profile itself is later parsed as YAML, by `reader`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SEPARATOR = re.compile(r"---(?:[ \t]|\r?$)")
_KIND = re.compile(r"kind:[ \t]*[\"']?([\w.-]+)")
_METADATA = re.compile(r"metadata:[ \t]*\r?$")
_NAME = re.compile(r"([ \t]+)name:[ \t]*[\"']?([\w.-]+)")
_VALUE = re.compile(r"([ \t]+)[\"']?([\w.-]+)[\"']?:[ \t]*[|>][-+0-9]*[ \t]*\r?$")
_PROFILE = re.compile(r"(?i)\bdefaultAction\b")
_TEMPLATE = re.compile(r"^[ \t]*\{\{-?[ \t]", re.MULTILINE)


class Cut(NamedTuple):
    """A profile in a file: its name, and the file's text with everything else blanked."""

    name: str
    text: str


class Objects(NamedTuple):
    """The profiles of a file, and its other objects: their kinds, names and first lines."""

    profiles: tuple[Cut, ...]
    others: tuple[tuple[str, int], ...] = ()


def is_template(text: str) -> bool:
    """Return True for a template of a Helm chart, which is not YAML until it is rendered."""
    return _TEMPLATE.search(text) is not None


def objects(text: str) -> Objects | None:
    """Return the objects in a file; None if it has no ``kind``, or one object but no ConfigMap."""
    lines = text.split("\n")
    if not any(map(_KIND.match, lines)):
        return None
    profiles: list[Cut] = []
    others: list[tuple[str, int]] = []
    documents = [one for one in _documents(lines) if any(map(str.strip, lines[slice(*one)]))]
    for start, end in documents:
        kind, name = _kind_and_name(lines[start:end])
        if kind == "ConfigMap":
            profiles += _values(lines, start, end)
        elif kind == "SeccompProfile":
            profiles.append(Cut(name or f"line-{start + 1}", _only(lines, start, end)))
        else:
            others.append((f"{kind or 'an object'} {name}".strip(), start + 1))
    if len(documents) == 1 and kind != "ConfigMap":
        return None
    return Objects(tuple(profiles), tuple(others))


def _documents(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the range of lines of each document: its first line, and the one after its last."""
    start = 0
    for at, line in enumerate(lines):
        if _SEPARATOR.match(line):
            yield start, at
            start = at + 1
    yield start, len(lines)


def _kind_and_name(lines: Sequence[str]) -> tuple[str, str]:
    """Return the kind and the name of an object, empty where it has none."""
    kind = next((found[1] for line in lines if (found := _KIND.match(line))), "")
    inside, indent = False, ""
    for line in lines:
        found = _NAME.match(line)
        if line[:1].strip():
            inside, indent = _METADATA.match(line) is not None, ""
        elif inside and line.strip():
            # A name that is indented further is a label's, or an owner's.
            indent = indent or line[: len(line) - len(line.lstrip())]
            if found and found[1] == indent:
                return kind, found[2]
    return kind, ""


def _values(lines: Sequence[str], start: int, end: int) -> Iterator[Cut]:
    """Yield the values of a ConfigMap that are profiles: blocks of text below ``data``."""
    at = start
    while at < end:
        found = _VALUE.match(lines[at])
        at += 1
        if not found:
            continue
        first = at
        while at < end and (not lines[at].strip() or lines[at].startswith(f"{found[1]} ")):
            at += 1
        if _PROFILE.search("\n".join(lines[first:at])):
            yield Cut(found[2], _only(lines, first, at))


def _only(lines: Sequence[str], start: int, end: int) -> str:
    """Return the text with all lines blank but those from ``start`` to before ``end``."""
    return "\n".join([*[""] * start, *lines[start:end], *[""] * (len(lines) - end)])
