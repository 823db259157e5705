"""Verdicts on an attack's outcomes: held off, not tried and why, or what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from escape.attack import Outcome

if TYPE_CHECKING:
    from escape.attack import Attack

ANSWERS = {"EPERM", "EACCES", "ENOSYS", "ENOTTY", "EAFNOSUPPORT", "EPROTONOSUPPORT"}
"""The errnos with which the stock policies refuse."""

_NOT_HERE = {
    Outcome("refused", "ENOSYS"): "the kernel lacks the call",
    Outcome("refused", "EPERM"): "it is not permitted here, filter or not",
}


class Judgement(NamedTuple):
    """Of both empty, the policy has kept its word; "untried" has the reason."""

    untried: str = ""
    wrong: str = ""


def judged(one: Attack, free: Outcome, confined: Outcome, *, chosen: bool = False) -> Judgement:
    """Judge an attack by what it came to without the filter and with it.

    Without the filter it must get what it wants: so none is held off because it does not work at
    all. Where the kernel or a filter of others refuses it, it was not tried, and the reason is the
    answer. ``chosen`` is True on a kernel that we chose, which must let it through. What a policy
    does not promise, an attack from "outside", must be possible.
    """
    if free.kind == "broken" or confined.kind == "broken":
        return Judgement(wrong=f"without the filter: {free}; with it: {confined}")
    if confined.kind == "escaped" and not one.outside:
        return Judgement(wrong="escaped")
    if free.kind == "unavailable":
        return Judgement(untried=free.detail)
    if free in _NOT_HERE:
        return Judgement(untried=_NOT_HERE[free])
    if free.kind != "escaped":
        if chosen or (free.kind == "killed" and free.detail != "SIGSYS"):
            return Judgement(wrong=f"without the filter: {free}")
        return Judgement(untried=f"without our filter the kernel answers: {free}")
    if one.outside:
        return Judgement() if confined.kind == "escaped" else Judgement(wrong=str(confined))
    held = {
        "refused": confined.detail in ANSWERS,
        "killed": confined.detail == "SIGSYS",
        "foiled": True,
    }
    return Judgement() if held.get(confined.kind) else Judgement(wrong=str(confined))
