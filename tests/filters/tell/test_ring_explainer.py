"""`explain FILTER io_uring OPERATION`: the answer, the rule and the path, as the program runs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import interpreter
import pytest
import ring_context
from command import inside
from seccompgen.core.abis import ABIS
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.rings import proved_operation

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
POLICY = """\
arches: [x86_64, s390x]
default_action: errno
syscalls: []
io_uring:
  default_action: deny
  operations:
  - {action: allow, names: ['@read']}
  - {action: deny, names: [CONNECT], when: port == 25}
  - action: allow
    names: [CONNECT]
    when: addr in {10.0.0.0/8, fd00::/8} or addr == ::1 and port == 53
  - {action: allow, names: [OPENAT2], when: resolve & RESOLVE_BENEATH and not flags & O_CREAT}
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    (tmp_path / "db.yml").write_text(POLICY)
    return tmp_path


def explained(place: Path, *words: str, file: str = "db.yml") -> list[dict[str, Any]]:
    run = inside("explain", file, "io_uring", *words, "--json", cwd=place)
    assert run.code == 0, run.err
    found: list[dict[str, Any]] = json.loads(run.out)["operations"]
    return found


def answers(one: dict[str, Any]) -> list[tuple[bool, str | None, str | None]]:
    return [
        (each["permitted"], each["condition"], each["rule"] and each["rule"]["label"])
        for each in one["answers"]
    ]


CONNECTIONS = [
    (a, p) for a in ("10.1.2.3", "11.0.0.1", "::1", "fd00::5", "::") for p in (25, 53, 80)
]


@pytest.mark.parametrize(("address", "port"), CONNECTIONS)
def test_a_whole_connection_has_the_answer_and_path_of_the_program(
    place: Path, address: str, port: int
) -> None:
    policy = load_filter(place / "db.yml", TABLES).policy
    assert policy
    assert policy.io_uring
    for name in ("x86_64", "s390x"):
        words = ("CONNECT", f"addr={address}", f"port={port}", "--arch", name)
        for one in explained(place, *words):
            abi = ABIS[name]
            (connect,) = (o for o in policy.io_uring.operations(abi) if o.name == "CONNECT")
            program = proved_operation(policy, abi, connect)
            fields = {
                "family": ring_context.INET if "." in address else ring_context.INET6,
                "address": address,
                "port": port,
            }
            shown = ring_context.context(16, fields, name, abi.byte_order, (7, 3, 4))
            ran = interpreter.run(program.to_bytes(), shown, abi.byte_order)
            ((permitted, condition, label),) = answers(one)
            assert (permitted, condition) == (ran.value != 0, None)
            assert label == (
                "io_uring rule 2" if port == 25 else "io_uring rule 3" if permitted else "io_uring"
            )
            assert len(one["path"]) == ran.executed
            assert one["instructions"] == len(program.instructions)


def test_fields_that_are_left_out_become_conditions(place: Path) -> None:
    (one,) = explained(place, "CONNECT", "addr=::1")
    assert one["abis"] == ["x86_64", "s390x"]
    assert answers(one) == [
        (False, "port == 25", "io_uring rule 2"),
        (True, "port == 53", "io_uring rule 3"),
        (False, None, "io_uring"),
    ]
    assert one["path"] == []
    (one,) = explained(place, "CONNECT", "port=25")
    assert (answers(one), one["path"]) == ([(False, None, "io_uring rule 2")], [])
    (one,) = explained(place, "OPENAT2", "resolve=RESOLVE_BENEATH|RESOLVE_CACHED")
    assert answers(one) == [
        (True, "not flags & O_CREAT", "io_uring rule 4"),
        (False, None, "io_uring"),
    ]


def test_operations_without_conditions(place: Path) -> None:
    (one,) = explained(place, "READ")
    assert (answers(one), one["instructions"]) == ([(True, None, "io_uring rule 1")], 1)
    (one,) = explained(place, "WRITE")
    assert (answers(one), one["instructions"]) == ([(False, None, "io_uring")], 0)
    text = inside("explain", "db.yml", "io_uring", "WRITE", cwd=place).out
    assert "refused, it fails with EACCES, by db.yml:5:3 (io_uring)" in text


