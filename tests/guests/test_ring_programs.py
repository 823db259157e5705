"""The judge of programs that use rings in guests, without a guest."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from command import ROOT
from guests import matrix, ring_programs
from guests.ring_programs import LIBURINGS_TEST, PROGRAMS

BIG_ENDIAN = """\
test_openat: O_CREAT should be denied after filter: failed
test_openat2: RESOLVE_IN_ROOT should be denied after filter: failed
"""


def report() -> dict[str, Any]:
    """Return what a guest reports in which all is as it should be."""
    return {
        "programs": {
            name: [0, "".join(f"{what} {result}\n" for what, result in told.items())]
            for one in PROGRAMS
            for name, _, told in one.runs()
        },
        "initdb": [0, "Success."],
        "database": {
            "free": ["io_uring", "SELECT 20000", "20000", "1"],
            "postgres_less": ['could not read blocks 0..0 in file "x": Permission denied'] * 3,
            "postgres": ["io_uring", "20000", "1"],
        },
    }


def differences(seen: dict[str, Any], abi: str = "x86_64") -> list[str]:
    return [*ring_programs.differences(abi, seen)]


def test_right_reports_are_right() -> None:
    right = report()
    assert differences(right) == []
    del right["initdb"]
    assert differences(right) == []
    assert {"libuv, free", "libuv", "node, free", "node"} < right["programs"].keys()


@pytest.mark.parametrize("name", sorted(report()["programs"]))
def test_each_line_of_a_program_counts(name: str) -> None:
    right = report()
    lines = right["programs"][name][1].splitlines()
    wrong = [lines[:place] + lines[place + 1 :] for place in range(len(lines))]
    for place, line in enumerate(lines):
        what, _, result = line.rpartition(" ")
        other = {"0": "-13", "-13": "0", "EACCES": "0"}.get(result, "-9")
        wrong.append([*lines[:place], f"{what} {other}", *lines[place + 1 :]])
    for changed in wrong:
        seen = copy.deepcopy(right)
        seen["programs"][name][1] = "\n".join(changed)
        assert len(differences(seen)) == 1, changed
    seen = copy.deepcopy(right)
    seen["programs"][name][0] = 1
    assert len(differences(seen)) == 1


def test_each_answer_of_a_server_counts() -> None:
    right = report()
    for name, answers in right["database"].items():
        for place in range(len(answers)):
            seen = copy.deepcopy(right)
            seen["database"][name][place] = "another"
            assert len(differences(seen)) == 1, (name, place)
        assert differences({**right, "database": {**right["database"], name: answers[1:]}})
    assert differences({**right, "initdb": [1, "failed"]})


def test_liburings_test_fails_where_it_asks_for_the_upper_half() -> None:
    seen = {"programs": {LIBURINGS_TEST: [2, BIG_ENDIAN]}}
    assert differences(seen, "s390x") == []
    assert differences(seen, "x86_64")
    for told in ([0, ""], [3, BIG_ENDIAN], [2, BIG_ENDIAN.replace("O_CREAT", "O_TRUNC")]):
        assert differences({"programs": {LIBURINGS_TEST: told}}, "s390x")


def test_the_plan_names_each_run_and_its_policy() -> None:
    planned = ring_programs.plan([*PROGRAMS], database=True)
    policies = {name: policy for name, policy, _, _ in planned["programs"]}
    assert policies.keys() == report()["programs"].keys()
    assert policies["node, free"] == policies["client in C"] == ""
    assert policies["node"] == policies["libuv"] == "programs_of_rings.files"
    assert [*planned["database"].values()] == [
        "",
        "programs_of_rings.postgres_less",
        "programs_of_rings.postgres",
    ]
    assert ring_programs.plan([], database=False) == {"database": {}, "programs": []}


def test_the_page_of_kernels_says_which_guests_ran_them() -> None:
    told = {"postgres": "18.6-3", "programs": ["a", "b"], "untried": {"c": "no rustc"}}
    ran = {"guest": "one", "abi": "x86_64", "release": "7.3.4-1", **told, "differences": []}
    skipped = {"guest": "other", "abi": "s390x", "skipped": "no kernel"}
    assert matrix.program_table([ran, skipped]).splitlines()[2:] == [
        "| one | x86_64 | 7.3.4-1 | 18.6-3 | 2 | 1 | 0 |",
        "| other | s390x | skipped: no kernel |  |  |  |  |",
    ]


def test_the_page_shows_the_policy_that_the_clients_have() -> None:
    policy = (ROOT / "tests/guests/ring_sources/client.yml").read_text()
    assert policy.partition("io_uring:\n")[2] in (ROOT / "docs/io-uring.md").read_text()
