"""Android's SYSCALLS.TXT with its companion lists, as a policy: what bionic's filters allow.

A line is ``return_type func[|alias,...][:syscall_name[:socketcall_id]](parameters) arch_list``. For
each architecture, a filter allows the calls of SYSCALLS.TXT without those of the block lists, and
then those of the allow lists. All other calls, and calls through other ABIs, get trap.
SECCOMP_PRIORITY.TXT lists the calls to test first, one per line.

Sources: bionic's SYSCALLS.TXT and other lists, and their parsers gensyscalls.py and genseccomp.py.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import (
    MOST_HINTS,
    Diagnostic,
    InputError,
    Position,
    cannot,
    did_you_mean,
)
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft, Entry
from seccompgen.formats.source_comments import line_comments

if TYPE_CHECKING:
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_ABIS = {
    "arm": "arm", "arm64": "aarch64", "riscv64": "riscv64", "x86": "i386", "x86_64": "x86_64",
}  # fmt: skip
"""Android's names of its architectures, and ours."""
_GONE = frozenset({"mips", "mips64"})
"""Architectures of older files, for which Android has no filters any more."""
_SETS = {
    "all": frozenset(_ABIS),
    "lp32": frozenset({"arm", "x86"}),
    "lp64": frozenset({"arm64", "riscv64", "x86_64"}),
}
_CALL = re.compile(
    r"""(?P<type>[A-Za-z_][\w\s*]*?[\s*])
    (?P<func>[A-Za-z_]\w*)
    (?P<aliases>\|[A-Za-z_]\w*(?:,[A-Za-z_]\w*)*)?
    (?::(?P<name>[A-Za-z_]\w*)(?::(?P<socketcall>\d{1,3}))?)?
    \s*\(.*\)
    \s+(?P<arches>[!\w,]+)""",
    re.VERBOSE | re.ASCII,
)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_COMMON = "COMMON"
_KINDS = (("ALLOWLIST", "WHITELIST"), ("BLOCKLIST", "BLACKLIST"))
"""The lists' kinds, each with the name that files had until Android 11."""


class _ListedCall(NamedTuple):
    """A call that a list names for one architecture, and its position."""

    name: str
    arch: str
    position: Position


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy of bionic's filter for ``file``. Raises InputError with every fault.

    SECCOMP_ALLOWLIST_COMMON.TXT, SECCOMP_BLOCKLIST_COMMON.TXT and SECCOMP_PRIORITY.TXT are read
    from the same directory; ``reading.thread``, such as app, adds the lists of that name.
    """
    draft = Draft(file, outside=reading.outside)
    faults: list[Diagnostic] = []
    base = _calls(text, file, faults)
    draft.comments += line_comments(text, file, trailing=True)
    names = tables.calls
    allowed, blocked = _lists(draft, reading, faults)
    there = {(one.name, one.arch) for one in base}
    faults += [
        Diagnostic(
            f"{one.name} is blocked on {one.arch}, but no line of SYSCALLS.TXT has it there",
            one.position,
            Problem.UNKNOWN_CALL,
        )
        for one in blocked
        if (one.name, one.arch) not in there
    ]
    faults += [
        Diagnostic(
            f"{name!r} is not the name of a system call"
            f"{did_you_mean(name, names) if i < MOST_HINTS else ''}",
            where,
            Problem.UNKNOWN_CALL,
        )
        for i, (name, where) in enumerate(
            {one.name: one.position for one in (*base, *allowed)}.items()
        )
        if name not in names
    ]
    priority = _priority(draft, names, faults)
    if faults:
        raise InputError(*faults)
    without = {(one.name, one.arch) for one in blocked}
    kept = [one for one in base if (one.name, one.arch) not in without]
    start = Position(file, 1, 1)
    arches = _settings(draft, reading, start)
    by_line: dict[Position, dict[str, set[str]]] = {}
    for one in (*kept, *allowed):
        if _ABIS[one.arch] in arches:
            by_line.setdefault(one.position, {}).setdefault(one.name, set()).add(_ABIS[one.arch])
    groups: dict[frozenset[str], list[Entry]] = {}
    for where, calls in by_line.items():
        for name, abis in calls.items():
            groups.setdefault(frozenset(abis), []).append(Entry(name, where))
    for having, entries in groups.items():
        listed = [abi for abi in arches if abi in having]
        draft.rule("allow", entries, entries[0].position, arches=listed)
    draft.profile.update({name: len(priority) - i for i, name in enumerate(priority)})
    return draft


def filter_names(text: str, file: str) -> tuple[str, ...]:
    """Return the names of the filters, which are those of the lists next to the file."""
    del text
    lists = (
        path.stem.partition("LIST_")[2] for path in Path(file).parent.glob("SECCOMP_*LIST_*.TXT")
    )
    return tuple(sorted({name.lower() for name in lists} - {_COMMON.lower()}))


def _settings(draft: Draft, reading: Reading, start: Position) -> list[str]:
    """Set the ABIs and the default; return all ABIs that the filter answers for."""
    chosen = reading.abis or tuple(_ABIS.values())
    strange = [abi for abi in chosen if abi not in _ABIS.values()]
    if strange:
        known = ", ".join(_ABIS.values())
        raise InputError(
            f"--for: Android has no filters for {strange[0]}; it has: {known}",
            kind=Problem.UNKNOWN_ABI,
        )
    compat = [abi for abi in chosen if any(abi in ABIS[other].siblings for other in chosen)]
    draft.setting("default_action", "trap", start)
    draft.setting("bad_arch_action", "trap", start)
    draft.setting("arches", [abi for abi in chosen if abi not in compat], start)
    draft.setting("compat_arches", compat, start)
    return list(chosen)


def _calls(text: str, file: str, faults: list[Diagnostic]) -> list[_ListedCall]:
    """Return the calls of a list in the form of SYSCALLS.TXT."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        body = line.partition("#")[0].rstrip()
        if not body.strip():
            continue
        where = Position(file, number, len(body) - len(body.lstrip()) + 1)
        match = _CALL.fullmatch(body.strip())
        if match is None:
            said = "no line of SYSCALLS.TXT: write `type func[|alias][:call[:number]](...) arches`"
            faults.append(Diagnostic(said, where, Problem.MALFORMED_FILE))
            continue
        # Calls that only arm has are listed with the prefix of their constants.
        name = (match["name"] or match["func"]).removeprefix("__ARM_NR_")
        at = Position(file, number, where.column + match.start("arches"))
        arches = _arches(match["arches"], at, faults)
        found += [_ListedCall(name, arch, where) for arch in sorted(arches)]
    return found


