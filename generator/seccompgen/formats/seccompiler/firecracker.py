"""Filters of Firecracker's as libseccomp reads them, which newer Firecrackers compile them with.

The file is seccompiler's. What differs: ``dword`` counts where values are compared by ``eq``, all
other comparisons are of 64 bits; a rule without ``args`` decides its call alone; calls that the
machine lacks are skipped; other ABIs, x32 among them, get kill_thread.

Source: Firecracker's src/seccompiler, types.rs and lib.rs, since pull request 4926.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seccompgen.core.model import U32, Action, Op
from seccompgen.formats.oci.form import Match, Profile, ProfileEntry, Where

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.errors import Position
    from seccompgen.policy.document import Document, Path

_OPS = {
    "eq": Op.EQ,
    "ne": Op.NE,
    "lt": Op.LT,
    "le": Op.LE,
    "gt": Op.GT,
    "ge": Op.GE,
}


def profile_of(document: Document, name: str, mismatch: str, match: str) -> Profile:
    """Return the filter ``name``, whose form is right, as rules for libseccomp.

    ``mismatch`` and ``match`` are its actions, in our words.
    """
    start = document.position((name,))
    entries = tuple(
        _entry(document, (name, "filter", i), rule, Action.parse(match))
        for i, rule in enumerate(document.data[name]["filter"])
    )
    return Profile(
        default=Action.parse(mismatch),
        architectures=None,
        machines=(),
        flags=None,
        entries=entries,
        listener=None,
        position=start,
        default_position=start,
        flags_position=start,
    )


def read_otherwise(document: Document, name: str) -> Position | None:
    """Return the first place that libseccomp reads otherwise than seccompiler, None if nothing."""
    rules: list[dict[str, Any]] = document.data[name]["filter"]
    tested = {rule["syscall"] for rule in rules if rule.get("args")}
    for i, rule in enumerate(rules):
        path: Path = (name, "filter", i)
        if not rule.get("args") and rule["syscall"] in tested:
            return document.position(path)
        for n, test in enumerate(rule.get("args") or ()):
            if test["type"] == "dword" and _name(test["op"]) not in {"eq", "masked_eq"}:
                return document.position((*path, "args", n))
            if test["type"] == "dword" and any(number > U32 for number in _numbers(test)):
                return document.position((*path, "args", n))
    return None


def _entry(document: Document, path: Path, rule: dict[str, Any], action: Action) -> ProfileEntry:
    where = document.position(path)
    matches = tuple(
        _match(test, document.position((*path, "args", n)))
        for n, test in enumerate(rule.get("args") or ())
    )
    names = ((rule["syscall"], document.position((*path, "syscall"))),)
    return ProfileEntry(names, action, matches, Where(), Where(), where)


def _match(test: dict[str, Any], where: Position) -> Match:
    name, value = _name(test["op"]), test["val"]
    if name == "masked_eq":
        return Match(test["index"], Op.MASKED_EQ, test["op"]["masked_eq"], value, where)
    if name == "eq" and test["type"] == "dword":
        return Match(test["index"], Op.MASKED_EQ, U32, value, where)
    return Match(test["index"], _OPS[name], value, 0, where)


def _name(op: str | dict[str, Any]) -> str:
    return op if isinstance(op, str) else next(iter(op))


def _numbers(test: dict[str, Any]) -> Iterable[int]:
    return (test["op"]["masked_eq"],) if _name(test["op"]) == "masked_eq" else ()
