"""The stock policies, as files, mean what the oracle reads in them, on every ABI of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle import ABIS, Meaning
from probes import interesting_calls
from seccompgen.filters.find.module import read_module
from stock_policies import CONSTANTS, STOCK, read_policy
from strategies import assert_bitmap_holds, assert_means, plain_tables_with_facts

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "generated" / "seccomp_filters"


def test_there_are_some() -> None:
    assert STOCK


@pytest.mark.long("compiles the stock policies for all ABIs, as make proof does")
@pytest.mark.parametrize("path", STOCK, ids=[path.stem for path in STOCK])
def test_stock_policies(path: Path) -> None:
    policy = read_policy(path)
    # What is committed is what the sources give: see test_generated.
    programs = read_module(GENERATED / path.stem).programs
    assert set(programs) == set(policy["arches"] or ABIS.keys() & plain_tables_with_facts().keys())
    for abi, program in programs.items():
        meaning = Meaning(policy, plain_tables_with_facts(), abi, CONSTANTS)
        calls = interesting_calls(policy, plain_tables_with_facts(), abi, CONSTANTS)
        answers = assert_means(program, meaning, calls)
        assert len(answers) >= 2
        assert_bitmap_holds(program, meaning)
