"""Findings where policies are built: errors refuse, warnings are told, comments end both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command import seccompgen

if TYPE_CHECKING:
    from pathlib import Path

LINTED = """\
arches: [x86_64]
default_action: allow
syscalls:
- action: errno
  names_with_args:
  - {{name: syslog, arguments: [{{argument: 0, operation: Equal, value: 5, width: {width}}}]}}
"""


def test_a_finding_that_makes_a_promise_false_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(LINTED.format(width=64))
    for command in (["build", "bad.yml", "-o", "out"], ["vendor", "bad.yml", "out"]):
        run = seccompgen(*command, cwd=tmp_path)
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith("bad.yml:6:12: the kernel reads 32 bits of argument 0 of syslog")
        assert run.err.endswith("[ignored-bits]; write width: 32\n")
        assert not (tmp_path / "out").exists()
    (tmp_path / "bad.yml").write_text(LINTED.format(width=32))
    assert seccompgen("build", "bad.yml", "-o", "out", cwd=tmp_path).code == 0


def test_a_reason_in_a_comment_lets_it_be_built(tmp_path: Path) -> None:
    comment = "# lint: ignore[ignored-bits]: a test of the kernel"
    text = LINTED.format(width=64).rstrip() + f" {comment}\n"
    (tmp_path / "bad.yml").write_text(text)
    run = seccompgen("build", "bad.yml", "-o", "out", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")


def test_a_doubtful_finding_is_told_and_built(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(
        "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n- {action: errno, names: [execve]}\n"
    )
    for command in (["build", "bad.yml", "-o", "out"], ["vendor", "bad.yml", "pkg/out"]):
        run = seccompgen(*command, cwd=tmp_path)
        assert run.code == 0
        assert run.err == (
            "bad.yml:4:27: warning: execve is refused, but execveat is permitted: it executes the "
            "same programs (on x86_64) [exec-twin]; refuse execveat, too\n"
        )
