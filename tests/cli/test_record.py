"""``seccompgen record`` before anything is run: what is asked for, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside, said
from running_kernel import require_x86_64

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--", "true"], "say where the policy goes (-o POLICY), or what to compare (--against)"),
        (["-o", "p.yml"], "name a command to run, after --, or policies to merge (--merge)"),
        (["-o", "p.txt", "--", "true"], "p.txt: the policy is written as YAML, so name it .yml"),
        (["-o", "no/p.yml", "--", "true"], "no/p.yml: there is no directory no"),
        (["-o", "d.yml", "--", "true"], "d.yml: is a directory"),
        (["-o", "p.yml", "--merge", "none.yml"], "cannot read none.yml: No such file"),
        (["-o", "p.yml", "--default-action", "alow", "--", "true"], "--default-action: unknown"),
        (["-o", "p.yml", "--default-action", "log", "--", "true"], "--default-action: log refuses"),
        (["--against", "arm.yml", "--", "true"], "arm.yml: not for x86_64: its arches leave"),
        (["-o", "mine.yml", "--", "true"], "mine.yml: is there, and was not recorded; write else"),
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
