"""The bad filters of the past that are for other architectures, on kernels of these."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from historic import ERRNO, GUESTS, HISTORIC, as_built, program_of, witnesses
from seccompgen.lint.answers import permits
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guests.machines import Guest
    from historic import Historic
    from seccompgen.lint import Witness

_TWICE = {"fork", "vfork", "clone"}
"""Calls that return twice."""


def _wanted(guest: Guest) -> list[tuple[Historic, Witness]]:
    """Return the filters that a guest tries, each with a call that lint shows of it."""
    cases = [case for case in HISTORIC if GUESTS.get(case.abi.name) == guest.name]
    return [(case, witness) for case in cases for witness in witnesses(case)]


def plan(guest: Guest) -> dict[str, Any]:
    """Return what ``inside.historic.outcomes`` takes: each call is made with and without."""
    numbers = plain_tables()[guest.abi]
    twice = {numbers[name] for name in _TWICE if name in numbers}
    trials = []
    for case, witness in _wanted(guest):
        call = witness.call
        program = base64.b64encode(program_of(case.path).to_bytes()).decode()
        made = [call.nr, list(call.args), call.nr in twice]
        trials += [[program, *made], ["", *made]]
    return {"seccomp": numbers["seccomp"], "trials": trials}


def differences(guest: Guest, seen: Sequence[int]) -> list[str]:
    """Return where a kernel answers otherwise than lint says, in words.

    A permitted call fares as without a filter; a refused one gets the filter's answer.
    """
    found = []
    pairs = zip(seen[::2], seen[1::2], strict=True)
    for (case, witness), (filtered, free) in zip(_wanted(guest), pairs, strict=True):
        answer = as_built(witness)
        if permits(answer):
            wanted = free
        else:
            assert answer & 0xFFFF0000 == ERRNO
            wanted = answer & 0xFFFF
        if filtered != wanted:
            found.append(f"{case.name}, {witness}: wanted {wanted}, was {filtered}")
    return found
