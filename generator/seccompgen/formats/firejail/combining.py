"""The combined answers of firejail's filters as rules of our language."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Entry
from seccompgen.formats.stacked import severest, severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft
    from seccompgen.formats.firejail.filters import InstalledFilter
    from seccompgen.formats.stacked import Answer

_Rule: TypeAlias = "tuple[str | None, Answer]"
_OPEN: Answer = ("allow", Position(""))


def say(
    draft: Draft,
    installed: Sequence[InstalledFilter],
    remarks: Mapping[tuple[str, int], str],
    tables: Tables,
) -> None:
    """Add the policy of ``installed``, the newest filter first. Raises InputError.

    ``remarks`` are comments for rules by the file and line that they come from.
    """
    native, x32, i386 = (_others(installed, abi) for abi in ("x86_64", "x32", "i386"))
    rules = {abi: _rules(installed, abi, tables) for abi in ("x86_64", "i386")}
    served = ["i386"]
    foreign = x32
    if i386[0] != native[0]:
        served, foreign = _apart(draft, native, x32, i386, rules["i386"])
    start = foreign[1] if foreign[1].file else Position(draft.file, 1, 1)
    draft.setting("arches", ["x86_64"], start)
    draft.setting("compat_arches", served, start)
    draft.setting("default_action", native[0], native[1] if native[1].file else start)
    draft.setting("bad_arch_action", foreign[0], start)
    if served != ["i386"]:
        del rules["i386"]
    elif i386[0] != native[0]:
        rest = i386[0], native[1]
        rules["i386"] = {
            number: [*rules["i386"].get(number, []), (None, rest)]
            for number in tables.tables["i386"].names
        }
    for answer, calls, limit in _groups(rules, tables, ["x86_64", *served]):
        action, where = answer
        draft.rule(action, calls, where, **limit)
        if remark := remarks.get((where.file, where.line)):
            draft.remark(remark)


def _apart(
    draft: Draft, native: Answer, x32: Answer, i386: Answer, exceptions: dict[int, list[_Rule]]
) -> tuple[list[str], Answer]:
    """Return the ABIs to serve next to x86_64, and the answer to all others, if i386 differs.

    A policy has one answer to numbers that no call has, and one to calls of ABIs that it does not
    serve. Where these do not suffice, a note says what is refused here with another errno, or
    refused here alone.
    """
    where = i386[1] if i386[1].file else native[1]
    if exceptions and i386[0] == "allow":
        text = (
            f"numbers that no call of i386 has get {native[0]} here; firejail lets them pass, to "
        )
        draft.note(f"{text}a kernel that has no such call", where, Problem.TOOLS_DIFFER)
        return ["i386"], x32
    if exceptions and not i386[0].startswith(("errno", "kill")):
        text = f"cannot answer calls through i386 with {i386[0]}, and refuse some of them"
        raise InputError(Diagnostic(text, where, Problem.WRONG_STATEMENT))
    if exceptions:
        text = f"all calls through i386 get {i386[0]} here; firejail refuses some of "
        draft.note(f"{text}them with another answer", where, Problem.TOOLS_DIFFER)
    if x32[0] == native[0]:
        return ["x32"], i386
    if x32[0] != i386[0]:
        text = f"calls through i386 and x32 get the severer of {i386[0]} and {x32[0]} here; "
        draft.note(f"{text}firejail answers each with one", where, Problem.TOOLS_DIFFER)
    return [], severest([i386, x32])


def _others(installed: Sequence[InstalledFilter], abi: str) -> Answer:
    return severest([_OPEN, *(one.others[abi] for one in reversed(installed) if abi in one.others)])


def _rules(
    installed: Sequence[InstalledFilter], abi: str, tables: Tables
) -> dict[int, list[_Rule]]:
    """Return the answers to calls of ``abi`` by number: the first whose condition holds decides.

    The severest come first, and of equal ones those of the newest filter.
    """
    numbers = tables.tables[abi].numbers
    default = _others(installed, abi)[0]
    found: dict[int, list[_Rule]] = {}
    for one in installed:
        for call in one.calls.get(abi, {}):
            found.setdefault(numbers[call] if isinstance(call, str) else call, [])
    for number in found:
        answers: list[_Rule] = []
        for one in installed:
            calls = one.calls.get(abi, {})
            said = [rule for call, rule in calls.items() if numbers.get(str(call), call) == number]
            answers += said
            if not said or said[0][0] is not None:
                answers.append((None, one.others.get(abi, _OPEN)))
        # Of equal answers, one with a place in the file says more.
        answers.sort(key=lambda rule: (-severity(rule[1]), not rule[1][1].file))
        first = next(i for i, (when, _) in enumerate(answers) if when is None)
        del answers[first + 1 :]
        # A condition for what is answered so in any case says nothing.
        while len(answers) > 1 and answers[-2][1][0] == answers[-1][1][0]:
            del answers[-2]
        found[number] = answers[: -1 if answers[-1][1][0] == default else None]
    return {number: rules for number, rules in found.items() if rules}


def _groups(
    rules: dict[str, dict[int, list[_Rule]]], tables: Tables, served: list[str]
) -> Iterator[tuple[Answer, list[Entry], dict[str, list[str]]]]:
    """Yield the calls that get one answer by one word of the profile on the same ABIs."""
    entries: dict[tuple[int, Answer, Entry], list[str]] = {}
    for abi, calls in rules.items():
        table = tables.tables[abi]
        for number, listed in sorted(calls.items()):
            through = entrance(name := table.names.get(number, ""))
            by_number = not name or (through is not None and through[0] in table.numbers)
            for rank, (when, answer) in enumerate(listed):
                entry = Entry(number if by_number else name, answer[1], when)
                entries.setdefault((rank, answer, entry), []).append(abi)
    groups: dict[tuple[int, Answer, tuple[str, ...]], list[Entry]] = {}
    for (rank, answer, entry), abis in entries.items():
        groups.setdefault((rank, answer, tuple(abis)), []).append(entry)
    for (_, answer, only), same in sorted(groups.items(), key=lambda item: item[0][0]):
        yield answer, same, {} if [*only] == served else {"arches": [*only]}
