"""Recognise common files that no command reads as a policy, and say what to do with them."""

from __future__ import annotations

import re
from typing import NamedTuple

from seccompgen.formats import READABLE

_LOOKED_AT = 1 << 16
_READ = ", ".join(READABLE)
_NOT_READ = (
    f"which no command reads: write its calls into a policy of ours; of others' formats "
    f"these are read: {_READ}"
)


class Unread(NamedTuple):
    """A kind of file. Its ``name`` follows "looks like" in messages; ``advice`` says what to do."""

    name: str
    advice: str
    sign: re.Pattern[str]


_UNREAD = (
    Unread("a program", "which 'seccompgen scan' reads", re.compile(r"\A\x7fELF")),
    Unread(
        "a script", "which 'seccompgen record -o POLICY -- COMMAND' watches", re.compile(r"\A#!")
    ),
    Unread(
        "a web page",
        "such as a server has for an error: download the file itself",
        re.compile(r"\A\s*(?:<!doctype html|<html)", re.I),
    ),
    Unread(
        "a Compose file",
        "and no policy: name the profile of its security_opt, the FILE in seccomp:FILE",
        re.compile(r"\A(?=[\s\S]*^[ \t]+(?:image|build):)[\s\S]*^services:[ \t]*$", re.M),
    ),
    Unread(
        "an object of Kubernetes",
        "and no policy: name the profile of its localhostProfile",
        re.compile(r"\A(?=[\s\S]*^kind:)[\s\S]*^apiVersion:", re.M),
    ),
    Unread(
        "a profile of AppArmor",
        _NOT_READ,
        re.compile(r"^(?:profile[ \t].*\{|[ \t]*#?include[ \t]+<(?:tunables|abstractions)/)", re.M),
    ),
    Unread(
        "a table of 'strace -c'",
        "and no policy: it is what --profile FILE takes; the output of strace without -c is read",
        re.compile(r"^% time +seconds", re.M),
    ),
    Unread(
        "a listing of seccomp-tools",
        "which no command reads: its 'dump -f raw' writes a .bpf, which all read with --arch",
        re.compile(r"^ *line +CODE +JT +JF +K", re.M),
    ),
    Unread(
        "a list of calls",
        "which does not say what it is for: if it is a snippet of snapd's, say --from snapd",
        re.compile(
            r"\A(?=(?:.*\n)*~?[a-z_][a-z0-9_]*$)"
            r"(?:(?:#.*|@unrestricted|@complain|~?[a-z_][a-z0-9_]*(?: [^:\n]+)?)?(?:\n|\Z))+\Z",
            re.M,
        ),
    ),
)
"""Kinds of files, the surest signs first; the last matches files whose lines are only names."""


def unread(content: bytes) -> str | None:
    """Return what ``content`` looks like, and what to do; None if it is not recognised."""
    text = content[:_LOOKED_AT].decode(errors="replace").replace("\r\n", "\n")
    found = next((one for one in _UNREAD if one.sign.search(text)), None)
    return found and f"looks like {found.name}, {found.advice}"
