"""``seccompgen amend``: what it prints before it writes, and when it writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside

if TYPE_CHECKING:
    from pathlib import Path

WORKER = """\
arches: [x86_64]
default_action: errno(EPERM)
syscalls:
- action: allow
  names: [read, write, exit_group, keyctl]  # keys, too
- action: allow
  names: [socket]
"""


def test_the_difference_is_printed_and_then_written(tmp_path: Path) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(WORKER)
    words = ("amend", "worker.yml", "--refuse", "keyctl")
    run = inside(*words, "--check", cwd=tmp_path)
    assert (run.code, run.err) == (1, "")
    assert path.read_text() == WORKER
    assert run.out == (
        "--- a/worker.yml\n+++ b/worker.yml\n@@ -2,6 +2,6 @@\n default_action: errno(EPERM)\n"
        " syscalls:\n - action: allow\n-  names: [read, write, exit_group, keyctl]  # keys, too\n"
        "+  names: [read, write, exit_group]  # keys, too\n - action: allow\n   names: [socket]\n"
        "worker.yml: proved for x86_64: these calls changed, and no others\n"
    )
    again = inside(*words, cwd=tmp_path)
    assert again.code == 0
    assert again.out.startswith(run.out)
    assert again.out.endswith("worker.yml\n")
    assert path.read_text() == WORKER.replace(", keyctl", "")
    third = inside(*words, "--check", cwd=tmp_path)
    assert (third.code, third.out) == (0, "worker.yml: answers these calls so already\n")


def test_a_link_stays_and_a_mode(tmp_path: Path) -> None:
    path = tmp_path / "real" / "worker.yml"
    path.parent.mkdir()
    path.write_text(WORKER)
    path.chmod(0o640)
    (tmp_path / "link.yml").symlink_to(path)
    run = inside("amend", "link.yml", "--refuse", "keyctl", cwd=tmp_path)
    assert run.code == 0, run.err
    assert (tmp_path / "link.yml").is_symlink()
    assert path.read_text() == WORKER.replace(", keyctl", "")
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_shield_refuses_its_calls(tmp_path: Path) -> None:
    (tmp_path / "worker.yml").write_text(WORKER)
    run = inside("amend", "worker.yml", "--shield", "CVE-2026-31431", cwd=tmp_path)
    assert run.code == 0, run.err
    assert "+  - {name: socket, when: family == AF_ALG}\n" in run.out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "say which calls change: with --refuse and --shield, or with --allow\n"),
        (("--refuse", "read", "--allow", "bpf"), "say which calls change: with --refuse and"),
        (("--shield", "CVE-2026-3143"), "no shield is called 'CVE-2026-3143' (did you mean "),
        (("--refuse", "keyctll"), "--refuse: unknown system call 'keyctll' (did you mean"),
    ],
)
def test_a_wrong_request_changes_nothing(
    tmp_path: Path, words: tuple[str, ...], error: str
) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(WORKER)
    run = inside("amend", "worker.yml", *words, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert error in run.err
    assert path.read_text() == WORKER
