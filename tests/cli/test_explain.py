"""``explain`` from outside: one call, calls in part, whole filters; on every form of FILTER."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT, inside, said
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

TAG = shipped_tables().tag
POLICY = """\
description: Reads, writes, and maps no code.
arches: [x86_64, s390x, arm]
compat_arches: [i386]
default_action: kill_process
unknown_action: errno(ENOSYS)
multiplexed: kill_process
syscalls:
- action: allow
  names: [read, write, exit_group]
- action: errno(ENOTTY)
  names: [ioctl]
- action: allow
  names_with_args:
  - {name: openat, when: flags & O_ACCMODE == O_RDONLY and not flags & O_CREAT}
  - {name: socket, when: 'family in {AF_UNIX, AF_INET}'}
- action: errno(EACCES)
  names: [openat]
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "worker.yml").write_text(POLICY)
    return tmp_path


def told(here: Path, *words: str) -> list[str]:
    code, out, err = said(inside("explain", *words, cwd=here))
    assert (code, err) == (0, [])
    return out


def answers(here: Path, *words: str) -> list[dict[str, Any]]:
    run = inside("explain", *words, "--json", cwd=here)
    assert (run.code, run.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(run.out)["answers"]
    return found


# --- one call ------------------------------------------------------------------------------------


def test_a_call_its_rule_and_its_way_through_the_program(here: Path) -> None:
    words = ("worker.yml", "openat", "AT_FDCWD", "0", "O_RDONLY|O_CLOEXEC", "--arch", "s390x")
    assert told(here, *words) == [
        "openat(AT_FDCWD, 0, O_RDONLY|O_CLOEXEC, mode) on s390x: allow, whatever mode may be",
        "  by worker.yml:14:12 (rule 3: flags & O_ACCMODE == O_RDONLY and not flags & O_CREAT)",
        "  8 of 66 instructions run each time, since the bitmap does not answer it:",
        "        0       ld   arch",
        "        1  yes  jeq  AUDIT_ARCH_S390X        else kill_process",
        "        2       ld   nr",
        "        3  yes  jge  198 lchown              -> from lchown",
        "    from lchown:",
        "       44  yes  jeq  288 openat              -> openat",
        "    openat: worker.yml:8, 14, 15, 16",
        "       62       ld   args[2].lo",
        "       63  no   jset 0x43                    -> errno(EACCES)"
        "            ; flags & (O_ACCMODE|O_CREAT)",
        "       64       ret  allow",
    ]


def test_arguments_may_be_numbers_of_any_base_and_have_names(here: Path) -> None:
    (named,) = answers(here, "worker.yml", "openat", "AT_FDCWD", "flags=O_WRONLY", "--arch", "arm")
    (plain,) = answers(here, "worker.yml", "322", "-100", "0", "0b1", "--arch", "arm")
    assert named["cases"][0]["rule"] == plain["cases"][0]["rule"]
    assert named["text"] == "openat(AT_FDCWD, filename, O_WRONLY, mode)"
    assert plain["text"] == "openat(AT_FDCWD, 0, O_WRONLY, mode)"
    assert plain["cases"][0]["action"] == "errno(EACCES)"
    # A negative number has the bits that the ABI's registers have.
    assert plain["cases"][0]["example"][1] == 2**32 - 100
    (wide,) = answers(here, "worker.yml", "openat", "-100", "--arch", "s390x")
    assert {case["example"][1] for case in wide["cases"]} == {2**64 - 100}


def test_names_have_the_values_of_each_abi(here: Path) -> None:
    """O_CREAT is 0x40 on these, and 0x100 on MIPS."""
    for arch in ("mips", "x86_64"):
        policy = POLICY.replace("[x86_64, s390x, arm]\ncompat_arches: [i386]", f"[{arch}]")
        (here / "worker.yml").write_text(policy)
        (one,) = answers(here, "worker.yml", "openat", "0", "0", "O_CREAT")
        assert one["cases"][0]["action"] == "errno(EACCES)"
        (one,) = answers(here, "worker.yml", "openat", "0", "0", "0x40")
        assert one["cases"][0]["action"] == ("allow" if arch == "mips" else "errno(EACCES)")


def test_abis_that_answer_alike_are_told_once(here: Path) -> None:
    out = told(here, "worker.yml", "read")
    assert out[:3] == [
        "read(fd, buf, count) on x86_64, i386 (program for x86_64), s390x, arm: allow, "
        "whatever fd, buf and count may be",
        "  by worker.yml:9:11 (rule 1)",
        "  kernels since 5.11 answer it by their bitmap for x86_64, and run no instruction",
    ]
    assert [one["abi"] for one in answers(here, "worker.yml", "read")] == [
        *("x86_64", "i386", "s390x", "arm")
    ]


def test_a_call_that_an_abi_lacks_is_said_to_be_lacking(here: Path) -> None:
    out = told(here, "worker.yml", "newfstatat", "--arch", "arm", "--arch", "i386")
    assert out == ["arm, i386 have no call newfstatat"]
    out = told(here, "worker.yml", "open", "--arch", "x86_64", "--arch", "arm")
    assert out[0].startswith("open(filename, flags, mode) on x86_64, arm: kill_process")


def test_numbers_that_no_call_has(here: Path) -> None:
    out = told(here, "worker.yml", "999", "--arch", "x86_64")
    assert out[:3] == [
        "nr 0x3e7(...) on x86_64: errno(ENOSYS), whatever the arguments are",
        "  by worker.yml:5:17 (unknown_action)",
        f"  Linux {TAG} has no call of that number here",
    ]
    out = told(here, "worker.yml", "-1", "--arch", "arm")
    assert "  note: a tracer that skips a call leaves this number" in out


def test_calls_through_an_abi_that_is_not_answered_for(here: Path) -> None:
    (one,) = answers(here, "worker.yml", "read", "--arch", "x32")
    assert (one["abi"], one["program"]) == ("x32", "x86_64")
    assert one["cases"][0]["rule"]["label"] == "bad_arch_action"
    run = said(inside("explain", "worker.yml", "read", "--arch", "riscv64", cwd=here))
    text = "worker.yml: no program answers for riscv64; there are x86_64, i386, s390x, arm"
    assert run == (2, [], [text])


def test_high_bits_that_the_kernel_does_not_read_are_told_of(here: Path) -> None:
    policy = "arches: [x86_64]\ndefault_action: errno\nsyscalls:\n- action: allow\n"
    policy += "  names_with_args:\n  - {name: close, when: u64(fd) == 0xffffffff}\n"
    (here / "high.yml").write_text(policy)
    out = told(here, "high.yml", "close", "-1")
    assert out[0] == "close(0xffffffffffffffff) on x86_64: errno(EPERM)"
    assert (
        "  note: a program that passes 0xffffffff gets allow: the filter looks at bits that the "
        "kernel does not read"
    ) in out


# --- calls in part -------------------------------------------------------------------------------


def test_what_depends_on_arguments_left_out_is_told_in_cases(here: Path) -> None:
    assert told(here, "worker.yml", "openat", "--arch", "x86_64") == [
        "openat(dfd, filename, flags, mode) on x86_64: it depends on flags",
        "  allow where not flags & (O_ACCMODE|O_CREAT)",
        "    by worker.yml:14:12 (rule 3); such as openat(0, 0, O_RDONLY, 0)",
        "  errno(EACCES) otherwise",
        "    by worker.yml:17:11 (rule 4); such as openat(0, 0, O_RDONLY|O_CREAT, 0)",
    ]


def test_each_case_has_an_example_that_gets_its_answer(here: Path) -> None:
    (one,) = answers(here, "worker.yml", "socket", "--arch", "s390x")
    assert one["depends_on"] == ["family"]
    conditions = [(case["action"], case["condition"], case["otherwise"]) for case in one["cases"]]
    assert conditions == [
        ("allow", "family in {AF_UNIX, AF_INET}", False),
        ("kill_process", "family == AF_UNSPEC or family >= AF_AX25", True),
    ]
    for case in one["cases"]:
        words = [str(value) for value in case["example"]]
        (whole,) = answers(here, "worker.yml", *words, "--arch", "s390x")
        assert [again["ret"] for again in whole["cases"]] == [case["ret"]]
        assert whole["cases"][0]["program"]["path"] == case["program"]["path"]


def test_an_argument_that_is_given_leaves_the_others(here: Path) -> None:
    out = told(here, "worker.yml", "socket", "type=SOCK_DGRAM", "--arch", "arm")
    assert out[0] == "socket(family, SOCK_DGRAM, protocol) on arm: it depends on family"
    out = told(here, "worker.yml", "socket", "AF_UNIX", "--arch", "arm")
    assert out[0] == (
        "socket(AF_UNIX, type, protocol) on arm: allow, whatever type and protocol may be"
    )


# --- other forms ---------------------------------------------------------------------------------


def test_programs_without_rules_tell_the_instruction(here: Path) -> None:
    assert inside("build", "worker.yml", "--format", "bpf", "-o", ".", cwd=here).code == 0
    assert inside("vendor", "worker.yml", "pkg", cwd=here).code == 0
    words = ("openat", "0", "0", "O_RDONLY", "--arch", "s390x")
    (policy,) = answers(here, "worker.yml", *words)
    (raw,) = answers(here, "worker.s390x.bpf", *words)
    (module,) = answers(here, "pkg/worker", *words)
    for one in (raw, module):
        assert one["cases"][0]["ret"] == policy["cases"][0]["ret"]
        assert one["cases"][0]["program"]["executed"] == 8
    assert raw["cases"][0]["rule"]["label"] == "instruction 64"
    assert module["cases"][0]["rule"]["label"] == "instruction 64, made from worker.yml"


@pytest.mark.long("runs commands on many filters")
def test_foreign_policies_tell_their_own_lines(here: Path) -> None:
    profile = ROOT / "tests" / "data" / "policies" / "container-default.json"
    (one,) = answers(here, str(profile), "getpid", "--arch", "x86_64")
    rule = one["cases"][0]["rule"]
    line = profile.read_text().splitlines()[rule["line"] - 1]
    assert rule["file"] == str(profile)
    assert one["cases"][0]["action"] == "allow"
    assert '"getpid"' in line


# --- whole filters -------------------------------------------------------------------------------


def test_a_whole_filter_by_action_kind_and_condition(here: Path) -> None:
    assert told(here, "worker.yml", "--arch", "arm") == [
        f"worker.yml: arm, calls of Linux {TAG}",
        "",
        "allow",
        "  Files and directories",
        "    openat where flags & O_ACCMODE == O_RDONLY and not flags & O_CREAT",
        "  Open descriptors",
        "    read, write",
        "  Network",
        "    socket where family in {AF_UNIX, AF_INET}",
        "  Processes and threads",
        "    exit_group",
        "",
        "errno(EACCES)",
        "  Files and directories",
        "    otherwise openat",
        "",
        "errno(ENOTTY)",
        "  Open descriptors",
        "    ioctl",
        "",
        "kill_process",
        "  426 calls that are not named here, whatever their arguments are",
        "  Network",
        "    otherwise socket",
        "",
        f"numbers that Linux {TAG} does not name: errno(ENOSYS)",
        "calls through any other ABI of the kernel: kill_process",
    ]
    run = inside("explain", "worker.yml", "--arch", "arm", "--json", cwd=here)
    calls = {one["syscall"]: one for one in json.loads(run.out)["calls"]}
    assert calls["read"]["ways"] == [{"program": "arm", "abi": "arm", "nr": 3}]
    assert [one["action"] for one in calls["openat"]["answers"]] == ["allow", "errno(EACCES)"]


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("opena",), f"no ABI of Linux {TAG} has a call 'opena' (did you mean 'openat'?)"),
        (("openat", "O_RDONY"), "unknown constant 'O_RDONY' (did you mean 'O_RDONLY'?)"),
        (("openat", "flag=3"), "openat has no argument 'flag' (did you mean 'flags'?); "
         "it has dfd, filename, flags, mode"),
        (("openat", "x"), "x: 'x' is not a value: constants are in capitals, arguments stand "
         "alone"),
        (("openat", "0x10000000000000000"), "0x10000000000000000: a number of more than 64 bits"),
        (("openat", "1", "dfd=2", "arg0=2"), "arg0=2: this argument has a value already"),
        (("openat", *"1234567"), "7: a call has at most 6 arguments"),
        (("openat", "--jsn"), "no such option: --jsn"),
        (("4294967296",), "4294967296: no number of a call has more than 32 bits"),
    ],
)  # fmt: skip
def test_words_that_are_not_understood(here: Path, words: tuple[str, ...], text: str) -> None:
    code, out, err = said(inside("explain", "worker.yml", *words, cwd=here))
    assert (code, out, err) == (2, [], [text])


def test_values_that_no_argument_of_an_abi_can_have(here: Path) -> None:
    out = told(here, "worker.yml", "close", "0x100000000", "--arch", "arm")
    assert out == ["0x100000000 has more bits than the 32 of an argument on arm"]
