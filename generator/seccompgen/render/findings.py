"""Write findings for people, for programs, and as annotations of a change on GitHub."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic
from seccompgen.core.program import LD_W_ABS
from seccompgen.core.styled import Style, Styled
from seccompgen.core.text import some
from seccompgen.core.word import ARGS
from seccompgen.lint import Severity
from seccompgen.render.call_names import call_name, call_text
from seccompgen.render.listing import listing, ret_action
from seccompgen.verify import Code
from seccompgen.verify.call import word_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding, LintReport, Witness

_TOKEN = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|[^\s,\[\]{}#:]+(?::[^\s,\[\]{}]+)*""")
_STYLES = {
    Severity.ERROR: Style.RED,
    Severity.WARNING: Style.YELLOW,
    Severity.NOTE: Style.CYAN,
}


def source_line(finding: Finding, report: LintReport) -> str:
    """Return the line of the policy that a finding is about; empty if there is none."""
    place = finding.position
    lines = report.texts.get(place.file, "").splitlines() if place else []
    return lines[place.line - 1] if place and 0 < place.line <= len(lines) else ""


def end_column(finding: Finding, report: LintReport) -> int:
    """Return the column after the last character that a finding is about; 0 if unknown."""
    place = finding.position
    if place is None or not place.column:
        return 0
    match = _TOKEN.match(source_line(finding, report), place.column - 1)
    return match.end() + 1 if match else place.column + 1


def findings_text(shown: LintReport, tables: Tables) -> list[str]:
    """Return the findings for people: position, line, caret, call and fix."""
    lines: list[str] = []
    for one in shown.findings:
        place = str(one.position or shown.file)
        if one.position is None and one.instruction is not None:
            place += f": instruction {one.instruction}"
        severity = (one.severity.value, _STYLES[one.severity])
        code = (f"[{one.kind.value}]", Style.FAINT)
        head = Styled((place, Style.STRONG), ": ", severity, f": {message_of(one)} ", code)
        lines.append(head)
        lines += _excerpt(one, shown, tables)
        lines += [f"  {word}: {text}" for word, text in witnesses(one, tables)]
        lines.append(Styled("  ", ("fix", Style.GREEN), f": {one.fix}"))
    return lines


def finding_diagnostic(finding: Finding) -> Diagnostic:
    """Return a finding as a diagnostic: one line, with its fix."""
    text = f"{message_of(finding)} [{finding.kind.value}]; {finding.fix}"
    return Diagnostic(text, finding.position, finding.kind)


def message_of(finding: Finding) -> str:
    """Return the message with the ABIs that it applies to."""
    return f"{finding.message} (on {some(finding.abis)})" if finding.abis else finding.message


def witnesses(one: Finding, tables: Tables) -> list[tuple[str, str]]:
    """Return the calls of a finding, each with a word for its role."""
    pairs = (("shown by", one.witness), ("beside", one.beside))
    return [(word, _witness_text(witness, one, tables)) for word, witness in pairs if witness]


def _witness_text(witness: Witness, finding: Finding, tables: Tables) -> str:
    call = witness.call
    abi = ABIS[finding.programs[0] if finding.programs else finding.abis[0]]
    table = call_name(call.nr, call.arch, tables)[1]
    pair = [one.call.args for one in (finding.witness, finding.beside) if one]
    last = max((n for args in pair for n, value in enumerate(args, 1) if value), default=0)
    text = call_text(call.nr, call.arch, call.args, tables, last)
    return f"{text}: {ret_action(witness.ret, table.abi if table else abi)}"


def _excerpt(finding: Finding, shown: LintReport, tables: Tables) -> Iterator[str]:
    """Yield the line that a finding is about, and carets below the part of it."""
    place = finding.position
    if place is not None:
        line = source_line(finding, shown)
        if line:
            head = f"  {place.line} | "
            yield head + line.replace("\t", " ")
            width = max(end_column(finding, shown) - place.column, 1)
            caret = "^" + "~" * (width - 1)
            yield Styled(" " * (len(head) + place.column - 1), (caret, Style.GREEN))
        return
    if finding.instruction is None or not finding.programs:
        return
    name = finding.programs[0]
    side = shown.sides[name]
    if isinstance(side, Code):
        abi = ABIS[name]
        text = listing(side.instructions, abi, tables)[finding.instruction].text
        loaded = _loaded(side, finding.instruction)
        yield f"  {finding.instruction} | {text}{loaded}"


def _loaded(code: Code, at: int) -> str:
    """Return a remark on the argument that an instruction tests, if the load is just before it."""
    if at and code.instructions[at - 1].code == LD_W_ABS:
        field = word_at(code.instructions[at - 1].k, code.byte_order).field
        if field >= ARGS:
            return f"    (of argument {field - ARGS})"
    return ""


def finding_json(one: Finding, shown: LintReport, tables: Tables) -> dict[str, Any]:
    """Return a finding as a value for JSON."""
    place = one.position
    return {
        "code": one.kind.value,
        "severity": one.severity.value,
        "message": one.message,
        "fix": one.fix,
        "file": place.file if place else shown.file,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "end_column": (end_column(one, shown) or None) if place else None,
        "instruction": one.instruction,
        "abi": one.abis[0] if one.abis else None,
        "abis": list(one.abis),
        "witness": one.witness and _witness_json(one.witness, one, tables),
        "beside": one.beside and _witness_json(one.beside, one, tables),
    }


def _witness_json(witness: Witness, finding: Finding, tables: Tables) -> dict[str, Any]:
    call = witness.call
    name, table = call_name(call.nr, call.arch, tables)
    abi = table.abi if table else ABIS[finding.abis[0]]
    return {
        "syscall": name,
        "nr": call.nr,
        "audit_arch": call.arch,
        "args": list(call.args),
        "answer": ret_action(witness.ret, abi),
        "ret": witness.ret,
    }


_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github_annotations(shown: LintReport) -> list[str]:
    """Return a workflow command for each finding, by which GitHub marks its line."""
    lines = []
    for one in shown.findings:
        place = one.position
        fields = {"file": place.file if place else shown.file}
        if place and place.line:
            fields |= {"line": str(place.line), "col": str(place.column)}
            fields["endColumn"] = str(end_column(one, shown))
        fields["title"] = one.kind.value
        parts = ",".join(f"{name}={_escaped(value, 'property')}" for name, value in fields.items())
        text = _escaped(f"{message_of(one)}; {one.fix}", "data")
        lines.append(f"::{_LEVELS[one.severity]} {parts}::{text}")
    return lines


def _escaped(text: str, kind: str) -> str:
    """Return ``text`` escaped for a workflow command (actions/toolkit, command.ts)."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if kind == "property" else text
