"""Each promise of each stock policy, attacked on the running kernel.

Each attack runs without the filter as well. Where the kernel refuses it even so, it is not tried
here, and reported with the kernel's answer; guests hold that it works on kernels that we choose.
What a policy says that it does not promise is shown to be possible.
"""

from __future__ import annotations

import pytest
import running_kernel as kernel
from escape import attacks
from escape.attack import ATTACKS, Outcome
from escape.conftest import ABI
from escape.judge import judged
from escape.promises import POLICIES, promises

pytestmark = pytest.mark.root("makes some of the attacks", users_too=True)
kernel.require_x86_64()
attacks.load()


@pytest.mark.parametrize("policy", POLICIES)
def test_attacks(
    policy: str, outcomes: dict[str, dict[str, Outcome]], subtests: pytest.Subtests
) -> None:
    """What cannot be tried here is skipped, each attack with its reason."""
    wrong = []
    for one in ATTACKS:
        if policy not in one.against or not one.exists(ABI):
            continue
        found = judged(one, outcomes[""][one.name], outcomes[policy][one.name])
        if found.untried:
            with subtests.test("an attack"):
                pytest.skip(found.untried)
        elif found.wrong:
            wrong.append(f"{one.name}: {found.wrong}")
    assert not wrong, "\n".join(wrong)


def test_names_are_one_of_a_kind() -> None:
    names = [one.name for one in ATTACKS]
    assert sorted(set(names)) == sorted(names)
    assert {policy for one in ATTACKS for policy in one.against} == {*POLICIES}


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
