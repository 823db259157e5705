"""The running kernel answers the same with a stack of filters and with the one program of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import in_child
import pytest
import running_kernel as kernel
from combining import REFUSED, Drawn, combined
from drawing import unshrunk as bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many
from probes import argument_vectors
from seccompgen.core.errors import InputError
from seccompgen.verify import Operation
from strategies import chains, compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def of_getppid(rules: Sequence[Sequence[dict[str, Any]]], actions: Sequence[str]) -> dict[str, Any]:
    """Return a policy that allows everything but getppid, which it answers by ``rules``."""
    groups = []
    for rule, action in zip(rules, actions, strict=False):
        entry = {"name": "getppid", "arguments": rule}
        what = {"names_with_args": [entry]} if rule else {"names": ["getppid"]}
        groups.append({"action": action, **what})
    policy = {"arches": ["x86_64"], "default_action": "allow", "syscalls": groups}
    return {**policy, "compat_arches": ["i386", "x32"]}


def observed(programs: Sequence[bytes], args: Sequence[int]) -> tuple[Any, ...]:
    """Return what becomes of getppid(*args) in a thread of a child under ``programs``."""
    note = in_child.Notes()

    def child() -> object:
        parent = kernel.syscall(kernel.NR_GETPPID)[0]
        caught = in_child.catch_sigsys()
        for program in programs:
            kernel.install_raw(program)
        results: list[tuple[int, int]] = []

        def call() -> None:
            results.append(kernel.syscall(kernel.NR_GETPPID, *args))

        survived = in_child.survives_in_thread(call)
        note.leave(b"returned")
        return survived, [(r == parent, e) for r, e in results], [one.data for one in caught]

    outcome = kernel.run(child)
    assert outcome.error is None, outcome.error
    value = outcome.value
    return outcome.signal, note.read(), value and (value[0], *map(str, value[1:]))


needs_x86_64 = pytest.mark.skipif(
    not kernel.IS_X86_64, reason="needs a 64-bit Python on Linux x86_64"
)
KERNEL_ACTIONS = ("errno(7)", "errno(9)", "allow", "log", "trap(3)", "kill_thread", "kill_process")


def observed_twice(
    made: Sequence[dict[str, Any]], vectors: Iterable[Sequence[int]]
) -> Counter[tuple[Any, ...]]:
    """Return what was observed, having asserted that stack and single program do the same."""
    stack = [compiled(policy)["x86_64"] for policy in made]
    parts = [Drawn("x86_64", policy) for policy in made]
    single = combined(Operation.INTERSECT, parts, None)["x86_64"].to_bytes()
    seen: Counter[tuple[Any, ...]] = Counter()
    for args in vectors:
        together, alone = observed(stack, args), observed([single], args)
        assert together == alone, (made, args)
        seen[together] += 1
    return seen


@pytest.mark.long("many calls in the kernel")
@needs_x86_64
def test_the_kernel_does_the_same_with_the_stack_and_with_the_one_program() -> None:
    def below(value: int, argument: int = 0) -> list[dict[str, Any]]:
        return [{"operation": "LessThan", "argument": argument, "value": value}]

    first = of_getppid(
        [below(1), below(2), below(3), below(2**32, 1)],
        ["kill_process", "kill_thread", "trap(3)", "errno(7)"],
    )
    second = of_getppid(
        [below(1, 1), below(2, 1), below(3, 1), below(2**33, 2), []],
        ["log", "errno(9)", "trap(4)", "errno(11)", "allow"],
    )
    values = ((0, 1, 2, 3), (0, 1, 2, 2**32 - 1, 2**32), (2**33 - 1, 2**33))
    every = [(one, two, three) for one in values[0] for two in values[1] for three in values[2]]
    every = every[::3]  # of each value some, with some of the others
    seen = observed_twice([first, second], every)
    ends = {
        *("(31, b'', None)", "(None, b'returned', (False, '[]', '[]'))"),  # a process; a thread
        *(f"(None, b'returned', (True, '[[False, {n}]]', '[]'))" for n in (7, 9, 11)),
        "(None, b'returned', (True, '[[True, 0]]', '[]'))",
    }
    assert ends <= {str(one) for one in seen}, seen
    # SIGSYS tells the data of the trap: of two, the newest filter's.
    assert {one[2][2] for one in seen if one[2]} == {"[]", "[3]", "[4]"}


@needs_x86_64
@few_and_many(2, 6)
def test_the_kernel_does_the_same_under_random_policies(examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        assert_the_kernel_does_the_same(data)

    examine()


def assert_the_kernel_does_the_same(data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(KERNEL_ACTIONS), min_size=6, max_size=6)
    rules = [data.draw(chains()) or [[]] for _ in range(2)]
    made = [of_getppid(chain, data.draw(some)) for chain in rules]
    try:
        observed_twice(made, argument_vectors([*rules[0], *rules[1]], random.Random(0), 8)[:8])
    except InputError as error:
        assert REFUSED[-1] in str(error), error
