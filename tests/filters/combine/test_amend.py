"""Policies changed in place: the lines that change, and what is proved of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from amending import AF_ALG, changed, lets_through, lines
from corpus import SHARED
from proving import TABLES
from seccompgen.core.errors import AnswerNo, InputError
from seccompgen.core.foreign import Reading
from seccompgen.filters.combine.amend import amend
from seccompgen.filters.combine.change_proof import unproved
from seccompgen.formats import load_policy
from seccompgen.formats.amending import Change, ChangedRule
from seccompgen.formats.losses import OTHER_ERRNO, UNNAMED_VALUES

if TYPE_CHECKING:
    from pathlib import Path


DOCKER = """\
{
	"defaultAction": "SCMP_ACT_ERRNO",
	"archMap": [
		{
			"architecture": "SCMP_ARCH_X86_64",
			"subArchitectures": ["SCMP_ARCH_X86"]
		}
	],
	"syscalls": [
		{
			"names": [
				"add_key",
				"keyctl",
				"read",
				"socket",
				"socketcall",
				"statx"
			],
			"action": "SCMP_ACT_ALLOW"
		},
		{
			"names": [
				"keyctl"
			],
			"action": "SCMP_ACT_ALLOW",
			"includes": {
				"caps": [
					"CAP_SYS_ADMIN"
				]
			}
		},
		{
			"names": [
				"personality"
			],
			"action": "SCMP_ACT_ALLOW",
			"args": [
				{
					"index": 0,
					"value": 8,
					"op": "SCMP_CMP_EQ"
				}
			]
		}
	]
}
"""


def test_a_name_leaves_every_rule_that_permits_it(tmp_path: Path) -> None:
    found = changed(tmp_path / "docker.json", DOCKER, "keyctl")
    gone = [line for line in lines(found) if line.startswith("-")]
    assert gone[0] == '-\t\t\t\t"keyctl",'
    assert len(gone) == 12  # and the whole entry for CAP_SYS_ADMIN
    assert not [line for line in lines(found) if line.startswith("+")]
    assert found.readings == 4  # with the capability and without, for runc and crun
    assert found.after.count("keyctl") == 0
    json.loads(found.after)


def test_the_last_name_leaves_with_the_comma_before_it(tmp_path: Path) -> None:
    text = DOCKER.replace('"add_key"', '"openat2"').replace('"socketcall",', '"sendfile",')
    found = changed(tmp_path / "docker.json", text, "sendfile statx mmap")
    assert lines(found) == [
        '-\t\t\t\t"socket",', '-\t\t\t\t"sendfile",', '-\t\t\t\t"statx"', '+\t\t\t\t"socket"',
    ]  # fmt: skip


def test_a_condition_becomes_rules_that_compare_the_bits_that_the_kernel_reads(
    tmp_path: Path,
) -> None:
    path = tmp_path / "docker.json"
    found = changed(path, DOCKER, AF_ALG)
    assert '"socket"' not in found.after.split('"statx"')[0]
    for family, through in ((38, False), (37, True), (39, True), (0xFFFFFFFF, True)):
        assert lets_through(path, found.after, "socket", family) is through
    assert not lets_through(path, found.after, "socket", 1 << 32 | 38)
    assert not lets_through(path, found.after, "socket", 1 << 63 | 38)
    assert lets_through(path, found.after, "socketcall", 1, abi="i386")
    (through_another,) = (one for one in found.notes if one.kind)
    assert "refuses that only with all of socket" in through_another.message


def test_values_without_a_name_may_be_refused_too_if_that_is_accepted(tmp_path: Path) -> None:
    path, accepted = tmp_path / "docker.json", frozenset({UNNAMED_VALUES})
    found = changed(path, DOCKER, AF_ALG, accepts=accepted)
    assert found.after.count('"socket"') == 3
    for family in (0, 1, 37, 38, 39, 44, 45):
        assert lets_through(path, found.after, "socket", family) is (family != 38)
    assert not lets_through(path, found.after, "socket", 1 << 32 | 38)
    assert "socket with family above 0x2d may be refused as well" in found.notes[0].message


def test_a_rule_that_permits_too_many_bits_is_changed_where_it_is(tmp_path: Path) -> None:
    """Docker's own rule of 2026: families above 40, in 64 bits."""
    path = tmp_path / "docker.json"
    wide = DOCKER.replace('"personality"', '"socket"').replace('"value": 8', '"value": 40')
    wide = wide.replace("SCMP_CMP_EQ", "SCMP_CMP_GT").replace('\t\t\t\t"socket",\n', "", 1)
    assert lets_through(path, wide, "socket", 1 << 32 | 38)
    found = changed(path, wide, AF_ALG, accepts=frozenset({UNNAMED_VALUES}))
    assert lines(found)[:2] == ['-\t\t\t\t\t"value": 40,', '-\t\t\t\t\t"op": "SCMP_CMP_GT"']
    for family in (41, 42, 43, 44, 45):
        assert lets_through(path, found.after, "socket", family)
    for family in (38, 40, 1 << 32 | 38, 1 << 40 | 40):
        assert not lets_through(path, found.after, "socket", family)


