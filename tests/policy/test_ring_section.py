"""The section io_uring in source form: its errors, its rules for system calls, what includes do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen import Action, Filter, InputError, Policy
from seccompgen.core.ring import Without, refusing_rings
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.document import read_document
from seccompgen.policy.resolve import resolve_policy
from seccompgen.policy.ring_keys import IoUring, OperationGroup
from seccompgen.policy.ring_section import ring_groups

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy

TABLES = shipped_tables()
HEAD = "arches: [x86_64]\ndefault_action: errno\nsyscalls: []\nio_uring:\n"
DENY = f"{HEAD}  default_action: deny\n  operations:\n"


def resolved(text: str) -> ResolvedPolicy:
    return resolve_policy(read_document(text.encode(), "p.yml"), TABLES)[0]


def errors(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        resolved(text)
    return [str(one) for one in caught.value.diagnostics]


CASES = {
    "no default": (f"{HEAD}  operations: []\n", ["p.yml:5:3: 'default_action' is missing"]),
    "default allow": (
        f"{HEAD}  default_action: allow\n  operations: []\n",
        [
            "p.yml:5:19: 'default_action' of io_uring must be deny, not 'allow': "
            "a newer kernel has operations that nobody has thought of"
        ],
    ),
    "another answer": (
        f"{DENY}  - {{action: errno, names: [READ]}}\n",
        [
            "p.yml:7:14: the answer to an operation is allow or deny, not 'errno': it fails with "
            "EACCES, and nothing is logged"
        ],
    ),
    "unknown operation": (
        f"{DENY}  - {{action: allow, names: [REED]}}\n",
        ["p.yml:7:29: unknown operation 'REED' (did you mean 'READ'?)"],
    ),
    "unknown group": (
        f"{DENY}  - {{action: allow, names: ['@reed']}}\n",
        ["p.yml:7:29: unknown group '@reed' (did you mean '@read'?)"],
    ),
    "prefix": (
        f"{DENY}  - {{action: allow, names: [IORING_OP_READ]}}\n",
        ["p.yml:7:29: write READ, without IORING_OP_"],
    ),
    "no such field": (
        f"{DENY}  - {{action: allow, names: [CONNECT, READ], when: port == 1}}\n",
        ["p.yml:7:51: READ has no field 'port': a filter sees sqe_flags of it"],
    ),
    "not an address": (
        f"{DENY}  - {{action: allow, names: [CONNECT], when: addr == 10.0.0.1/8}}\n",
        [
            "p.yml:7:53: 10.0.0.1/8 has host bits set; write an address, or a network such as "
            "10.0.0.0/8"
        ],
    ),
    "address in order": (
        f"{DENY}  - {{action: allow, names: [CONNECT], when: addr >= 10.0.0.1}}\n",
        ["p.yml:7:45: an address can be compared by ==, != and in alone"],
    ),
    "port of an address": (
        f"{DENY}  - {{action: allow, names: [CONNECT], when: port == 10.0.0.1}}\n",
        ["p.yml:7:53: an address is compared with addr"],
    ),
    "too large a port": (
        f"{DENY}  - {{action: allow, names: [CONNECT], when: port == 65536}}\n",
        ["p.yml:7:53: port has 16 bits, which the value does not fit into"],
    ),
    "the kernel's own flags": (
        f"{DENY}  - {{action: allow, names: [READ], when: sqe_flags & IOSQE_ASYNC}}\n"
        "  - {action: allow, names: [OPENAT], when: flags & O_LARGEFILE}\n"
        "  - {action: allow, names: [SOCKET], when: type & SOCK_CLOEXEC}\n",
        [
            "p.yml:7:54: 0x10 is not to be compared: the kernel sets it in sqe_flags by itself",
            "p.yml:8:52: O_LARGEFILE is not to be compared: the kernel adds it to flags by itself",
            "p.yml:9:51: 0x80000 is not to be compared: "
            "some kernels show it in type, others do not",
        ],
    ),
    "unknown constant": (
        f"{DENY}  - {{action: allow, names: [SOCKET], when: family == AF_INIT}}\n",
        ["p.yml:7:54: unknown constant 'AF_INIT' (did you mean 'AF_INET'?)"],
    ),
    "unknown register opcode": (
        f"{HEAD}  default_action: deny\n  register: [BUFERS]\n  operations: []\n",
        ["p.yml:6:14: unknown opcode of io_uring_register 'BUFERS' (did you mean 'BUFFERS'?)"],
    ),
    "without": (
        f"{HEAD}  default_action: deny\n  without: refuse\n  operations: []\n",
        ["p.yml:6:12: 'without' must be refuse_rings or fail, not 'refuse'"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_error_is_named_with_its_place(case: str) -> None:
    text, expected = CASES[case]
    assert errors(text) == expected


def test_rules_about_the_calls_of_rings_are_the_sections() -> None:
    text = f"{DENY}  - {{action: allow, names: [READ]}}\n".replace(
        "syscalls: []", "syscalls:\n- {action: errno, names: [io_uring_setup]}"
    )
    (said,) = errors(text)
    assert said.startswith("p.yml:4:27: ")
    assert "io_uring" in said


def test_a_section_takes_the_place_of_what_included_files_say(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(
        "syscalls:\n- {action: errno(ENOSYS), names: ['@io-uring', swapon]}\n"
    )
    own = tmp_path / "own.yml"
    own.write_text("include: [base.yml]\n" + f"{DENY}  - {{action: allow, names: [READ]}}\n")
    policy, _ = resolve_policy(own, TABLES)
    rules = [(one.name, str(one.action)) for one in policy.rules if "io_uring" in one.name]
    assert rules[:2] == [("io_uring_setup", "allow"), ("io_uring_enter", "allow")]
    assert {*rules[2:]} == {("io_uring_register", "allow"), ("io_uring_register", "errno(EINVAL)")}
    assert any(one.name == "swapon" for one in policy.rules)


def test_without_filters_no_ring_can_be_made() -> None:
    policy = resolved(f"{DENY}  - {{action: allow, names: [READ]}}\n")
    assert policy.io_uring
    assert policy.io_uring.without is Without.REFUSE_RINGS
    other = refusing_rings(policy)
    assert other.io_uring is None
    assert {(one.name, str(one.action), one.condition) for one in other.rules} == {
        (name, "errno(ENOSYS)", None)
        for name in ("io_uring_setup", "io_uring_enter", "io_uring_register")
    }


def test_groups_have_operations_that_there_are_and_no_other_credentials() -> None:
    groups = ring_groups()
    for kind, known in (
        ("operations", ring_numbers().operations),
        ("register", ring_numbers().register),
    ):
        for members in groups[kind].values():
            assert {*members} <= {*known}
            assert len({*members}) == len(members)
    basic = {*groups["register"]["basic"]}
    assert not basic & {"PERSONALITY", "SEND_MSG_RING", "RESTRICTIONS", "BPF_FILTER", "ZCRX_IFQ"}


def test_a_section_in_python_is_written_as_a_file_that_means_the_same() -> None:
    section = IoUring(
        default_action="deny",
        without=Without.FAIL,
        operations=[
            OperationGroup("allow", ["@read", "CLOSE"]),
            OperationGroup("allow", ["CONNECT"], when="addr in {10.0.0.0/8, ::1} and port == 5432"),
        ],
    )
    policy = Policy(Action.errno(), [], arches=["x86_64"], io_uring=section)
    text = Filter(policy).to_yaml()
    again = resolved(text).io_uring
    assert again
    assert again.without is Without.FAIL
    abi = resolved(text).arches[0]
    assert [one.operation.name for one in again.rules_for(abi) if one.tests] == ["CONNECT"] * 2
    assert len(again.operations(abi)) == 7
