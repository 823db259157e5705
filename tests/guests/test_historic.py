"""The bad filters of the past that are for other architectures, on kernels of these.

``make test-kernels`` runs this: it boots a machine for each.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from guests.emulator import Unavailable, boot
from guests.machines import GUESTS
from historic import ERRNO, HISTORIC, as_built, program_of, witnesses
from historic import GUESTS as TRIED_IN
from seccompgen.lint.answers import permits
from strategies import plain_tables

pytestmark = pytest.mark.kernels

_INSIDE = Path(__file__).parent / "inside" / "historic.py"
_MACHINES = {guest.name: guest for guest in GUESTS}
_TWICE = {"fork", "vfork", "clone"}
"""Calls that return twice."""


@pytest.mark.parametrize("abi", TRIED_IN)
def test_the_kernel_answers_as_lint_says(abi: str) -> None:
    """A permitted call fares as without a filter; a refused one gets the filter's answer."""
    numbers = plain_tables()[abi]
    twice = {numbers[name] for name in _TWICE}
    wanted = [
        (case, witness) for case in HISTORIC if case.abi.name == abi for witness in witnesses(case)
    ]
    assert wanted
    trials = []
    for case, witness in wanted:
        call = witness.call
        program = base64.b64encode(program_of(case.path).to_bytes()).decode()
        made = [call.nr, list(call.args), call.nr in twice]
        trials += [[program, *made], ["", *made]]
    plan = json.dumps({"seccomp": numbers["seccomp"], "trials": trials}).encode()
    files = {"main.py": _INSIDE.read_bytes(), "plan.json": plan}
    try:
        seen = json.loads(boot(_MACHINES[TRIED_IN[abi]], files))
    except Unavailable as missing:
        pytest.skip(str(missing))
    pairs = zip(seen[::2], seen[1::2], strict=True)
    for (case, witness), (filtered, free) in zip(wanted, pairs, strict=True):
        answer = as_built(witness)
        if permits(answer):
            assert filtered == free, (case.name, witness)
        else:
            assert answer & 0xFFFF0000 == ERRNO
            assert filtered == answer & 0xFFFF, (case.name, witness)
