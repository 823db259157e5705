"""Random pairs of policies: `subset` and the stack, by both provers, the oracle and the kernel."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import oracle
import running_kernel as kernel
from probes import interesting_calls
from proving import TABLES, as_call, spread_out
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.model import ActionKind, Op
from seccompgen.filters.compare.call_classes import differing_calls
from seccompgen.verify import Difference, Method, Operation, Proof, Relation, Stack, meaning, prove
from strategies import loaded, plain_tables

if TYPE_CHECKING:
    from seccompgen.filters.compare.call_classes import CallClass
    from seccompgen.verify.call import Call

STRICTEST_FIRST = (
    *(0x80000000, 0x00000000, 0x00030000, 0x00050000),
    *(0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000),
)
"""The order of seccomp(2)."""
LEVELS = [kind for kind in ActionKind if kind is not ActionKind.KILL_PROCESS]
_TRIED_ON_THE_KERNEL = 12
_NUMBERS = range(600, 1000)
"""Numbers that no call has on x86_64, so that letting them through changes nothing: ENOSYS."""


def permits(answer: int, up_to: ActionKind) -> bool:
    place = STRICTEST_FIRST.index
    return place(answer & 0xFFFF0000) >= place(up_to.value)


def within(one: CallClass, call: Call) -> bool:
    """Return True if ``call`` is one of a class, read from what the class says of itself."""
    if one.arch not in {None, call.arch}:
        return False
    if not any(first <= call.nr <= last for first, last in one.numbers):
        return False
    return any(all(_holds(test, call) for test in tests) for tests in one.conditions)


def _holds(test: Any, call: Call) -> bool:
    if test.op is Op.NE:  # which policies cannot say under a mask, nor the oracle
        return not _holds(replace(test, op=Op.MASKED_EQ), call)
    return oracle.argument_test(_entry(test), {})(call.args)


def _entry(test: Any) -> dict[str, Any]:
    names = {"==": "Equal", ">": "GreaterThan", "<": "LessThan"}
    names |= {">=": "GreaterOrEqual", "<=": "LessOrEqual"}
    name = test.op.name
    operations = {"ANY_BITS": "BitsSet", "NO_BITS": "BitsNotSet", "MASKED_EQ": "MaskedEqual"}
    found = {"argument": test.argument, "value": test.value, "width": test.width}
    full = (1 << test.width) - 1
    if name in operations:
        found["operation"] = operations[name]
    else:
        assert test.mask & full == full, test
        found["operation"] = names[test.op.value]
    if name == "MASKED_EQ":
        found["mask"] = test.mask & full
    return found


def compare(policies: list[dict[str, Any]], up_to: ActionKind, abi: str, most: int) -> str:
    """Assert that all agree on a pair of policies; return the verdict, and what was tried."""
    left, right = (meaning(loaded(one), ABIS[abi], TABLES) for one in policies)
    meant = [oracle.Meaning(one, plain_tables(), abi) for one in policies]
    stack = Stack(Operation.INTERSECT, (left, right))
    relation = Relation(up_to)
    found = [prove(left, right, [method], relation) for method in Method]
    # That right permits what left permits, is that right in the stack forbids nothing of left's.
    stacked = [prove(left, stack, [method], relation) for method in Method]
    kinds = {type(one) for one in (*found, *stacked)}
    assert len(kinds) == 1, (found, stacked)
    classes = differing_calls((left, right), ABIS[abi], relation, TABLES)
    assert bool(classes) == (kinds == {Difference})
    calls = [
        call
        for policy in policies
        for call in spread_out(interesting_calls(policy, plain_tables(), abi), most)
    ]
    calls += [one.call for one in (*found, *stacked) if isinstance(one, Difference)]
    for one in classes:
        assert left.answer(one.example) == one.left
        assert right.answer(one.example) == one.right
        calls.append(one.example)
    for its in calls:
        call = as_call(its) if not hasattr(its, "instruction_pointer") else its
        if not call.exists:
            continue
        a, b = (one.decide(call.arch, call.nr, call.args) for one in meant)
        looser = permits(a, up_to) and not permits(b, up_to)
        assert not looser or kinds == {Difference}, call
        told = [one for one in classes if one.arch is not None and within(one, call)]
        others = [one for one in classes if one.arch is None and within(one, call)]
        assert looser == bool(told or others), (call, told, others)
        assert len(told) < 2, told
        strict = min((b, a), key=lambda ret: STRICTEST_FIRST.index(ret & 0xFFFF0000))
        assert stack.answer(call) & 0xFFFF0000 == strict & 0xFFFF0000
    return kinds.pop().__name__


def related(policy: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return ``policy`` with a few of its rules answered otherwise."""
    groups = [dict(one) for one in policy["syscalls"]]
    for group in rng.sample(groups, min(len(groups), rng.randint(1, 3))):
        group["action"] = rng.choice(["allow", "errno", "errno(13)", "kill_process"])
    return {**policy, "syscalls": groups}


