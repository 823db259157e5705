"""Several filters in force: how many fit, and which answer counts, by model and running kernel."""

from __future__ import annotations

import errno
import random
from itertools import pairwise, product
from typing import TYPE_CHECKING

import in_child
import interpreter as bpf
import pytest
import running_kernel as kernel
from hypothesis import given, settings
from kernel_rules import (
    ALLOW,
    DIV,
    JA,
    LD_ABS,
    LSH,
    MEMORY,
    PROPERTY,
    RET_A,
    RSH,
    U32_EDGES,
    Program,
    answers,
    batches,
    install,
    model,
)
from seccompgen.verify.kernel import (
    MAX_INSNS_PER_PATH,
    fits,
    kernel_objections,
    strictest,
    translated_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

kernel.require_x86_64()


# --- the total limit ------------------------------------------------------------------------------

PENALTY = 4
"""Instructions that the kernel counts for each filter in force besides its length."""
ROOM = 2100
"""eBPF instructions that the filters below leave free."""


def filler(length: int) -> Program:
    """Return a program that becomes ``length`` eBPF instructions."""
    return [ALLOW, *[RET_A] * (length - 5)]


def filler_lengths(total: int) -> list[int]:
    """Return lengths of filters that in force count as ``total``."""
    longest = 4099  # one less than 4096 instructions become, so that one more can be tried
    lengths = [longest] * (total // (longest + PENALTY))
    return [*lengths, total % (longest + PENALTY) - PENALTY]


def assert_fills(candidates: Sequence[Program]) -> None:
    """Compare the predicted length of each with the room that the kernel leaves for it.

    Padded to what is left it must fit exactly: one instruction more and the kernel says ENOMEM.
    """
    in_force = filler_lengths(MAX_INSNS_PER_PATH - ROOM)
    pairs = []
    for program in candidates:
        exact = [*program, *[RET_A] * (ROOM - translated_length(model(program)))]
        pairs.append((exact, [*exact, RET_A]))
        lengths = [translated_length(model(padded)) for padded in pairs[-1]]
        assert lengths == [ROOM, ROOM + 1]
        assert [fits([*in_force, length]) for length in lengths] == [True, False]

    def child() -> list[list[int]]:
        assert not any(install(filler(length)) for length in in_force)
        # Where "one more" is taken by mistake, no room is left for the other.
        return [
            kernel.run(lambda pair=pair: [install(pair[1]), install(pair[0])]).value  # type: ignore[misc]
            for pair in pairs
        ]

    outcome = kernel.run(child)
    assert outcome.error is None, outcome
    for program, told in zip(candidates, outcome.value, strict=True):
        assert told == [errno.ENOMEM, 0], program[:6]


def kinds() -> list[tuple[int, int, int, int]]:
    """Return each instruction in each form that the translation might tell apart."""
    found = []
    for code in sorted(bpf.ACCEPTED):
        if code in bpf.CONDITIONAL_JUMPS:
            found += [
                (code, jt, jf, k) for jt, jf, k in product((0, 1), (0, 1), (0, 7, *U32_EDGES[:2]))
            ]
            found.append((code, 2, 1, 0xFFFFFFFF))
        elif code in MEMORY | {LD_ABS, DIV, LSH, RSH, JA}:
            found.append((code, 0, 0, 4))
        else:
            found += [(code, 0, 0, k) for k in (0, 0x80000000)]
    return found


def test_each_instruction_becomes_as_many_as_the_kernel_makes_of_it() -> None:
    """300 of a kind, so that no other error makes up for a wrong count."""
    assert_fills([[(bpf.ST, 0, 0, 4), ALLOW, *[kind] * 300, *[RET_A] * 5] for kind in kinds()])


@settings(PROPERTY, max_examples=5)
@given(batch=batches(valid=True))
def test_random_programs_become_as_many(batch: list[Program]) -> None:
    assert_fills([program for program in batch if not kernel_objections(model(program))])


def test_as_many_filters_as_the_model_says() -> None:
    """The smallest there are, so that the penalty counts most."""
    length = translated_length(model([ALLOW]))
    expected = next(n for n in range(1, 32768) if not fits([length] * (n + 1)))

    def child() -> int:
        count = 0
        while (answer := install([ALLOW])) == 0:
            count += 1
        assert answer == errno.ENOMEM
        return count

    assert kernel.run(child).value == expected == 3641


def test_the_stack_is_counted_in_the_order_of_installation() -> None:
    """The penalty is for those in force; the last has none, and a refused one changes nothing."""
    lengths = filler_lengths(MAX_INSNS_PER_PATH)
    lengths[-1] += PENALTY
    assert fits(lengths)
    for stack in (lengths, lengths[::-1]):
        *before, last = stack
        tries = [*before, last + 1, last, 5]
        # Each try with those in force, which leave out the refused one.
        stacks = [
            *(stack[:n] for n in range(1, len(stack))),
            [*before, last + 1],
            stack,
            [*stack, 5],
        ]
        expected = [0 if fits(one) else errno.ENOMEM for one in stacks]
        assert expected == [*[0] * len(before), errno.ENOMEM, 0, errno.ENOMEM]
        assert answers([filler(length) for length in tries]) == expected


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


@pytest.mark.parametrize("older", ACTIONS)
def test_two_filters(older: str) -> None:
    """Of equal actions the newer filter's data counts."""
    for newer in ACTIONS.values():
        stack = [with_data(ACTIONS[older], 11), with_data(newer, 12)]
        assert observed(stack) == meaning(strictest(stack)), list(map(hex, stack))


def test_more_filters_with_data_of_their_own() -> None:
    rng = random.Random(5)
    kinds = [kernel.TRAP, kernel.ERRNO, kernel.TRACE, kernel.ALLOW, kernel.LOG]
    for _ in range(25):
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
