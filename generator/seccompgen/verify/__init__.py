"""Decide if a program equals its policy, how it relates to another, and if a kernel accepts it.

::

    policy, tables          instructions          several of either
      | oracle                | machine             | stack
    Meaning                 Code                  Stack
      +-----------------------+---------------------+
      | classes: every class of calls is tried, by asking both sides (followers, partition, bits);
      |     where a call has many rules, rule after rule (induction)
      | smt: z3 proves that no call differs, or shows one
      | relation: equal answers, or none more permissive
    Proof | Difference

`indistinguishable` compares one side with itself, to decide if calls that the kernel cannot tell
apart get one answer. `kernel` has the rules by which a kernel accepts programs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import OutsideError, UndecidedError
from seccompgen.verify.call import ZERO_HIGH_WORDS
from seccompgen.verify.indistinguishable import (
    INSTALL_Z3,
    IndistinguishableCalls,
    bits_read,
    indistinguishable_calls,
)
from seccompgen.verify.kernel import Objection, kernel_objections
from seccompgen.verify.machine import Code
from seccompgen.verify.oracle import Meaning, meaning
from seccompgen.verify.relation import SAME, Relation
from seccompgen.verify.stack import Operation, Stack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.verify.call import Call
    from seccompgen.verify.stack import FilterSemantics

__all__ = [
    "SAME",
    "Code",
    "Difference",
    "IndistinguishableCalls",
    "Meaning",
    "Method",
    "Objection",
    "Operation",
    "Proof",
    "Relation",
    "Stack",
    "available_methods",
    "bits_read",
    "indistinguishable_calls",
    "kernel_objections",
    "meaning",
    "prove",
]


class Method(Enum):
    """The methods of proof; each is exact if it decides at all."""

    CLASSES = "classes"
    Z3 = "z3"


@dataclass(frozen=True, slots=True)
class Proof:
    """The relation holds between the answers to every call; each of ``methods`` proved it alone.

    ``assuming`` names the ABIs whose impossible calls do not count: those with anything but 0 in
    the high words of arguments. Most proofs assume nothing.
    """

    methods: tuple[Method, ...]
    assuming: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One filter answers ``call`` with ``left``, the other with ``right`` (SECCOMP_RET values)."""

    call: Call
    left: int
    right: int


def available_methods() -> tuple[Method, ...]:
    """Return the methods that work here, the quicker one first."""
    return tuple(Method) if find_spec("z3") else (Method.CLASSES,)


def prove(
    left: FilterSemantics,
    right: FilterSemantics,
    methods: Iterable[Method] | None = None,
    relation: Relation = SAME,
) -> Proof | Difference:
    """Decide whether ``relation`` holds between the answers to every ``seccomp_data``.

    With ``methods``, all of these that can decide must find that it holds, and at least one must
    decide; by default the first available method that can decide is enough. A difference counts
    only if the call exists (`Call.exists`) and both sides were run on it. Raises UndecidedError
    if no method can decide, OutsideError if a requested one is not installed.
    """
    asked = available_methods() if methods is None else tuple(methods)
    if not {*asked} <= {*available_methods()}:
        raise OutsideError(f"z3 is not installed; {INSTALL_Z3}")
    assuming: dict[int, str] = {}
    pair = _Pair(left, right, relation)
    while True:
        found = _decided(pair, asked, frozenset(assuming), all_of_them=methods is not None)
        if isinstance(found, Proof) or found.call.exists:
            break
        assuming[found.call.arch] = ZERO_HIGH_WORDS[found.call.arch]
    return replace(found, assuming=tuple(assuming.values())) if isinstance(found, Proof) else found


class _Pair(NamedTuple):
    """Two sides, and the relation that may hold between their answers."""

    left: FilterSemantics
    right: FilterSemantics
    relation: Relation


def _decided(
    pair: _Pair, asked: Iterable[Method], zero: frozenset[int], *, all_of_them: bool
) -> Proof | Difference:
    """Decide as `prove` does; under the audit values ``zero``, high words of arguments are 0."""
    decided: list[Method] = []
    reasons: list[str] = []
    for method in asked:
        try:
            call = _compare(method, pair, zero)
        except UndecidedError as error:
            reasons.append(f"{method.value}: {error}")
            continue
        if call is not None:
            return _confirmed(method, call, pair, zero)
        decided.append(method)
        if not all_of_them:
            break
    if not decided:
        advice = "" if Method.Z3 in available_methods() else f"; {INSTALL_Z3}"
        raise UndecidedError(f"cannot be decided: {'; '.join(reasons)}{advice}")
    return Proof(tuple(decided))


def _compare(method: Method, pair: _Pair, zero: frozenset[int]) -> Call | None:
    if method is Method.CLASSES:
        from seccompgen.verify import classes  # noqa: PLC0415 - next to smt, for the reader

        found = classes.compare(pair.left, pair.right, zero, pair.relation)
        return None if isinstance(found, int) else found
    try:
        from seccompgen.verify import smt  # noqa: PLC0415 - z3 is an extra, and takes 70 ms
    except ImportError:
        raise UndecidedError("it cannot be imported") from None
    return smt.compare(pair.left, pair.right, zero, pair.relation)


def _confirmed(method: Method, call: Call, pair: _Pair, zero: frozenset[int]) -> Difference:
    """Run both sides on ``call`` and return the difference; raise UndecidedError if none."""
    answers = pair.left.answer(call), pair.right.answer(call)
    if pair.relation.holds(*answers) or (call.arch in zero and not call.exists):
        raise UndecidedError(
            f"{method.value} found a difference at {call}, but both sides answer it alike when "
            "they are run: this is a mistake in seccompgen, please report it"
        )
    return Difference(call, *answers)
