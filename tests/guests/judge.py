"""Compare what a guest's kernel answered with what the policies mean."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from guests.inside import confined
from guests.plan import WIDE, flags, harmless
from oracle import ABIS, RETURN_VALUES, U32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guests.plan import Expected, Plan, Run

LOST, PROCESS_KILLED, SIGNALLED, ODD = 100, 101, 102, 103
"""Ends of a call besides those that ``inside.confined`` records: it was never made, the process
was killed by SIGSYS, by another signal, child and tracer or supervisor disagree."""

MAX_ERRNO = 4095
"""The highest errno: a call that fails returns it negated."""

_KIND_NAMES = {
    0: "nothing seen",
    LOST: "never made",
    confined.REAL: "made",
    confined.RETURNED: "returned",
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
    """The end of one call: kind, its value, the seccomp_data.arch that the kernel told of."""

    kind: int
    value: int = 0
    arch: int = 0

    def __str__(self) -> str:
        arch = f" arch={self.arch:#x}" if self.arch else ""
        return f"{_KIND_NAMES.get(self.kind, self.kind)} {self.value:#x}{arch}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The calls and log records judged, counted, and by filter the differences in words."""

    calls: int
    records: int
    differences: dict[int, list[str]]


def judge(plan: Plan, report: Mapping[str, Any], *, logs: bool) -> Verdict:
    """Compare a report of ``inside.conformance`` with its plan.

    ``logs`` says whether this kernel logs what filters do.
    """
    wide = plan.abi in WIDE
    order = "<" if ABIS[plan.abi].byte_order == "little" else ">"
    sigsys = 12 if plan.abi.startswith("mips") else 31
    real = harmless(plan.abi)
    differences: dict[int, list[str]] = {}
    calls = logged_calls = 0
    for run, reported in zip(plan.runs, report["runs"], strict=True):
        pid, status, made, before, results, outside, refused = reported
        found = differences.setdefault(run.filter, [])
        if refused:
            found.append(f"not installed: {refused}")
        end = Seen(LOST)
        if status & 0x7F:  # WTERMSIG
            number = status & 0x7F
            end = Seen(PROCESS_KILLED) if number == sigsys else Seen(SIGNALLED, number)
        returned = [word for (word,) in struct.iter_unpack(f"{order}Q", bytes.fromhex(results))]
        usual = dict(zip(real, before, strict=True)) if before else {}
        told = {index: (kind, value, arch) for index, kind, value, arch in outside}
        for index, call in enumerate(run.calls):
            seen = end if index == made else Seen(LOST)
            if index < made:
                seen = _came_back(returned[index], usual.get((call.way, call.nr)), wide=wide)
            if index in told:
                seen = _told(seen, *told[index], delivers=plan.abi != "ppc64le")
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
    return Verdict(calls, logged_calls, {key: texts for key, texts in differences.items() if texts})


def _came_back(result: int, usual: int | None, *, wide: bool) -> Seen:
    """Return what became of a call that returned ``result``, and does ``usual`` unconfined."""
    bits = 64 if wide else 32
    if result == usual:
        return Seen(confined.REAL)
    failure = -result & (1 << bits) - 1
    if 0 < failure <= MAX_ERRNO:
        return Seen(confined.ERRNO, failure)
    return Seen(confined.RETURNED, result & U32)


def _told(seen: Seen, kind: int, value: int, arch: int, *, delivers: bool) -> Seen:
    """Return what became of a call of which tracer or supervisor were told, and ``seen`` inside.

    ``delivers`` says whether the kernel has a call return what the supervisor answers.
    """
    if kind == confined.NOTIFIED:
        returned = confined.ANSWER if delivers else 0
        if seen != Seen(confined.RETURNED, returned):
            return Seen(ODD, value, arch)
    if kind == confined.TRACED and seen.kind != confined.REAL:
        return Seen(ODD, value)
    return Seen(kind, value, arch)


def _wanted(call: Expected, how: str) -> Seen:
    """Return what must be seen of a call with that answer.

    A process of one thread ends with it: then only the log tells which of the two was killed.
    """
    data = call.answer & 0xFFFF
    action = next(name for name, value in RETURN_VALUES.items() if value == call.answer - data)
    if action in {"allow", "log"}:
        return Seen(confined.REAL)
    if action == "errno":
        return Seen(confined.ERRNO, data) if data else Seen(confined.RETURNED)
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