def test_a_module_answers_by_its_program(place: Path) -> None:
    assert inside("build", "db.yml", "-o", ".", cwd=place).code == 0
    for file in ("db.yml", "db"):
        for one in explained(place, "CONNECT", "addr=10.0.0.1", "port=25", file=file):
            assert [permitted for permitted, _, _ in answers(one)] == [False]
            assert one["path"]
    assert [permitted for permitted, _, _ in answers(explained(place, "WRITE", file="db")[0])] == [
        False
    ]
    (said,) = {one["operation"] for one in explained(place, "CONNECT", "addr=::1", file="db")}
    assert said == "CONNECT addr=::1, with 0 in all other fields"


WRONG = {
    "CONECT": "unknown operation 'CONECT' (did you mean 'CONNECT'?)",
    "connect": "unknown operation 'connect' (did you mean 'CONNECT'?)",
    "": "name an operation after io_uring, such as",
    "CONNECT prt=80": "CONNECT has no field 'prt' (did you mean 'port'?)",
    "READ flags=1": "READ has no field 'flags'",
    "CONNECT port=80 port=81": "port has a value already",
    "CONNECT port=65536": "port has 16 bits",
    "CONNECT addr=10.0.0.0/8": "write an address, such as 10.0.0.1 or ::1",
    "CONNECT addr=::1 family=AF_INET": "the address is of another family",
    "CONNECT family=AF_INET addr=::1": "the address is of another family",
    "OPENAT2 flags=O_NOTHING": "has no O_NOTHING",
}


@pytest.mark.parametrize("words", WRONG)
def test_errors(place: Path, words: str) -> None:
    run = inside("explain", "db.yml", "io_uring", *words.split(), cwd=place)
    assert run.code == 2
    assert WRONG[words] in run.err


def test_a_filter_without_a_section_says_so(place: Path) -> None:
    (place / "plain.yml").write_text(POLICY.partition("io_uring:")[0])
    run = inside("explain", "plain.yml", "io_uring", "READ", cwd=place)
    assert run.code == 2
    assert "plain.yml has no section io_uring" in run.err


def test_help_and_page_have_the_form() -> None:
    text = re.sub(r"\s+", " ", inside("explain", "--help").out)
    assert "io_uring CONNECT addr=10.0.0.1 port=5432" in text


@pytest.mark.parametrize(("name", "since"), [("READV", "5.1"), ("READ_MULTISHOT", "6.7")])
def test_it_says_since_when_there_is_the_operation(place: Path, name: str, since: str) -> None:
    assert [one["since"] for one in explained(place, name)] == [since]
    run = inside("explain", "db.yml", "io_uring", name, cwd=place)
    assert run.out.endswith(f"\n  Linux has this operation since {since}\n")


def test_a_family_without_ports_shows_port_0(place: Path) -> None:
    """So what permits low ports, or all addresses but some, permits Unix sockets."""
    for condition, permits in {
        "port < 1024": True,
        "port != 25": True,
        "addr not in 10.0.0.0/8": True,
        "port == 80": False,
        "family in {AF_INET, AF_INET6} and port < 1024": False,
    }.items():
        head, _, _ = POLICY.partition("  operations:")
        rule = f"  operations:\n  - {{action: allow, names: [CONNECT], when: '{condition}'}}\n"
        (place / "some.yml").write_text(head + rule)
        seen = explained(place, "CONNECT", "family=AF_UNIX", file="some.yml")
        assert [[(one[0], one[1]) for one in answers(each)] for each in seen] == [[(permits, None)]]
        policy = load_filter(place / "some.yml", TABLES).policy
        assert policy
        assert policy.io_uring
        for abi in policy.arches:
            (connect,) = policy.io_uring.operations(abi)
            program = proved_operation(policy, abi, connect)
            shown = ring_context.context(16, {"family": 1}, abi.name, abi.byte_order, (7, 3, 4))
            ran = interpreter.run(program.to_bytes(), shown, abi.byte_order)
            assert permits is (ran.value != 0)
    run = inside("explain", "db.yml", "io_uring", "CONNECT", "family=AF_UNIX", "port=1", cwd=place)
    assert run.code == 2
    assert "only AF_INET and AF_INET6 have ports" in run.err
