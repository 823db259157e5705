"""Derive permissions from the calls that were used, as a reviewer of the run would.

The table of powers says what each call gives. Kinds of calls that give nothing are permitted whole,
used or not: refusing them protects nobody, and makes programs crash, spin or fail silently. An
ordinary kind is permitted whole if it was used: a program that renamed files may remove them. Of a
mighty kind only the lines of the table that were used are permitted: their calls all do the same.
Conditions are added where arguments decide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import All, Comparison, Op, comparisons
from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.kernel.powers import powers
from seccompgen.policy.allowlist_text import Allowed
from seccompgen.policy.implied import implied
from seccompgen.run.record.constrainable import MOST_VALUES, selectors
from seccompgen.run.record.observations import named_calls, run_facts
from seccompgen.run.record.power_cases import CLONE3

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.tables import Tables
    from seccompgen.kernel.powers import Power, PowerLine
    from seccompgen.run.record.constrainable import ConstrainableArgument
    from seccompgen.run.record.observations import Arguments, Recording
    from seccompgen.run.record.power_cases import PowerCases

ORDINARY = (
    *("files-read", "files-write", "processes", "exec"),
    *("unix", "internet", "connect", "listen"),
)
"""Kinds that give something and are permitted whole if used, in the order of offers."""
ON_DEMAND = frozenset({"confinement", "gone"})
"""Kinds that give nothing and are permitted only where they were used."""
_OPENED_BY = {
    "listen": frozenset({"listen", "accept", "accept4"}),
    "processes": frozenset({"clone", "clone3", "fork", "vfork"}),
}
"""The calls that make a kind count as used; other programs make its other calls, too.

