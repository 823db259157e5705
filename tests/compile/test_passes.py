"""Each pass of the compiler, by what it is given and what it makes of that.

A file of ``tests/data/compile`` has cases for one pass, which its head names. A case is a policy,
and the stages before and after the pass as `seccompgen build --dump` prints them; behind its name
may be an objective. To write down what the compiler makes now, and read the difference::

    pytest tests/compile/test_passes.py --update-data
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from seccompgen.compile import compilation
from seccompgen.core.compiler_stage import CompilerStage
from seccompgen.core.objective import Objective, Optimize
from seccompgen.render.stages import stage_text
from seccompgen.verify import Code, Proof, meaning, prove
from strategies import loaded_file, tables_with_facts

DATA = Path(__file__).parents[1] / "data" / "compile"
_HEADS = "|".join(["case .*", *(stage.value for stage in CompilerStage)])
_HEAD = re.compile(rf"^\[({_HEADS})\]\n", re.MULTILINE)


class PassCase(NamedTuple):
    """A case of ``file``; its policy begins at ``place`` among the parts of that."""

    file: str
    place: int
    name: str
    goal: Optimize


def parts_of(file: str) -> list[str]:
    """Return what is before the first head of a file, then each head and what is below it."""
    return _HEAD.split((DATA / file).read_text())


def cases() -> list[PassCase]:
    found = []
    for file in sorted(path.name for path in DATA.glob("*.test")):
        for place, head in enumerate(parts_of(file)[1::2]):
            if head.startswith("case "):
                name, goal = (*head.split()[1:], "balanced")[:2]
                found.append(PassCase(file, 2 * place + 2, name, Optimize(goal)))
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.file}-{case.name}")
def test_a_pass_makes_the_same(
    case: PassCase, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    parts, tables = parts_of(case.file), tables_with_facts()
    path = tmp_path / "policy.yml"
    path.write_text(parts[case.place])
    policy = loaded_file(path)
    made = compilation(policy, policy.arches[0], tables, Objective(case.goal))
    for place in range(case.place + 1, len(parts), 2):
        if parts[place].startswith("case "):
            break
        text = stage_text(CompilerStage(parts[place]), made, tables)
        between = "\n" if place + 2 < len(parts) else ""
        if request.config.getoption("--update-data"):
            parts[place + 1] = text + between
        assert parts[place + 1] == text + between, "see the head of this file to renew it"
    if request.config.getoption("--update-data"):
        heads = [f"[{part}]\n" if n % 2 else part for n, part in enumerate(parts)]
        (DATA / case.file).write_text("".join(heads))
    code = Code(made.program.instructions, made.program.abi.byte_order)
    assert isinstance(prove(meaning(policy, made.program.abi, tables), code), Proof)
