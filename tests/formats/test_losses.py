"""Losses that a user accepts: what changes, what does not, and where it is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "read: 1\nwrite: arg0 == 1\n"
FILTER = {
    "vmm": {
        "mismatch_action": "trap",
        "match_action": "allow",
        "filter": [{"syscall": "read"}, {"syscall": "exit_group"}],
    }
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "a.policy").write_text(POLICY)
    (tmp_path / "vmm.json").write_text(json.dumps(FILTER))
    return tmp_path


def test_a_policy_of_minijail_becomes_a_filter_of_seccompiler(here: Path) -> None:
    """Only the answer to other ABIs changes; x32's calls keep theirs."""
    words = ("build", "a.policy", "--for", "x86_64", "--format", "seccompiler", "-o", "out")
    refused = inside(*words, cwd=here)
    assert refused.code == 2
    assert "or build with `--accept bad_arch_action`" in refused.err
    run = inside(*words, "--accept", "bad_arch_action", "--json", cwd=here)
    assert run.code == 0, run.err
    said = "accepted: bad_arch_action kill_thread becomes kill_process"
    assert f"note: {said}\n" in run.err
    assert json.loads(run.out)["filters"][0]["accepted"] == [said]
    pair = ("a.policy", "out/a.x86_64.json", "--for", "x86_64", "--json")
    changed = json.loads(inside("diff", *pair, cwd=here).out)["changes"]
    assert [one["subject"] for one in changed] == ["other-abis"]


def test_a_filter_of_seccompiler_becomes_a_policy_of_minijail_with_a_comment(here: Path) -> None:
    words = ("build", "vmm.json", "--for", "x86_64", "--format", "minijail", "-o", "out")
    assert inside(*words, "--accept", "bad_arch_action", cwd=here).code == 0
    lines = (here / "out" / "vmm.x86_64.policy").read_text().splitlines()
    assert lines[0] == "# accepted: bad_arch_action kill_process becomes kill_thread"


def test_losses_that_are_none_change_nothing(here: Path) -> None:
    words = ("build", "a.policy", "--for", "aarch64", "--format", "minijail", "-o", "out")
    run = inside(*words, "--accept", "bad_arch_action", "--accept", "flags", cwd=here)
    assert (run.code, "accepted" in run.err) == (0, False)
    assert "accepted" not in (here / "out" / "a.aarch64.policy").read_text()
    run = inside("build", "a.policy", "-o", "out2", "--accept", "flags", cwd=here)
    assert (run.code, "--accept is for the --format of another tool" in run.err) == (2, True)


def test_an_oci_profile_has_neither_listeners_nor_other_abis_rules(here: Path) -> None:
    rules = "syscalls:\n- {action: user_notif, names: [mount]}\n"
    settings = "arches: [x86_64]\ndefault_action: errno\nflags: [new_listener]\n"
    (here / "p.yml").write_text(settings + rules.replace("user_notif", "allow"))
    words = ("build", "p.yml", "--format", "oci", "-o", "out")
    assert inside(*words, "--accept", "bad_arch_action", cwd=here).code == 2
    run = inside(*words, "--accept", "bad_arch_action", "--accept", "flags", cwd=here)
    assert run.code == 0, run.err
    assert "accepted: flags [new_listener] becomes []" in run.err
    both = ("--accept", "bad_arch_action", "--accept", "compat_arches", "--for", "x86_64")
    run = inside("build", "vmm.json", "--format", "oci", "-o", "out", *both, cwd=here)
    assert run.code == 0, run.err
    assert "accepted: compat_arches [x32] becomes []" in run.err


def test_a_conversion_compares_what_the_kernel_reads(here: Path) -> None:
    """Calls that differ get one answer from the kernel; the policy says that it was accepted."""
    run = inside("convert", "a.policy", "--for", "x86_64", "-o", "a.yml", cwd=here)
    assert "when: u64(fd) == 1" in (here / "a.yml").read_text()
    words = ("convert", "a.policy", "--for", "x86_64", "--accept", "high_bits", "-o", "b.yml")
    run = inside(*words, cwd=here)
    said = "accepted: high_bits: comparisons cover the bits of arguments that the kernel reads, "
    assert f"note: {said}" in run.err
    text = (here / "b.yml").read_text()
    assert text.startswith(f"# {said}")
    assert "when: fd == 1" in text
    changed = json.loads(inside("diff", "a.yml", "b.yml", "--json", cwd=here).out)["changes"]
    assert [(one["syscall"], one["after"]) for one in changed] == [("write", "allow")]
    assert all(one["example"][1] >> 32 for one in changed)


def test_a_conversion_leaves_out_numbers_without_a_call(here: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["futex_waitv"], "action": "SCMP_ACT_ALLOW"}],
    }
    (here / "oci.json").write_text(json.dumps(profile))
    words = ("convert", "oci.json", "--for", "x86_64")
    kept = inside(*words, cwd=here)
    assert " 408, 409, " in kept.out
    run = inside(*words, "--accept", "unused_numbers", cwd=here)
    assert (run.code, " 408, " in run.out) == (0, False)
    assert "# accepted: unused_numbers: numbers without a call have no rule\n" in run.out
