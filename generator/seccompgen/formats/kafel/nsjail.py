"""The seccomp policy in a configuration of nsjail, a text-format protocol buffer."""

from __future__ import annotations

import re
from typing import NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.formats.kafel import CONFIGURATION
from seccompgen.formats.kafel.text import KafelSource

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_PART = re.compile(
    r"#[^\n]*"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')'
    r"|(?P<key>\bseccomp_(?:string|policy_file)\b)[ \t]*:?"
    r"|[^#\"'\s\w]|\w+"
)


class PolicyFile(NamedTuple):
    """The path of a policy file, and the position ``at`` which a configuration names it."""

    path: str
    at: Position


def policy_of_config(text: str, file: str) -> KafelSource | PolicyFile | None:
    """Return the policy that a configuration holds or names; None if ``text`` is no configuration.

    Adjacent strings are concatenated, as in C; each ``seccomp_string`` begins a new line.
    """
    if not re.search(CONFIGURATION, text):
        return None
    letters: list[str] = []
    origins: list[int] = []
    named: list[PolicyFile] = []
    key = ""
    for part in _PART.finditer(text):
        if part["key"]:
            key = part["key"]
            letters.append("\n")
            origins.append(part.start())
        elif part["string"] and key == "seccomp_string":
            for at, letter in _unescaped(text, part.start() + 1, part.end() - 1, file):
                letters.append(letter)
                origins.append(at)
        elif part["string"] and key:
            path = "".join(
                letter for _, letter in _unescaped(text, part.start() + 1, part.end() - 1, file)
            )
            named.append(PolicyFile(path, Position.after(file, text[: part.start()])))
        elif not part[0].startswith("#"):
            key = ""
    if named and "".join(letters).strip():
        what = "both seccomp_string and seccomp_policy_file: nsjail takes only one"
        raise InputError(Diagnostic(what, named[0].at, Problem.MALFORMED_FILE))
    if named:
        return named[-1]
    return KafelSource(file, "".join(letters), text, origins)


def _unescaped(text: str, start: int, end: int, file: str) -> list[tuple[int, str]]:
    """Return the characters of a string, each with its index in ``text``."""
    found = []
    at = start
    while at < end:
        letter, width = text[at], 1
        if letter == "\\":
            width = 2
            if text[at + 1] not in _ESCAPES:
                what = f"write {text[at + 1]!r} without \\, or the character itself"
                where = Position.after(file, text[:at])
                raise InputError(Diagnostic(what, where, Problem.MALFORMED_FILE))
            letter = _ESCAPES[text[at + 1]]
        found.append((at, letter))
        at += width
    return found
