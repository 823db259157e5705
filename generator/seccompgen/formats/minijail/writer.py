"""Write a policy as minijail's statements, or report why it cannot be expressed.

The first case of a statement that matches decides, as in our language, so cases may overlap.
minijail compares whole arguments: a test of some bits becomes several tests of these bits, which
must all hold. A default of ``allow`` makes a denylist, which lists only errnos to return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading
from seccompgen.core.model import RET_DATA_MAX, U64, ActionKind, Op, comparisons
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Sets
from seccompgen.core.settings import FilterFlag
from seccompgen.formats.numbered import (
    MOST_ALTERNATIVES,
    NUMBERED_ABIS,
    SAID_ELSEWHERE,
    Target,
    answered_calls,
    conjunctions,
    said_actions,
    settings_problems,
)
from seccompgen.formats.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Comparison, Predicate, ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.numbered import Answered

_FORM = "a minijail policy"
_TARGET = Target(
    _FORM, Problem.NOT_IN_MINIJAIL, ActionKind.KILL_THREAD, SAID_ELSEWHERE | FilterFlag.NEW_LISTENER
)
_DEFAULTS = {
    ActionKind.KILL_PROCESS,
    ActionKind.KILL_THREAD,
    ActionKind.TRAP,
    ActionKind.USER_NOTIF,
    ActionKind.ALLOW,
}


@dataclass(frozen=True, slots=True)
class Test:
    """``arg0 op value``; ``value`` of ``in`` has the bits that must be 0; ~value is written."""

    argument: int
    op: str
    value: int


@dataclass(frozen=True, slots=True)
class StatementCase:
    """The SECCOMP_RET value if one of ``alternatives`` holds, or if there are none."""

    alternatives: tuple[tuple[Test, ...], ...]
    ret: int


def _render(policy: ResolvedPolicy, abi: Abi, tables: Tables, release: int | None) -> bytes:
    """Return ``policy`` for ``abi`` as a file for compile_seccomp_policy.py.

    Its form also suits libminijail: one call per line, and braces only if one condition does not
    decide the call.
    """
    del release
    problems = [
        *settings_problems(policy, abi, tables, _TARGET),
        *_action_problems(policy, abi),
    ]
    default = policy.unknown_action.ret(abi)
    denies = default == ActionKind.ALLOW.value
    lines = [
        f"# {policy.name} for {abi.name}, from seccompgen.",
        "@denylist" if denies else f"@default {action_text(default)}",
    ]
    if not problems:
        sets = Sets()
        for call in answered_calls(policy, abi, tables):
            cases = _cases(call, abi, default, sets)
            if isinstance(cases, Diagnostic):
                problems.append(cases)
            elif cases:  # else it gets the default
                lines.append(f"{call.name}: {_statement(cases)}")
    if problems:
        raise InputError(*dict.fromkeys(problems), kind=Problem.NOT_IN_MINIJAIL)
    return "".join(f"{line}\n" for line in lines).encode()


def _action_problems(policy: ResolvedPolicy, abi: Abi) -> Iterator[Diagnostic]:
    default = policy.unknown_action
    if default.kind not in _DEFAULTS:
        text = (
            f"{_FORM} cannot express {policy.said('unknown_action')}: its default is kill_process, "
        )
        text += "kill_thread, trap, user_notif or allow; say one as unknown_action"
        yield Diagnostic(text, policy.unknown_origin.position)
    for action, origin in said_actions(policy, abi).items():
        if action.data and action.kind in {ActionKind.TRAP, ActionKind.TRACE}:
            name = action.kind.name.lower()
            text = f"{_FORM} has {name} without a number: say {name}, not {action}"
            yield Diagnostic(text, origin.position)
        denied = {ActionKind.ERRNO, ActionKind.ALLOW}
        if default.kind is ActionKind.ALLOW and action.kind not in denied:
            text = f"{_FORM} with a default of allow says errno of calls, and nothing else: "
            yield Diagnostic(f"{text}not {action}", origin.position)


def _cases(
    call: Answered, abi: Abi, default: int, sets: Sets
) -> tuple[StatementCase, ...] | Diagnostic:
    """Return the cases of a call's rules, or the error for one that cannot be expressed."""
    found: list[StatementCase] = []
    last = StatementCase((), call.rest.ret(abi)) if call.rest else None
    denies = default == ActionKind.ALLOW.value
    rest = last.ret if last else default
    left = [EVERYTHING]
    for rule in call.rules:
        ret = rule.action.ret(abi)
        alternatives = conjunctions(rule.condition, lambda test: _spelled(test, sets))
        if alternatives is None and rule is call.rules[-1] and ret != rest and not denies:
            # The rule matches all but a few values: a case for these few comes first.
            found.append(StatementCase(_others(rule.condition, sets), rest))
            alternatives = [()]
        if alternatives is None:
            text = f"{_FORM} would take more than {MOST_ALTERNATIVES} alternatives for "
            return Diagnostic(f"{text}{rule.name}; make its condition simpler", rule.position)
        if not alternatives:
            continue
        left = [piece for part in left for piece in sets.without(part, sets.box(rule.condition))]
        if len(left) > MOST_ALTERNATIVES:
            left = [EVERYTHING]
        always = () in alternatives or not any(NOTHING not in piece for piece in left)
        if always and ret == default:
            return tuple(found)
        if denies and ret == default:
            text = f"{_FORM} with a default of allow has no exceptions: {rule.name} is allowed "
            return Diagnostic(f"{text}here before another rule refuses it", rule.position)
        if always:
            last = StatementCase((), ret)
            while found and found[-1].ret == ret:
                found.pop()
            break
        if found and found[-1].ret == ret:
            alternatives = [*found.pop().alternatives, *alternatives]
        found.append(StatementCase(tuple(dict.fromkeys(alternatives)), ret))
    return (*found, _last(last, found)) if last else tuple(found)


