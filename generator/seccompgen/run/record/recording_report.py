"""A recording, and a policy's answers to it, as text and as JSON."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.ring_wording import context_text
from seccompgen.core.text import many, printable, some
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.render.call_names import call_text
from seccompgen.render.listing import ret_action
from seccompgen.run.record.observations import CallNumber, abi_of, name_of
from seccompgen.run.record.recorded_rings import WAY, refused_operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.ring import RingSection
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.coverage import Coverage, UncoveredCall
    from seccompgen.run.record.observations import Recording, RingFields, RingsSeen
    from seccompgen.run.record.sections import KindOfUse

_TESTS_SHOWN = 5
_SEEN_SHOWN = 10


def run_notes(recording: Recording, command: str, tables: Tables, *, writes: bool) -> Iterator[str]:
    """Yield notes about the run for readers of the policy."""
    end = recording.end
    if end.signal:
        yield f"{command} was killed by {_signal_name(end.signal)}: seen is what it did before"
    elif end.status:
        yield f"{command} ended with exit code {end.status}"
    for program in recording.unprivileged:
        yield (
            f"{printable(program)} is setuid or setgid, and ran without these privileges, as it "
            "does under any filter with no_new_privs: what it does with them was not seen"
        )
    if recording.filters:
        yield "a process installed a filter of its own; what that refuses is recorded as well"
    if recording.before_marker > 1 and writes:
        yield (
            f"{recording.before_marker} threads ran when the filter was installed: the policy says "
            "flags: [tsync], by which it is put in force for all of them"
        )
    yield from _ring_notes(recording.rings, tables, writes=writes)
    for number in recording.calls:
        if name_of(number, tables) is None:
            call = call_text(number.nr, number.audit_arch, (), tables)
            yield f"{call} has no name in Linux {tables.tag}: under the policy it fails with ENOSYS"


def _ring_notes(rings: RingsSeen, tables: Tables, *, writes: bool) -> Iterator[str]:
    names = [name for _, name, _ in _ring_operations(rings, tables)]
    if rings.made or names:
        yield (
            f"what {many(rings.made, 'ring')} did was {WAY}: "
            f"{', '.join(dict.fromkeys(names)) or 'nothing'}"
        )
    for why in rings.unseen:
        yield f"rings did more than was seen: {printable(why)}"
    if rings.unseen and writes:
        yield (
            "so the policy refuses rings: it has what was seen as a comment; add what is missing, "
            "or write mirror: true (docs/io-uring.md)"
        )
    if rings.early and writes:
        yield (
            "a ring was made before the filter was installed: install() refuses that, since no "
            "filter reaches it; call install() before"
        )
    known = {one.nr for one in ring_numbers().operations.values()}
    for opcode in sorted({opcode for _, opcode in rings.operations} - known):
        yield f"operation {opcode} of rings has no name: under the policy it is refused"


def _ring_operations(rings: RingsSeen, tables: Tables) -> Iterator[tuple[str, str, list[str]]]:
    """Yield ABI and name of each operation that was seen, and the uses of it as text."""
    names = {one.nr: name for name, one in ring_numbers().operations.items()}
    for (abi, opcode), several in rings.operations.items():
        name = names.get(opcode, str(opcode))
        uses = (_operation_text(abi, opcode, one, tables) for one in several or ())
        yield abi, name, sorted(uses)


def ring_coverage_lines(section: RingSection, rings: RingsSeen, tables: Tables) -> Iterator[str]:
    """Yield the operations of rings that a policy's section would have refused, line by line."""
    found = [
        (position, f"{_operation_text(abi, opcode, fields, tables)} on {abi}")
        for abi, opcode, fields, position in refused_operations(section, rings)
    ]
    for position, what in sorted(found, key=lambda one: (one[0].line, one[1])):
        yield f"{position}: {what}: refused, it fails with EACCES"


