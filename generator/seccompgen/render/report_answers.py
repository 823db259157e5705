"""The answers of a filter in a report: in words, with a letter and a colour."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.call_kinds import Kind
from seccompgen.core.model import ActionKind, kind_of_ret

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.core.filter_summary import AnswerSummary, CallSummary, FilterSummary

_LETTERS = {
    ActionKind.ALLOW: ("A", "allow"),
    ActionKind.LOG: ("L", "log"),
    ActionKind.ERRNO: ("E", "errno"),
    ActionKind.KILL_PROCESS: ("K", "kill"),
    ActionKind.KILL_THREAD: ("K", "kill"),
    ActionKind.TRAP: ("T", "trap"),
    ActionKind.TRACE: ("R", "trace"),
    ActionKind.USER_NOTIF: ("N", "notify"),
}
"""The letter of an action in the matrix, and the CSS class of its colour."""


class AnswerWords(NamedTuple):
    """An answer and its condition; ``letter`` and ``name``, a CSS class, are for its sign."""

    action: str
    condition: str
    otherwise: bool
    letter: str
    name: str


def names_of(summary: FilterSummary) -> list[str]:
    """Return the calls that have a name."""
    return [n for n, entries in summary.by_name.items() if entries[0].kind is not Kind.UNNAMED]


def words_of(entry: CallSummary) -> tuple[tuple[AnswerWords, ...], list[list[str]]]:
    """Return the answers to a call, and for each the positions of the rules that give it.

    If all arguments get one answer, there is one entry.
    """
    places = [list(rule_of(one)) for one in entry.answers]
    if entry.only:
        always = AnswerWords(entry.only.action, "", False, *letter_of(entry.only.ret))
        return (always,), [[place for some in places for place in some]]
    words = (
        AnswerWords(one.action, one.condition, one.otherwise, *letter_of(one.ret))
        for one in entry.answers
    )
    return tuple(words), places


def rule_of(answer: AnswerSummary) -> tuple[str, ...]:
    """Return the position of the rule that gives an answer, if there is one."""
    placed = answer.origin is not None and answer.origin.position.line
    return (short_place(answer.origin.position),) if answer.origin and placed else ()


def answer_text(entry: CallSummary) -> str:
    """Return the answers to a call as text."""
    whens: dict[str, list[str]] = {}
    for one in words_of(entry)[0]:
        whens.setdefault(one.action, []).append("" if one.otherwise else one.condition)
    several = len(whens) > 1
    parts = (
        f"{action} otherwise" if several and "" in conditions else _conditional(action, conditions)
        for action, conditions in whens.items()
    )
    return "; ".join(parts) or "undecided"


def _conditional(action: str, conditions: list[str]) -> str:
    return " if ".join(filter(None, (action, " or ".join(filter(None, conditions)))))


def letter_of(ret: int) -> tuple[str, str]:
    """Return the letter and the CSS class of an answer, a SECCOMP_RET value."""
    return _LETTERS[kind_of_ret(ret)]


def short_place(position: Position) -> str:
    """Return the file name and line of a position; directories are omitted, as private."""
    return f"{PurePath(position.file).name}:{position.line}"
