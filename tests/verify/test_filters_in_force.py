"""Several filters in force: which answer counts, by model and running kernel."""

from __future__ import annotations

import errno
import random
from itertools import pairwise, product
from typing import TYPE_CHECKING

import in_child
import pytest
import running_kernel as kernel
from longer import few_and_many, long_but
from seccompgen.verify.kernel import strictest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

kernel.require_x86_64()


# --- precedence -----------------------------------------------------------------------------------

ACTIONS = {
    "kill_process": kernel.KILL_PROCESS,
    "kill_thread": kernel.KILL_THREAD,
    "trap": kernel.TRAP,
    "errno": kernel.ERRNO,
    "user_notif": kernel.USER_NOTIF,
    "trace": kernel.TRACE,
    "log": kernel.LOG,
    "allow": kernel.ALLOW,
    # Actions that no kernel knows, which kill the process where they win.
    "negative": 0xFFFF0000,
    "below trap": 0x00010000,
    "between trap and errno": 0x00040000,
}


def meaning(answer: int) -> tuple[str, int]:
    """Say what of a filter's answer can be seen: the action, and its data where it has any.

    ALLOW and LOG look alike but for the kernel's log, which not every machine keeps. The data of
    USER_NOTIF reaches nobody, and no listener is here, so that the call fails with ENOSYS.
    """
    action, data = answer & 0xFFFF0000, answer & 0xFFFF
    if action in {kernel.TRAP, kernel.ERRNO, kernel.TRACE}:
        return {v: k for k, v in ACTIONS.items()}[action], data
    if action in {kernel.ALLOW, kernel.LOG}:
        return "runs", 0
    if action == kernel.USER_NOTIF:
        return "errno", errno.ENOSYS
    return "kill_thread" if action == kernel.KILL_THREAD else "kill_process", 0


def observed(stack: Sequence[int]) -> tuple[str, int]:
    """Install filters with these answers to getppid, in order; say what becomes of the call.

    Where a thread may be killed the call is made by one, untraced: the tracer follows no threads.
    """
    in_thread = any(answer & 0xFFFF0000 in KILLS for answer in stack)

    def child() -> list[object]:
        caught = in_child.catch_sigsys()
        for answer in stack:
            kernel.install_raw(kernel.on_call(kernel.NR_GETPPID, answer))
        results: list[tuple[int, int]] = []
        if in_thread:
            survived = in_child.survives_in_thread(
                lambda: results.append(kernel.syscall(kernel.NR_GETPPID))
            )
            if not survived and not caught:
                return ["kill_thread", 0]
        else:
            results.append(kernel.syscall(kernel.NR_GETPPID))
        if caught:
            return ["trap", caught[0].data]
        result, number = results[0]
        return ["errno", number] if result == -1 else ["runs", 0]

    told: tuple[int, ...] = ()
    if in_thread:
        outcome = kernel.run(child)
    else:
        outcome, told = kernel.run_traced(child)
    assert outcome.error is None, outcome
    if outcome.signal is not None:
        return "kill_process", 0
    action, data = outcome.value
    return ("trace", told[0]) if told else (action, data)


KILLS = {
    *(kernel.KILL_PROCESS, kernel.KILL_THREAD),
    *(ACTIONS[name] for name in ("negative", "below trap", "between trap and errno")),
}


def with_data(action: int, data: int) -> int:
    return action | data if action in {kernel.TRAP, kernel.ERRNO, kernel.TRACE} else action


NEIGHBOURS = [
    *(
        pair[:: -1 if place % 2 else 1]
        for place, pair in enumerate(pairwise(sorted(ACTIONS, key=ACTIONS.__getitem__)))
    ),
    *(("kill_thread", "kill_process"), ("kill_process", "log")),
    *((name, name) for name in ("trap", "errno", "trace")),
]
"""Actions whose numbers are next to each other, either one first, and the ends of their order.

Those whose data can be seen are there twice.
"""


@pytest.mark.few(5, "proves many programs")
@pytest.mark.parametrize(
    ("older", "newer"), long_but(NEIGHBOURS, product(ACTIONS, ACTIONS), "every pair")
)
def test_two_filters(older: str, newer: str) -> None:
    """Of equal actions the newer filter's data counts."""
    stack = [with_data(ACTIONS[older], 11), with_data(ACTIONS[newer], 12)]
    assert observed(stack) == meaning(strictest(stack)), list(map(hex, stack))


@few_and_many(8, 40)
def test_more_filters_with_data_of_their_own(examples: int) -> None:
    rng = random.Random(5)
    kinds = [kernel.TRAP, kernel.ERRNO, kernel.TRACE, kernel.ALLOW, kernel.LOG]
    for _ in range(examples):
        some = rng.sample(kinds, 2)
        stack = [
            with_data(rng.choice(some), data)
            for data in rng.sample(range(1, 100), rng.randint(3, 5))
        ]
        assert observed(stack) == meaning(strictest(stack)), list(map(hex, stack))


def test_what_no_call_shows() -> None:
    assert strictest([]) == kernel.ALLOW
    assert strictest([kernel.ALLOW | 5, kernel.ALLOW | 6]) == kernel.ALLOW
    assert strictest([kernel.LOG | 5, kernel.ALLOW, kernel.LOG | 6, kernel.ALLOW]) == kernel.LOG | 6
    by_strictness = ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log"]
    for stricter, milder in pairwise([*by_strictness, "allow"]):
        pair = [ACTIONS[stricter], ACTIONS[milder]]
        assert strictest(pair) == strictest(pair[::-1]) == ACTIONS[stricter]


def test_user_notif_asks_the_listener_of_the_newest() -> None:
    """One filter of a stack can have a listener; where it is not the newest, nobody is told."""
    first, second = (kernel.on_call(kernel.NR_GETPPID, kernel.USER_NOTIF) for _ in range(2))
    for flags, expected in (([0, kernel.NEW_LISTENER], 7), ([kernel.NEW_LISTENER, 0], -1)):

        def child(hand_over: Callable[[int], None], flags: list[int] = flags) -> int:
            for program, flag in zip((first, second), flags, strict=True):
                listener = kernel.install_raw(program, flag)
                if flag:
                    hand_over(listener)
            return kernel.syscall(kernel.NR_GETPPID)[0]

        outcome, seen = kernel.run_supervised(child, lambda _: 7)
        assert outcome.value == expected, outcome
        assert len(seen) == (expected == 7)
