"""The judges of guests, on answers that no guest gave: they can be wrong as well.

That it notices wrong filters and tables is tried in every guest (``faults``, ``run``).
"""

from __future__ import annotations

import os
import re
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from escape.attack import ATTACKS, Outcome
from escape.judge import judged as judged_attack
from guests import emulator, escapes, image, matrix, programs, shares, table
from guests.bitmap import differences as bitmap_differences
from guests.faults import FAULTS, MEANT
from guests.inside import confined
from guests.inside.machine_code import NATIVE
from guests.judge import judge
from guests.machines import GUESTS
from guests.plan import Expected, Plan, Probe, Run, harmless
from guests.programs import Trial
from guests.run import FAULTY, untried
from oracle import ABIS, RETURN_VALUES
from strategies import plain_tables

if TYPE_CHECKING:
    from pathlib import Path

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
BEFORE = [1000 + n for n, _ in enumerate(harmless(ABI))]
PID = BEFORE[harmless(ABI).index((NATIVE, 20))]
RIGHT = (PID, -7, -22)
OUTSIDE = ((2, confined.TRAPPED, 5, ARCH),)
KILLED = 31
LOG = [[23, ARCH, RETURN_VALUES["kill_process"]]]


def judged(
    results: tuple[int, ...] = RIGHT,
    outside: tuple[tuple[int, ...], ...] = OUTSIDE,
    status: int = KILLED,
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
    packed = struct.pack(f">{len(results)}q", *results).hex()
    report: dict[str, Any] = {
        "runs": [[99, status, len(results), BEFORE, packed, outside, refused]],
        "log": {"99": log},
    }
    verdict = judge(plan, report, logs=True)
    assert verdict.calls == len(CALLS)
    return verdict.differences.get(0, [])


def test_right_answers_are_right() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("results", "outside"),
    [
        ((0, -7, -22), OUTSIDE),
        ((PID + 1, -7, -22), OUTSIDE),
        ((-7, -7, -22), OUTSIDE),
        (RIGHT, ((0, confined.TRAPPED, 5, ARCH), *OUTSIDE)),
        (RIGHT, ((0, confined.NOTIFIED, 0, ARCH), *OUTSIDE)),
        ((PID, PID, -22), OUTSIDE),
        ((PID, 0, -22), OUTSIDE),
        ((PID, -8, -22), OUTSIDE),
        ((PID, -4096, -22), OUTSIDE),
        (RIGHT, ((1, confined.TRACED, 7, 0), *OUTSIDE)),
        (RIGHT, ()),
        (RIGHT, ((2, confined.TRAPPED, 6, ARCH),)),
        (RIGHT, ((2, confined.TRAPPED, 5, ARCH ^ 1),)),
        (RIGHT, (*OUTSIDE, (3, confined.THREAD_KILLED, 0, 0))),
    ],
)
def test_each_wrong_answer_is_noticed(
    results: tuple[int, ...], outside: tuple[tuple[int, ...], ...]
) -> None:
    assert len(judged(results, outside)) == 1


@pytest.mark.parametrize(
    ("abi", "result", "right"),
    [
        *(("s390x", result, result == confined.ANSWER) for result in (confined.ANSWER, 0, 7)),
        *(("ppc64le", result, result == 0) for result in (confined.ANSWER, 0)),
    ],
)
def test_what_a_supervisor_answers_comes_back(abi: str, result: int, *, right: bool) -> None:
    arch = ABIS[abi].audit_arch
    call = Expected(NATIVE, arch, 20, (0,) * 6, RETURN_VALUES["user_notif"])
    policy = {"arches": [abi], "default_action": "user_notif", "syscalls": []}
    plan = Plan(
        abi, (Trial("one", policy, b""),), frozenset(), (Run(0, "supervised", (call,)),), (), ()
    )
    before = [1000 + n for n, _ in enumerate(harmless(abi))]
    packed = result.to_bytes(8, ABIS[abi].byte_order).hex()
    told = ((0, confined.NOTIFIED, 0, arch),)
    report = {"runs": [[99, KILLED, 1, before, packed, told, ""]]}
    assert (judge(plan, report, logs=False).differences == {}) == right


def test_an_end_of_another_kind_is_noticed() -> None:
    assert judged(status=11) == [
        "arch=0x80000016 nr=0x17 args=(0x0, 0x0, 0x0, 0x0, 0x0, 0x0): "
        "wanted process killed 0x0, was signal 0xb"
    ]
    assert judged(status=0)
    assert judged((*RIGHT, -1))
    assert judged(RIGHT[:2], ())
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


