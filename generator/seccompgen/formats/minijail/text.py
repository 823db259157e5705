"""Render a policy as minijail's statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import RET_DATA_MAX, ActionKind

if TYPE_CHECKING:
    from seccompgen.formats.minijail.writer import MinijailPolicy, StatementCase, Test


def render_minijail(policy: MinijailPolicy) -> bytes:
    """Return ``policy`` as a file for compile_seccomp_policy.py.

    What libminijail reads as well is written so: a call to a line, and braces only where one
    condition does not decide it.
    """
    denies = policy.default == ActionKind.ALLOW.value
    first = "@denylist" if denies else f"@default {_action(policy.default)}"
    lines = [f"# {policy.name} for {policy.abi.name}, from seccompgen.", first]
    lines += (f"{name}: {_filter(cases)}" for name, cases in policy.statements)
    return "".join(f"{line}\n" for line in lines).encode()


def _filter(cases: tuple[StatementCase, ...]) -> str:
    (first, *others) = cases
    if not others and (not first.alternatives or first.ret == ActionKind.ALLOW.value):
        return _condition(first) if first.alternatives else _action(first.ret)
    return f"{{ {', '.join(map(_case, cases))} }}"


def _case(case: StatementCase) -> str:
    if not case.alternatives:
        return _action(case.ret)
    return f"{_condition(case)}; {_action(case.ret)}"


def _condition(case: StatementCase) -> str:
    return " || ".join(" && ".join(map(_test, tests)) for tests in case.alternatives)


def _test(test: Test) -> str:
    value = f"{test.value:#x}" if test.value > 9 else str(test.value)
    return f"arg{test.argument} {test.op} {'~' if test.op == 'in' else ''}{value}"


def _action(ret: int) -> str:
    kind = ActionKind(ret & ~RET_DATA_MAX)
    if kind is ActionKind.ALLOW:
        return "1"
    if kind is ActionKind.ERRNO:
        return f"return {ret & RET_DATA_MAX}"
    names = {ActionKind.USER_NOTIF: "user-notify"}
    return names.get(kind) or kind.name.lower().replace("_", "-")
