"""Show the library's values as HTML, as notebooks ask for it: ``_repr_html_``.

Values of the rooms below get the method here, since what shows them lies above them. Text is other
people's, so it is escaped; without a style of its own it is as readable in a dark notebook.
"""

from __future__ import annotations

import hashlib
from html import escape
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.program import CompiledProgram, Program
from seccompgen.core.text import printable
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.keys import Policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from seccompgen.api.values import Filter
    from seccompgen.filters.compare.claims import Verdict
    from seccompgen.lint import Finding

    _T = TypeVar("_T")


def show_as_html(kind: type[_T], show: Callable[[_T], str]) -> None:
    """Have notebooks show the values of ``kind`` by ``show``."""
    kind._repr_html_ = show  # type: ignore[attr-defined] # the protocol's name


def policy_html(value: Policy | Filter) -> str:
    """Return a policy as the file that says the same, under what is wrong with it."""
    from seccompgen.api.policies import validate  # noqa: PLC0415 - it imports this
    from seccompgen.api.values import whole_of  # noqa: PLC0415

    whole = whole_of(value)
    problems = validate(value)
    try:
        text = whole.to_yaml()
    except InputError:  # what is wrong cannot stand in a file
        text = repr(value)
    told = "".join(f"<li>{_code(problem)}</li>" for problem in problems)
    wrong = f"<p><b>wrong:</b></p><ul>{told}</ul>" if told else ""
    return f"{wrong}{_folded(f'{type(value).__name__} {whole.policy.name}', text, is_open=True)}"


def program_html(program: Program) -> str:
    """Return a program as its assembly, folded below what it is and costs."""
    from seccompgen.render.disassembly import disassembly  # noqa: PLC0415 - what finds names
    from seccompgen.verify import kernel_objections  # noqa: PLC0415

    about = f"{type(program).__name__} for {program.abi.name}: {_size(program)}"
    digest = hashlib.sha256(program.to_bytes()).hexdigest()
    if objections := kernel_objections(program.instructions):
        text = "\n".join(map(str, objections))
        return _folded(f"{about}, which the kernel refuses", text, is_open=True)
    return _folded(f"{about}, sha256 {digest[:12]}", disassembly([program], shipped_tables()))


def _size(program: Program) -> str:
    count = f"{len(program.instructions)} instructions"
    if isinstance(program, CompiledProgram):
        return f"{count}, {program.cost.longest} on the longest path"
    return count


def verdict_html(verdict: Verdict) -> str:
    """Return a verdict as one line: proved, or a call that differs."""
    claim = verdict.claim
    about = f"{_code(claim.file)} on {_code(claim.abi.name)}"
    if verdict.proved:
        return f"<p><b>proved</b>: {about}</p>"
    return f"<p><b>not proved</b>: {about}: {_code(verdict.text(shipped_tables()))}</p>"


def finding_html(finding: Finding) -> str:
    """Return a finding of lint with its place, its code, and the fix."""
    from seccompgen.render.findings import message_of  # noqa: PLC0415

    place = f"{_code(finding.position)}: " if finding.position else ""
    said = _text(message_of(finding))
    head = f"<b>{finding.severity.value}</b> {place}{said} [{_text(finding.kind.value)}]"
    return f"<p>{head}<br>fix: {_text(finding.fix)}</p>"


def diagnostic_html(problem: Diagnostic) -> str:
    """Return a problem as its line."""
    return f"<p>{_code(problem)}</p>"


def _folded(head: str, text: str, *, is_open: bool = False) -> str:
    state = " open" if is_open else ""
    lines = "\n".join(map(_text, text.splitlines()))
    return f"<details{state}><summary>{_text(head)}</summary><pre>{lines}</pre></details>"


def _code(value: object) -> str:
    return f"<code>{_text(value)}</code>"


def _text(value: object) -> str:
    return escape(printable(str(value)))


show_as_html(Policy, policy_html)
show_as_html(Program, program_html)
show_as_html(Diagnostic, diagnostic_html)