# --- the running kernel --------------------------------------------------------------------------


def kernel_policies(rng: random.Random) -> list[dict[str, Any]]:
    """Return two policies that leave a child alone, and differ on numbers that no call has."""
    numbers = rng.sample(_NUMBERS, 4)
    return [_kernel_policy(numbers, rng) for _ in range(2)]


def _kernel_policy(numbers: list[int], rng: random.Random) -> dict[str, Any]:
    groups = []
    for nr in numbers:
        action = rng.choice(["allow", "log", f"errno({rng.randint(100, 120)})"])
        group: dict[str, Any] = {"action": action, "names": [nr]}
        if rng.random() < 0.7:
            operation = rng.choice(["Equal", "GreaterThan", "BitsSet", "NotEqual"])
            value = rng.choice([1, 2, 5, 2**32 + 1])
            test = {"argument": rng.randrange(2), "operation": operation, "value": value}
            entry = {"name": nr, "arguments": [{**test, "width": 64}]}
            group = {"action": action, "names_with_args": [entry]}
        groups.append(group)
    refused = f"errno({rng.randint(80, 99)})" if rng.random() < 0.5 else "allow"
    return {
        "arches": ["x86_64"],
        "default_action": "allow",
        "unknown_action": refused,
        "syscalls": groups,
    }


def compare_in_force(policies: list[dict[str, Any]], rng: random.Random) -> bool:
    """Assert that the kernel answers as the stack, and as `subset` says; return if it is proved."""
    abi = ABIS["x86_64"]
    models = [loaded(one) for one in policies]
    programs = [compile_policy(one, abi, TABLES).to_bytes() for one in models]
    left, right = (meaning(one, abi, TABLES) for one in models)
    stack = Stack(Operation.INTERSECT, (left, right))
    verdict = prove(left, right, list(Method), Relation(ActionKind.LOG))
    classes = differing_calls((left, right), abi, Relation(ActionKind.LOG), TABLES)
    examples = [one.example for one in classes if one.arch == abi.audit_arch]
    calls = [one for one in examples if one.nr in _NUMBERS]
    numbers = [
        nr
        for group in policies[0]["syscalls"]
        for nr in group.get("names") or [group["names_with_args"][0]["name"]]
    ]
    for _ in range(_TRIED_ON_THE_KERNEL):
        args = tuple(rng.choice([0, 1, 2, 3, 5, 6, 2**32, 2**32 + 1]) for _ in range(2))
        nr = rng.choice(numbers)
        calls.append(as_call(_call(abi.audit_arch, nr, (*args, 0, 0, 0, 0))))

    def child(both: bool) -> list[int]:
        for program in programs if both else programs[:1]:
            kernel.install_raw(program)
        return [kernel.syscall(call.nr, *call.args)[1] for call in calls]

    alone, stacked = (kernel.run(lambda both=both: child(both)) for both in (False, True))  # type: ignore[misc]
    assert alone.error is None, alone
    assert stacked.error is None, stacked
    for call, one, two in zip(calls, alone.value, stacked.value, strict=True):
        assert two == _errno(stack.answer(call)), call
        assert one == _errno(left.answer(call)), call
        # What the first lets through and the stack does not is looser.
        assert not (one == _ENOSYS != two) or isinstance(verdict, Difference), call
    for call in calls[: len(examples)]:
        if call in examples:
            place = calls.index(call)
            assert alone.value[place] == _ENOSYS != stacked.value[place], call
    return isinstance(verdict, Proof)


_ENOSYS = 38


def _errno(answer: int) -> int:
    """Return the errno of a call that no kernel has."""
    return answer & 0xFFFF if answer & 0xFFFF0000 == 0x00050000 else _ENOSYS


def _call(arch: int, nr: int, args: tuple[int, ...]) -> Any:
    from probes import Call as Plain

    return Plain(arch, nr, args)


def count_in_force(seeds: range) -> Counter[str]:
    """Compare a pair for each seed on the running kernel, and count the verdicts."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        proved = compare_in_force(kernel_policies(rng), rng)
        counts["proved" if proved else "looser"] += 1
    return counts
