"""`subset`: both provers, the listed classes, the tests' oracle and the running kernel agree."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import filter_pairs
import pytest
import running_kernel
from drawing import unshrunk as bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from proving import little
from seccompgen.core.model import ActionKind
from seccompgen.verify import Method, Proof, Relation, prove
from strategies import plain_tables, policies


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize("abi", ["x86_64", "i386"])
def test_all_agree_on_pairs_of_random_policies(abi: str) -> None:
    seen: Counter[str] = Counter()

    @settings(bounded, max_examples=2)
    @given(data=st.data())
    def try_one(data: st.DataObject) -> None:
        policy: dict[str, Any] = data.draw(policies(plain_tables(), abi))
        other = filter_pairs.related(policy, random.Random(len(policy["syscalls"])))
        for pair in ([policy, other], [other, policy]):
            seen[filter_pairs.compare(pair, ActionKind.LOG, abi, 60)] += 1

    try_one()
    assert min(seen["Proof"], seen["Difference"]) > 0, seen


@pytest.mark.long("proves many programs")
@pytest.mark.skipif(not running_kernel.IS_X86_64, reason="needs Linux on x86_64")
def test_the_kernel_agrees_where_both_filters_are_in_force() -> None:
    counts = filter_pairs.count_in_force(range(8))
    assert min(counts["proved"], counts["looser"]) > 0, counts


@pytest.mark.parametrize("up_to", filter_pairs.LEVELS)
def test_what_permits_is_the_kernels_order(up_to: ActionKind) -> None:
    order = filter_pairs.STRICTEST_FIRST
    for a in order:
        for b in (*order, 0x7FFE0000):  # the last is no action: the kernel kills for it
            holds = order.index(a) < order.index(up_to.value) or (
                b in order and order.index(b) >= order.index(up_to.value)
            )
            left, right = (little((0x06, 0, 0, ret | 1)) for ret in (a, b))
            for method in Method:
                found = prove(left, right, [method], Relation(up_to))
                assert isinstance(found, Proof) == holds, (a, b, method)
