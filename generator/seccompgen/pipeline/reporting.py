"""Report-only filters of built policies: the same programs, which log what they would refuse.

Other tools' formats cannot log everywhere; a note states what is refused nevertheless.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.core.report_only import logging_instructions, logging_policy
from seccompgen.formats import WRITABLE
from seccompgen.formats.writing import writer
from seccompgen.pipeline.build import proved_program
from seccompgen.render.call_names import difference_text
from seccompgen.verify import Code, Difference, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.built import Built
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables


def report_only_filters(
    built: Iterable[Built], tables: Tables, form: str = "python"
) -> list[Built]:
    """Return the report-only filters of policies that were built, to be written in ``form``.

    Each lets every call through, and logs exactly what the policy refuses, with the exceptions in
    its notes. Raises one InputError with every reason why a filter cannot do so.
    """
    found: list[Built] = []
    problems: list[Diagnostic] = []
    for one in built:
        try:
            found.append(_report_only(one, tables, form))
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(*problems)
    return found


def _report_only(one: Built, tables: Tables, form: str) -> Built:
    policy = logging_policy(one.policy)
    if form not in WRITABLE:
        programs = (_logging(program, policy, tables) for program in one.programs)
        return one._replace(policy=policy, programs=tuple(programs))
    policy, note = writer(form).report_only(policy, one.policy)
    programs = (proved_program(policy, p.abi, tables, one.objective) for p in one.programs)
    said = Diagnostic(note, Position(policy.file), Problem.REPORT_ONLY)
    # A drop-in's other settings would refuse calls.
    return one._replace(
        policy=policy, programs=tuple(programs), notes=(*one.notes, said), unit_lines=()
    )


def _logging(program: CompiledProgram, policy: ResolvedPolicy, tables: Tables) -> CompiledProgram:
    """Return the program with log in place of each refusal, proved to match ``policy``."""
    instructions = logging_instructions(program.instructions)
    code = Code(instructions, program.abi.byte_order)
    found = prove(meaning(policy, program.abi, tables), code)
    if isinstance(found, Difference):
        text = difference_text(found, ("policy", "program"), program.abi, tables)
        text = f"seccompgen made a wrong program, and does not write it: {text}"
        place = Position(policy.file)
        raise AnswerNo(Diagnostic(text, place, Problem.WRONG_PROGRAM))
    return replace(program, instructions=instructions)