def test_an_excuse_that_no_kernel_needs_is_noticed() -> None:
    one = table.ABSENT[0]
    name = one.names.split()[0]
    results = [
        {"abi": abi, "excuses": {name: absent.why}}
        for absent in table.ABSENT
        for abi in absent.abis.split() or ["x86_64"]
        for name in absent.names.split()
    ]
    assert table.idle(results) == []
    without = [result for result in results if name not in result["excuses"]]
    assert table.idle(without) == [f"{one.why}: no kernel needs {name}"]
    elsewhere = [result for result in results if result["abi"] != "s390x"]
    assert {line.rsplit(" ", 1)[1] for line in table.idle(elsewhere)} == {"s390x"}


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


S390X = next(guest for guest in GUESTS if guest.abi == ABI)
WHOLE = slice(None)


def attacked(free: tuple[str, str], confined: tuple[str, str]) -> escapes.Verdict:
    """Judge a guest in which all attacks came to the same."""
    report: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for one in escapes.attacks_of(S390X, WHOLE):
        report[""][one.name] = ("escaped", "") if one.outside else free
        for policy in one.against:
            seen = ("escaped", "") if one.outside else confined
            report.setdefault(policy, {})[one.name] = seen
    return escapes.judge(S390X, WHOLE, report)


@pytest.mark.parametrize(
    ("confined", "right"),
    [
        (("refused", "EPERM"), True),
        (("killed", "SIGSYS"), True),
        (("foiled", "why"), True),
        (("escaped", ""), False),
        (("refused", "EINVAL"), False),
        (("killed", "SIGSEGV"), False),
        (("broken", "why"), False),
        (("unavailable", "why"), False),
    ],
)
def test_an_attack_that_is_not_held_off_is_noticed(
    confined: tuple[str, str], *, right: bool
) -> None:
    verdict = attacked(("escaped", ""), confined)
    assert verdict.tried + len(verdict.differences) > 60
    assert (verdict.differences == []) == right


@pytest.mark.parametrize(
    "free",
    [
        *(("refused", "EINVAL"), ("foiled", "why"), ("unprepared", "why")),
        *(("killed", "SIGSYS"), ("broken", "why")),
    ],
)
def test_an_attack_that_does_not_work_without_the_filter_is_noticed(free: tuple[str, str]) -> None:
    verdict = attacked(free, ("refused", "EPERM"))
    assert len(verdict.differences) > 60


def test_an_attack_that_cannot_be_tried_is_told_with_the_reason() -> None:
    verdict = attacked(("unavailable", "why"), ("refused", "EPERM"))
    assert set(verdict.untried.values()) == {"why"}
    assert verdict.differences == []
    verdict = attacked(("refused", "ENOSYS"), ("refused", "EPERM"))
    assert set(verdict.untried.values()) == {"the kernel lacks the call"}


def test_an_attack_that_a_guest_leaves_out_is_noticed() -> None:
    policies = escapes.plan(S390X, WHOLE)["policies"]
    report: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in ("", *policies)}
    verdict = escapes.judge(S390X, WHOLE, report)
    assert (verdict.tried, verdict.untried) == (0, {})
    assert len(verdict.differences) > 60


def test_an_attack_that_no_guest_lets_through_is_noticed() -> None:
    names = [one.name for one in ATTACKS]
    assert escapes.held_by_nobody(names) == []
    assert escapes.held_by_nobody(names[1:]) == names[:1]
    assert escapes.let_through_after_all([*names[:1], "watch_keys"]) == ["watch_keys"]
    assert escapes.NOWHERE.keys() < set(names)
    through = attacked(("escaped", ""), ("refused", "EPERM")).through
    assert through == [one.name for one in escapes.attacks_of(S390X, WHOLE)]


@pytest.mark.parametrize(
    ("free", "untried"),
    [
        (("refused", "EINVAL"), True),
        (("foiled", "why"), True),
        (("unprepared", "why"), True),
        (("killed", "SIGSYS"), True),
        (("killed", "SIGSEGV"), False),
        (("broken", "why"), False),
    ],
)
def test_an_attack_that_a_machine_refuses_unfiltered_is_not_tried_there(
    free: tuple[str, str], *, untried: bool
) -> None:
    """On a kernel that somebody else chose; in a guest it is wrong, as above."""
    for one in ATTACKS:
        found = judged_attack(one, Outcome(*free), Outcome("refused", "EPERM"))
        assert (bool(found.untried), bool(found.wrong)) == (untried, not untried)
        assert not untried or free[1] in found.untried
        assert judged_attack(one, Outcome("escaped"), Outcome("refused", "EINVAL")).wrong
    held = next(one for one in ATTACKS if not one.outside)
    assert judged_attack(held, Outcome(*free), Outcome("escaped")).wrong


