"""Compare what a guest's kernel answered with what the policies mean."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from kernels.inside import confined
from kernels.plan import flags
from oracle import ABIS, RETURN_VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernels.plan import Expected, Plan, Run

LOST, PROCESS_KILLED, SIGNALLED, ODD = 100, 101, 102, 103
"""What is seen of a call besides what ``inside.confined`` records: it was never made, the process
was killed by SIGSYS, by another signal, child and tracer or supervisor disagree."""

_KIND_NAMES = {
    0: "nothing seen",
    LOST: "never made",
    confined.REAL: "made",
    confined.RESULT: "result",
    confined.ERRNO: "errno",
    confined.TRAPPED: "trap",
    confined.TRACED: "trace",
    confined.NOTIFIED: "notified",
    confined.THREAD_KILLED: "thread killed",
    PROCESS_KILLED: "process killed",
    SIGNALLED: "signal",
    ODD: "disagreement",
}


class Seen(NamedTuple):
    """What became of one call: kind, its value, the seccomp_data.arch that the kernel told of."""

    kind: int
    value: int = 0
    arch: int = 0

    def __str__(self) -> str:
        arch = f" arch={self.arch:#x}" if self.arch else ""
        return f"{_KIND_NAMES.get(self.kind, self.kind)} {self.value:#x}{arch}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many calls and log records were judged, by filter what differed, in words."""

    calls: int
    records: int
    differences: dict[int, list[str]]


def judge(plan: Plan, report: Mapping[str, Any], *, logs: bool) -> Verdict:
    """Compare a report of ``inside.conformance`` with its plan.

    ``logs`` says whether this kernel logs what filters do.
    """
    order = "<" if ABIS[plan.abi].byte_order == "little" else ">"
    sigsys = 12 if plan.abi.startswith("mips") else 31
    numbers = struct.iter_unpack(f"{order}H", base64.b64decode(report["records"]))
    records = (tuple(report["kinds"][number]) for (number,) in numbers)
    differences: dict[int, list[str]] = {}
    calls = logged_calls = 0
    for run, (pid, status, made, refused) in zip(plan.runs, report["runs"], strict=True):
        found = differences.setdefault(run.filter, [])
        if refused:
            found.append(f"not installed: {refused}")
        end = Seen(LOST)
        if status & 0x7F:  # WTERMSIG
            number = status & 0x7F
            end = Seen(PROCESS_KILLED) if number == sigsys else Seen(SIGNALLED, number)
        for index, call in enumerate(run.calls):
            seen = _seen(next(records), index - made, end)
            calls += 1
            wanted = _wanted(call, run.how)
            if seen != wanted:
                found.append(f"{_words(call)}: wanted {wanted}, was {seen}")
        if logs:
            logged = [tuple(record) for record in report["log"].get(str(pid), ())]
            wanted_log = _log(plan, run)
            logged_calls += len(wanted_log)
            if logged != wanted_log:
                found.append(
                    f"{len(logged)} calls logged, not {len(wanted_log)}: wrong are "
                    f"{[pair for pair in zip_longest(logged, wanted_log) if len(set(pair)) > 1]}"
                )
    assert next(records, None) is None, "the guest reports more calls than it was to make"
    return Verdict(calls, logged_calls, {key: texts for key, texts in differences.items() if texts})


def _seen(record: tuple[int, ...], beyond: int, end: Seen) -> Seen:
    """Return what became of a call: of the ``beyond``-th, counted from the first not to return."""
    kind, value, outer_kind, outer_value, arch = record
    if outer_kind == confined.NOTIFIED:
        return Seen(outer_kind if kind == confined.RESULT else ODD, outer_value, arch)
    if outer_kind == confined.TRACED:
        return Seen(outer_kind if kind == confined.REAL else ODD, outer_value)
    if outer_kind:
        return Seen(outer_kind, outer_value, arch)
    if beyond < 0:
        return Seen(kind, value)
    return Seen(LOST) if beyond else end


def _wanted(call: Expected, how: str) -> Seen:
    """Return what must be seen of a call with that answer.

    A process of one thread ends with it: then only the log tells which of the two was killed.
    """
    data = call.answer & 0xFFFF
    action = next(name for name, value in RETURN_VALUES.items() if value == call.answer - data)
    if action in {"allow", "log"}:
        return Seen(confined.REAL)
    if action == "errno":
        return Seen(confined.ERRNO, data) if data else Seen(confined.RESULT)
    if action == "trap":
        return Seen(confined.TRAPPED, data, call.arch)
    if action == "trace":
        return Seen(confined.TRACED, data)
    if action == "user_notif":
        return Seen(confined.NOTIFIED, 0, call.arch)
    thread = action == "kill_thread" and how == "thread"
    return Seen(confined.THREAD_KILLED if thread else PROCESS_KILLED)


def _log(plan: Plan, run: Run) -> list[tuple[int, int, int]]:
    """Return what the kernel must log of a run: number, arch, action.

    Calls that a tracer lets go on are not logged.
    """
    everything = flags(plan.filters[run.filter].policy) & 2
    always = {RETURN_VALUES[name] for name in ("log", "kill_process", "kill_thread")}
    never = {RETURN_VALUES["allow"], RETURN_VALUES["trace"]}
    return [
        (call.nr, call.arch, action)
        for call in run.calls
        if (action := call.answer & 0xFFFF0000) in always or (everything and action not in never)
    ]


def _words(call: Expected) -> str:
    args = ", ".join(map(hex, call.args))
    return f"{'int80 ' if call.way else ''}arch={call.arch:#x} nr={call.nr:#x} args=({args})"