def _arches(text: str, where: Position, faults: list[Diagnostic]) -> set[str]:
    """Return the architectures of a list such as ``all``, ``lp32,x86_64`` or ``all,!arm``."""
    found: set[str] = set()
    words = text.split(",")
    if words[0].startswith("!"):
        found |= _SETS["all"]
    for word in words:
        name = word.removeprefix("!")
        arches = _SETS.get(name, frozenset({name} & _ABIS.keys()))
        if not arches and name not in _GONE:
            known = [*_SETS, *_ABIS]
            said = f"{word!r} is no architecture{did_you_mean(name, known)}; known: "
            faults.append(Diagnostic(said + ", ".join(known), where, Problem.UNKNOWN_ABI))
        found = set(found - arches if word.startswith("!") else found | arches)
    gone = any(word in _GONE for word in words)
    if not found and not gone and not any(one.position == where for one in faults):
        said = f"{text} leaves no architecture"
        faults.append(Diagnostic(said, where, Problem.WRONG_VALUE))
    return found


def _lists(
    draft: Draft, reading: Reading, faults: list[Diagnostic]
) -> tuple[list[_ListedCall], list[_ListedCall]]:
    """Return the calls of the allow lists and of the block lists next to the file."""
    directory = Path(draft.file).parent
    wanted = [_COMMON]
    if reading.thread is not None:
        wanted.append(reading.thread.upper())
    found: list[list[_ListedCall]] = []
    for kinds in _KINDS:
        calls: list[_ListedCall] = []
        for kind, name in itertools.product(kinds, wanted):
            path = directory / f"SECCOMP_{kind}_{name}.TXT"
            if _NAME.fullmatch(name) and path.is_file():
                calls += _calls(_companion(draft, path), str(path), faults)
        found.append(calls)
    used = {Path(name).name for name, _ in draft.sources}
    if len(wanted) > 1 and not any(name.endswith(f"_{wanted[1]}.TXT") for name in used):
        text = f"--filter {reading.thread}: no SECCOMP_ALLOWLIST_{wanted[1]}.TXT is next to it"
        faults.append(Diagnostic(text, Position(draft.file), Problem.SOURCE_MISSING))
    others = filter_names("", draft.file) if reading.thread is None else ()
    if others:
        text = "lists of several filters are next to it; say which with --filter, or let convert "
        text += f"write all of them with -o DIR/: {', '.join(others)}"
        faults.append(Diagnostic(text, Position(draft.file), Problem.SEVERAL_FILTERS))
    return found[0], found[1]


def _companion(draft: Draft, path: Path) -> str:
    try:
        return draft.read(path)
    except OSError as error:
        raise InputError(cannot("read", path, error), kind=Problem.UNREADABLE_FILE) from None


def _priority(draft: Draft, names: frozenset[str], faults: list[Diagnostic]) -> list[str]:
    """Return the calls to test first, the most frequent one first."""
    path = Path(draft.file).parent / "SECCOMP_PRIORITY.TXT"
    if not path.is_file():
        return []
    found: dict[str, None] = {}
    for number, line in enumerate(_companion(draft, path).splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if name and name not in names:
            text = f"{name!r} is not the name of a system call{did_you_mean(name, names)}"
            faults.append(Diagnostic(text, Position(str(path), number, 1), Problem.UNKNOWN_CALL))
        elif name:
            found[name] = None
    return list(found)
