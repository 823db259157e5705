"""The settings of a recorded policy: those with which it can be written in every form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recorded_policies import TABLES, X86_64, load, recorded
from seccompgen.core.model import Action
from seccompgen.formats.oci.writer import profile
from seccompgen.run.record.session import RecordRequest, policy_of

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy

RECORDING = recorded("x86_64", read=[{}], openat=[{2: 0}], exit_group=[{}])


def written(directory: Path, *known: ResolvedPolicy, exact: bool = False) -> Path:
    path = directory / "recorded.yml"
    wish = RecordRequest(exact=exact, known=known)
    made = policy_of(RECORDING, wish, TABLES, "demo", Action.errno("EPERM"))
    path.write_text(made.text)
    return path


def test_a_recorded_policy_is_a_profile_for_containers(tmp_path: Path) -> None:
    policy = load(written(tmp_path))
    assert str(policy.bad_arch_action) == "kill_thread"
    assert profile(policy, X86_64, TABLES).rules


def test_what_a_known_policy_says_of_other_abis_stays_if_it_kills(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    for said, kept in (
        ("bad_arch_action: kill_process", "kill_process"),
        ("bad_arch_action: allow", "kill_thread"),
        ("", "kill_thread"),
    ):
        own.write_text(
            f"arches: [x86_64]\ndefault_action: errno\n{said}\n"
            "syscalls: [{action: allow, names: [read]}]\n"
        )
        assert str(load(written(tmp_path, load(own))).bad_arch_action) == kept


def test_with_exact_nothing_is_said_that_was_not_before(tmp_path: Path) -> None:
    assert "bad_arch_action" not in written(tmp_path, exact=True).read_text()