def test_a_name_that_runc_counts_stays(tmp_path: Path) -> None:
    """Runc answers ENOSYS to numbers above the highest that a profile names."""
    found = changed(tmp_path / "docker.json", DOCKER, "statx")
    assert [one for one in json.loads(found.after)["syscalls"] if "statx" in one["names"]] == [
        {"names": ["statx"], "action": "SCMP_ACT_ERRNO"}
    ]


def test_calls_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    found = changed(path, DOCKER, "personality when personality == 0", allows=True)
    test = {"index": 0, "value": 0xFFFFFFFF, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    added = {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [test]}
    assert json.loads(found.after)["syscalls"][3:] == [added]
    assert lets_through(path, found.after, "personality", 0)
    assert not lets_through(path, found.after, "personality", 1)


def test_another_errno_for_refused_calls_can_be_accepted(tmp_path: Path) -> None:
    """A name above the highest moves the numbers to which runc answers ENOSYS."""
    path = tmp_path / "docker.json"
    with pytest.raises(AnswerNo, match="with --accept other_errno that is no reason"):
        changed(path, DOCKER, "openat2", allows=True)
    found = changed(path, DOCKER, "openat2", allows=True, accepts=frozenset({OTHER_ERRNO}))
    assert json.loads(found.after)["syscalls"][-1]["names"] == ["openat2"]


def test_a_profile_that_permits_all_else_gets_a_rule(tmp_path: Path) -> None:
    path = tmp_path / "deny.json"
    text = """{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
 "syscalls": [
  {"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"}
 ]}
"""
    found = changed(path, text, AF_ALG)
    assert lines(found)[-1] == (
        '+  {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS", "args": '
        '[{"index": 0, "value": 4294967295, "valueTwo": 38, "op": "SCMP_CMP_MASKED_EQ"}]}'
    )


def test_what_is_refused_already_changes_nothing(tmp_path: Path) -> None:
    assert not changed(tmp_path / "docker.json", DOCKER, "bpf").diff


def test_the_proof_finds_what_else_changed_and_what_did_not(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    path.write_text(DOCKER)
    before, _ = load_policy(path, TABLES)
    change = Change.of([ChangedRule.parse("keyctl")], before, TABLES, allows=False)

    def why(text: str) -> str | None:
        after, _ = load_policy(path, TABLES, instead={str(path): text.encode()})
        return unproved(before, after, change, TABLES)

    right = DOCKER.replace('\t\t\t\t"keyctl",\n', "")
    assert why(right) is None
    assert "keyctl" in str(why(DOCKER))
    assert "add_key" in str(why(right.replace('\t\t\t\t"add_key",\n', "")))
    assert "personality" in str(why(right.replace('"value": 8', '"value": 9')))
    assert why(right.replace("ERRNO", "KILL")) == "it changes default_action"


OURS = """\
arches: [x86_64, i386]
default_action: errno(EPERM)
syscalls:
# what every program needs
- action: allow
  names: [read, write, socketcall]   # files
- action: allow
  names:
  - socket
  - keyctl     # keys
- action: kill_process
  names: [bpf]
- action: allow
  names_with_args:
  - {name: mprotect, when: not prot & PROT_EXEC}
"""


@pytest.mark.parametrize(
    ("rule", "allows", "expected"),
    [
        ("keyctl", False, ["-  - keyctl     # keys"]),
        ("write", False, ["-  names: [read, write, socketcall]   # files",
                          "+  names: [read, socketcall]   # files"]),
        ("read when fd == 3", False, ["+- action: errno(EPERM)", "+  names_with_args:",
                                      "+  - {name: read, when: fd == 3}"]),
        (AF_ALG, False, ["+- action: errno(EPERM)", "+  names_with_args:",
                         "+  - {name: socket, when: family == AF_ALG}"]),
        ("mprotect when prot & PROT_WRITE", False,
         ["+- action: errno(EPERM)", "+  names_with_args:",
          "+  - {name: mprotect, when: 'prot & PROT_WRITE'}"]),
        ("socket", False, ["+- action: errno(EPERM)", "+  names: [socket]", "-  - socket"]),
        ("bpf", True, ["-- action: kill_process", "+- action: allow"]),
        ("mmap", True, ["+- action: allow", "+  names: [mmap]"]),
    ],
)  # fmt: skip
def test_a_policy_of_ours(tmp_path: Path, rule: str, allows: bool, expected: list[str]) -> None:
    assert sorted(lines(changed(tmp_path / "w.yml", OURS, rule, allows=allows))) == sorted(expected)


def test_what_goes_through_socketcall_is_said_and_can_be_refused(tmp_path: Path) -> None:
    path, own = (
        tmp_path / "w.yml",
        OURS.replace("[x86_64, i386]", "[x86_64]\ncompat_arches: [i386]"),
    )
    (note,) = changed(path, own, AF_ALG).notes
    assert "add --refuse 'socketcall when call == 1'" in note.message
    found = changed(path, own, AF_ALG, "socketcall when call == 1")
    assert not found.notes
    assert not lets_through(path, found.after, "socketcall", 1, abi="i386")
    assert lets_through(path, found.after, "socketcall", 2, abi="i386")


def test_a_rule_goes_above_the_comment_of_the_rule_that_it_precedes(tmp_path: Path) -> None:
    found = changed(tmp_path / "w.yml", OURS, "read when fd == 3")
    above, _ = found.after.split("# what every program needs")
    assert above.endswith("- {name: read, when: fd == 3}\n")


def test_what_cannot_be_said_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown system call 'bpff'"):
        changed(tmp_path / "w.yml", OURS, "bpff")
    with pytest.raises(InputError, match="has no argument 'famly'"):
        changed(tmp_path / "w.yml", OURS, "socket when famly == 1")
    with pytest.raises(InputError, match="not a rule"):
        changed(tmp_path / "w.yml", OURS, "socket when")
    with pytest.raises(InputError, match="cannot be changed in place"):
        changed(tmp_path / "w.kafel", "POLICY a { ALLOW { read } } USE a DEFAULT KILL\n", "read")
    with pytest.raises(InputError, match="is a stock policy"):
        amend("no_network", [ChangedRule(("bpf",))], TABLES)
    with pytest.raises(AnswerNo, match="no change of this file says it: it takes"):
        changed(
            tmp_path / "docker.json", DOCKER,
            "read when fd not in {3, 5, 9, 77} and count > 4097 and count < 70001",
        )  # fmt: skip


OPERATOR = """\
apiVersion: security-profiles-operator.x-k8s.io/v1beta1
kind: SeccompProfile
metadata:
  name: web
spec:
  defaultAction: SCMP_ACT_ERRNO
  architectures: [SCMP_ARCH_X86_64]
  syscalls:
  # of the server
  - action: SCMP_ACT_ALLOW
    names:
      - keyctl   # keys
      - socket
      - statx
  - names: [mprotect]
    action: SCMP_ACT_ALLOW
    args:
      - {index: 2, value: 4, valueTwo: 0, op: SCMP_CMP_MASKED_EQ}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: others
data:
  other.json: |
    {"defaultAction": "SCMP_ACT_ERRNO",
     "architectures": ["SCMP_ARCH_X86_64"],
     "syscalls": [
       {"names": ["read", "keyctl", "statx"], "action": "SCMP_ACT_ALLOW"}
     ]}
"""


def test_all_profiles_among_kubernetes_objects(tmp_path: Path) -> None:
    found = changed(tmp_path / "all.yml", OPERATOR, "keyctl")
    assert lines(found) == [
        "-      - keyctl   # keys",
        '-       {"names": ["read", "keyctl", "statx"], "action": "SCMP_ACT_ALLOW"}',
        '+       {"names": ["read", "statx"], "action": "SCMP_ACT_ALLOW"}',
    ]
    one = changed(tmp_path / "all.yml", OPERATOR, "keyctl", reading=Reading(thread="web"))
    assert lines(one) == lines(found)[:1]


def test_a_profile_in_yaml_keeps_its_form(tmp_path: Path) -> None:
    web = Reading(thread="web")
    found = changed(tmp_path / "all.yml", OPERATOR, "socket when family != AF_UNIX", reading=web)
    entry = """\
      - statx
  - action: SCMP_ACT_ALLOW
    args:
      - index: 0
        value: 4294967295
        valueTwo: 1
        op: SCMP_CMP_MASKED_EQ
    names:
      - socket
"""
    assert found.after == OPERATOR.replace("      - socket\n      - statx\n", entry)
    written = changed(
        tmp_path / "all.yml", OPERATOR, "mprotect when prot & PROT_WRITE", reading=web
    )
    assert [line.strip("+ ") for line in lines(written) if line[0] == "+"] == [
        "- index: 2", "value: 6", "valueTwo: 0", "op: SCMP_CMP_MASKED_EQ",
    ]  # fmt: skip


@pytest.mark.long("each proof takes seconds")
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs Docker's profile in ../shared")
@pytest.mark.parametrize(
    ("rules", "most"),
    [
        (("fsopen fsconfig",), 2),
        (("perf_event_open",), 12),
        (("vmsplice splice",), 2),
    ],
)
def test_dockers_profile_is_changed_in_a_few_lines(
    tmp_path: Path, rules: tuple[str, ...], most: int
) -> None:
    text = (SHARED / "oci/moby-default.json").read_text()
    found = changed(tmp_path / "docker.json", text, *rules)
    assert 0 < len(lines(found)) <= most
    assert found.abis[0] == "x86_64"
