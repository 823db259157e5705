"""Policies of thousands of rules are read, at a cost in proportion to their length."""

from __future__ import annotations

import cProfile
import json
from typing import TYPE_CHECKING

import pytest
from seccompgen.core.foreign import Reading
from seccompgen.formats.load import load_policy
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS = ("ioctl", "prctl")


def values(count: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return ``count`` rules: a call, and the values of two arguments, or of one."""
    return [(CALLS[i % 2], [(0, i), (1, i)] if i % 3 else [(1, 100_000 + i)]) for i in range(count)]


def oci(count: int) -> str:
    rules = [
        {
            "names": [name],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                {"index": n, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
                for n, value in tests
            ],
        }
        for name, tests in values(count)
    ]
    where = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"]}
    return json.dumps({**where, "syscalls": rules}, indent=4)


def seccompiler(count: int) -> str:
    rules = [
        {
            "syscall": name,
            "args": [{"index": n, "type": "dword", "op": "eq", "val": value} for n, value in tests],
        }
        for name, tests in values(count)
    ]
    return json.dumps(
        {"main": {"mismatch_action": "trap", "match_action": "allow", "filter": rules}}
    )


def minijail(count: int) -> str:
    return "".join(
        f"{name}: {{ {' && '.join(f'arg{n} == {value}' for n, value in tests)}; allow }}\n"
        for name, tests in values(count)
    )


def kafel(count: int) -> str:
    rules = (
        f"{name}(a0, a1) {{ {' && '.join(f'a{n} == {value}' for n, value in tests)} }}"
        for name, tests in values(count)
    )
    return f"ALLOW {{ {', '.join(rules)} }} DEFAULT KILL"


def ours(count: int) -> str:
    rules = "".join(
        f"- action: allow\n  names: [{name}]\n"
        f"  when: {' and '.join(f'u32(arg{n}) == {value}' for n, value in tests)}\n"
        for name, tests in values(count)
    )
    return f"default_action: errno\narches: [x86_64]\nsyscalls:\n{rules}"


READINGS: dict[Callable[[int], str], Reading] = {
    oci: Reading(format="oci"),
    seccompiler: Reading(format="seccompiler"),
    minijail: Reading(format="minijail", abis=("x86_64",)),
    kafel: Reading(format="kafel", abis=("x86_64",)),
    ours: Reading(),
}


def counted(path: Path, reading: Reading) -> tuple[int, int]:
    """Return how many rules a file has, and how many calls of functions reading it takes."""
    profile = cProfile.Profile()
    tables = shipped_tables()
    policy, _ = profile.runcall(load_policy, path, tables, reading)
    return len(policy.own_rules), sum(one.callcount for one in profile.getstats())


@pytest.mark.parametrize("write", READINGS, ids=lambda write: write.__name__)
@pytest.mark.parametrize(
    ("few", "many"),
    [(75, 300), pytest.param(1250, 5000, marks=pytest.mark.long("thousands of rules"))],
)
def test_four_times_as_many_rules_take_four_times_the_work(
    write: Callable[[int], str], few: int, many: int, tmp_path: Path
) -> None:
    work = {}
    for count in (few, many):
        path = tmp_path / f"{count}.yml"
        path.write_text(write(count), encoding="utf-8")
        rules, work[count] = counted(path, READINGS[write])
        assert rules >= count
    assert work[many] <= 4.5 * work[few]
