"""Comparisons of arguments that ask something else than their author meant.

What the kernel takes an argument for is in the prototypes of `core.facts`; of calls that have none
there, nothing is said. Boxes of arguments tell what a filter asks, so it does not matter whether a
policy, our compiler or somebody else's asks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import U32, U64
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, BITS, NOTHING, Box
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.facts import Parameter, Prototype
    from seccompgen.core.sets import Sets
    from seccompgen.lint.answers import CallAnswer
    from seccompgen.lint.view import FilterView

_SOME_ADDRESS = 0x0000_7F5A_1C3E_9A40
"""An address that nobody names in a filter; its low word is one on 32-bit ABIs."""
_STACKS = {"newsp", "child_stack", "stack"}
"""Names of arguments that are addresses, though their type is an integer."""


def compared_arguments(view: FilterView) -> Iterator[Finding]:
    """Yield comparisons of bits that the kernel ignores, of addresses, and of other arguments."""
    for name, answer in view.conditional():
        prototype = view.prototype(name)
        if prototype is None:
            continue
        for argument in range(6):
            if any(box[argument] != ALL for box, _ in answer.parts):
                yield from _of_argument(_Compared(view, name, answer, prototype, argument))


class _Compared(NamedTuple):
    """An argument of a call that a filter looks at."""

    view: FilterView
    name: str
    answer: CallAnswer
    prototype: Prototype
    argument: int

    @property
    def parameter(self) -> Parameter | None:
        """The argument as the kernel declares it; None if the call has not so many."""
        known = self.prototype.parameters
        return known[self.argument] if self.argument < len(known) else None

    @property
    def shown(self) -> str:
        """The argument as messages call it."""
        called = self.parameter.name if self.parameter else ""
        return f"argument {self.argument} of {self.name}" + (f", {called}," if called else "")


def _of_argument(one: _Compared) -> Iterator[Finding]:
    parameter = one.parameter
    other = _elsewhere(one)
    if parameter is None or other is not None:
        yield from _wrong_argument(one, other)
    elif parameter.pointer or parameter.name in _STACKS:
        yield from _pointer(one)
    elif parameter.bits is not None and parameter.bits < one.view.abi.argument_bits:
        yield from _ignored_bits(one, parameter.bits)


# --- arguments that are others, or addresses -----------------------------------------------------


def _elsewhere(one: _Compared) -> int | None:
    """Return where an argument stands that others ABIs have in the place of an address here."""
    here = one.parameter
    usual = one.view.facts.prototypes.get("x86_64", {}).get(one.name)
    if here is None or usual is None or one.argument >= len(usual.parameters):
        return None
    there = usual.parameters[one.argument]
    is_address = here.pointer or here.name in _STACKS
    if not there.name or there.name == here.name or there.pointer or not is_address:
        return None
    index = one.prototype.index(there.name)
    return index if index != one.argument else None


def _wrong_argument(one: _Compared, other: int | None) -> Iterator[Finding]:
    pair = _opposed(one)
    if pair is None:
        return
    permitted, refused = pair
    if other is None:
        kind = Problem.NO_SUCH_ARGUMENT
        text = f"{one.name} has no argument {one.argument}: what the register holds means nothing"
        fix = "compare an argument that the call has"
        if len(one.prototype.parameters) == 1 and one.prototype.parameters[0].pointer:
            text += "; its arguments are in memory, where no filter can look"
            fix = f"answer {one.name} without a condition there"
    else:
        assert one.parameter is not None
        kind, name = Problem.WRONG_ARGUMENT, one.prototype.parameters[other].name
        text = f"{one.shown} is an address there; {name} is argument {other}"
        fix = f"say argument: {name}, which finds it on every ABI"
    # No error: policies that go-seccomp-bpf takes build unchanged, and on most ABIs they are right.
    yield _finding(one, kind, Severity.WARNING, text, fix, permitted, refused)


def _pointer(one: _Compared) -> Iterator[Finding]:
    sets = one.view.sets
    null = sets.masked(U32 if one.view.abi.argument_bits == 32 else U64, 0)
    pair = _opposed(one, sets.minus(ALL, null))
    if pair is None:
        return  # only whether there is an address at all
    permitted, refused = pair
    anywhere = any(sets.has(box[one.argument], _SOME_ADDRESS) for box in one.answer.permitted)
    text = f"{one.shown} is an address: a filter sees where it lies, not what is there"
    if anywhere:
        severity = Severity.ERROR
        text += ", and the same at another address is permitted"
        fix = "refuse the call whatever this argument is, or drop the rule"
    else:
        severity = Severity.WARNING
        fix = "compare an argument that is a number; what lies in memory can be changed meanwhile"
    yield _finding(one, Problem.POINTER_ARGUMENT, severity, text, fix, permitted, refused)


def _opposed(one: _Compared, among: int = ALL) -> tuple[Box, Box] | None:
    """Return arguments, permitted and refused, that differ in the one argument alone.

    Only its values ``among`` count. None if it never decides: it then chooses among refusals.
    """
    sets = one.view.sets
    n = one.argument
    for permitted in one.answer.permitted:
        for refused in one.answer.refused:
            both = _others(sets, permitted, refused, n)
            own = (sets.both(permitted[n], among), sets.both(refused[n], among))
            if NOTHING not in (*both, *own):
                return _with(both, n, own[0]), _with(both, n, own[1])
    return None


def _others(sets: Sets, a: Box, b: Box, n: int) -> Box:
    """Return what is in both boxes, but for argument ``n``, which may be anything."""
    both = (ALL if m == n else sets.both(x, y) for m, (x, y) in enumerate(zip(a, b, strict=True)))
    return tuple(both)  # type: ignore[return-value] # six


def _with(box: Box, n: int, values: int) -> Box:
    return (*box[:n], values, *box[n + 1 :])  # type: ignore[return-value] # six


def _finding(
    one: _Compared,
    kind: Problem,
    severity: Severity,
    text: str,
    fix: str,
    permitted: Box,
    refused: Box,
) -> Finding:
    view = one.view
    return Finding(
        kind,
        severity,
        text,
        fix,
        (view.abi.name,),
        witness=view.witness(view.call(one.name, permitted)),
        beside=view.witness(view.call(one.name, refused)),
        programs=(view.program.name,),
    )


# --- bits that the kernel ignores ----------------------------------------------------------------


def _ignored_bits(one: _Compared, bits: int) -> Iterator[Finding]:
    """Report two calls that the kernel takes for the same, of which one is permitted alone.

    It is a hole where the one that is refused is what programs make. In an allowlist a negative
    number is not: it may be refused in the one form that it has in 64 bits, and permitted in the
    other, so that only some programs work.
    """
    sets, n = one.view.sets, one.argument
    level = BITS - bits
    if all(sets.nodes[box[n]][0] >= level for box, _ in one.answer.parts):
        return
    usual = values = one.view.plain_values(bits)
    if one.view.is_allowlist:
        usual = sets.masked(U64 >> bits << bits, 0)
    harmless: tuple[Box, Box] | None = None
    for permitted in one.answer.permitted:
        for refused in one.answer.refused:
            both = _others(sets, permitted, refused, n)
            if NOTHING in both:
                continue
            for hole, plain, their in (
                (True, usual, permitted[n]),
                (False, values, sets.both(permitted[n], values)),
            ):
                own = sets.both(refused[n], plain)
                low = sets.both(_low(sets, own, bits), _low(sets, their, bits))
                if low == NOTHING:
                    continue
                same = sets.masked((1 << bits) - 1, sets.least(low) & ((1 << bits) - 1))
                pair = (
                    _with(both, n, sets.both(their, same)),
                    _with(both, n, sets.both(own, same)),
                )
                if hole:
                    yield _ignored(one, bits, Severity.ERROR, *pair)
                    return
                harmless = harmless or pair
    if harmless:
        yield _ignored(one, bits, Severity.NOTE, *harmless)


def _ignored(
    one: _Compared, bits: int, severity: Severity, permitted: Box, refused: Box
) -> Finding:
    ignored = f"the kernel reads {bits} bits of {one.shown.rstrip(',')}, and the filter more"
    if severity is Severity.ERROR:
        text = f"{ignored}: what is refused passes with other high bits"
    else:
        text = f"{ignored}: what is permitted is refused with other high bits"
    fix = f"write width: {bits}" if bits == 32 else f"compare under a mask of {bits} bits"
    return _finding(one, Problem.IGNORED_BITS, severity, text, fix, permitted, refused)


def _low(sets: Sets, values: int, bits: int) -> int:
    """Return the values whose low ``bits`` some member of ``values`` has."""
    level = BITS - bits
    known: dict[int, int] = {}

    def below(node: int) -> int:
        own, zero, one = sets.nodes[node]
        if own >= level:
            return node
        if node not in known:
            known[node] = sets.either(below(zero), below(one))
        return known[node]

    return below(values)
