"""Tables of a tag: from upstream, checked against the lock, and compared with another tag's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo
from seccompgen.kernel.fact_files import TAG_PARTS
from seccompgen.kernel.history import advance
from seccompgen.kernel.shipped import kept_since
from seccompgen.pipeline.cache import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.tables import Tables


@dataclass(frozen=True, slots=True)
class AbiChange:
    """The effect of another tag on one ABI; ``renumbered`` maps a name to (before, after)."""

    abi: str
    gained: Mapping[str, int]
    lost: Mapping[str, int]
    renumbered: Mapping[str, tuple[int, int]]


def resolve_tables(
    tag: str,
    source: str | None,
    known: Tables | None,
    progress: Callable[[int, int], None] | None = None,
) -> Tables:
    """Return the tables of ``tag``: downloaded, or ``known`` if these are of that tag.

    With ``source``, files are always read anew and compared with those that ``known`` locks for the
    same tag. New calls get their first release. Raises AnswerNo if files differ, OutsideError if
    they cannot be fetched.
    """
    locked = known if known and known.tag == tag else None
    lacking = _lacking_facts(locked) if locked else ()
    if locked and source is None and not lacking:
        return _with_history(locked, known)
    from seccompgen.kernel.fetch import fetch, shown_url  # noqa: PLC0415 - requests takes 60 ms to import
    from seccompgen.kernel.parse import CANDIDATES, parse  # noqa: PLC0415

    expected = {file.path: file for file in locked.files} if locked else {}
    expected |= locked.facts.inputs if locked else {}
    files = fetch(
        source, tag, CANDIDATES, expected=expected, progress=progress, cache=cache_directory()
    )
    tables = parse(tag, files)
    if locked and not _agree(tables, locked, lacking):
        raise AnswerNo(
            f"{shown_url(source or '')} gives other tables for {tag} than the lock, from the same "
            "files: was the lock made by another seccompgen? Remove it to make it anew"
        )
    return _with_history(tables, known)


def _with_history(tables: Tables, known: Tables | None) -> Tables:
    """Return ``tables`` with the first releases of ``known``, and those of new calls.

    If the lock has none, because an older seccompgen wrote it, this version's own are used.
    """
    since = (known.facts.since if known else None) or kept_since()
    since = advance(since, *(one for one in (known, tables) if one))
    return replace(tables, facts=replace(tables.facts, since=since))


def _lacking_facts(tables: Tables) -> tuple[str, ...]:
    """Return the parts of facts that the lock of ``tables``, being an older one, does not have."""
    return tuple(part for part in TAG_PARTS if not getattr(tables.facts, part))


def _agree(made: Tables, locked: Tables, lacking: Sequence[str]) -> bool:
    """Return True if both agree, except in the parts of facts that the lock is ``lacking``."""
    parts = [part for part in (*TAG_PARTS, "inputs") if part not in lacking]
    if lacking:
        parts.remove("inputs")
    return made.tables == locked.tables and all(
        getattr(made.facts, part) == getattr(locked.facts, part) for part in parts
    )


def absent_abis(tables: Tables) -> list[str]:
    """Return the ABIs that seccompgen knows and the tag of ``tables`` lacks."""
    return [name for name in ABIS if name not in tables.tables]


def compare_tables(before: Tables, after: Tables) -> list[AbiChange]:
    """Return the changes of each ABI, without ABIs that stay the same."""
    changes = []
    for name in ABIS:
        old = before.tables[name].numbers if name in before.tables else {}
        new = after.tables[name].numbers if name in after.tables else {}
        change = AbiChange(
            name,
            {call: nr for call, nr in new.items() if call not in old},
            {call: nr for call, nr in old.items() if call not in new},
            {call: (old[call], nr) for call, nr in new.items() if old.get(call, nr) != nr},
        )
        if change.gained or change.lost or change.renumbered:
            changes.append(change)
    return changes


@dataclass(frozen=True, slots=True)
class ConstantChanges:
    """The effect of another tag on constants, by name; ``changed`` ones differ on some ABI."""

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    changed: tuple[str, ...]


def compare_constants(before: Tables, after: Tables) -> ConstantChanges:
    """Return the constants that are gained, lost and changed, on the ABIs that both tags have."""
    old, new = before.facts.constants, after.facts.constants
    both = [abi for name, abi in ABIS.items() if name in before.tables and name in after.tables]
    changed = (
        name
        for name in new
        if name in old and any(old[name].on(abi) != new[name].on(abi) for abi in both)
    )
    return ConstantChanges(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(changed),
    )
