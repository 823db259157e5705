"""What a run did not do, and the code that it executed can: rules that a reader may take in.

They are comments in the policy, a rule on a line, so that removing ``# `` is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.text import printable, some
from seccompgen.kernel.powers import powers
from seccompgen.observe.record.code_names import ORDINARY, call_of, code_names, is_interpreter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from seccompgen.core.tables import Table
    from seccompgen.kernel.powers import PowerLine
    from seccompgen.observe.record.code_names import CodeNames, Found
    from seccompgen.observe.record.observations import Program

_BY_CALL = ("files-own", "others", "ipc", "limits")
"""Mighty kinds that ordinary programs use; of these, the calls are offered that code names."""
_SHOWN = ("identity", "namespaces", "mounts", "kernel", "machine")
"""Kinds that are not offered: what a program does of these, it does in its first run."""
_VAGUE = frozenset({"open", "openat", "fopen", "freopen"})
"""Functions that nearly every program names."""
_MOST_FUNCTIONS = 3
_WIDTH = 100


class NearMiss(NamedTuple):
    """A rule to take in: ``names`` are groups or calls, ``gives`` says what these give.

    ``found`` are the functions that show it. With ``optional`` some ABI of the policy lacks a call.
    """

    names: tuple[str, ...]
    gives: str
    found: tuple[Found, ...]
    optional: bool = False


def near_miss_lines(
    programs: Sequence[Program],
    kinds: Collection[str],
    calls: Collection[str],
    tables: Sequence[Table],
) -> list[str]:
    """Return comments for the end of a policy's ``syscalls``, one a rule; none without a near miss.

    The policy permits ``kinds`` whole, and ``calls`` whatever their arguments are; ``tables`` are
    those of its ABIs.
    """
    names = code_names(programs)
    rules = [*_kinds_offered(names, kinds), *_calls_offered(names, calls, tables)]
    shown = list(dict.fromkeys(_shown(names, calls)))
    lines = [f"# {_heading(programs, names)}"] if rules else []
    lines += [_line(rule, several=len(programs) > 1) for rule in rules]
    if shown:
        also = "also " if rules else ""
        lines.append(f"# Its code {also}names {some(shown)}: let a run show that it needs them.")
    return lines


def _line(rule: NearMiss, *, several: bool) -> str:
    """Return the comment of a rule, with as many of its functions as fit."""
    listed = ", ".join(f'"{one}"' if one.startswith("@") else one for one in rule.names)
    optional = "optional: true, " if rule.optional else ""
    line = f"# - {{action: allow, {optional}names: [{listed}]}} # {rule.gives}"
    file = next(
        (one.file for one in rule.found if one.own), rule.found[0].file if rule.found else ""
    )
    functions = sorted(
        {one.function for one in rule.found if one.file == file} - {*rule.names},
        key=lambda name: (name in _VAGUE, name),
    )
    own = any(one.own for one in rule.found)
    where = f" in {_name(file)}" if several or not own else ""
    for count in range(min(len(functions), _MOST_FUNCTIONS), 0, -1):
        longer = f"{line} ({', '.join(functions[:count])}{where})"
        if count == 1 or len(longer) <= _WIDTH:
            return longer
    return line


def _heading(programs: Sequence[Program], names: CodeNames) -> str:
    paths = [one.path for one in programs]
    unforeseen = [path for path in paths if is_interpreter(path)]
    what = some(list(dict.fromkeys(_name(path) for path in unforeseen or paths)))
    if unforeseen:
        text = f"Not seen, but scripts of {what} may do it."
    elif names.foreseeable:
        text = f"Not seen, but the code of {what} can."
    else:
        text = f"Not seen, and the code of {what} does not say what it can."
    return f'{text} Take in what yours does: remove its "# ".'


def _kinds_offered(names: CodeNames, kinds: Collection[str]) -> Iterator[NearMiss]:
    for kind in ORDINARY:
        found = names.kinds.get(kind, ())
        if kind not in kinds and (found or (not names.foreseeable and kind != "netlink")):
            yield NearMiss((f"@{kind}",), powers().kinds[kind].gives, found)


def _calls_offered(
    names: CodeNames, calls: Collection[str], tables: Sequence[Table]
) -> Iterator[NearMiss]:
    for kind in _BY_CALL:
        lines = _in_order(names, (kind,))
        wanted = [call for line in lines for call in _called(names.lines[line], line, tables)]
        missing = tuple(call for call in wanted if call not in calls)
        if missing:
            everywhere = all(call in table.numbers for call in missing for table in tables)
            gives = "; ".join(line.reason for line in lines if {*line.calls} & {*missing})
            found = tuple(one for line in lines for one in names.lines[line])
            yield NearMiss(missing, gives, found, optional=not everywhere)


def _called(found: Iterable[Found], line: PowerLine, tables: Sequence[Table]) -> list[str]:
    """Return the calls of functions; all that give the same where some ABI has others."""
    wanted = dict.fromkeys(call_of(one.function) for one in found)
    if any(call not in table.numbers for call in wanted for table in tables):
        wanted = dict.fromkeys(line.calls)
    return [call for call in wanted if any(call in table.numbers for table in tables)]


def _shown(names: CodeNames, calls: Collection[str]) -> Iterator[str]:
    for line in _in_order(names, _SHOWN):
        if not any(call in calls for call in line.calls):
            yield from (one.function for one in names.lines[line])


def _in_order(names: CodeNames, kinds: Sequence[str]) -> list[PowerLine]:
    """Return the lines of ``kinds`` that code has functions of, as the table has them."""
    return [one for one in powers().lines if one in names.lines and one.power.name in kinds]


def _name(path: str) -> str:
    return printable(path.rpartition("/")[2])
