"""The values that the templates of C, Rust, Go and similar languages print of a filter."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.settings import FilterFlag
from seccompgen.core.text import printable
from seccompgen.render.about import WIDTH, about_policy, actions, banner
from seccompgen.render.listing import listing
from seccompgen.render.ring_rows import program_rows, ring_rows
from seccompgen.render.templates import BANNER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.built import Built
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables
    from seccompgen.render.ring_rows import RingRows, Row

# kill_thread, trap, errno, trace, allow: as old as filters, so no kernel needs to be asked.
_OLD_ACTIONS = {0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_MISREPORTED = "riscv32"
"""The ABI whose calls a 64-bit kernel presents to filters as its own (arch/riscv)."""


@dataclass(frozen=True, slots=True)
class SourceSection:
    """The program of one ABI, and the ``condition`` by which the language recognises the ABI.

    A row is an instruction: the heading above it, (code, jt, jf, k), and its text.
    """

    program: CompiledProgram
    condition: str
    serves: str
    nr_seccomp: int
    rows: tuple[Row, ...]
    rings: RingRows | None = None


def source_sections(
    one: Built,
    tables: Tables,
    language: str,
    kind: str,
    targets: Mapping[str, str],
    reserved: str = "",
) -> list[SourceSection]:
    """Return the programs for the ABIs that are in ``targets``, with their conditions.

    Raises InputError if there are none, if the filter installs itself, or if its name cannot name a
    ``kind`` of source, such as one of the words ``reserved``.
    """
    _require_name(one, f"a {language} {kind}", reserved)
    sections = [
        SourceSection(
            program,
            targets[program.abi.name],
            serves_text(program),
            tables.tables[program.abi.name].numbers["seccomp"],
            program_rows(
                program.instructions,
                listing(program.instructions, program.abi, tables, program.origins),
            ),
            ring_rows(rings, program.abi, tables) if rings else None,
        )
        for program, rings in zip_longest(one.programs, one.rings)
        if program.abi.name in targets
    ]
    if not sections:
        abis = ", ".join(program.abi.name for program in one.programs)
        text = f"{language} has no Linux target for {abis}; name another ABI in arches"
        raise InputError(Diagnostic(text, one.policy.arches_origin.position))
    return sections


def source_context(
    one: Built, tables: Tables, form: str, sections: list[SourceSection]
) -> dict[str, object]:
    """Return the template's context; ``form`` is the language as ``--format`` names it."""
    about = about_policy(one.policy, one.programs, tables, one.objective, f" --format {form}")
    programs = [section.program for section in sections]
    rings = [
        rings
        for program, rings in zip(one.programs, one.rings, strict=False)
        if program in programs
    ]
    abis = textwrap.wrap(", ".join(program.abi.name for program in programs), WIDTH - 4)
    return {
        "comment": "//",
        "banner": f"// {BANNER}",
        **banner(about, programs, tables, rings),
        "name": one.module_name,
        "about": _comment(f"{about.title.strip()}\n\n{about.answers}"),
        "settings": about.settings,
        "abis": _comment("\n".join(f"    {line}" for line in abis)),
        "actions": [f"0x{one:08X}" for one in actions(programs) if one not in _OLD_ACTIONS],
        "flags": int(about.flags),
        "no_new_privs": about.no_new_privs,
        "report_only": about.report_only,
        "tsync": bool(about.flags & FilterFlag.TSYNC),
        "listener": bool(about.flags & FilterFlag.NEW_LISTENER),
        "sections": sections,
        "filters_rings": bool(rings),
        "refuses_rings": any(each.other for each in rings),
        "misreported": next(
            (one.condition for one in sections if one.program.abi.name == _MISREPORTED), ""
        ),
    }


def serves_text(program: CompiledProgram) -> str:
    """Return the ABIs whose calls ``program`` answers."""
    return " and ".join(abi.name for abi in (program.abi, *program.compat))


def _comment(text: str) -> str:
    """Return ``text`` as comment lines, none of which ends so that C would continue it."""
    lines = (printable(line).rstrip() for line in text.split("\n"))
    safe = (f"{line}." if line.endswith(("\\", "??/")) else line for line in lines)
    return "\n".join(f"// {line}".rstrip() for line in safe)


def _require_name(one: Built, what: str, reserved: str) -> None:
    """Raise InputError if the filter cannot be written as ``what``."""
    problems = []
    file = Position(one.policy.file)
    if not _NAME.fullmatch(one.module_name) or one.module_name in reserved.split():
        text = f"{one.module_name!r} cannot name {what}; rename the file"
        problems.append(Diagnostic(text, file))
    if one.policy.install_on_import:
        text = f"install_on_import is for Python modules: {what} is not run when it is included"
        problems.append(Diagnostic(f"{text}; take it out, and call install", file))
    if problems:
        raise InputError(*problems)
