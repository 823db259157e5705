"""Why a file is stale, and which answers would change if it were renewed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.built import module_name
from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.core.program import decode
from seccompgen.filters.find.module import read_module
from seccompgen.io.reading import MAX_FILTER, read_file
from seccompgen.pipeline.packages import INIT_NAME, holds_program
from seccompgen.render.call_names import difference_text
from seccompgen.render.templates import EXTRA_NAMES, RUNTIME_NAMES
from seccompgen.verify import Code, Difference, prove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.core.built import Built
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables


@dataclass(frozen=True, slots=True)
class PlannedFilter:
    """A filter as it would be written; ``source`` is the file it is made from, or its own name."""

    name: str
    source: str
    programs: Sequence[Program]


def new_filters(built: Sequence[Built]) -> list[PlannedFilter]:
    """Return the filters that were built, for `explain`."""
    return [
        PlannedFilter(one.policy.name, Path(one.policy.file).name, one.programs) for one in built
    ]


def explain(path: Path, content: bytes, made: Sequence[PlannedFilter], tables: Tables) -> str:
    """Return why the file at ``path`` is not ``content``, and how its programs would change.

    The text is empty if that cannot be known. ``made`` are the filters that are written:
    ``path`` belongs to one of them, or is a file that they import.
    """
    old, new = _banner(read_file(path, MAX_FILTER)), _banner(content)
    for one in made:
        if path.parent.name == module_name(one.name) and path.name == INIT_NAME:
            effect = program_changes(path.parent, one.programs, one.source, tables)
        elif path.parent.name == module_name(one.name) and holds_program(path):
            effect = program_changes(path.parent, one.programs, one.source, tables)
            return f"it was edited, or this seccompgen lists it otherwise; {effect}"
        elif any(path.name == f"{one.name}.{p.abi.name}.bpf" for p in one.programs):
            return _raw_changes(path, one, tables)
        else:
            continue
        return f"{_reason(old, new)}; {effect}"
    if path.name in {*RUNTIME_NAMES, *EXTRA_NAMES}:
        return "it was edited, or this seccompgen has another"
    if "proved" not in new:
        return ""
    same = old.get("proved") == new["proved"]
    return f"{_reason(old, new)}; its programs {'stay the same' if same else 'would change'}"


def program_changes(path: Path, programs: Sequence[Program], source: str, tables: Tables) -> str:
    """Return how the programs of a filter would change if ``programs`` were written."""
    try:
        old = read_module(path).programs
    except InputError:
        return "its programs cannot be compared, as another seccompgen made it"
    return _changes(old, programs, (path.name, source), tables)


def _raw_changes(path: Path, one: PlannedFilter, tables: Tables) -> str:
    abi = path.name.removesuffix(".bpf").rpartition(".")[2]
    programs = [program for program in one.programs if program.abi.name == abi]
    return _changes({abi: read_file(path, MAX_FILTER)}, programs, (path.name, one.source), tables)


def _changes(
    old: Mapping[str, bytes],
    programs: Sequence[Program],
    names: tuple[str, str],
    tables: Tables,
) -> str:
    new = {program.abi.name: program for program in programs}
    changed = [name for name in new if name in old and old[name] != new[name].to_bytes()]
    parts = []
    if gained := [name for name in new if name not in old]:
        parts.append(f"a program for {', '.join(gained)} comes in")
    if lost := [name for name in old if name not in new]:
        parts.append(f"that for {', '.join(lost)} goes")
    if changed:
        count = f"{len(changed)} program{'s' * (len(changed) > 1)}"
        shown = (_difference(old[name], new[name], names, tables) for name in changed)
        example = next((text for text in shown if text), None)
        parts.append(f"{count} would change: {example or 'the answers stay the same'}")
    return ", ".join(parts) or "its programs stay the same"


def _difference(old: bytes, new: Program, names: tuple[str, str], tables: Tables) -> str | None:
    """Describe a call that two programs answer differently; None if none is found."""
    order = new.abi.byte_order
    try:
        found = prove(Code(decode(old, new.abi), order), Code(new.instructions, order))
    except UndecidedError:
        return None
    except ValueError:
        return "what is there is no program"
    return difference_text(found, names, new.abi, tables) if isinstance(found, Difference) else None


_BANNER_LINE = re.compile(
    r"(#|//| ?\*|) {1,4}(?P<key>policy|part|tables|proved|goal|profile|made|redo)\s+(?P<what>\S.*)"
)
_LINES_MAX = 100


def _banner(content: bytes) -> dict[str, set[str]]:
    """Return the inputs that the banner of a file of any form names, by kind."""
    found: dict[str, set[str]] = {}
    for line in content.decode(errors="replace").splitlines()[:_LINES_MAX]:
        if match := _BANNER_LINE.fullmatch(line):
            found.setdefault(match["key"], set()).add(match["what"])
    return found


def _reason(old: Mapping[str, set[str]], new: Mapping[str, set[str]]) -> str:
    def differ(key: str) -> set[str]:
        return old.get(key, set()) ^ new.get(key, set())

    def names(key: str) -> list[str]:
        return sorted({what.partition("  sha256:")[0] for what in differ(key)})

    reasons = []
    if changed := [*names("policy"), *names("part")]:
        reasons.append(f"{', '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed")
    if len(names("tables")) == 2:
        reasons.append("the tables are of another Linux")
    if differ("profile"):
        reasons.append("the profile has changed")
    if differ("goal") or differ("made") or (differ("redo") and not reasons):
        reasons.append("it is to be made otherwise")
    if names("tables") and not reasons:
        # The hash covers the tables of the ABIs that have programs.
        reasons.append("the tables have changed")
    return ", ".join(reasons) or "it was edited, or this seccompgen makes it otherwise"