def promises(names: set[str]) -> set[tuple[str, str]]:
    return {one for each in ATTACKS if each.name in names for one in each.against.items()}


def test_guests_make_all_attacks_between_them_and_each_on_every_promise() -> None:
    made = {one.name: set(escapes.plan(one, shares.of_attacks(one))["attacks"]) for one in GUESTS}
    assert set[str]().union(*made.values()) == {one.name for one in ATTACKS}
    for guest in GUESTS:
        own = {one.name for one in ATTACKS if one.exists(guest.abi)}
        assert promises(made[guest.name]) == promises(own)
        assert made[guest.name] >= {one.name for one in ATTACKS if guest.abi in one.abis}


def test_guests_of_an_abi_try_all_policies_between_them() -> None:
    for guest in GUESTS:
        every = [[*range(99)][shares.of_abi(one)] for one in GUESTS if one.abi == guest.abi]
        assert sorted(number for some in every for number in some) == [*range(99)]


COUNTS = {
    **dict.fromkeys(("filters", "stock", "attacks", "policies", "calls", "numbers", "widths"), 1),
    **dict.fromkeys(("records", "bitmap", "foreign", "faults")),
}


def test_a_part_in_which_nothing_was_tried_does_not_look_green() -> None:
    assert untried(COUNTS) == []
    for part in COUNTS:
        assert untried({**COUNTS, part: 0}) == [f"{part}: nothing was tried"]


def test_every_fault_is_tried_by_some_guest_beside_what_it_should_mean() -> None:
    abis = {guest.abi for guest in GUESTS if guest.name in FAULTY}
    for fault in FAULTS:
        assert abis & set(fault.abis.split() or abis), fault.what
        assert fault.policy in MEANT, fault.what


def test_programs_are_compiled_anew_for_other_guests() -> None:
    """The guests say for which ABIs; of one that is not among them nothing would be tried."""
    names = {path.name for path in programs._files()}
    assert {"machines.py", "faults.py", "policies.py", "foreign.py", "oracle.py"} <= names


def test_a_guest_that_says_nothing_is_given_up() -> None:
    console, end = emulator.run(["sleep", "60"], timeout=0.2)
    assert console == b""
    assert re.fullmatch(r"did not end within 0\.2 s \(of work 0\.\d, of waiting \d+\.\d\),", end)


def test_a_console_has_room_for_a_report() -> None:
    code = "import fcntl; print(fcntl.fcntl(1, fcntl.F_GETPIPE_SZ), '@end', sep=chr(10))"
    console, _ = emulator.run([sys.executable, "-IS", "-c", code], timeout=60)
    assert console == b"1048576\n@end\n"


@pytest.mark.long("works until a limit is reached")
def test_a_guest_pays_for_its_own_time_only() -> None:
    """Four that share a processor take four times as long for the same, and wait for the rest."""
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint('@end')"
    processor = min(os.sched_getaffinity(0))

    def spin(_: int) -> tuple[bytes, str]:
        command = [sys.executable, "-IS", "-c", code]
        return emulator.run(command, timeout=1.5, processor=processor)

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(spin, range(4)))
    assert ends == [(b"@end\n", "ended")] * 4


@pytest.mark.parametrize(
    ("says", "boots"),
    [("", 2), ("@init", 1), ("@init Attempted to kill init! exitcode=0x0000000b", 2)],
)
def test_only_a_kernel_that_does_not_start_is_started_again(
    says: str, boots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = replace(GUESTS[0], emulator="emulator")
    (tmp_path / "emulator").write_text(f"#!/bin/sh\necho boot >> {tmp_path}/boots\necho {says}\n")
    (tmp_path / "emulator").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kernel = tmp_path / "kernel"
    monkeypatch.setattr(image, "kernel", lambda _: kernel)
    with pytest.raises(emulator.NoAnswer, match="ended without a report"):
        emulator._boot(guest, [], {}, 60, None)
    assert (tmp_path / "boots").read_text() == "boot\n" * boots
