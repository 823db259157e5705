"""Write how upgrades will affect filters: as lines for people, as Markdown, and as JSON values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seccompgen.render.diff_markdown import code, diff_markdown
from seccompgen.render.filter_diff import tables_json, tables_text
from seccompgen.render.findings import finding_json, findings_text, message_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.filter_changes import TablesDiff
    from seccompgen.core.tables import Tables
    from seccompgen.lint import LintReport


@dataclass(frozen=True)
class Drift:
    """The effect of upgrades on one filter.

    ``libraries`` has the refused calls of newer releases of libraries. ``kernel`` has the changes
    of its answers with newer tables, None if there are none; ``unread`` are the errors if it cannot
    be read with them.
    """

    libraries: LintReport
    kernel: TablesDiff | None = None
    unread: tuple[Diagnostic, ...] = ()

    @property
    def file(self) -> str:
        """The filter as messages name it."""
        return self.libraries.file

    @property
    def breaks(self) -> bool:
        """True if anything was found that is more than a note."""
        weighty = any(one.severity.rank < 2 for one in self.libraries.findings)
        return (
            weighty or bool(self.unread) or (self.kernel is not None and self.kernel.diff.differs)
        )


def drift_text(found: Sequence[Drift], about: str, tables: Tables, width: int) -> list[str]:
    """Return the effects on filters as lines; ``about`` names the upgrades that were examined."""
    lines: list[str] = []
    for one in found:
        lines += findings_text(one.libraries, tables)
        lines += [str(error) for error in one.unread]
        if one.kernel and one.kernel.diff.differs:
            lines += ["", *tables_text(one.kernel, tables, width), ""]
    broken = [one for one in found if one.breaks]
    lines.append(f"{about}: {_result(len(broken), len(found))}")
    return lines


def _result(broken: int, count: int) -> str:
    filters = "filter" if count == 1 else "filters"
    if not broken:
        return f"{count} {filters}, none of which would break"
    return f"{broken} of {count} {filters} would break"


def drift_markdown(found: Sequence[Drift], about: str, tables: Tables) -> list[str]:
    """Return the effects as lines of Markdown, for an issue or the summary of a job."""
    broken = sum(one.breaks for one in found)
    lines = [f"**{code(about)}: {_result(broken, len(found))}**", ""]
    for one in found:
        rows = list(_rows(one))
        if rows:
            lines += [f"{code(one.file)}", "", "| | what | fix |", "|---|---|---|", *rows, ""]
        if one.kernel and one.kernel.diff.differs:
            lines += diff_markdown(one.kernel.diff, tables)
    return lines


def _rows(one: Drift) -> Iterator[str]:
    for each in one.libraries.findings:
        place = f"{code(str(each.position))}<br>" if each.position else ""
        yield (
            f"| **{each.severity.value}** | {place}{code(message_of(each))} | {code(each.fix)} |"
        )
    for error in one.unread:
        yield f"| **error** | {code(str(error))} | |"


def drift_json(found: Sequence[Drift], about: dict[str, Any], tables: Tables) -> dict[str, Any]:
    """Return the effects as a value for JSON, with ``about`` first."""
    return about | {
        "filters": [
            {
                "file": one.file,
                "breaks": one.breaks,
                "findings": [
                    finding_json(each, one.libraries, tables) for each in one.libraries.findings
                ],
                "kernel": tables_json([one.kernel]) if one.kernel else None,
                "unread": [str(error) for error in one.unread],
            }
            for one in found
        ]
    }
