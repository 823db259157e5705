"""libseccomp's programs for its other ABIs answer every call as ours do: see `libseccomp_abis`."""

from __future__ import annotations

import random
from functools import cache

import libseccomp
import pytest
from libseccomp_abis import NAMES, Peer, compiled, guarded, peers, random_policy, seen_otherwise
from proving import both, ran
from seccompgen.verify import Difference, Method, Proof, prove

pytestmark = pytest.mark.skipif(
    not libseccomp.is_here(), reason="needs python3-seccomp of the system, on x86_64"
)
LEVELS = {abi: 1 + place % 2 for place, abi in enumerate(sorted(NAMES))}


@cache
def made() -> dict[str, Peer]:
    rng = random.Random(0)
    asked = [(abi, level, random_policy(abi, rng, 25, 3)) for abi, level in LEVELS.items()]
    return {peer.abi: peer for peer in peers(asked)}


@pytest.mark.few(2, "proves many programs")
@pytest.mark.parametrize("abi", LEVELS)
def test_they_answer_alike(abi: str) -> None:
    theirs = made()[abi]
    assert len(theirs.policy["syscalls"]) > 15  # it took most of the names
    ours = compiled(theirs)
    found, _ = both(guarded(abi, theirs.code), guarded(abi, ours))
    assert found == {method: Proof((method,)) for method in Method}, theirs.policy


@pytest.mark.parametrize("abi", [abi for abi in LEVELS if seen_otherwise(abi)])
def test_what_is_guarded_they_do_answer_otherwise(abi: str) -> None:
    theirs = made()[abi]
    ours = compiled(theirs)
    found = prove(theirs.code, ours, [Method.CLASSES])
    assert isinstance(found, Difference)
    assert found.left == ran(theirs.code, found.call).value
    assert found.right == ran(ours, found.call).value
    assert any(first <= found.call.nr <= last for first, last in seen_otherwise(abi)), found
