"""Policies to try on real kernels: the same for every ABI.

Rules are on calls without arguments that always return the same, so that the kernel may make them
with any arguments, and what it returns shows that it was that call and no other. All else is
called only where the policy says that it must not be made.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from guests import shares
from oracle import U32, U64
from probes import VALUES, rule_witness
from strategies import OPERATIONS, names_of_distinct_numbers, plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLICIES = 144 if shares.ALL else 72
HARMLESS = ("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid")

EXIT = {"action": "allow", "names": ["exit"]}
"""Calls by which children end."""

_ERRNOS = (
    *("errno", "errno(0)", "errno(1)", "errno(13)", "errno(255)", "errno(256)", "errno(4095)"),
    *("errno(EACCES)", "errno(ENOSYS)", "errno(ENOTSOCK)", "errno(EDEADLOCK)"),
)
_TRAPS = ("trap", "trap(1)", "trap(255)", "trap(65535)")
_TRACES = ("trace", "trace(1)", "trace(65535)")


def policies(abis: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield policies over every operation, width, argument, kind of value, and action."""
    for index in range(POLICIES):
        yield _policy(index, random.Random(index), list(abis))


def _policy(index: int, rng: random.Random, abis: list[str]) -> dict[str, Any]:
    # A child has a tracer, or a supervisor, or neither, which takes the least time.
    if index % 16 == 3:
        actions = [rng.choice(("allow", "log")), rng.choice(_ERRNOS)]
        actions += [rng.choice(_TRACES), rng.choice(_TRAPS)]
    elif index % 32 == 6:
        actions = ["user_notif", rng.choice(("allow", "log")), rng.choice(_ERRNOS)]
    else:
        actions = ["allow", rng.choice(("log", "kill_process", "kill_thread"))]
        actions += rng.sample(_ERRNOS, 3)
    policy: dict[str, Any] = {"arches": abis, "default_action": rng.choice(actions)}
    if index % 8 == 0:  # not more often: the gaps of a table make long programs, slowly
        policy["unknown_action"] = rng.choice(actions)
    if index % 4 == 1:
        policy["compat_arches"] = rng.choice([["i386", "arm"], ["x32", "arm"], ["i386", "x32"]])
    if rng.random() < 0.5:
        policy["bad_arch_action"] = rng.choice(actions)
    if "user_notif" in actions:
        policy["flags"] = ["new_listener"]
    elif index % 8 == 2:
        policy["flags"] = ["log"]
    policy["syscalls"] = [EXIT, *_groups(index, rng, abis, actions)]
    return policy


def _groups(
    index: int, rng: random.Random, abis: Sequence[str], actions: Sequence[str]
) -> list[dict[str, Any]]:
    groups = []
    if index % 12 == 5:
        names = names_of_distinct_numbers(plain_tables(), abis, rng)
        chosen = [name for name in names if name != "exit"][: rng.choice([20, 80, 300])]
        for action in actions:
            some = [name for name in chosen if rng.random() < 0.4]
            chosen = [name for name in chosen if name not in some]
            if some:
                groups.append({"action": action, "optional": True, "names": some})
        return groups
    if index % 6 == 4:
        calls, longest = rng.sample(HARMLESS, 1), 3
    else:
        calls, longest = list(HARMLESS), 1
    for place, name in enumerate(calls):
        rules: list[list[dict[str, Any]]] = []
        for number in range(longest):
            entries = [comparison(index * 7 + place + number, rng)]
            if longest > 1 and rng.random() < 0.5:
                entries.append(comparison(rng.randrange(1000), rng))
            if rule_witness([*rules, entries], len(rules), rng) is not None:
                rules.append(entries)
        for entries in rules:
            entry = {"name": name, "arguments": entries}
            groups.append({"action": rng.choice(actions), "names_with_args": [entry]})
    return groups


def comparison(number: int, rng: random.Random) -> dict[str, Any]:
    operation = OPERATIONS[number % len(OPERATIONS)]
    width = (64, 32)[number // len(OPERATIONS) % 2]
    most = U64 if width == 64 else U32
    value = rng.choice([v for v in VALUES if v <= most])
    entry: dict[str, Any] = {
        "argument": number % 6,
        "operation": operation,
        "value": value,
        "width": width,
    }
    if operation == "MaskedEqual":
        entry["mask"] = rng.choice([v for v in VALUES if v <= most])
        entry["value"] &= entry["mask"]
    return entry
