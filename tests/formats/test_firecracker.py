"""Firecracker's filters against libseccomp, by which its later releases compile them."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import interpreter
import libseccomp
import pytest
from drawn_seccompiler import CALLS, arguments, drawn_rules, values_of
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.formats import load_policy, translate
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

ALLOW, ERRNO, KILL_THREAD = 0x7FFF0000, 0x50000, 0


def for_libseccomp(rule: dict[str, Any], answer: int) -> libseccomp.Rule:
    """Return a rule as Firecracker's to_scmp_type hands it on."""
    number, tests = TABLES.tables["x86_64"].numbers[rule["syscall"]], []
    for one in rule.get("args") or ():
        op, value = one["op"], one["val"]
        if isinstance(op, dict):
            tests.append((one["index"], "MASKED_EQ", [op["masked_eq"], value]))
        elif op == "eq" and one["type"] == "dword":
            tests.append((one["index"], "MASKED_EQ", [0xFFFFFFFF, value]))
        else:
            tests.append((one["index"], op.upper(), [value]))
    return answer, number, tests


@pytest.mark.long("reads many policies")
@pytest.mark.skipif(not libseccomp.is_here(), reason="needs python3-seccomp of the system")
def test_firecrackers_filters_mean_what_libseccomp_makes_of_them() -> None:
    draw, seen = random.Random(3), Counter[str]()
    reading = Reading("seccompiler", runtime=Runtime.LIBSECCOMP, abis=("x86_64",))
    while seen["filters"] < 25:
        rules = drawn_rules(draw)
        one = {"default_action": {"errno": 1}, "filter_action": "allow", "filter": rules}
        try:
            draft = translate(json.dumps({"vmm": one}).encode(), "vmm.json", reading, TABLES)
            assert draft
            policy, notes = load_policy(draft.document(), TABLES)
        except InputError as error:
            assert "refuses a second comparison" in str(error), (rules, str(error))
            seen["refused"] += 1
            continue
        if any("libseccomp up to 2.6 can answer" in note.message for note in draft.notes):
            continue
        rules_made = [for_libseccomp(rule, ALLOW) for rule in rules]
        made = libseccomp.programs([(ERRNO | 1, rules_made)], level=1, bad_arch=KILL_THREAD)
        means, arch = meaning(policy, ABIS["x86_64"], TABLES), ABIS["x86_64"].audit_arch
        for _ in range(150):
            nr = TABLES.tables["x86_64"].numbers[draw.choice([*CALLS, "getpid"])]
            nr |= draw.choice([0] * 9 + [1 << 30])
            asked = draw.choice([arch] * 9 + [0x40000003])
            a, b, c, d, e, f = arguments(draw, list(values_of(rules)))
            data = interpreter.seccomp_data(nr, asked, (a, b, c, d, e, f), 0, "little")
            theirs = interpreter.run(made[0], data, "little").value
            assert means.answer(Call(nr, asked, (a, b, c, d, e, f))) == theirs, (rules, nr, notes)
            seen[f"{theirs:#x}"] += 1
        seen["filters"] += 1
    assert seen["refused"] < 100, seen
    assert min(seen[f"{one:#x}"] for one in (ALLOW, ERRNO | 1, KILL_THREAD)) > 50, seen


def test_where_libseccomp_reads_otherwise_there_is_a_note() -> None:
    """With the place; `dword` of other comparisons than eq, and rules without args."""
    eq, lt = ({"index": 0, "type": "dword", "op": op, "val": 1} for op in ("eq", "lt"))
    about = {"default_action": "trap", "filter_action": "allow"}
    for args, told in (([eq], False), ([eq, lt], True), ([lt | {"type": "qword"}], False)):
        filters = {"vmm": {**about, "filter": [{"syscall": "read", "args": args}]}}
        draft = translate(json.dumps(filters).encode(), "v.json", Reading(abis=("x86_64",)), TABLES)
        assert draft
        assert any("--runtime libseccomp" in note.message for note in draft.notes) == told
