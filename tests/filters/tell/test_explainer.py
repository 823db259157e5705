"""Explanations beside the running kernel, and those of programs that nobody of us compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import explained_calls
import running_kernel as kernel
from interpreter import assemble
from longer import few_and_many
from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.explainer import Explainer
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.render.explanation import ExplainedCall

kernel.require_x86_64()
TABLES = shipped_tables()
ALLOW, EPERM = 0x7FFF0000, 0x00050001


@few_and_many(24, 150)
def test_explanations_are_what_the_kernel_does(examples: int) -> None:
    stride = 3 if examples < 100 else 1
    counts = explained_calls.compare(examples, seed=19, stride=stride)
    assert min(counts["errno"], counts["killed"], counts["passed"]) > 3, counts


def explained(path: Path, *words: str) -> ExplainedCall:
    told = Explainer(path, TABLES, [ABIS["x86_64"]]).explain(words, every_run=True)
    ((one,),) = (group.calls for group in told.groups)
    return one


def test_a_program_that_looks_at_the_instruction_pointer(tmp_path: Path) -> None:
    program = [(0x20, 0, 0, 12), (0x15, 0, 1, 0x7F00), (0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM)]
    (tmp_path / "ip.bpf").write_bytes(assemble(program, "little"))
    one = explained(tmp_path / "ip.bpf", "read", "0", "0", "0")
    assert one.open == ("the caller's address",)
    told = [(case.action, case.condition, case.otherwise) for case in one.cases]
    allowed = ("allow", "called from 0x7f0000000000-0x7f00ffffffff")
    assert sorted(text for text in told if text[0] == "allow")[0][:2] == allowed


def test_a_program_that_mixes_parts_of_a_call_is_not_guessed_at(tmp_path: Path) -> None:
    """The third argument is added to the second, which sets cannot tell."""
    program = [
        (0x20, 0, 0, 24), (0x07, 0, 0, 0), (0x20, 0, 0, 32), (0x0C, 0, 0, 0), (0x15, 0, 1, 5),
        (0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM),
    ]  # fmt: skip
    (tmp_path / "mixed.bpf").write_bytes(assemble(program, "little"))
    one = explained(tmp_path / "mixed.bpf", "read")
    assert not one.cases
    assert one.unlisted.startswith("it depends on arguments that were left out, too intricately")
    # With every argument there is one answer.
    whole = explained(tmp_path / "mixed.bpf", "read", "0", "2", "3", "0", "0", "0")
    assert [case.action for case in whole.cases] == ["allow"]
