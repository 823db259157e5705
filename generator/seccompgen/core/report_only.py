"""Report-only filters: the kernel permits and logs the calls that the policy refuses.

The program is that of the enforced filter, except that each answer that refuses a call is
SECCOMP_RET_LOG. So the kernel logs every call that would be refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import Action, ActionKind, kind_of_ret
from seccompgen.core.problems import Problem
from seccompgen.core.program import RET_K
from seccompgen.core.settings import FilterFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Instruction

SUFFIX = "_report_only"
"""The end of the name of each report-only filter; no policy's name may end so."""

REFUSES_NOTHING = "report only: refuses nothing; what its policy refuses is made, and logged"


def logging_policy(policy: ResolvedPolicy) -> ResolvedPolicy:
    """Return the policy of the report-only filter for ``policy``.

    Raises InputError if ``policy`` leaves calls to a supervisor, which a report-only filter has
    not, or filters rings.
    """
    problems = [Diagnostic(*one, Problem.NOT_REPORT_ONLY) for one in _supervised(policy)]
    if policy.io_uring:
        text = "io_uring: the kernel logs nothing of rings, so that nothing could be reported"
        problems.append(Diagnostic(text, policy.io_uring.position, Problem.NOT_REPORT_ONLY))
    if problems:
        raise InputError(*problems)
    return replace(
        policy,
        name=f"{policy.name}{SUFFIX}",
        default_action=_logging(policy.default_action),
        unknown_action=_logging(policy.unknown_action),
        bad_arch_action=_logging(policy.bad_arch_action),
        rules=tuple(replace(rule, action=_logging(rule.action)) for rule in policy.rules),
        enforced=policy,
    )


def logging_instructions(instructions: Iterable[Instruction]) -> tuple[Instruction, ...]:
    """Return the program with SECCOMP_RET_LOG in place of each answer that refuses a call."""
    return tuple(
        replace(one, k=ActionKind.LOG.value)
        if one.code == RET_K and not kind_of_ret(one.k).lets_through
        else one
        for one in instructions
    )


def _logging(action: Action) -> Action:
    return action if action.kind.lets_through else Action.LOG


def _supervised(policy: ResolvedPolicy) -> Iterator[tuple[str, Position]]:
    """Yield a message, with its position, for each setting that leaves calls to a supervisor."""
    said = [
        (policy.default_action, policy.default_origin.position),
        (policy.unknown_action, policy.unknown_origin.position),
        (policy.bad_arch_action, policy.bad_arch_origin.position),
        *((rule.action, rule.origin.position) for rule in policy.rules),
    ]
    advice = "allow these calls, or refuse them, in a policy that is built report-only"
    for action, where in dict.fromkeys(said):
        if action.kind is ActionKind.USER_NOTIF:
            yield f"user_notif: a report-only filter asks no supervisor; {advice}", where
    if policy.flags & FilterFlag.NEW_LISTENER:
        text = "new_listener: a report-only filter asks no supervisor; take it out of flags"
        yield text, Position(policy.file)
