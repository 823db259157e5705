"""From what was seen to what shall be allowed: names, conditions, and what is implied.

Values of an argument that selects something are listed. Of flags, each set of bits that was seen
and every part of it is allowed, but no mix of two: seen as read-write and as read-execute, memory
is never both. What is part of something else is left to `merge` to drop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.model import Comparison, Condition, Op
from seccompgen.policy import Allowed
from seccompgen.record.observations import abi_of, name_of
from seccompgen.record.worth import worth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.architectures import Abi
    from seccompgen.record.observations import Arguments, Number, Recording
    from seccompgen.record.worth import Worth
    from seccompgen.tables import Table, Tables


@dataclass(frozen=True, slots=True)
class _Implied:
    """A call that others, ``by``, bring with them though a run need not show it; ``why``."""

    name: str
    why: str
    by: frozenset[str]


_IMPLIED = (
    _Implied(
        "futex",
        "locks wait by it when they are contended",
        frozenset({"clone", "clone3", "set_robust_list", "set_tid_address"}),
    ),
    _Implied("rt_sigreturn", "signal handlers return by it", frozenset({"rt_sigaction"})),
    _Implied("sigreturn", "signal handlers return by it", frozenset({"sigaction"})),
    _Implied(
        "restart_syscall",
        "the kernel makes it where a stop interrupts a call that waits",
        frozenset(
            {
                *("nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "poll"),
                *("futex", "futex_time64", "ppoll", "ppoll_time64"),
            }
        ),
    ),
    # Without a marker its first use is seen: then there is no key yet.
    _Implied("getrandom", "the vDSO makes it, too, when the kernel has a new key", frozenset()),
)
"""In an order in which each may bring the next. After a startup that was left out, all are there:
what brings them may have been part of it."""


def allowed_calls(
    recording: Recording, tables: Tables, *, constrained: bool
) -> dict[Abi, tuple[Allowed, ...]]:
    """Return what a policy has to allow, for each ABI that was used, by name.

    If ``constrained``, only with such arguments, where they are worth constraining. Calls that
    ``tables`` have no name for are left out; `unnamed` lists them.
    """
    found: dict[Abi, dict[str, Allowed]] = {}
    for number, values in recording.calls.items():
        abi, name = abi_of(number), name_of(number, tables)
        if abi is None or name is None:
            continue
        about = worth(name, abi)
        conditions = _conditions(about, values) if about and constrained else ()
        found.setdefault(abi, {})[name] = allowed(name, conditions)
    return {
        abi: _with_implied(calls, tables.tables[abi.name], everything=recording.marked)
        for abi, calls in found.items()
    }


def allowed(name: str, conditions: tuple[Condition, ...] = ()) -> Allowed:
    """Return that a call is allowed, with a comment where a reader may wonder what it is for."""
    why = next((one.why for one in _IMPLIED if one.name == name), "")
    return Allowed(name, conditions, why)


def unnamed(recording: Recording, tables: Tables) -> list[Number]:
    """Return the calls that ``tables`` have no name for."""
    return [number for number in recording.calls if name_of(number, tables) is None]


def _conditions(about: Worth, calls: Iterable[Arguments]) -> tuple[Condition, ...]:
    """Return the alternatives that cover ``calls``, none if everything shall be allowed."""
    kept = [dict(arguments) for arguments in calls]
    if not all(about.index in arguments for arguments in kept):
        return ()
    seen = sorted({arguments[about.index] & about.mask for arguments in kept})
    if not about.bits:
        tests = [Comparison(about.index, Op.EQ, value, width=about.width) for value in seen]
    else:
        tests = [
            Comparison(about.index, Op.NO_BITS, ~one & about.mask, width=about.width)
            for one in seen
        ]
    return tuple(tests)


def _with_implied(
    calls: Mapping[str, Allowed], table: Table, *, everything: bool
) -> tuple[Allowed, ...]:
    result = dict(calls)
    for one in _IMPLIED:
        if one.name in table.numbers and (everything or one.by & result.keys()):
            result.setdefault(one.name, allowed(one.name))
    return tuple(result.values())
