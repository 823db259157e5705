"""The filters of rings by hand, and the judge of guests that try them, without a guest."""

from __future__ import annotations

import copy
import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from guests import matrix, ring_facts, ring_packages, rings
from guests.inside import ring_dry
from guests.inside.ring_attacks import FILTERS, INSTALL, KERNEL, PROGRAM, RING_ATTACKS
from guests.machines import RING_GUESTS
from guests.ring_filters import ONE_DATABASE, POLICIES, operations
from interpreter import (
    CONTEXT_SIZE,
    RET,
    RET_ALLOW,
    K,
    Refused,
    assemble,
    check,
    decode,
    run,
    seccomp_data,
)
from oracle import ABIS
from ring_context import CONNECT, CONTEXT_OPERATIONS, OPENAT, SOCKET, context

if TYPE_CHECKING:
    from guests.ring_filters import RingPolicy
    from ring_context import Release

RELEASES: dict[str, Release] = {"7.1": (7, 1, 7), "7.2.6": (7, 2, 6), "7.3": (7, 3, 4)}
GUEST = next(guest for guest in RING_GUESTS if guest.name == "s390x-sid")
OF: Release = (7, 2, 13)
ALL = tuple(operations())
_RETURN = RET | K
_WIDER = {("one_database", SOCKET, 3), ("high_ports", CONNECT, 4), ("high_ports", OPENAT, 1)}
"""Instructions whose constant may have more bits, which no operation sets: of a type, of the two
bytes behind a port, of open's flags."""


def answers(programs: dict[int, tuple[int, bytes]], abi: str, of: Release) -> list[bool]:
    """Return what programs answer to each of the operations; none refuses."""
    order = ABIS[abi].byte_order
    found = []
    for operation, fields in ALL:
        seen = context(operation, fields, abi, order, of)
        program = programs.get(operation)
        found.append(bool(program and run(program[1], seen, order).value))
    return found


@pytest.mark.parametrize("of", RELEASES.values(), ids=RELEASES)
@pytest.mark.parametrize("abi", ["x86_64", "s390x"])
@pytest.mark.parametrize("policy", rings.EVERY, ids=lambda policy: policy.name)
def test_a_filter_does_what_it_means(policy: RingPolicy, abi: str, of: Release) -> None:
    programs = policy.programs(abi, of)
    for _, program in programs.values():
        check(program, ABIS[abi].byte_order, CONTEXT_SIZE)
    wanted = [policy.permits(operation, fields, abi, of) for operation, fields in ALL]
    assert answers(programs, abi, of) == wanted
    assert {True, False} <= set(wanted) or of < (7, 2, 0)


@pytest.mark.parametrize("abi", ["x86_64", "s390x"])
def test_the_operations_show_every_change_of_a_filter(abi: str) -> None:
    """Of each instruction the constant is changed, and the sides of a jump are swapped."""
    order, of = ABIS[abi].byte_order, OF
    unnoticed = []
    for policy in POLICIES:
        programs = policy.programs(abi, of)
        right = answers(programs, abi, of)
        for operation in CONTEXT_OPERATIONS & programs.keys():
            size, program = programs[operation]
            code = decode(program, order)
            for place, one in enumerate(code):
                for other in (
                    *(one._replace(k=one.k ^ bit) for bit in (1, 1 << 8, 1 << 16, 1 << 24)),
                    one._replace(jt=one.jf, jf=one.jt),
                ):
                    changed = assemble([*code[:place], other, *code[place + 1 :]], order)
                    try:
                        check(changed, order, CONTEXT_SIZE)
                    except Refused:
                        continue
                    wrong = {**programs, operation: (size, changed)}
                    alike = changed == program or (one.code == _RETURN and one.k and other.k)
                    if not alike and answers(wrong, abi, of) == right:
                        wider = (policy.name, operation, place) in _WIDER and one.k & ~other.k == 0
                        unnoticed += [] if wider else [(policy.name, operation, place, other)]
    assert not unnoticed, "\n".join(map(str, unnoticed))


def test_the_program_beside_refuses_what_filters_cannot_see() -> None:
    for order in ("little", "big"):
        program = rings.seccomp_program(order)
        check(program, order)
        refused = {
            (nr, operation)
            for nr in (426, 427, 428, 438)
            for operation in (*range(40), 8 | 1 << 31)
            if run(program, seccomp_data(nr, 0, [3, operation], byte_order=order), order).value
            != RET_ALLOW
        }
        registered = {0, 1, 2, 3, 8, 12}
        every = {*range(40), 8 | 1 << 31}
        assert refused == {(427, one) for one in every - registered} | {(438, n) for n in every}


