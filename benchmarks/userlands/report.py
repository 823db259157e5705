"""docs/userlands.md, from what was measured."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.userlands import roots, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.userlands.measure import Cell
    from benchmarks.userlands.predict import Compared
    from benchmarks.userlands.roots import UserLand

    Comparisons = Mapping[tuple[str, str, str], Compared]

TEXT = Path(__file__).parent / "page.md"
SAID = {frozenset(): "works", frozenset(runs.ACTIONS): "breaks"}


def page(cells: Sequence[Cell], compared: Comparisons, place: Path) -> str:
    """Return the page: page.md with the tables in it."""
    lands = [roots.user_land(name, place) for name in (*roots.LIBRARIES, *roots.LATER)]
    later = [cell for cell in cells if cell.land != roots.RECORDED]
    every, missed = calls(later), misses(later, compared)
    below = [line for line in every if _cells(line)[2] != "0"]
    said = [line for line in missed if _cells(line)[1] != "a newer program"]
    tables = {
        "releases": releases(lands),
        "programs": programs(cells, lands),
        "calls": below,
        "newer": [str(len(every) - len(below))],
        "predicted": predicted(lands, later, compared),
        "misses": said,
        "own": [str(len(missed) - len(said))],
        "alarms": alarms(later, compared),
        "control": control(cells),
    }
    text = TEXT.read_text()
    for name, lines in tables.items():
        text = text.replace(f"{{{name}}}", "\n".join(lines))
    return text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return [f"| {' | '.join(line)} |" for line in cells]


def _cells(line: str) -> list[str]:
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def title(land: UserLand) -> str:
    """Return the words for a user land."""
    release = land.release.removeprefix("debian:")
    return f"Debian {release}" if land.whole else f"11 with glibc {land.libc}"


def upstream(version: str) -> str:
    """Return a version without what Debian puts around it."""
    return re.split(r"[-+~]", version.partition(":")[2] or version)[0]


def releases(lands: Sequence[UserLand]) -> list[str]:
    """Return the user lands, and the releases of what lies beneath programs."""
    rows = [(f"`{land.name}`", title(land), land.libc) for land in lands]
    return table(("directory", "user land", "glibc"), rows)


def programs(cells: Sequence[Cell], lands: Sequence[UserLand]) -> list[str]:
    """Return for each program where it works, and where it breaks."""
    found = {(cell.program, cell.land): cell for cell in cells}
    rows = []
    for name in dict.fromkeys(cell.program for cell in cells):
        row = [name]
        for land in lands:
            cell = found.get((name, land.name))
            row.append(_verdict(cell, land) if cell else "")
        rows.append(row)
    return table(("", *map(title, lands)), rows)


def _verdict(cell: Cell, land: UserLand) -> str:
    broken = frozenset(cell.complaints)
    said = SAID.get(broken) or f"breaks with {', '.join(sorted(broken))}"
    version = f"{upstream(cell.version)}: " if land.whole else ""
    return f"{version}{said}, {len(cell.calls())} refused"


def control(cells: Sequence[Cell]) -> list[str]:
    """Return a sentence about Debian 11 itself."""
    own = [cell for cell in cells if cell.land == roots.RECORDED]
    off = [cell.program for cell in own if cell.refused or cell.complaints]
    told = f"all {len(own)} programs work" + (f", but {', '.join(off)}" if off else "")
    return [f"In Debian 11 itself {told}, and nothing is refused."]


def calls(cells: Sequence[Cell]) -> list[str]:
    """Return the refused calls, and of how many programs each broke one by itself."""
    seen: dict[str, set[str]] = {}
    beneath: dict[str, set[str]] = {}
    tried: dict[str, Counter[str]] = {action: Counter() for action in runs.ACTIONS}
    breaking: dict[str, Counter[str]] = {action: Counter() for action in runs.ACTIONS}
    made: dict[str, Counter[str]] = {}
    for cell in cells:
        for one in cell.refused:
            where = seen if cell.land in roots.LATER else beneath
            where.setdefault(one.syscall, set()).add(cell.program)
            made.setdefault(one.syscall, Counter())[_maker(one)] += 1
        for action in runs.ACTIONS if cell.breaking is not None else ():
            tried[action].update(cell.calls())
            breaking[action].update(cell.breaking.get(action, ()) if cell.breaking else ())
    rows = []
    for name in sorted(made, key=lambda one: (-len(beneath.get(one, ())), one)):
        by = ", ".join(f"`{one}`" for one, _ in made[name].most_common(3))
        counts = [str(len(where.get(name, ()))) for where in (beneath, seen)]
        broke = [_of(breaking[one][name], tried[one][name]) for one in runs.ACTIONS]
        rows.append([f"`{name}`", by, *counts, *broke])
    head = "made by", "programs, libc alone", "programs, whole release"
    return table(("call", *head, *(f"breaks by {one}" for one in runs.ACTIONS)), rows)


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""


def _maker(one: runs.Refused) -> str:
    constants = f"({one.constants})" if one.constants else ""
    file = re.sub(r"\.so\..*|\.so$", "", one.file)
    return f"{one.function or file}{constants}"


def predicted(lands: Sequence[UserLand], cells: Sequence[Cell], compared: Comparisons) -> list[str]:
    """Return the counts of what was said and seen, a row for each user land and action."""
    rows = []
    for land in lands:
        for action in runs.ACTIONS:
            found = [
                (cell, compared[key])
                for cell in cells
                if cell.land == land.name and (key := (cell.program, cell.land, action)) in compared
            ]
            broken = [one for cell, one in found if cell.broken(action)]
            works = [one for cell, one in found if not cell.broken(action)]
            numbers = (
                sum(len(one.warned) for _, one in found),
                sum(len(one.false_alarms) for _, one in found),
                sum(len(one.harmless) for _, one in found),
            )
            rows.append(
                [
                    title(land),
                    action,
                    _of(sum(bool(one.warned) for one in broken), len(broken)),
                    _of(sum(bool(one.warned) for one in works), len(works)),
                    _share(found, "refused", "missed"),
                    _share(found, "breaking", "missed_breaks"),
                    *map(str, numbers),
                ]
            )
    head = "programs that break, warned of", "programs that work, warned of"
    more = "refused calls, said", "breaking calls, said"
    return table(
        ("user land", "answer", *head, *more, "calls warned of", "not made", "harmless"), rows
    )


def _share(found: Sequence[tuple[Cell, Compared]], of: str, without: str) -> str:
    whole = sum(len(getattr(one, of)) for _, one in found)
    return _of(whole - sum(len(getattr(one, without)) for _, one in found), whole)


def misses(cells: Sequence[Cell], compared: Comparisons) -> list[str]:
    """Return the calls of which nothing was said, by who made them."""
    below = {
        (cell.program, cell.land.removesuffix("-libc"), call)
        for cell in cells
        if cell.land in roots.LIBRARIES
        for one in cell.refused
        for call in (one.syscall, f"{one.syscall} {one.constants}")
    }
    found: dict[tuple[str, str], list[tuple[Cell, bool]]] = {}
    for cell in cells:
        one = compared.get((cell.program, cell.land, "EPERM"))
        for call in one.missed if one else ():
            whole = cell.land in roots.LATER
            key = (cell.program, cell.land, call)
            why = "the C library" if not whole or key in below else _why(cell, call)
            found.setdefault((why, call), []).append((cell, call in one.breaking if one else False))
    rows = []
    for (why, call), where in sorted(found.items()):
        names = sorted({cell.program for cell, _ in where})
        breaks = sum(breaking for _, breaking in where)
        rows.append([f"`{call}`", why, ", ".join(names), str(len(where)), str(breaks)])
    return table(("call", "made newly by", "programs", "times", "that break it"), rows)


def _why(cell: Cell, call: str) -> str:
    """Return who makes a call that the C library alone does not bring."""
    files = {one.file for one in cell.refused if one.syscall == call.split(maxsplit=1)[0]}
    if any("python" in file for file in files) or cell.program == "python":
        return "CPython"
    return "a newer program"


def alarms(cells: Sequence[Cell], compared: Comparisons) -> list[str]:
    """Return the calls that were warned of in vain."""
    unmade: Counter[str] = Counter()
    harmless: Counter[str] = Counter()
    for cell in cells:
        one = compared.get((cell.program, cell.land, "EPERM"))
        if one:
            unmade.update(one.false_alarms)
            harmless.update(one.harmless)
    rows = [
        [f"`{call}`", str(unmade[call]), str(harmless[call])]
        for call in sorted({*unmade, *harmless}, key=lambda one: (-unmade[one], one))
    ]
    return table(("call", "warned of, not made", "refused without harm"), rows)
