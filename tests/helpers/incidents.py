"""Services that a newer library or kernel took down, as policies were before: tests/lint/incidents.

The head of a file says what happened, where that can be read, the call and the constant that were
missing (``names:``), and the library with the release that began with it (``since:``). A line
``missed:`` says why the tool does not name it, and ``beyond:`` that no registry from which the
table is made has the release that broke, or one from before.
``python tests/helpers/incidents.py`` prints the table that docs/drift.md has of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.companions import shipped_companions
from seccompgen.lint.registry import kinds
from seccompgen.lint.upgrade import KERNEL, _key, upgrade_of

if TYPE_CHECKING:
    from seccompgen.lint import Finding

FOLDER = Path(__file__).parents[1] / "lint" / "incidents"
_KEYS = ("link", "names", "since", "missed", "beyond")


@dataclass(frozen=True)
class Incident:
    """One incident, by the file of its policy."""

    path: Path

    @property
    def name(self) -> str:
        """The name by which tests and the page call it."""
        return self.path.stem

    @cached_property
    def text(self) -> str:
        """The whole file."""
        return self.path.read_text()

    @cached_property
    def _head(self) -> list[str]:
        return [line[2:] for line in self.text.splitlines() if line.startswith("# ")]

    def said(self, key: str) -> str:
        """Return what the head says of ``key``, empty if nothing."""
        found = [line.partition(": ")[2] for line in self._head if line.startswith(f"{key}: ")]
        return found[0] if found else ""

    @property
    def story(self) -> str:
        """The story of what happened, in a few sentences."""
        keys = tuple(f"{key}: " for key in _KEYS)
        return " ".join(line for line in self._head if not line.startswith(keys))

    @property
    def missed(self) -> str:
        """The reason why the tool does not name it, empty if it does."""
        return self.said("missed") or self.said("beyond")

    @property
    def words(self) -> list[str]:
        """The call that was missing, and the constant if only that was."""
        return self.said("names").split()

    @property
    def library(self) -> str:
        """The library that began to make the call."""
        return self.said("since").split()[0]

    @property
    def begun(self) -> str:
        """The first release in the table that has what began, empty if the library has none."""
        if self.library == KERNEL:
            return self.said("since").split()[1]
        known = shipped_companions().libraries.get(self.library, ())
        began = _key(self.said("since").split()[1])
        return next((one for one in known if _key(one) >= began), "")


INCIDENTS = [Incident(path) for path in sorted(FOLDER.iterdir())]


@cache
def upgrade_findings(path: Path) -> tuple[Finding, ...]:
    """Return what an upgrade to the newest releases would be refused by the policy at ``path``."""
    found = lint_filter(path, shipped_tables(), upgrade=upgrade_of(None, "newest")).findings
    return tuple(one for one in found if one.kind in kinds("upgrades"))


def naming(incident: Incident) -> Finding | None:
    """Return the finding that names what was missing, and the release that began with it.

    What names a later release is about another function, which has begun with the same call.
    """
    for one in upgrade_findings(incident.path):
        words = set(re.findall(r"[\w.]+", one.message))
        if words.issuperset(incident.words) and release_named(incident, one) == incident.begun:
            return one
    return None


def release_named(incident: Incident, finding: Finding) -> str:
    """Return the release of the incident's library that a finding names, empty if none.

    Of the kernel's that is the one that stands before the call.
    """
    if incident.library == KERNEL:
        found = re.search(rf"([\d.]+) [^;]*\b{incident.words[0]}\b", finding.message)
        return found[1] if found else ""
    found = re.search(rf"\b{re.escape(incident.library)} ([\w.]+\w)", finding.message)
    return found[1] if found else ""


def mended_findings(incident: Incident) -> tuple[Finding, ...]:
    """Return the findings on the same policy with the missing call permitted before all else."""
    call = incident.words[0]
    text = incident.text.replace("syscalls:\n", f"syscalls:\n- action: allow\n  names: [{call}]\n")
    with TemporaryDirectory() as directory:
        copy = Path(directory) / incident.path.name
        copy.write_text(text)
        return upgrade_findings(copy)


def incidents_table() -> str:
    """Return the incidents as a table in Markdown."""
    lines = ["| incident | began in | named |", "|---|---|---|"]
    for one in INCIDENTS:
        found = naming(one)
        named = f"no: {one.missed}"
        if found:
            named = f"`{' '.join(one.words)}`, {one.library} {release_named(one, found)}"
        cells = (f"[{one.name}]({one.said('link')})", one.said("since"), named)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(incidents_table(), end="")
