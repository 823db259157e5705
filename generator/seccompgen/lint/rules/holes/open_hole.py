"""A call is permitted that reaches a hole with a CVE.

`--shields` asks for it. Each ABI that the kernel serves counts, and so does a call that makes the
other one unseen: `socketcall`, whose arguments are in memory, or a ring of io_uring. It is a note
if the hole needs a capability, and no permitted call makes a user namespace, which gives it: only
a process that has the capability gets there. The witness is the least call that reaches the hole,
so one with a high bit shows a filter that compares more bits than the kernel reads.

```diff
 default_action: errno
 arches: [aarch64]
 syscalls:
 - action: allow
-  names: [read, write, exit_group, restart_syscall, rt_sigreturn, mq_notify]
+  names: [read, write, exit_group, restart_syscall, rt_sigreturn]
```
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from seccompgen.core.multiplexed import entrance
from seccompgen.core.sets import EVERYTHING, NOTHING, Box
from seccompgen.core.text import some
from seccompgen.kernel.shields import Shield, shields, user_namespace
from seccompgen.lint.registry import rule
from seccompgen.lint.rule import FilterView, Finding, Findings, LintRule, Severity
from seccompgen.policy.conditions import Lookup, alternatives
from seccompgen.policy.expressions import Expression, parse_condition


def _check(
    served: Sequence[FilterView], foreign: Sequence[FilterView]
) -> Iterator[tuple[FilterView, Iterable[Finding]]]:
    views = (*served, *foreign)
    namespace = any(_permitted(one, view) for view in views for one in user_namespace())
    for view in views:
        yield view, _open(view, namespace=namespace)


def _open(view: FilterView, *, namespace: bool) -> Findings:
    """Yield the holes that calls through the ABI of ``view`` reach.

    ``namespace`` is True if a process can make a user namespace.
    """
    hidden: dict[tuple[str, Severity], list[tuple[Shield, Box]]] = {}
    for shield, reach in ((one, reach) for one in shields() for reach in one.refuse):
        noted = shield.capability and not namespace
        severity = Severity.NOTE if noted else Severity.WARNING
        if permitted := _permitted(reach, view):
            yield _seen(shield, reach, permitted[0], view, severity)
        elif way := next(_ways(_call(reach), view), None):
            hidden.setdefault((way[0], severity), []).append((shield, way[1]))
    for (call, severity), closed in hidden.items():
        yield _unseen(call, closed, view, severity)


def _seen(shield: Shield, reach: str, box: Box, view: FilterView, severity: Severity) -> Finding:
    """Return the finding that a filter permits what the rule ``reach`` of a shield refuses."""
    answer = view.answer(_call(reach))
    part = " in part" if answer and _common(answer.refused, _boxes(reach, view), view) else ""
    needed = f"with {shield.capability} " if severity is Severity.NOTE else ""
    return RULE.finding(
        f"{reach} is permitted{part}: {needed}it reaches {shield.title} ({shield.cves})",
        f"refuse {reach}, as 'seccompgen amend --shield {shield.name}' does in a policy",
        severity,
        view=view,
        witness=view.shown(_call(reach), box),
    )


def _unseen(
    call: str, closed: list[tuple[Shield, Box]], view: FilterView, severity: Severity
) -> Finding:
    """Return the finding that a permitted call does unseen what the filter refuses."""
    shown = {one.name: one for one, _ in closed}
    needed = ", ".join(dict.fromkeys(one.capability for one in shown.values()))
    return RULE.finding(
        f"{call} is permitted, which makes the calls of the "
        f"{'shield' if len(shown) == 1 else 'shields'} {some([*shown])}, unseen by the filter"
        f"{f', with {needed}' if severity is Severity.NOTE else ''}: "
        f"{', '.join(one.cves for one in shown.values())}",
        f"refuse {call}",
        severity,
        view=view,
        witness=view.shown(call, closed[0][1]),
    )


def _ways(call: str, view: FilterView) -> Iterator[tuple[str, Box]]:
    """Yield permitted calls that make ``call`` unseen by the filter, with their arguments."""
    multiplexed = entrance(call)
    ring = call in {one.call for one in rule("io-uring-way").bypasses[0].calls}
    if view.ring is not None:
        ring = any(view.ring.does(call))
    ways = {"io_uring_setup": EVERYTHING} if ring else {}
    if multiplexed:
        through, number, mask = multiplexed
        ways = {through: (view.sets.masked(mask, number), *EVERYTHING[1:]), **ways}
    for way, box in ways.items():
        answer = view.answer(way)
        for both in _common(answer.permitted if answer else (), [box], view):
            yield way, both


def _permitted(reach: str, view: FilterView) -> list[Box]:
    """Return the permitted arguments that a rule of a shield is about."""
    answer = view.answer(_call(reach))
    return _common(answer.permitted, _boxes(reach, view), view) if answer else []


def _common(boxes: Iterable[Box], others: Sequence[Box], view: FilterView) -> list[Box]:
    found = (view.sets.common(box, other) for box in boxes for other in others)
    return [box for box in found if NOTHING not in box]


def _call(reach: str) -> str:
    return reach.partition(" when ")[0]


@lru_cache(maxsize=128)
def _condition(reach: str) -> Expression | None:
    when = reach.partition(" when ")[2]
    return parse_condition(when) if when else None


def _boxes(reach: str, view: FilterView) -> list[Box]:
    """Return the arguments that a rule is about; all, if the ABI's facts lack a name of it."""
    condition = _condition(reach)
    tests = Lookup(view.facts, view.abi).numbers(condition, _call(reach)) if condition else None
    parts = alternatives(condition, tests) if condition and tests else (None,)
    return [view.sets.box(part) for part in parts]


RULE = LintRule("open-hole", Severity.WARNING, check_program=_check)
