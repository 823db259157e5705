"""Bad filters that others shipped, rebuilt from their descriptions: ``tests/lint/historic``.

A case is a policy, or a program in assembly where no policy of ours could be so bad, and beside it
the same mended, NAME.mended.EXT. Its head says what it was, where that can be read, and which codes
lint finds; ``here`` marks where the first of them is found. ``python tests/helpers/historic.py``
prints the table that docs/lint-history.md has of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.filters.find.assembly import assemble
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.program import Program
    from seccompgen.lint import Finding, Witness

FOLDER = Path(__file__).parents[1] / "lint" / "historic"
ERRNO, EPERM = 0x00050000, 1
OURS = 3999
"""An errno that no call gives by itself, in the place of EPERM."""
GUESTS = {"s390x": "s390x", "arm": "arm"}
"""The guests that try the cases of an ABI, by ABI."""
_INSTRUCTION = re.compile(r"^\s+[a-z]")


@dataclass(frozen=True)
class Historic:
    """One case, by the file of the bad filter."""

    path: Path

    @property
    def name(self) -> str:
        """The name by which tests and the page call it."""
        return self.path.stem

    @property
    def mended(self) -> Path:
        """The file of the same filter, mended."""
        return self.path.with_suffix(f".mended{self.path.suffix}")

    @cached_property
    def text(self) -> str:
        """The whole file."""
        return self.path.read_text()

    @cached_property
    def _head(self) -> list[str]:
        lines = self.text.splitlines()
        return [line[2:] for line in lines if line.startswith(("# ", "; "))]

    @property
    def story(self) -> str:
        """The story of what it was and what was wrong, in a few sentences."""
        return " ".join(line for line in self._head if not line.startswith(("link: ", "finds: ")))

    @property
    def link(self) -> str:
        """Where that can be read."""
        (link,) = (line.partition(": ")[2] for line in self._head if line.startswith("link: "))
        return link

    @property
    def codes(self) -> list[str]:
        """The codes of all findings, the one that the case is about first."""
        (codes,) = (line.split()[1:] for line in self._head if line.startswith("finds: "))
        return codes

    @property
    def abi(self) -> Abi:
        """The ABI that the filter is for."""
        found = re.search(r"^(?:arches: \[|abi )(\w+)", self.text, re.MULTILINE)
        assert found
        return ABIS[found[1]]

    @property
    def is_program(self) -> bool:
        """True if it is in assembly."""
        return self.path.suffix == ".asm"

    @property
    def place(self) -> int:
        """The line, or of a program the instruction, where the first code is found."""
        lines = self.text.splitlines()
        (line,) = (n for n, line in enumerate(lines, 1) if re.search(r"[#;] here$", line))
        if not self.is_program:
            return line
        return sum(bool(_INSTRUCTION.match(one)) for one in lines[: line - 1])


HISTORIC = [
    Historic(path) for path in sorted(FOLDER.iterdir()) if not path.stem.endswith(".mended")
]


@cache
def program_of(path: Path) -> Program:
    """Return the program of a filter, in which EPERM is `OURS`."""
    text = path.read_text().replace("errno(EPERM)", f"errno({OURS})")
    if path.suffix == ".asm":
        (program,) = assemble(text, path.name, shipped_tables())
        return program
    with TemporaryDirectory() as directory:
        copy = Path(directory) / path.name
        copy.write_text(text)
        (program,) = build_policy(copy, shipped_tables()).programs
    return program


@cache
def findings_of(path: Path) -> tuple[Finding, ...]:
    """Return what lint finds in a filter; of assembly, in the program that it makes.

    Flags are left out: these are policies of others, who had flags elsewhere.
    """
    tables = shipped_tables()
    if path.suffix != ".asm":
        found = lint_filter(path, tables).findings
        return tuple(one for one in found if one.kind.value != "no-tsync")
    (program,) = assemble(path.read_text(), path.name, tables)
    with TemporaryDirectory() as directory:
        raw = Path(directory) / f"{path.stem}.bpf"
        raw.write_bytes(program.to_bytes())
        return lint_filter(raw, tables, program.abi).findings


def witnesses(case: Historic) -> list[Witness]:
    """Return the calls of the first finding of each code: its witness, and the one beside it."""
    first: dict[str, Finding] = {}
    for one in findings_of(case.path):
        first.setdefault(one.kind.value, one)
    found: list[Witness] = []
    for code, one in first.items():
        assert one.witness is not None, f"{case.name}: {code} has no witness"
        found += [one.witness] if one.beside is None else [one.witness, one.beside]
    return found


def as_built(witness: Witness) -> int:
    """Return the answer to a call by the program, in which EPERM is another errno."""
    return ERRNO | OURS if witness.ret == ERRNO | EPERM else witness.ret


def historic_table() -> str:
    """Return the cases as a table in Markdown."""
    lines = ["| filter | what was wrong | found as |", "|---|---|---|"]
    for case in HISTORIC:
        codes = ", ".join(f"[{code}](lint.md#{code})" for code in case.codes)
        lines.append(f"| [{case.name}]({case.link}) | {case.story} | {codes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(historic_table(), end="")
