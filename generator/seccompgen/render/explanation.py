"""A filter's answer to one call, as values and as text: action, rule, path through the program.

ABIs with the same answer form a group. If the answer depends on arguments that were not given,
there is a case for each answer, with its condition and an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seccompgen.core.deciding import origin_json
from seccompgen.core.styled import Style, Styled
from seccompgen.core.text import listed
from seccompgen.render.call_names import answer_style

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.deciding import DecidingRule
    from seccompgen.core.model import Origin
    from seccompgen.verify.call import Call

_MOST_ABIS = 6
_MOST_CASES = 40
_MOST_OPEN = 3


@dataclass(frozen=True, slots=True)
class Step:
    """An executed instruction: its index and text; ``taken`` is the outcome of a test, else None.

    ``head`` names the block that begins here, and the lines of the policy that it comes from.
    """

    index: int
    text: str
    taken: bool | None
    head: str
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """The path of a call through one program.

    ``program`` names the ABI of the program; ``length`` is its number of instructions. ``bitmap``
    is True if the kernel answers the call by its bitmap and runs nothing, False if it runs the
    program each time, None on ABIs that have no bitmap.
    """

    program: str
    length: int
    steps: tuple[Step, ...]
    bitmap: bool | None


@dataclass(frozen=True, slots=True)
class AnswerCase:
    """One answer to a call, and its ``condition`` in names, empty for always.

    ``otherwise`` is True for the answer to all arguments that the other cases leave, whose
    condition may be too complex to write. ``call`` is an example, ``example`` the same in names.
    """

    action: str
    ret: int
    condition: str
    otherwise: bool
    rule: DecidingRule
    call: Call
    example: str


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """The answer of the program for ABI ``program`` to a call through ``abi``.

    ``title`` is the call as it was asked for; ``name`` is empty for a number without a call. There
    is one case, or several if the answer depends on arguments that were not given, or none if they
    cannot be listed: then ``unlisted`` is the reason. ``open`` are the arguments that were not
    given; ``given`` is True if others were.
    """

    abi: str
    program: str
    title: str
    name: str
    nr: int
    cases: tuple[AnswerCase, ...]
    open: tuple[str, ...] = ()
    given: bool = False
    unlisted: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """The parts of the answer that ABIs must share to form a group."""
        cases = [(one.action, one.condition, one.otherwise, one.rule) for one in self.cases]
        return self.title, bool(self.name), tuple(cases), self.unlisted, self.remarks


@dataclass(frozen=True, slots=True)
class ExplainedGroup:
    """ABIs with the same answer; ``runs`` are the paths of each case in the first program."""

    calls: tuple[ExplainedCall, ...]
    runs: tuple[ProgramRun, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answers of the filter in ``file`` to a call.

    ``lacks`` has the reasons why the call cannot be made, each with its ABIs.
    """

    file: str
    tag: str
    groups: tuple[ExplainedGroup, ...]
    lacks: tuple[tuple[str, tuple[str, ...]], ...]


def explanation_text(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation."""
    for n, group in enumerate(explanation.groups):
        if n:
            yield ""
        yield from _group_lines(group, explanation)
    for n, (reason, _) in enumerate(explanation.lacks):
        if not n and explanation.groups:
            yield ""
        yield reason


def _group_lines(group: ExplainedGroup, explanation: Explanation) -> Iterator[str]:
    first = group.calls[0]
    where = _where(group.calls)
    if first.unlisted:
        yield f"{first.title} on {where}: {first.unlisted}"
    elif len(first.cases) == 1:
        only = first.cases[0]
        whatever = f", whatever {listed(first.open)} may be" if first.open else ""
        if len(first.open) > _MOST_OPEN:
            whatever = f", whatever the {'other ' * first.given}arguments are"
        styled = (only.action, answer_style(only.ret))
        yield Styled((first.title, Style.STRONG), f" on {where}: ", styled, whatever)
        yield f"  by {only.rule}"
    else:
        yield f"{first.title} on {where}: it depends on {listed(first.open)}"
        for case in first.cases[:_MOST_CASES]:
            when = "otherwise" if case.otherwise else f"where {case.condition}"
            yield Styled("  ", (case.action, answer_style(case.ret)), f" {when}")
            yield f"    by {case.rule}; such as {case.example}"
        if len(first.cases) > _MOST_CASES:
            yield f"  and {len(first.cases) - _MOST_CASES} cases more, which --json lists"
    if not first.name:
        yield f"  Linux {explanation.tag} has no call of that number here"
    for remark in first.remarks:
        yield f"  note: {remark}"
    if len(group.runs) == 1:
        yield from _run_lines(group)


def _run_lines(group: ExplainedGroup) -> Iterator[str]:
    first = group.runs[0]
    on = f" for {first.program}" if len(group.calls) > 1 else ""
    if first.bitmap:
        yield f"  kernels since 5.11 answer it by their bitmap{on}, and run no instruction"
        yield f"  older ones run {len(first.steps)} of {first.length} instructions:"
    else:
        always = " each time, since the bitmap does not answer it" if first.bitmap is False else ""
        yield f"  {len(first.steps)} of {first.length} instructions run{on}{always}:"
    for step in first.steps:
        if step.head:
            yield f"    {step.head}"
        taken = "" if step.taken is None else "yes" if step.taken else "no"
        yield Styled((f"    {step.index:5}", Style.FAINT), f"  {taken:3}  {step.text}".rstrip())


def _where(calls: Sequence[ExplainedCall]) -> str:
    names = [
        one.abi if one.abi == one.program else f"{one.abi} (program for {one.program})"
        for one in calls
    ]
    if len(names) > _MOST_ABIS:
        return f"{', '.join(names[: _MOST_ABIS - 1])} and {len(names) - _MOST_ABIS + 1} ABIs more"
    return ", ".join(names)


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as a value for JSON, one answer for each ABI."""
    answers = []
    for group in explanation.groups:
        for n, one in enumerate(group.calls):
            runs = group.runs if n == 0 else ()
            answers.append(_call_json(one, runs))
    lacking = [{"reason": reason, "abis": list(abis)} for reason, abis in explanation.lacks]
    return {
        "file": explanation.file,
        "tag": explanation.tag,
        "answers": answers,
        "lacking": lacking,
    }


def _call_json(one: ExplainedCall, runs: Sequence[ProgramRun]) -> dict[str, Any]:
    cases = [
        {
            "action": case.action,
            "ret": case.ret,
            "condition": case.condition or None,
            "otherwise": case.otherwise,
            "rule": case.rule.as_json(),
            "example": [case.call.nr, *case.call.args],
            "text": case.example,
            "program": _run_json(runs[n]) if n < len(runs) else None,
        }
        for n, case in enumerate(one.cases)
    ]
    return {
        "abi": one.abi,
        "program": one.program,
        "syscall": one.name or None,
        "nr": one.nr,
        "text": one.title,
        "depends_on": list(one.open) if len(cases) > 1 else [],
        "undecided": one.unlisted or None,
        "remarks": list(one.remarks),
        "cases": cases,
    }


def _run_json(run: ProgramRun) -> dict[str, Any]:
    return {
        "abi": run.program,
        "instructions": run.length,
        "executed": len(run.steps),
        "bitmap": run.bitmap,
        "path": [
            {
                "index": step.index,
                "text": step.text,
                "taken": step.taken,
                "origins": list(map(origin_json, step.origins)),
            }
            for step in run.steps
        ],
    }
