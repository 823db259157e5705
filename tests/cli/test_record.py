"""``seccompgen record`` before anything is run: what is asked for, and what is wrong with it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from command import inside, said
from running_kernel import require_x86_64
from seccompgen.policy.modeline import MODELINE, SCHEMA_NAME

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--", "true"],
            "name the policy to write (-o POLICY), or the one to compare with (--against)",
        ),
        (["-o", "p.yml"], "name a command to run, after --, or policies to merge (--merge)"),
        (["-o", "p.txt", "--", "true"], "p.txt: the policy is written as YAML, so name it .yml"),
        (["-o", "no/p.yml", "--", "true"], "no/p.yml: there is no directory no"),
        (["-o", "d.yml", "--", "true"], "d.yml: is a directory"),
        (["-o", "p.yml", "--merge", "none.yml"], "cannot read none.yml: No such file"),
        (["-o", "p.yml", "--default-action", "alow", "--", "true"], "--default-action: unknown"),
        (["-o", "p.yml", "--default-action", "log", "--", "true"], "--default-action: log refuses"),
        (["--against", "arm.yml", "--", "true"], "arm.yml: not for x86_64: its arches leave"),
        (["-o", "mine.yml", "--", "true"], "mine.yml: exists, and was not recorded; write else"),
    ],
)
def test_wrong_input_is_told_and_nothing_is_run(
    tmp_path: Path, words: list[str], complaint: str
) -> None:
    (tmp_path / "d.yml").mkdir()
    arm = "arches: [arm]\ndefault_action: errno\nsyscalls: [{action: allow, names: [read]}]\n"
    (tmp_path / "arm.yml").write_text(arm)
    (tmp_path / "mine.yml").write_text("# mine\n")
    before = sorted(tmp_path.iterdir())
    code, out, err = said(inside("record", *words, cwd=tmp_path))
    assert (code, out) == (2, [])
    assert err[0].startswith(complaint)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "mine.yml").read_text() == "# mine\n"


@pytest.mark.long("runs commands on many filters")
def test_beside_a_schema_the_policy_leads_editors_to_it(tmp_path: Path) -> None:
    def recorded(*words: str) -> str:
        run = inside("record", "-o", "p.yml", *words, cwd=tmp_path)
        assert run.code == 0, run.err
        return (tmp_path / "p.yml").read_text()

    without = recorded("--", "/bin/true")
    (tmp_path / SCHEMA_NAME).write_text("{}")
    assert recorded("--", "/bin/true") == MODELINE + without
    assert recorded("--", "/bin/true") == MODELINE + without  # it still knows its own
    assert recorded("--merge", "p.yml", "--", "/bin/true") == MODELINE + without
    assert inside("build", "p.yml", "-o", "sandbox", cwd=tmp_path).code == 0
    assert inside("verify", "sandbox", "--policy", "p.yml", cwd=tmp_path).code == 0


def test_children_that_this_process_had_before_are_not_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "infinity"]) as other:
        run = inside("record", "-o", "p.yml", "--", "/bin/true", cwd=tmp_path)
        assert run.code == 0, run.err
        assert other.poll() is None
        other.kill()
