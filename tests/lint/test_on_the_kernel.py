"""Witnesses, made under their filters on the running kernel: each is answered as it says."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from running_kernel import install_raw, require_x86_64, run, syscall
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.registry import SECTIONS, rules
from seccompgen.pipeline.build import build_policy

from website.lint_page import examples

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding
    from seccompgen.verify.call import Call

require_x86_64()

OURS = 1234
"""An errno that no call gives by itself."""
X86_64 = 0xC000003E
CLONE, FORK, VFORK = 56, 57, 58
X32 = range(1 << 30, 1 << 31)
"""Numbers of another ABI, which this kernel need not have."""


def policies() -> dict[str, str]:
    """Return by codes the wrong policies of rules that refuse something on x86_64."""
    wrong = {one.code: examples(one)[0] for section in SECTIONS for one in rules(section)}
    return {
        code: text
        for code, text in wrong.items()
        if "default_action: allow" in text and "x86_64" in text and "errno" in text
    }


def make(call: Call) -> tuple[int, int]:
    """Make a call; whoever comes back as its child ends."""
    outcome = syscall(call.nr, *call.args)
    if call.nr in {CLONE, FORK} and outcome[0] == 0:
        os._exit(0)
    return outcome


def outcomes(program: bytes, found: list[Finding]) -> list[tuple[bool, bool]]:
    """Return, for each finding, if the filter refused the witness, and the call beside it."""
    install_raw(program)
    told = []
    for one in found:
        assert one.witness is not None
        assert one.beside is not None
        refused = [make(w.call) == (-1, OURS) for w in (one.witness, one.beside)]
        told.append((refused[0], refused[1]))
    return told


@pytest.mark.few(9, "asks the running kernel case by case")
@pytest.mark.parametrize("code", policies())
def test_the_kernel_answers_as_a_finding_says(tmp_path: Path, code: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(re.sub(r"action: errno(?=[,\n])", f"action: errno({OURS})", policies()[code]))
    tables = shipped_tables()
    found = [
        one
        for one in lint_filter(path, tables).findings
        if one.beside is not None
        and one.witness is not None
        and one.witness.call.arch == one.beside.call.arch == X86_64
        and one.witness.call.nr != VFORK
        and one.witness.call.nr not in X32
    ]
    if not found:
        pytest.skip("no call of this ABI shows it")
    (program,) = build_policy(path, tables).programs
    result = run(lambda: outcomes(program.to_bytes(), found))
    assert [tuple(one) for one in result.value] == [(False, True)] * len(found)