def _operation_text(abi: str, opcode: int, fields: RingFields, tables: Tables) -> str:
    names = {one.nr: name for name, one in ring_numbers().operations.items()}
    return context_text(names.get(opcode, str(opcode)), dict(fields), ABIS[abi], tables.facts)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def coverage_lines(
    found: Coverage, policy: str, tables: Tables, *, skip_unreached: bool
) -> Iterator[str]:
    """Yield a policy's answers to a recording, and its unreached rules, line by line."""
    for one in found.refused:
        yield _refused(one, tables)
        yield from _seen(one)
    for rule in () if skip_unreached else found.unreached:
        condition = f" where {rule.condition}" if rule.condition else ""
        yield f"{rule.position}: nothing called {rule.name}{condition}"
    reached = found.rules - len(found.unreached)
    yield f"{policy}: {reached} of {found.rules} rules reached; {many(found.times, 'call')} refused"


def _seen(one: UncoveredCall) -> Iterator[str]:
    """Yield the arguments with which, and the locations from which, a call was made."""
    looked_at = sum(times for _, times in one.seen)
    for refusal, times in one.seen[:_SEEN_SHOWN]:
        often = _times(times) if looked_at == one.times else f", {times} of the first {looked_at}"
        yield f"    {refusal.who} {refusal.what}{often}{refusal.where}"
    if others := len(one.seen[_SEEN_SHOWN:]):
        yield f"    and {others} with other arguments, or from elsewhere"


def _refused(one: UncoveredCall, tables: Tables) -> str:
    abi = abi_of(CallNumber(one.call.arch, one.call.nr))
    answer = ret_action(one.ret, abi) if abi else f"{one.ret:#x}"
    text = call_text(one.call.nr, one.call.arch, one.call.args, tables)
    if one.more:
        text += ", and with other arguments"
    line = f"{one.rule.position}: {text}: {answer} by {one.rule.label}"
    return f"{line}{_times(one.times)}{_tests(one.labels)}"


def _times(times: int) -> str:
    return f", {times} times" if times > 1 else ""


def _tests(labels: Iterable[str]) -> str:
    """Return the tests in which a call was refused, as text; empty if in none."""
    names = [printable(label) for label in sorted(labels) if label]
    return f", in {some(names, _TESTS_SHOWN)}" if names else ""


def as_json(
    recording: Recording | None,
    found: Coverage | None,
    kinds: tuple[KindOfUse, ...],
    tables: Tables,
) -> dict[str, object]:
    """Return the whole report as a value for JSON."""
    report: dict[str, object] = {}
    if recording:
        report |= {
            "exit_code": recording.end.exit_code,
            "calls": [
                {
                    "abi": getattr(abi_of(number), "name", None),
                    "name": name_of(number, tables),
                    "nr": number.nr,
                }
                for number in recording.calls
            ],
            "unprivileged": list(recording.unprivileged),
            "own_filters": recording.filters,
            "rings": {
                "made": recording.rings.made,
                "operations": [
                    {"abi": abi, "name": name, "seen": seen}
                    for abi, name, seen in _ring_operations(recording.rings, tables)
                ],
                "unseen": list(recording.rings.unseen),
            },
        }
    if kinds:
        report["kinds"] = [
            {
                "name": one.power.name,
                "gives": one.power.gives,
                "whole": one.whole,
                "calls": list(one.calls),
            }
            for one in kinds
        ]
    if found:
        report |= {
            "rules": found.rules,
            "unreached": [
                {
                    "name": rule.name,
                    "condition": rule.condition,
                    "position": str(rule.position),
                }
                for rule in found.unreached
            ],
            "refused": [_refused(one, tables) for one in found.refused],
            "refusals": [
                {
                    "times": one.times,
                    "labels": sorted(one.labels - {""}),
                    "seen": [refusal.as_json() | {"times": n} for refusal, n in one.seen],
                }
                for one in found.refused
            ],
        }
    return report
