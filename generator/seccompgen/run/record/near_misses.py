"""Sections of a policy for what the executed code can do but the run did not.

They are commented-out rules, one per kind, which a reader enables by removing ``#``. For mighty
kinds, only the calls that the code names are offered. Some kinds, such as becoming another user,
are not offered: a program that needs these does so in any run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.core.foreign import PLAIN_READING
from seccompgen.core.text import printable, some
from seccompgen.formats import load_policy
from seccompgen.io.reading import read_file
from seccompgen.kernel.powers import powers
from seccompgen.policy.allowlist_text import Allowed, Section
from seccompgen.run.record.closure import ORDINARY
from seccompgen.run.record.code_names import code_names, is_interpreter
from seccompgen.run.record.sections import whole_kinds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.kernel.powers import PowerLine
    from seccompgen.run.record.code_names import CodeNames, NamedFunction
    from seccompgen.run.record.grants import Grants
    from seccompgen.run.record.observations import ExecutedProgram
    from seccompgen.run.record.power_cases import PowerCases

NOT_SEEN = "Not seen"
"""The beginning of the heading above the offers."""
_BY_CALL = ("files-own", "others", "ipc", "limits")
_SHOWN = ("identity", "namespaces", "mounts", "kernel", "machine")
_VAGUE = frozenset({"open", "openat", "fopen", "freopen"})
"""Functions that nearly every program names."""
_MOST_FUNCTIONS = 3


def near_misses(
    programs: Sequence[ExecutedProgram],
    kinds: Collection[str],
    granted: Mapping[Abi, Grants],
    cases: PowerCases,
) -> Iterator[Section]:
    """Yield sections that offer what the code of ``programs`` can do and a policy does not permit.

    The policy permits ``kinds`` whole, and the ``granted`` calls on each of its ABIs.
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


def _heading(programs: Sequence[ExecutedProgram], names: CodeNames) -> str:
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
    cases: PowerCases,
    several: bool,
) -> Iterator[Section]:
    for kind in ORDINARY:
        found = names.kinds.get(kind, ())
        if kind not in kinds and (found or not names.foreseeable):
            power = powers().kinds[kind]
            comment = f"{power.gives}{_where(found, several)}"
            yield replace(whole_kinds([power], granted, cases, comment), offered=True)


def _calls(
    names: CodeNames, granted: Mapping[Abi, Grants], cases: PowerCases, several: bool
) -> Iterator[Section]:
    """Yield a section for each mighty kind whose calls the code names."""
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
) -> list[tuple[tuple[str, PowerLine], tuple[NamedFunction, ...]]]:
    """Return the calls of ``kinds`` that the code names, in the order of the table."""
    order = powers().lines.index
    found = [one for one in names.calls.items() if one[0][1].power.name in kinds]
    return sorted(found, key=lambda one: (order(one[0][1]), one[0][0]))


def _where(found: Sequence[NamedFunction], several: bool) -> str:
    """Return a comment that names some of the functions and their file, preferably the program."""
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


def still_offered(
    policies: Sequence[ResolvedPolicy], granted: Mapping[Abi, Grants], tables: Tables
) -> str:
    """Return, as text, the offers of a recorded policy that are not ``granted``; "" for none.

    Returns "" for several policies: their code may differ.
    """
    if len(policies) != 1 or policies[0].in_memory or policies[0].foreign:
        return ""
    file = policies[0].file
    try:
        lines = read_file(Path(file)).decode().splitlines()
        start = next(n for n, one in enumerate(lines) if one.startswith(f"# {NOT_SEEN}"))
        first = next(n for n, one in enumerate(lines) if n > start and one.startswith("#-"))
        taken_in = [*lines[:first], *(one.removeprefix("#") for one in lines[first:])]
        content = "\n".join(taken_in).encode()
        policy = load_policy(Path(file), tables, PLAIN_READING, {file: content})[0]
    except (OSError, ValueError, StopIteration, InputError):
        return ""  # nothing is offered, or somebody wrote other comments behind it
    kept: list[str] = []
    for begin, end in _rules(lines, first):
        rules = [one for one in policy.own_rules if begin < one.position.line <= end]
        if not all(
            grants.covers(rule.name, rule.condition)
            for rule in rules
            for abi, grants in granted.items()
            if rule.applies_to(abi)
        ):
            kept += lines[begin:end]
    return "".join(f"{line}\n" for line in (*lines[start:first], *kept)) if kept else ""


def _rules(lines: Sequence[str], first: int) -> Iterator[tuple[int, int]]:
    """Yield the first line of each offered rule, and the line after it, from line ``first`` on.

    Lines are counted from 0.
    """
    begins = [n for n in range(first, len(lines)) if lines[n].startswith("#-")]
    yield from zip(begins, [*begins[1:], len(lines)], strict=True)
