"""What judges the guests can itself be wrong: here on answers that no guest gave.

That it notices wrong filters and tables is tried in every guest (``faults``, ``run``).
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from kernels import matrix, table
from kernels.bitmap import differences as bitmap_differences
from kernels.inside import confined
from kernels.judge import judge
from kernels.plan import NATIVE, Expected, Plan, Probe, Run
from kernels.programs import Trial
from oracle import ABIS, RETURN_VALUES
from strategies import plain_tables

ABI = "s390x"
ARCH = ABIS[ABI].audit_arch
POLICY = {"arches": [ABI], "default_action": "errno(7)", "syscalls": []}
CALLS = tuple(
    Expected(NATIVE, ARCH, nr, (0,) * 6, answer)
    for nr, answer in (
        (20, RETURN_VALUES["allow"]),
        (21, RETURN_VALUES["errno"] | 7),
        (22, RETURN_VALUES["trap"] | 5),
        (23, RETURN_VALUES["kill_process"]),
    )
)
RIGHT = (
    (confined.REAL, 0, 0, 0, 0),
    (confined.ERRNO, 7, 0, 0, 0),
    (confined.ERRNO, 22, confined.TRAPPED, 5, ARCH),
    (0, 0, 0, 0, 0),
)
KILLED = 31
LOG = [[23, ARCH, RETURN_VALUES["kill_process"]]]


def judged(
    records: tuple[tuple[int, ...], ...] = RIGHT,
    status: int = KILLED,
    made: int = 3,
    refused: str = "",
    log: list[list[int]] = LOG,
) -> list[str]:
    plan = Plan(
        ABI,
        (Trial("one", POLICY, b""),),
        frozenset(),
        (Run(0, "plain", CALLS),),
        (),
        (),
    )
    packed = struct.pack(f">{len(records)}H", *range(len(records)))
    report: dict[str, Any] = {
        "runs": [[99, status, made, refused]],
        "kinds": records,
        "records": base64.b64encode(packed).decode(),
        "log": {"99": log},
    }
    verdict = judge(plan, report, logs=True)
    assert verdict.calls == len(CALLS)
    return verdict.differences.get(0, [])


def test_right_answers_are_right() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("place", "record"),
    [
        (0, (confined.RESULT, 0, 0, 0, 0)),
        (0, (confined.ERRNO, 7, 0, 0, 0)),
        (0, (confined.REAL, 0, confined.TRAPPED, 5, ARCH)),
        (0, (confined.REAL, 0, confined.NOTIFIED, 0, ARCH)),
        (0, (0, 0, 0, 0, 0)),
        (1, (confined.REAL, 0, 0, 0, 0)),
        (1, (confined.RESULT, 0, 0, 0, 0)),
        (1, (confined.ERRNO, 8, 0, 0, 0)),
        (1, (confined.ERRNO, 7, confined.TRACED, 7, 0)),
        (2, (confined.ERRNO, 22, 0, 0, 0)),
        (2, (confined.ERRNO, 22, confined.TRAPPED, 6, ARCH)),
        (2, (confined.ERRNO, 22, confined.TRAPPED, 5, ARCH ^ 1)),
        (3, (confined.REAL, 0, confined.THREAD_KILLED, 0, 0)),
    ],
)
def test_each_wrong_answer_is_noticed(place: int, record: tuple[int, ...]) -> None:
    assert len(judged((*RIGHT[:place], record, *RIGHT[place + 1 :]))) == 1


def test_an_end_of_another_kind_is_noticed() -> None:
    assert judged(status=11) == [
        "arch=0x80000016 nr=0x17 args=(0x0, 0x0, 0x0, 0x0, 0x0, 0x0): "
        "wanted process killed 0x0, was signal 0xb"
    ]
    assert judged(status=0)
    assert judged(made=4)
    assert judged(refused="OSError: seccomp(2)") == ["not installed: OSError: seccomp(2)"]


def test_a_log_that_differs_is_noticed() -> None:
    assert judged(log=[])
    assert judged(log=[[23, ARCH, RETURN_VALUES["kill_thread"]]])
    assert judged(log=[*LOG, *LOG])


def test_tables_are_held_against_the_kernel() -> None:
    own = plain_tables()["riscv64"]
    lacking = set(table.numbers("riscv64")) - set(own.values())
    lacking |= {own[name] for name in ("fchroot", "nfsservctl")}
    assert table.differences("riscv64", "7.2.1", own, lacking) == []
    assert table.differences("riscv64", "7.2.1", own, lacking - {own["fchroot"]})
    assert table.differences("riscv64", "7.2.1", own, lacking | {own["openat"]})
    assert table.differences("riscv64", "7.2.1", own, lacking - {max(lacking)})


def test_calls_of_the_bitmap_are_told_by_their_time() -> None:
    probes = [Probe(0, ((1, True), (2, False), (3, True)))]
    assert bitmap_differences(probes, [[10, 30, 12]], has_bitmap=True) == []
    assert bitmap_differences(probes, [[10, 11, 12]], has_bitmap=True)
    assert bitmap_differences(probes, [[0, 30, 0]], has_bitmap=True)


@pytest.mark.parametrize(
    ("abis", "enough"),
    [
        ("s390x aarch64 riscv64", True),
        ("s390x aarch64 x86_64 i386", False),
        ("arm aarch64 riscv64", False),
        ("", False),
    ],
)
def test_skipped_guests_do_not_look_green(abis: str, *, enough: bool) -> None:
    assert (not matrix.too_few([{"abi": abi} for abi in abis.split()])) == enough
