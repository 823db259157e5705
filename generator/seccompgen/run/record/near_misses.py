"""Sections of a policy for what a run did not do, and the code that it executed can.

They are comments, a rule for each kind, which a reader takes in by removing ``#``. Kinds that are
mighty are offered by the calls that code names; of some, such as another user, nothing is offered:
what a program does of these, it does in its first run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.text import printable, some
from seccompgen.kernel.powers import powers
from seccompgen.policy.write import Allowed, Section
from seccompgen.run.record.code_names import ORDINARY, code_names, is_interpreter
from seccompgen.run.record.sections import whole_kinds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.kernel.powers import PowerLine
    from seccompgen.run.record.cases import Cases
    from seccompgen.run.record.code_names import CodeNames, Found
    from seccompgen.run.record.grants import Grants
    from seccompgen.run.record.observations import Program

NOT_SEEN = "Not seen"
"""The beginning of the heading of what is offered."""
_BY_CALL = ("files-own", "others", "ipc", "limits")
_SHOWN = ("identity", "namespaces", "mounts", "kernel", "machine")
_VAGUE = frozenset({"open", "openat", "fopen", "freopen"})
"""Functions that nearly every program names."""
_MOST_FUNCTIONS = 3


def near_misses(
    programs: Sequence[Program],
    kinds: Collection[str],
    granted: Mapping[Abi, Grants],
    cases: Cases,
) -> Iterator[Section]:
    """Yield the sections of what code can do, and a policy does not permit.

    It permits ``kinds`` whole, and what is ``granted`` on each of its ABIs.
    """
    names = code_names(programs)
    heading = _heading(programs, names)
    if shown := list(dict.fromkeys(_shown(names, granted))):
        heading += f"\nNot offered: {some(shown)}. A program that needs them shows it in any run."
    several = len(programs) > 1
    for one in (
        *_kinds(names, kinds, granted, cases, several),
        *_calls(names, granted, cases, several),
    ):
        yield replace(one, heading=heading)
        heading = ""


def _heading(programs: Sequence[Program], names: CodeNames) -> str:
    paths = [one.path for one in programs]
    unforeseen = [path for path in paths if is_interpreter(path)]
    what = some(list(dict.fromkeys(map(_name, unforeseen or paths))))
    if unforeseen:
        text = f"{NOT_SEEN}, but scripts of {what} may do it."
    elif names.foreseeable:
        text = f"{NOT_SEEN}, but the code of {what} can."
    else:
        text = f"{NOT_SEEN}, and the code of {what} does not say if it can."
    return f"{text} Take in what yours does: remove the # before it."


def _kinds(
    names: CodeNames,
    kinds: Collection[str],
    granted: Mapping[Abi, Grants],
    cases: Cases,
    several: bool,
) -> Iterator[Section]:
    for kind in ORDINARY:
        found = names.kinds.get(kind, ())
        if kind not in kinds and (found or not names.foreseeable):
            power = powers().kinds[kind]
            comment = f"{power.gives}{_where(found, several)}"
            yield replace(whole_kinds([power], granted, cases, comment), offered=True)


def _calls(
    names: CodeNames, granted: Mapping[Abi, Grants], cases: Cases, several: bool
) -> Iterator[Section]:
    """Yield a section for each mighty kind of which code names calls."""
    for kind in _BY_CALL:
        wanted = {
            (call, line): found
            for (call, line), found in _in_order(names, (kind,))
            if not all(
                one.covers(call, condition)
                for abi, one in granted.items()
                for condition in cases.exactly(line, call, abi)
            )
        }
        functions = tuple(dict.fromkeys(one for found in wanted.values() for one in found))
        reasons = dict.fromkeys(line.reason for _, line in wanted)
        gives = next(iter(reasons)) if len(reasons) == 1 else powers().kinds[kind].gives
        comment = f"{gives}{_where(functions, several)}"
        calls = {
            abi: [
                Allowed(call, tuple(one for one in conditions if one), comment)
                for call, line in wanted
                if (conditions := cases.exactly(line, call, abi))
            ]
            for abi in granted
        }
        if any(calls.values()):
            yield Section("", calls, offered=True)


def _shown(names: CodeNames, granted: Mapping[Abi, Grants]) -> Iterator[str]:
    for (_, line), found in _in_order(names, _SHOWN):
        if not any(grants.has(call) for call in line.calls for grants in granted.values()):
            yield from (one.function for one in found)


def _in_order(
    names: CodeNames, kinds: Iterable[str]
) -> list[tuple[tuple[str, PowerLine], tuple[Found, ...]]]:
    """Return the calls of ``kinds`` that code names, in the order of the table."""
    order = powers().lines.index
    found = [one for one in names.calls.items() if one[0][1].power.name in kinds]
    return sorted(found, key=lambda one: (order(one[0][1]), one[0][0]))


def _where(found: Sequence[Found], several: bool) -> str:
    """Return which functions of which file do it, those of a program first."""
    if not found:
        return ""
    own = [one for one in found if one.own]
    file = (own or found)[0].file
    functions = sorted(
        {one.function for one in found if one.file == file}, key=lambda name: (name in _VAGUE, name)
    )
    where = f" in {_name(file)}" if several or not own else ""
    return f" ({', '.join(functions[:_MOST_FUNCTIONS])}{where})"


def _name(path: str) -> str:
    return printable(path.rpartition("/")[2])