Programs also bind just to ask the kernel about networks, and begin sessions to leave a terminal.
"""
_FATAL = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGKILL", "SIGTERM")
"""Signals that end a process: a program that sends one of them may send any signal."""
_TO_ITSELF = ("SIGABRT", "SIGINT", "SIGTERM")
"""Signals by which programs end themselves: abort(), and Ctrl-C passed on by a handler."""
RAISE = ("tgkill", "tkill")
"""The calls by which raise() and abort(), in glibc and musl, and programs signal their threads."""
MANY = "seen with more different arguments than are listed"
_CODE, _PROT_WRITE = "code", 2


class PowerUse(NamedTuple):
    """A call that was used on an ABI, and its line of the table, None if it has none.

    ``conditions`` describe the arguments that were seen, if they select what the call gives; empty
    permits all arguments on the line. ``overflows`` is True if more arguments were seen than are
    recorded, so other lines may have been used. ``to_itself`` is True for a signal that a program
    sends itself. ``origin`` is a program and function, or the reason for an implied call.
    """

    abi: Abi
    call: str
    line: PowerLine | None
    conditions: tuple[Predicate, ...] = ()
    origin: str = ""
    overflows: bool = False
    to_itself: bool = False

    def asks(self, cases: PowerCases) -> tuple[Predicate | None, ...]:
        """Return the conditions under which the call must be permitted; None means always."""
        if self.overflows or self.line is None:
            return (None,)
        if not self.line.power.gives or self.line.power.name in ORDINARY:
            return cases.exactly(self.line, self.call, self.abi)
        return self.conditions or cases.exactly(self.line, self.call, self.abi)

    @property
    def falls_back(self) -> bool:
        """True for clone3 that starts a thread or process: if it fails, libraries use clone."""
        return self.call == CLONE3 and self.line is not None and CLONE3 not in self.line.calls


class Closure(NamedTuple):
    """The permissions on ``abis``: ``whole`` kinds, ``lines`` of others, signals ``to_itself``.

    Kinds and lines are in the order of the table. A kind maps to its origins, a line to its calls
    by ABI.
    """

    abis: tuple[Abi, ...]
    whole: Mapping[Power, tuple[str, ...]]
    lines: Mapping[PowerLine, Mapping[Abi, tuple[Allowed, ...]]]
    to_itself: Mapping[Abi, tuple[Allowed, ...]]


# --- uses of calls --------------------------------------------------------------------------------


def uses(recording: Recording, cases: PowerCases, tables: Tables) -> Iterator[PowerUse]:
    """Yield the calls that a run used, and signals to itself that these imply, seen or not."""
    for abi, name, values in named_calls(recording, tables):
        kept = cases.recorded_arguments(name, abi)
        for line, seen in _by_line(name, abi, values, cases).items():
            origin = recording.origins.get((abi.name, name, line), "")
            conditions = _as_seen(name, line, abi, seen, tables)
            overflows = bool(kept) and {} in seen
            own = name in RAISE and not overflows
            yield PowerUse(abi, name, line, conditions, origin, overflows, to_itself=own)
    for abi, facts in run_facts(recording, tables).items():
        for one in implied(facts, tables.tables[abi.name].numbers):
            line = powers().of(one.name)[-1]
            if line.power.gives:  # a signal
                conditions = one.conditions or signals(one.name, abi, ("SIGURG",), tables)
                yield PowerUse(abi, one.name, line, conditions, one.why, to_itself=True)


def _by_line(
    name: str, abi: Abi, values: Iterable[Arguments], cases: PowerCases
) -> dict[PowerLine | None, list[dict[int, int]]]:
    found: dict[PowerLine | None, list[dict[int, int]]] = {}
    for arguments in sorted(values):
        seen = dict(arguments)
        found.setdefault(cases.line(name, abi, seen), []).append(seen)
    return found


def _as_seen(
    name: str, line: PowerLine | None, abi: Abi, seen: Sequence[Mapping[int, int]], tables: Tables
) -> tuple[Predicate, ...]:
    """Return conditions for exactly the arguments that were seen; none if they select nothing."""
    chosen = _selecting(name, line, abi, tables)
    if not chosen or not all(one.index in values for values in seen for one in chosen):
        return ()
    found = dict.fromkeys(
        _all(one.condition(values[one.index] & one.mask) for one in chosen) for values in seen
    )
    return tuple(found) if len(found) <= MOST_VALUES else ()


def _selecting(
    name: str, line: PowerLine | None, abi: Abi, tables: Tables
) -> tuple[ConstrainableArgument, ...]:
    found = selectors(name, abi, tables.facts)
    if line is not None and line.power.name == "netlink":  # the type makes no difference
        return tuple(one for one in found if one.name != "type")
    return found


def _all(tests: Iterable[Comparison]) -> Predicate:
    parts = tuple(tests)
    return parts[0] if len(parts) == 1 else All(parts)


def signals(call: str, abi: Abi, names: Iterable[str], tables: Tables) -> tuple[Comparison, ...]:
    """Return a condition for each signal in ``names``: that ``call`` sends it."""
    values = [tables.facts.value(name, abi) for name in names]
    return tuple(
        one.condition(value)
        for one in selectors(call, abi, tables.facts)
        for value in values
        if value is not None
    )


def to_itself(used: Iterable[PowerUse], abi: Abi, tables: Tables) -> tuple[Allowed, ...]:
    """Return the calls by which a process signals itself: to end, and those in ``used``."""
    numbers = tables.tables[abi.name].numbers
    wanted: dict[str, dict[Predicate, None]] = {}
    reasons: dict[str, dict[str, None]] = {}
    for call in RAISE if "tgkill" in numbers else ():
        wanted[call] = dict.fromkeys(signals(call, abi, _TO_ITSELF, tables))
    for one in used:
        if one.to_itself and one.abi == abi:
            wanted.setdefault(one.call, {}).update(dict.fromkeys(one.conditions))
            reasons.setdefault(one.call, {})[one.origin] = None
    return tuple(
        Allowed(call, tuple(conditions), "; ".join(filter(None, reasons.get(call, ()))))
        for call, conditions in wanted.items()
    )


# --- permissions for them -------------------------------------------------------------------------


def close(
    found: Iterable[PowerUse], abis: Sequence[Abi], cases: PowerCases, tables: Tables
) -> Closure:
    """Return the permissions on ``abis`` that the uses ``found`` lead to."""
    used = list(found)
    whole = _whole(used)
    lines: dict[PowerLine, dict[Abi, tuple[Allowed, ...]]] = {}
    alone = [one for one in used if one.line and not one.falls_back and not one.to_itself]
    for line in powers().lines:
        own = [one for one in alone if one.line in {line, _brings(line)}]
        for abi in dict.fromkeys(one.abi for one in own):
            here = [one for one in own if one.abi == abi]
            if line.power not in whole:
                written = any(_is_written(one) for one in alone if one.abi == abi)
                calls = tuple(_Alike(line, abi, cases, tables, written=written).of(here))
                lines.setdefault(line, {})[abi] = calls
    own_signals: dict[Abi, tuple[Allowed, ...]] = {}
    for abi in abis:
        known = {
            one.name: one.conditions for by_abi in lines.values() for one in by_abi.get(abi, ())
        }
        own_signals[abi] = tuple(_beyond(to_itself(used, abi, tables), known))
    return Closure(tuple(abis), whole, lines, own_signals)


def _beyond(
    calls: Iterable[Allowed], known: Mapping[str, tuple[Predicate, ...]]
) -> Iterator[Allowed]:
    """Yield each of ``calls`` with the conditions that ``known`` lacks; () there permits any."""
    for one in calls:
        permitted = known.get(one.name)
        left = tuple(test for test in one.conditions if test not in (permitted or ()))
        if left and permitted != ():
            yield replace(one, conditions=left)


def _whole(used: Sequence[PowerUse]) -> dict[Power, tuple[str, ...]]:
    """Return the kinds that are permitted whole, each with the origins of its uses."""
    whole: dict[Power, tuple[str, ...]] = {}
    for power in powers().kinds.values():
        of_kind = [one for one in used if one.line and one.line.power == power]
        opened_by = _OPENED_BY.get(power.name)
        opened = any(opened_by is None or one.call in opened_by for one in of_kind)
        always = not power.gives and power.name not in ON_DEMAND
        if always or (opened and power.name in {*ORDINARY, "confinement"}):
            whole[power] = tuple(dict.fromkeys(one.origin for one in of_kind if one.origin))
    return whole


def _brings(line: PowerLine) -> PowerLine | None:
    """Return the line whose use implies ``line``: making memory executable implies mapping code."""
    if line.power.name != _CODE or "mmap" not in line.calls:
        return None
    return next(one for one in powers().of("mprotect") if one.power == line.power)


def _is_written(use: PowerUse) -> bool:
    """Return True if memory was, or may have been, both writable and code."""
    if use.line is None or use.line.power.name != _CODE or not use.line.when:
        return False
    return not use.conditions or not all(
        any(test.op is Op.NO_BITS and test.value & _PROT_WRITE for test in comparisons(one))
        for one in use.conditions
    )


def _not_written(exactly: Predicate | None) -> Iterator[Comparison]:
    """Yield the condition that memory is not writable, for each test in ``exactly``."""
    for test in comparisons(exactly):
        yield Comparison(test.argument, Op.NO_BITS, _PROT_WRITE, width=32)


class _Alike:
    """The calls of a line on an ABI: those that were used, and others to the same effect."""

    def __init__(
        self, line: PowerLine, abi: Abi, cases: PowerCases, tables: Tables, *, written: bool
    ) -> None:
        self._line = line
        self._abi = abi
        self._written = written
        self._cases = cases
        self._tables = tables

    def of(self, used: Sequence[PowerUse]) -> Iterator[Allowed]:
        """Yield the calls of the line that the uses ``used`` permit."""
        origin = ", ".join(dict.fromkeys(one.origin for one in used if one.origin))
        if any(one.overflows for one in used):
            origin = f"{MANY}; {origin}".removesuffix("; ")
        wanted: dict[str, dict[Predicate | None, None]] = {}
        for one in used:
            wanted.setdefault(one.call, {}).update(dict.fromkeys(self._wanted(one)))
        for call in self._line.calls:
            conditions = dict.fromkeys(
                alike
                for other, tests in wanted.items()
                for test in tests
                for alike in (self._alike(call, other, test) if call != other else ())
            )
            conditions = wanted.get(call, {}) | conditions
            if None in conditions:
                yield Allowed(call, (), origin)
            elif conditions:
                yield Allowed(call, tuple(one for one in conditions if one), origin)

    def _wanted(self, use: PowerUse) -> tuple[Predicate | None, ...]:
        """Return the conditions under which the call of a use is permitted."""
        if use.overflows:
            return (None,)
        if self._line.power.name == _CODE and self._line.when:
            return self._code(use)
        if "kill" in self._line.calls and use.conditions:
            return self._signals(use)
        if is_multiplexed(use.call):
            return use.conditions or (None,)
        exactly = self._cases.exactly(self._line, use.call, self._abi)
        chosen = selectors(use.call, self._abi, self._tables.facts)
        if self._line.when and any(one.bits for one in chosen):
            # Some of the flags that were seen may belong to another line.
            return tuple(
                _all(dict.fromkeys((*comparisons(seen), *comparisons(one))))
                for seen in use.conditions or (None,)
                for one in exactly
            )
        return use.conditions or exactly

    def _code(self, use: PowerUse) -> tuple[Predicate | None, ...]:
        """Return the line's conditions; also "not writable", unless writable code was seen."""
        exactly = self._cases.exactly(self._line, use.call, self._abi)
        if self._written:
            return exactly
        return tuple(_all((*comparisons(one), *_not_written(one))) for one in exactly)

    def _signals(self, use: PowerUse) -> tuple[Predicate | None, ...]:
        """Return the conditions for the signals that were sent; any signal if one of them is fatal.

        Refusing lesser signals does not restrain a program that may end processes. A server may
        hang if one is refused that the run was too short to show, as PostgreSQL's rare SIGUSR1.
        """
        fatal = signals(use.call, self._abi, _FATAL, self._tables)
        return (None,) if set(fatal) & set(use.conditions) else use.conditions

    def _alike(
        self, call: str, other: str, condition: Predicate | None
    ) -> tuple[Predicate | None, ...]:
        """Return ``condition``, on arguments of ``other``, for the same arguments of ``call``.

        The result is empty if ``call`` lacks one of them.
        """
        if condition is None:
            return self._cases.exactly(self._line, call, self._abi)
        if call not in self._tables.tables[self._abi.name].numbers:
            return ()
        ours = self._tables.facts.prototype(other, self._abi)
        theirs = self._tables.facts.prototype(call, self._abi)
        if ours is None or theirs is None:
            return ()
        tests: list[Comparison] = []
        for test in comparisons(condition):
            index = theirs.index(ours.parameters[test.argument].name)
            if index is None:
                return ()
            tests.append(Comparison(index, test.op, test.value, test.mask, test.width))
        return (_all(tests),)