def _last(case: StatementCase, before: list[StatementCase]) -> StatementCase:
    """Return the last case, which answers all other arguments.

    If a statement ends with a plain allow, compile_seccomp_policy.py ignores its other cases and
    allows the call with any arguments. An allow whose condition always holds avoids that.
    """
    if before and case.ret == ActionKind.ALLOW.value:
        return StatementCase(((Test(0, ">=", 0),),), case.ret)
    return case


def _others(condition: Predicate | None, sets: Sets) -> tuple[tuple[Test, ...], ...]:
    """Return the negation of a condition as alternatives."""
    return tuple(
        masked_tests(test.argument, mask, value)
        for test in comparisons(condition)
        for mask, value in sets.cubes(sets.minus(ALL, sets.of(test)))
    )


def _spelled(test: Comparison, sets: Sets) -> list[tuple[Test, ...]]:
    """Return a comparison as alternatives."""
    whole = test.width == 64 and test.mask == U64
    match test.op:
        case Op.ANY_BITS:
            return [(Test(test.argument, "&", test.value),)]
        case Op.NO_BITS:
            return [masked_tests(test.argument, test.value, 0)]
        case Op.MASKED_EQ if not test.value & ~test.mask:
            return [masked_tests(test.argument, test.mask, test.value)]
        case _ if whole:
            return [(Test(test.argument, test.op.value, test.value),)]
    return [masked_tests(test.argument, mask, value) for mask, value in sets.cubes(sets.of(test))]


def masked_tests(argument: int, mask: int, value: int) -> tuple[Test, ...]:
    """Return tests that all hold if and only if ``argument & mask == value``."""
    if mask == U64:
        return (Test(argument, "==", value),)
    ones = (1 << n for n in range(64) if value >> n & 1)
    zeros = mask & ~value
    found = [Test(argument, "&", bit) for bit in ones]
    return tuple(found + ([Test(argument, "in", zeros)] if zeros else []))


def _statement(cases: tuple[StatementCase, ...]) -> str:
    (first, *others) = cases
    if not others and (not first.alternatives or first.ret == ActionKind.ALLOW.value):
        return _condition(first) if first.alternatives else action_text(first.ret)
    return f"{{ {', '.join(map(_case, cases))} }}"


def _case(case: StatementCase) -> str:
    if not case.alternatives:
        return action_text(case.ret)
    return f"{_condition(case)}; {action_text(case.ret)}"


def _condition(case: StatementCase) -> str:
    return " || ".join(" && ".join(map(test_text, tests)) for tests in case.alternatives)


def test_text(test: Test) -> str:
    """Return a test as a policy has it."""
    value = f"{test.value:#x}" if test.value > 9 else str(test.value)
    return f"arg{test.argument} {test.op} {'~' if test.op == 'in' else ''}{value}"


def action_text(ret: int) -> str:
    """Return an answer as a policy has it."""
    kind = ActionKind(ret & ~RET_DATA_MAX)
    if kind is ActionKind.ALLOW:
        return "1"
    if kind is ActionKind.ERRNO:
        return f"return {ret & RET_DATA_MAX}"
    names = {ActionKind.USER_NOTIF: "user-notify"}
    return names.get(kind) or kind.name.lower().replace("_", "-")


def _report_only(policy: ResolvedPolicy, own: ResolvedPolicy) -> tuple[ResolvedPolicy, str]:
    del own
    text = "a file of minijail logs nothing, so it cannot be report-only: build another form, or "
    text += "run minijail0 with its own option -L"
    where = Position(policy.file)
    raise InputError(Diagnostic(text, where, Problem.NOT_IN_MINIJAIL))


WRITER = Writer(
    suffix="policy",
    fits=lambda abi: abi.name in NUMBERED_ABIS,
    render=_render,
    reading=lambda abi, _: Reading("minijail", abis=(abi.name,)),
    report_only=_report_only,
    flags=_TARGET.flags,
    numbers_x32=True,
    comment="#",
)
