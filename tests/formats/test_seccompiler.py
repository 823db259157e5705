"""seccompiler's filters: read as it reads them, compared with its rules taken at their word."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.problems import Problem
from seccompgen.filters.combine.convert import convert
from seccompgen.formats import load_policy, translate
from seccompgen.formats.detect import detect
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

VMM = Path(__file__).parents[1] / "data" / "formats" / "seccompiler" / "vmm.json"
TRIED = ("x86_64", "aarch64", "riscv64")
RETURNS = {"allow": 0x7FFF0000, "trap": 0x30000, "log": 0x7FFC0000, "kill_thread": 0}
RETURNS |= {"kill_process": 0x80000000, "errno": 0x50000, "trace": 0x7FF00000}


def value_of(action: Any) -> int:
    if isinstance(action, str):
        return RETURNS[action]
    ((name, data),) = action.items()
    return RETURNS[name] | int(data)


def holds(test: dict[str, Any], args: tuple[int, ...]) -> bool:
    full = (1 << (32 if test["type"] == "dword" else 64)) - 1
    arg, value, op = args[test["index"]] & full, test["val"] & full, test["op"]
    if isinstance(op, dict):
        mask = op["masked_eq"] & full
        return bool(arg & mask == value & mask)
    found = {"eq": arg == value, "ne": arg != value, "lt": arg < value, "le": arg <= value}
    return bool((found | {"gt": arg > value, "ge": arg >= value})[op])


def said(one: dict[str, Any], name: str | None, args: tuple[int, ...]) -> int:
    """Return what a filter answers, by the words of json_format.md and the code's order."""
    rules = [rule for rule in one["filter"] if rule["syscall"] == name]
    chains = [rule["args"] for rule in rules if rule.get("args")]
    met = any(all(holds(test, args) for test in chain) for chain in chains)
    matched = met if chains else bool(rules)
    first, other = ("match_action", "filter_action"), ("mismatch_action", "default_action")
    return value_of(next(one[key] for key in (first if matched else other) if key in one))


def compared(one: dict[str, Any], abi: str, draw: random.Random, tmp_path: Path) -> int:
    """Compare a filter with what we make of it, on every number; return how many answers."""
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({"main": one}))
    policy, _ = load_policy(path, TABLES, Reading(abis=(abi,)))
    means = meaning(policy, ABIS[abi], TABLES)
    names = TABLES.tables[abi].names
    tests = [test for rule in one["filter"] for test in rule.get("args", ())]
    values = {(test["val"] + off) % (1 << 64) for test in tests for off in (-1, 0, 1, 1 << 32)}
    values |= {0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1}
    numbered = {rule["syscall"] for rule in one["filter"]}
    count = 0
    for number in [*range(600), 0x40000000, 0x40000001, 0xFFFFFFFF]:
        name = names.get(number)
        for _ in range(40 if name in numbered else 1):
            args = tuple(draw.choice(sorted(values)) for _ in range(6))
            call = Call(number, ABIS[abi].audit_arch, args)
            assert means.answer(call) == said(one, name, args), (name, args)
            count += 1
    foreign = Call(0, 0x12345678, (0,) * 6)
    assert means.answer(foreign) == RETURNS["kill_process"]
    return count


@pytest.mark.few(3, "reads many policies")
@pytest.mark.parametrize("abi", TRIED)
@pytest.mark.parametrize("name", ["main", "api", "tracer"])
def test_filters_mean_what_their_format_says(name: str, abi: str, tmp_path: Path) -> None:
    one = json.loads(VMM.read_text())[name]
    assert compared(one, abi, random.Random(3), tmp_path) > 600
    assert "syscalls:" in convert(VMM, TABLES, Reading(thread=name)).text


def test_one_of_several_is_named() -> None:
    assert detect(VMM.read_bytes()) == "seccompiler"
    for reading in (Reading(), Reading(thread="mian")):
        with pytest.raises(InputError) as caught:
            translate(VMM.read_bytes(), "vmm.json", reading, TABLES)
        (one,) = caught.value.diagnostics
        assert one.kind is Problem.SEVERAL_FILTERS
        assert "main, api, tracer" in one.message


def test_a_rule_without_args_says_nothing_beside_one_with() -> None:
    _, notes = load_policy(VMM, TABLES, Reading(thread="api", abis=("x86_64",)))
    # Once for what seccompiler makes of it, and once for libseccomp, which takes it alone.
    assert [one.position.line for one in notes if one.position] == [42, 42]
    assert {one.kind for one in notes} == {Problem.TOOLS_DIFFER}
    policy, _ = load_policy(
        VMM, TABLES, Reading(thread="api", abis=("x86_64",), runtime=Runtime.LIBSECCOMP)
    )
    assert str(policy.bad_arch_action) == "kill_thread"
    number = TABLES.tables["x86_64"].numbers["socket"]
    any_family = Call(number, ABIS["x86_64"].audit_arch, (5, 0, 0, 0, 0, 0))
    assert meaning(policy, ABIS["x86_64"], TABLES).answer(any_family) == RETURNS["log"]


WRONG = """{
 "main": {
  "mismatch_action": "allow",
  "default_action": "allow",
  "match_action": {"errno": 4294967296},
  "filter": [
   {"syscall": "raed"},
   {"syscall": "read", "args": []},
   {"syscall": "read", "when": 1},
   {"syscall": "read", "args": [{"index": 6, "type": "word", "op": "is", "val": -1}]},
   {"args": []},
   7
  ]
 }
}
"""


def test_all_that_is_wrong_is_told_at_once_with_its_place() -> None:
    with pytest.raises(InputError) as caught:
        translate(WRONG.encode(), "vmm.json", Reading(abis=("x86_64",)), TABLES)
    lines = sorted(one.position.line for one in caught.value.diagnostics if one.position)
    assert lines == [2, 5, 7, 8, 9, 10, 10, 10, 10, 11, 11, 12]


KEYS = ["filter", "match_action", "mismatch_action", "syscall", "args", "index"]


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["read", "eq", "dword", "allow", 0, -1, 1 << 70, None, True, 1.5]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(json.dumps)
    | st.text(max_size=40)
)
def test_no_text_is_a_traceback(text: str) -> None:
    try:
        draft = translate(text.encode(), "x.json", Reading("seccompiler"), TABLES)
        assert draft
        load_policy(draft.document(), TABLES)
    except InputError as error:
        assert all(one.kind for one in error.diagnostics)
