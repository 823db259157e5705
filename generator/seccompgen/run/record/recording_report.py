"""A recording, and a policy's answers to it, as text and as JSON."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from seccompgen.core.text import many, printable, some
from seccompgen.render.call_names import call_text
from seccompgen.render.listing import ret_action
from seccompgen.run.record.observations import CallNumber, abi_of, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.tables import Tables
    from seccompgen.run.record.coverage import Coverage, UncoveredCall
    from seccompgen.run.record.observations import Recording
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
    for number in recording.calls:
        if name_of(number, tables) is None:
            call = call_text(number.nr, number.audit_arch, (), tables)
            yield f"{call} has no name in Linux {tables.tag}: under the policy it fails with ENOSYS"


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
