"""Write findings as SARIF 2.1.0, which code hosts and editors read (OASIS, 2020)."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from seccompgen.core.program import INSTRUCTION_SIZE
from seccompgen.lint import Severity
from seccompgen.render.findings import end_column, finding_json, message_of, witnesses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding, LintReport

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def sarif(filters: Sequence[LintReport], tables: Tables, version: str, page: str) -> dict[str, Any]:
    """Return one run over ``filters``; codes link to sections of ``page``, unless that is ""."""
    codes = sorted({one.kind.value for shown in filters for one in shown.findings})
    results = [_result(one, shown, codes, tables) for shown in filters for one in shown.findings]
    rules = [
        {
            "id": code,
            "shortDescription": {"text": code.replace("-", " ")},
            **({"helpUri": f"{page}#{code}"} if page else {}),
        }
        for code in codes
    ]
    driver = {
        "name": "seccompgen",
        "version": version,
        **({"informationUri": page} if page else {}),
        "rules": rules,
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(
    one: Finding, shown: LintReport, codes: Sequence[str], tables: Tables
) -> dict[str, Any]:
    text = f"{message_of(one)}. Fix: {one.fix}."
    text += "".join(f" {word.capitalize()}: {call}." for word, call in witnesses(one, tables))
    file = one.position.file if one.position else shown.file
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(file)}}
    if one.position and one.position.line:
        region = {"startLine": one.position.line}
        if one.position.column:
            region |= {"startColumn": one.position.column, "endColumn": end_column(one, shown)}
        location["region"] = region
    elif one.instruction is not None and file.endswith(".bpf"):
        place = {"byteOffset": INSTRUCTION_SIZE * one.instruction, "byteLength": INSTRUCTION_SIZE}
        location["region"] = place
    return {
        "ruleId": one.kind.value,
        "ruleIndex": codes.index(one.kind.value),
        "level": _LEVELS[one.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
        "properties": finding_json(one, shown, tables),
    }


def _uri(file: str) -> str:
    """Return a file's name as a URI, relative if the name is."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
