"""Conditions with names and signed numbers mean what Python makes of them."""

from __future__ import annotations

import json
import re

import pytest
from grounding import NAMES, PLAIN, TABLES, group
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import ABIS as ORACLE_ABIS
from oracle import Meaning
from probes import Call
from proving import as_call
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy
from seccompgen.verify import meaning as verified_meaning
from strategies import assert_means

NUMBERS = st.sampled_from(
    [0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31,
     2**32 - 1, 2**32, 2**63, 2**64 - 1]
)  # fmt: skip
SIGNED = st.sampled_from([-(2**31), -3, -1, 0, 1, 5, 2**31 - 1])
CALLS = {"fchmod": ("fd", "mode"), "fchown": ("fd", "user", "group"), "clone": ("flags", "newsp")}


@st.composite
def values(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.sampled_from(["ONE", "HERE", "BITS", "(ONE | BITS)", "~BITS", "(BITS + 3)"]))
    if kind == 1:
        return str(draw(st.sampled_from([-1, -2, -128, -100])))
    return str(draw(NUMBERS))


@st.composite
def comparisons(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    name = draw(st.sampled_from((*names, "arg0", "arg1")))
    order = st.sampled_from(["<", "<=", ">", ">="])
    match draw(st.integers(0, 7)):
        case 0:
            return f"{name} {draw(st.sampled_from(['==', '!=']))} {draw(values())}"
        case 1:
            reading = draw(st.sampled_from(["u32", "u64", "i32"]))
            number = draw(SIGNED if reading == "i32" else NUMBERS)
            return f"{reading}({name}) {draw(order)} {number}"
        case 2:
            return f"{draw(NUMBERS)} {draw(order)} {name}"
        case 3:
            mask = draw(values())
            return (
                f"{name} & {mask} {draw(st.sampled_from(['==', '!=', '<', '>=']))} {draw(NUMBERS)}"
            )
        case 4:
            return f"{draw(st.sampled_from(['', 'not ']))}{name} & {draw(values())}"
        case 5:
            inside = ", ".join(draw(st.lists(values(), min_size=1, max_size=3)))
            return f"{name} {draw(st.sampled_from(['in', 'not in']))} {{{inside}}}"
        case 6:
            first, last = draw(NUMBERS), draw(NUMBERS)
            return f"{name} in range({first}, {last})"
    return f"{draw(NUMBERS)} <= {name} < {draw(NUMBERS)}"


def expressions(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.recursive(
        comparisons(names),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
                lambda parts: f"({''.join(parts)})"
            ),
            inner.map(lambda text: f"not ({text})"),
        ),
        max_leaves=5,
    )


@pytest.mark.long("reads many policies")
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_expressions_mean_what_python_makes_of_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(CALLS)))
    when = data.draw(expressions(CALLS[name]))
    policy = {
        "default_action": "errno",
        "arches": list(NAMES),
        "syscalls": [group(when, name), {"action": "log", "names": ["getpid"]}],
    }
    path = tmp_path_factory.mktemp("when") / "p.json"
    path.write_text(json.dumps(policy))
    try:
        found = load_policy(path, TABLES)[0]
    except InputError as error:
        # The oracle agrees that it is never true, or it is true of too many things to tell.
        (kind,) = {one.kind for one in error.diagnostics}
        if kind is Problem.LARGE_CONDITION:
            return
        assert kind is Problem.DEAD_RULE, when
        found = None
    edges = data.draw(st.lists(NUMBERS, min_size=12, max_size=12))
    near = [(value + data.draw(st.integers(-1, 1))) % 2**64 for value in edges]
    for abi in NAMES:
        meaning = Meaning(policy, PLAIN, abi)
        nr, arch = PLAIN[abi][name], ORACLE_ABIS[abi].audit_arch
        calls = [
            Call(arch, nr, (a, b, c, 0, 0, 0))
            for a, b, c in zip(near, near[4:] + near[:4], near[7:] + near[:7], strict=True)
        ]
        written = [int(number) % 2**64 for number in re.findall(r"-?\b[0-9]+\b", when)]
        calls += [Call(arch, nr, (a, a, a, 0, 0, 0)) for a in written]
        calls += [Call(arch, nr, (a, a, a, 0, 0, 0)) for a in (*edges, 2**64 - 100, 2**32 - 100)]
        if found is None:
            assert {meaning.decide(*call) for call in calls} == {0x00050001}
            continue
        program = compile_policy(found, ABIS[abi], TABLES).to_bytes()
        assert_means(program, meaning, calls, when)
        second = verified_meaning(found, ABIS[abi], TABLES)
        for call in calls:
            assert second.answer(as_call(call)) == meaning.decide(*call)
