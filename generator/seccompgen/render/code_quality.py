"""Write findings as a Code Quality report, which GitLab shows next to the lines of a change."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from seccompgen.lint import Severity
from seccompgen.render.findings import message_of, source_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.lint import LintReport

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.NOTE: "info"}


def code_quality(reports: Sequence[LintReport]) -> list[dict[str, Any]]:
    """Return an object for each finding.

    GitLab recognises a finding by its fingerprint. It must not change when lines move, and no two
    findings may share it. So it is made of the code, the file, the line's text and the message, and
    a count of equal ones.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for shown in reports:
        for one in shown.findings:
            place = one.position
            file = place.file if place else shown.file
            message = message_of(one)
            what = (one.kind.value, file, source_line(one, shown).strip(), message)
            seen[what] += 1
            found.append(
                {
                    "description": f"{message}; {one.fix}",
                    "check_name": one.kind.value,
                    "fingerprint": sha256("\0".join([*what, str(seen[what])]).encode()).hexdigest(),
                    "severity": _SEVERITIES[one.severity],
                    "location": {
                        "path": file,
                        "lines": {"begin": (place.line if place else 0) or 1},
                    },
                }
            )
    return found