def report() -> dict[str, Any]:
    """Return what a guest reports in which nothing differs."""
    planned = rings.plan(GUEST, OF)
    order = ABIS[GUEST.abi].byte_order
    asked = {}
    for policy in rings.EVERY:
        right = answers(policy.programs(GUEST.abi, OF), GUEST.abi, OF)
        results = [_result(one, permitted=ok) for (one, _), ok in zip(ALL, right, strict=True)]
        place = [operation for operation, _ in ALL].index(ring_dry.LINK_TIMEOUT)
        if not policy.permits(0, {}, GUEST.abi, OF):
            results[place] = -errno.ECANCELED
        asked[policy.name] = {"installed": "done", "results": results, "ended": "exit 0"}
    held = {
        FILTERS: ["refused", "EACCES"],
        PROGRAM: ["refused", "EPERM"],
        INSTALL: ["unprepared", "OSError('not installed: there is a ring')"],
        KERNEL: ["refused", "EACCES"],
    }
    return {
        "version": "#1 SMP PREEMPT Debian 7.2.13-1 (2026-10-28)",
        "asked": asked,
        "read": {
            "contexts": [
                context(operation, fields, GUEST.abi, order, OF).hex()
                for operation, fields in planned["read"]["contexts"]
            ]
        },
        "facts": ring_facts.wanted(OF),
        "packages": ring_packages.wanted(OF),
        "attacks": {one.name: [["escaped", ""], *[held[one.held_by]] * 2] for one in RING_ATTACKS},
    }


def _result(operation: int, *, permitted: bool) -> int:
    return ring_dry.permitted(operation) if permitted else -errno.EACCES


def differences(seen: dict[str, Any]) -> list[str]:
    return [*rings.judged(GUEST, OF, rings.plan(GUEST, OF), seen)]


def test_right_answers_are_right() -> None:
    assert differences(report()) == []


def test_each_wrong_answer_is_noticed() -> None:
    right = report()
    connect = [operation for operation, _ in ALL].index(CONNECT)
    for policy in POLICIES:
        for place in (0, 40, connect, connect + 60, len(ALL) - 1):
            wrong = copy.deepcopy(right)
            results = wrong["asked"][policy.name]["results"]
            results[place] = -errno.EBADF if results[place] == -errno.EACCES else -errno.EACCES
            assert len(differences(wrong)) == 1
    odd = copy.deepcopy(right)
    odd["asked"][ONE_DATABASE.name]["results"][0] = -errno.ENOSYS
    assert differences(odd) == [
        "one_database: operation 0 {}: permitted, it ended with -38",
    ]


@pytest.mark.parametrize("name", [*ring_facts.wanted(OF)])
def test_a_wrong_fact_is_noticed(name: str) -> None:
    wrong = report()
    wrong["facts"][name] = {"raised": "OSError"}
    assert len(differences(wrong)) == 1


def test_a_filter_that_means_something_else_is_noticed() -> None:
    def otherwise(operation: int, *more: Any) -> bool:
        return operation != CONNECT and ONE_DATABASE.permits(operation, *more)

    policies = (replace(ONE_DATABASE, permits=otherwise), *rings.EVERY[1:])
    planned = rings.plan(GUEST, OF, policies)
    found = [*rings.judged(GUEST, OF, planned, report(), policies)]
    assert found
    assert all("it means otherwise" in text for text in found)


def test_what_a_guest_leaves_out_is_noticed() -> None:
    for part, wrong in (
        ("asked", {policy.name: {"ended": "exit 1"} for policy in rings.EVERY}),
        ("read", {"raised": "OSError"}),
        ("facts", {}),
        ("packages", {}),
        ("version", "#1 SMP PREEMPT Debian 7.2.12-1 (2026-10-28)"),
    ):
        assert differences({**report(), part: wrong})


def test_a_context_that_differs_is_noticed() -> None:
    for place in range(8, CONTEXT_SIZE):
        wrong = report()
        contexts = wrong["read"]["contexts"]
        first = bytearray.fromhex(contexts[0])
        first[place] ^= 1
        contexts[0] = first.hex()
        assert len(differences(wrong)) == 1


@pytest.mark.parametrize("seen", [("escaped", ""), ("refused", "EBADF"), ("foiled", "why")])
def test_an_attack_that_is_not_held_off_is_noticed(seen: tuple[str, str]) -> None:
    for side in (0, 1, 2):
        wrong = report()
        for pair in wrong["attacks"].values():
            pair[side] = list(seen)
        found = differences(wrong)
        right = side == 0 and seen[0] == "escaped"
        assert len(found) == (0 if right else len(RING_ATTACKS))


def test_kernels_that_lose_filters_are_known() -> None:
    lost = {"open_after_exec": [["escaped", ""], ["escaped", ""], ["refused", "ENOSYS"]]}
    attacks = {**report()["attacks"], **lost}
    assert not [*rings.attack_differences((7, 1, 7), attacks)]
    assert [*rings.attack_differences((7, 1, 8), attacks)]


def test_the_page_says_what_each_guest_tried() -> None:
    counts = dict.fromkeys(("operations", "contexts", "facts", "attacks"), 1234)
    ran = {"guest": "one", "abi": "s390x", "release": "7.2.13-1", **counts, "differences": ["x"]}
    skipped = {"guest": "other", "abi": "arm", "skipped": "no kernel"}
    assert matrix.ring_table([ran, skipped]).splitlines()[2:] == [
        "| one | s390x | 7.2.13-1 | 1,234 | 1,234 | 1,234 | 1,234 | 1 |",
        "| other | arm | skipped: no kernel |  |  |  |  |  |",
    ]
