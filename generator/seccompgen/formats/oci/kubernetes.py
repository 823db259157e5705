"""The profiles in a file of Kubernetes' objects: SeccompProfiles, and those in ConfigMaps.

The file may have other objects, separated by ``---``, and profiles may be values of a ConfigMap.
Each profile is returned as the text of the file with everything else blanked, so that positions in
it are those of the file. Only the profile itself is later parsed as YAML, by `reader`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.formats.draft import chosen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.formats.draft import Draft

_SEPARATOR = re.compile(r"---(?:[ \t]|\r?$)")
_KIND = re.compile(r"kind:[ \t]*[\"']?([\w.-]+)")
_METADATA = re.compile(r"metadata:[ \t]*\r?$")
_NAME = re.compile(r"([ \t]+)name:[ \t]*[\"']?([\w.-]+)")
_VALUE = re.compile(r"([ \t]+)[\"']?([\w.-]+)[\"']?:[ \t]*[|>][-+0-9]*[ \t]*\r?$")
_QUOTED = re.compile(r"([ \t]+)[\"']?([\w.-]+)[\"']?:[ \t]*(?=[\"'])")
_PROFILE = re.compile(r"(?i)\bdefaultAction\b")
_TEMPLATE = re.compile(r"^[ \t]*(?=\{\{-?[ \t])", re.MULTILINE)


class Cut(NamedTuple):
    """A profile in a file: its name, and the file's text with everything else blanked."""

    name: str
    text: str


class Objects(NamedTuple):
    """The profiles of a file, and its other objects: their kinds, names and first lines.

    ``quoted`` has the lines and columns of profiles in quotes, and ``start`` is the line of the
    first object.
    """

    profiles: tuple[Cut, ...]
    others: tuple[tuple[str, int], ...] = ()
    quoted: tuple[tuple[int, int], ...] = ()
    start: int = 1


def one_profile(text: str, wanted: str | None, draft: Draft) -> str:
    """Return the profile called ``wanted``, or the only one, at its lines in the file."""
    if place := _template_place(text):
        what = "a template of Helm, which is no YAML yet: read what `helm template` writes"
        raise InputError(Diagnostic(what, Position(draft.file, *place), Problem.MALFORMED_FILE))
    found = objects(text)
    if found is None:
        return text
    if found.quoted:
        what = "a profile in quotes, in which no place can be named: write it as a block, after |"
        places = (Position(draft.file, *place) for place in found.quoted)
        raise InputError(*(Diagnostic(what, one, Problem.MALFORMED_FILE) for one in places))
    if not found.profiles:
        what = "no object here is a SeccompProfile, or a ConfigMap with one"
        where = Position(draft.file, found.start, 1)
        raise InputError(Diagnostic(what, where, Problem.MALFORMED_FILE))
    if found.others:
        what = f"left out, since they are no profiles: {some([name for name, _ in found.others])}"
        where = Position(draft.file, found.others[0][1], 1)
        draft.note(what, where, Problem.RULE_SKIPPED)
    name = chosen([one.name for one in found.profiles], wanted, Position(draft.file))
    return next(one.text for one in found.profiles if one.name == name)


def _template_place(text: str) -> tuple[int, int] | None:
    """Return the line and column at which text is a template of a Helm chart; None if nowhere.

    Such a template is not YAML until it is rendered.
    """
    found = _TEMPLATE.search(text)
    return (text.count("\n", 0, found.end()) + 1, len(found[0]) + 1) if found else None


def objects(text: str) -> Objects | None:
    """Return the objects in a file; None if it has no ``kind``, or one object but no ConfigMap."""
    lines = text.split("\n")
    if not any(map(_KIND.match, lines)):
        return None
    profiles: list[Cut] = []
    others: list[tuple[str, int]] = []
    quoted: list[tuple[int, int]] = []
    documents = [one for one in _documents(lines) if any(map(str.strip, lines[slice(*one)]))]
    for start, end in documents:
        kind, name = _kind_and_name(lines[start:end])
        if kind == "ConfigMap":
            profiles += _values(lines, start, end)
            quoted += _quoted(lines, start, end)
        elif kind == "SeccompProfile":
            profiles.append(Cut(name or f"line-{start + 1}", _only(lines, start, end)))
        else:
            others.append((f"{kind or 'an object'} {name}".strip(), start + 1))
    if len(documents) == 1 and kind != "ConfigMap":
        return None
    first = documents[0][0] + 1
    return Objects(tuple(profiles), tuple(others), tuple(quoted), first)


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
        first, at = at, _end_of_value(lines, at, end, found[1])
        if _PROFILE.search("\n".join(lines[first:at])):
            yield Cut(found[2], _only(lines, first, at))


def _quoted(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the line and column of each value of a ConfigMap that is a profile in quotes."""
    for at in range(start, end):
        found = _QUOTED.match(lines[at])
        if found:
            after = _end_of_value(lines, at + 1, end, found[1])
            if _PROFILE.search("\n".join(lines[at:after])):
                yield at + 1, found.end() + 1


def _end_of_value(lines: Sequence[str], at: int, end: int, indent: str) -> int:
    """Return the first line from ``at`` on that is indented no more than a value's key."""
    while at < end and (not lines[at].strip() or lines[at].startswith(f"{indent} ")):
        at += 1
    return at


def _only(lines: Sequence[str], start: int, end: int) -> str:
    """Return the text with all lines blank but those from ``start`` to before ``end``."""
    return "\n".join([*[""] * start, *lines[start:end], *[""] * (len(lines) - end)])
