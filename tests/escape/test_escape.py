"""Each promise of each stock policy, attacked on the running kernel.

Each attack runs without the filter as well, where it must get what it wants: so none passes because
it does not work at all. What a policy says that it does not promise is shown to be possible.
"""

from __future__ import annotations

import pytest
import running_kernel as kernel
from escape import attacks
from escape.attack import ATTACKS, Attack, Outcome
from escape.conftest import ABI
from escape.judge import judged
from escape.promises import POLICIES, promises

pytestmark = pytest.mark.root("makes some of the attacks", users_too=True)
kernel.require_x86_64()
attacks.load()

TRIALS = [(one, policy) for one in ATTACKS if one.exists(ABI) for policy in one.against]


@pytest.mark.parametrize(
    ("one", "policy"), TRIALS, ids=[f"{policy}-{one.name}" for one, policy in TRIALS]
)
def test_attack(one: Attack, policy: str, outcomes: dict[str, dict[str, Outcome]]) -> None:
    found = judged(one, outcomes[""].get(one.name), outcomes[policy][one.name])
    if found.untried:
        pytest.skip(found.untried)
    assert not found.wrong


def test_names_are_one_of_a_kind() -> None:
    names = [one.name for one in ATTACKS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_promise_is_attacked(policy: str) -> None:
    attacked = [one.against[policy] for one in ATTACKS if policy in one.against and not one.outside]
    kept = promises(policy).kept
    assert set(attacked) == set(kept)
    assert len(attacked) >= 24


@pytest.mark.parametrize("policy", POLICIES)
def test_every_exclusion_is_shown(policy: str) -> None:
    shown = {one.against[policy] for one in ATTACKS if policy in one.against and one.outside}
    assert shown == set(promises(policy).excluded)
